"""Ahead-of-time translation of a flash image to native code, cycle-exact with the interpreter."""
