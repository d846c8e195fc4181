"""Reducing a disagreement: the fuzzer's own edits, tried many to a start of the implementation.

A start costs more than the scenarios in it, so the smaller scenarios one edit away are put together, and the smallest
that still shows the disagreement is what the next edits are made to.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from worldswitch.fuzzing.minimize import candidates, size
from worldswitch.replay.observed import CRASH, HANG, Observed
from worldswitch.replay.record import NotComparable, Record
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.write import scenario_text

AT_ONCE: Final = 64
"""Scenarios put together; of those that may hang, which each costs seconds, ``AT_ONCE_HANGING``."""

AT_ONCE_HANGING: Final = 8
MOST_STARTS: Final = 40
"""Starts of the implementation that one reduction may cost."""

MOST_HANGS: Final = 12
"""Scenarios that may hang in one reduction."""

Encode = Callable[[Scenario], Record | NotComparable]
Put = Callable[[list[Record]], Sequence[Observed | None]]
Shows = Callable[[Record, Observed], bool]


class Reduction:
    """One reduction. ``shows`` tells whether an answer still is the disagreement in question."""

    def __init__(self, encode: Encode, put: Put, shows: Shows) -> None:
        self.encode = encode
        self.put = put
        self.shows = shows
        self.starts = 0
        self.hangs = 0
        self._tried: set[str] = set()

    def run(self, scenario: Scenario) -> Scenario | None:
        """The smallest scenario reached; None where ``scenario`` itself, in a batch of its own, does not show it."""
        best = replace(scenario, expect=None)
        if not self._showing([best]):
            return None
        while smaller := self._smaller(best):
            best = smaller
        return best

    def _smaller(self, best: Scenario) -> Scenario | None:
        limit = size(best)
        open_ones = []
        for candidate in candidates(best):
            text = scenario_text(candidate)
            if size(candidate) < limit and text not in self._tried:
                self._tried.add(text)
                open_ones.append(candidate)
        while open_ones:
            at_once = AT_ONCE_HANGING if self.hangs else AT_ONCE
            if found := self._showing(open_ones[:at_once]):
                return min(found, key=size)
            del open_ones[:at_once]
        return None

    def _showing(self, scenarios: list[Scenario]) -> list[Scenario]:
        """Those that show it; none once the reduction has cost what it may."""
        if self.starts >= MOST_STARTS or self.hangs >= MOST_HANGS:
            return []
        asked, records = [], []
        for scenario in scenarios:
            made = self.encode(scenario)
            if isinstance(made, Record):
                asked.append(scenario)
                records.append(made)
        if not records:
            return []
        self.starts += 1
        found = []
        for scenario, record, observed in zip(asked, records, self.put(records), strict=True):
            if observed is None:
                continue
            self.hangs += observed.stop in (HANG, CRASH)
            if self.shows(record, observed):
                found.append(scenario)
        return found
