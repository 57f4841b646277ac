"""The Raspberry Pi of a branch: the seat in which the gateway runs, and its way to the server."""
