"""The sensor tier: a data set of measurements becomes signals on the pins of an Uno.

`dataset` reads a CSV, `assignment` gives every sensor its column, `playback` lays that column over the time
of the trial, and `s0` and `waveform` turn it into pulses or into mains waveforms. Integers decide throughout.
"""
