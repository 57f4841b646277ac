"""The rig: what a run is made of, read from one TOML file."""
