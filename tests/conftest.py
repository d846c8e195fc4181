"""Settings for all tests."""

from hypothesis import settings

# No deadlines: tests never judge speed. Derandomised: the default run is the same every time.
settings.register_profile("worldswitch", deadline=None, derandomize=True)
settings.load_profile("worldswitch")
