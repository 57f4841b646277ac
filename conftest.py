"""Wires this repository's tests: what everyone else gets comes from the plugin in bench/plugin.py."""

from hypothesis import settings

# The same examples in every run, so that a red test is red for everyone. To search further:
# pytest --hypothesis-profile=explore
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=2000, deadline=None, print_blob=True)
settings.load_profile("repeatable")
