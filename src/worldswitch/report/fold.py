"""Repeated steps of a long run folded into one line.

A livelock or a spinning guest repeats the same few steps until the step limit. Rows count as the same when everything a
person reads in them is the same: place, text, state, notes and marks; the step's number apart.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from worldswitch.machine.trace import Row

LONGEST_CYCLE: Final = 64
"""Steps of the longest repetition that is recognised."""

WORTHWHILE: Final = 8
"""Rows that folding must save."""


class Fold(NamedTuple):
    """Rows left out: ``times`` repetitions of the ``period`` rows before, up to step ``last``."""

    period: int
    times: int
    last: int

    def __str__(self) -> str:
        steps = "the step above repeats" if self.period == 1 else f"the {self.period} steps above repeat"
        return f"... {steps} {self.times} more times, to step {self.last}"


Item = Row | Fold


def fold(rows: Sequence[Row]) -> list[Item]:
    """The rows with repetitions folded; a repetition that is broken off half-way is shown as it is."""
    keys = _numbered(rows)
    items: list[Item] = []
    at = 0
    while at < len(rows):
        period, times = _cycle(keys, at)
        if times:
            items += rows[at : at + period]
            at += period * (times + 1)
            items.append(Fold(period, times, rows[at - 1].step))
        else:
            items.append(rows[at])
            at += 1
    return items


def _numbered(rows: Sequence[Row]) -> list[int]:
    """For each row a number that equal rows share."""
    numbers: dict[tuple[object, ...], int] = {}
    return [numbers.setdefault(_key(row), len(numbers)) for row in rows]


def _key(row: Row) -> tuple[object, ...]:
    state = (row.interrupts, row.shadow, row.gif, row.nmi_masked, row.lockdep, row.context, row.pending)
    return (row.world, row.where, row.text, *state, tuple(row.notes), tuple(row.marks))


def _cycle(keys: Sequence[int], at: int) -> tuple[int, int]:
    """The shortest period with which the rows from ``at`` on repeat, and how often; (0, 0) where that saves little."""
    for period in range(1, min(LONGEST_CYCLE, (len(keys) - at) // 2) + 1):
        if keys[at] != keys[at + period]:
            continue
        end = at + period
        while end < len(keys) and keys[end] == keys[end - period]:
            end += 1
        times = (end - at) // period - 1
        if period * times >= WORTHWHILE:
            return period, times
    return 0, 0
