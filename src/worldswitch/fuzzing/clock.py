"""Time as a campaign sees it: intervals from a clock that nobody sets, dates from one that somebody may."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final


@dataclass(frozen=True, slots=True)
class Clock:
    """``monotonic()`` in seconds for every interval; ``wall()`` in seconds since 1970 for dates alone."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    def date(self) -> str:
        """Now, as UTC in ISO 8601 to the second."""
        return datetime.fromtimestamp(self.wall(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


SYSTEM: Final = Clock()
