"""What shows that the emulated chip is right, and how fast it is: beside the datasheet and simavr."""
