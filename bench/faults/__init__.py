"""Faults: typed, planned by seed, and proven to have fired."""
