"""Settings for all tests."""

import signal

from hypothesis import settings

# A shell's background job ignores SIGINT, and so would every process that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadlines: tests never judge speed. Derandomised: the default run is the same every time.
settings.register_profile("worldswitch", deadline=None, derandomize=True)
settings.load_profile("worldswitch")
