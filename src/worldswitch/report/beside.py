"""Timelines of several runs beside each other, aligned by landmark."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Final, NamedTuple

from worldswitch.machine.trace import Row
from worldswitch.report.align import align
from worldswitch.report.columns import MARK, NARROW, NARROW_LEGEND, heads, state
from worldswitch.report.fold import Fold, Item
from worldswitch.report.terminal import Screen, cut, wrapped

LEAST_TEXT: Final = 24
"""Columns that an instruction has at the least; a longer one is cut."""

_PLACE: Final = 10
_GAP: Final = " | "
_STATE: Final = len(heads(NARROW)) + len("  ")
_NOTE: Final = "  "


class _Line(NamedTuple):
    shown: str
    length: int  # columns, without colours


def least_width(runs: int) -> int:
    """The columns that ``runs`` timelines need beside each other."""
    return _PLACE + runs * (len(_GAP) + _STATE + LEAST_TEXT)


def side_by_side(titles: Sequence[str], runs: Sequence[Sequence[Item]], screen: Screen) -> list[str]:
    """The runs, each under its title, as lines of text; the same landmark is on the same line."""
    longest = max(len(item.text) for run in runs for item in run if isinstance(item, Row))
    width = min((screen.width - _PLACE) // len(runs) - len(_GAP), max(_STATE + longest, *map(len, titles)))

    def joined(place: str, cells: Sequence[_Line]) -> str:
        padded = [cell.shown + " " * (width - cell.length) for cell in cells]
        return _GAP.join([cut(place, _PLACE).ljust(_PLACE), *padded]).rstrip()

    def heading(place: str, texts: Sequence[str]) -> str:
        return joined(place, [_Line(screen.bold(text), len(text)) for text in (cut(text, width) for text in texts)])

    lines = [*screen.wrapped(NARROW_LEGEND), heading("", titles), heading("place", [heads(NARROW)] * len(runs))]
    previous: list[Row | None] = [None] * len(runs)
    for line in align(runs):
        cells = [_cell(item, before, width, screen) for item, before in zip(line.items, previous, strict=True)]
        for number, row in enumerate(zip_longest(*cells, fillvalue=_Line("", 0))):
            lines.append(joined(line.landmark if number == 0 else "", row))
        previous = [
            item if isinstance(item, Row) else before for item, before in zip(line.items, previous, strict=True)
        ]
    return lines


def _cell(item: Item | None, previous: Row | None, width: int, screen: Screen) -> list[_Line]:
    """One item in ``width`` columns: the step on the first line, what it caused below."""
    if item is None:
        return []
    if isinstance(item, Fold):
        return [_Line(screen.dim(text), len(text)) for text in wrapped(str(item), width, _NOTE, _NOTE)]
    text = cut(item.text, width - _STATE)
    lines = [_Line(f"{state(item, previous, NARROW, screen)}  {text}", _STATE + len(text))]
    notes = list(item.notes)
    if item.pending and item.pending != (previous.pending if previous else ""):
        notes.append(f"pending: {item.pending}")
    for note in notes:
        lines += [_Line(text, len(text)) for text in wrapped(note, width, _NOTE, _NOTE + "   ")]
    for name in item.marks:
        text = f"{MARK} {name}"
        lines.append(_Line(screen.bad(text), len(text)))
    return lines
