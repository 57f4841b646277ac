"""A firmware developer's tools on one emulated chip: sans-I/O, without a clock of their own."""
