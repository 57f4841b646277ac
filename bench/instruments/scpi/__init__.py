"""SCPI instruments as models: parser and instruments without I/O, and the server that gives them ports."""
