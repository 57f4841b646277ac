"""The server's seat: the node in which all branches meet."""
