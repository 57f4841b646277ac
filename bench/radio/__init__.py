"""The 433 MHz segment: the SX1278 chip, the medium between chips, time on air, and what regulation allows."""
