"""Settings of the unit tests alone."""

from hypothesis import settings

# A slow machine is no bug.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
