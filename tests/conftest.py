"""Settings for all tests."""

import signal

import pytest
from hypothesis import settings

from worldswitch.core import compiled

# A shell's background job ignores SIGINT, and so would every process that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadlines: tests never judge speed. Derandomised: the default run is the same every time.
settings.register_profile("worldswitch", deadline=None, derandomize=True)
settings.load_profile("worldswitch")

collect_ignore = ["check", "mutants"] if compiled() else []
"""Their commands ask for the pure core themselves (``worldswitch.sources``), which is too late here."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what is marked ``pure_core`` where the core is compiled."""
    if compiled():
        for item in items:
            if item.get_closest_marker("pure_core"):
                item.add_marker(pytest.mark.skip(reason="the core is compiled"))
