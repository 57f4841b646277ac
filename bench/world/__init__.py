"""Virtual time, counter-based randomness, and the trace that everything subscribes to."""
