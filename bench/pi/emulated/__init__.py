"""The emulated seat of a Pi: its image, the machine that boots it, and a card that can lose power."""
