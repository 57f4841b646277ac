"""The suites that judge a rig: `pytest --rig FILE`. Each test speaks of the rig, none of how it is made."""
