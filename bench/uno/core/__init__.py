"""The ATmega328P core in C, one file a peripheral, and the tests of each."""
