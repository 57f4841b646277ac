"""Rigs on the wall clock: seats of ports, hosts and processes, brought to known states and kept there."""
