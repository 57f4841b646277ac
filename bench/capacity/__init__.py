"""Capacity: the criteria a rig must meet and the search for the largest fan-in that meets them."""
