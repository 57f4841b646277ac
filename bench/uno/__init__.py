"""The Uno tier: the emulated ATmega328P and what belongs to it."""
