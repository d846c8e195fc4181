"""Several runs side by side: the same landmark on the same line.

Each run is cut into stretches, one a visit of a landmark (``enter`` with ``enter+1``, ``enter+2``, ...). Stretches of
the same landmark are put beside each other; inside them, the same instruction is.
"""

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple, TypeVar

from worldswitch.machine.trace import Row
from worldswitch.report.fold import Fold, Item

T = TypeVar("T")


class Line(NamedTuple):
    """One line of the side-by-side timeline: an item a run, None where that run has nothing here."""

    landmark: str  # where the line is the first of a landmark; else ""
    items: tuple[Item | None, ...]


class _Stretch(NamedTuple):
    landmark: str
    lines: list[tuple[Item | None, ...]]


def align(runs: Sequence[Sequence[Item]]) -> list[Line]:
    """The runs' items in common lines; the items of each run keep their order."""
    merged = _stretches(runs[0])
    for number, run in enumerate(runs[1:], 1):
        merged = [
            _beside(left, right, number)
            for left, right in _pairs(merged, _stretches(run), lambda stretch: stretch.landmark, zipped=False)
        ]
    return [
        Line(stretch.landmark if number == 0 else "", items)
        for stretch in merged
        for number, items in enumerate(stretch.lines)
    ]


def _stretches(items: Sequence[Item]) -> list[_Stretch]:
    found: list[_Stretch] = []
    for item in items:
        landmark = item.where.partition("+")[0] if isinstance(item, Row) else found[-1].landmark
        starts = isinstance(item, Row) and "+" not in item.where
        if not found or landmark != found[-1].landmark or starts:
            found.append(_Stretch(landmark, []))
        found[-1].lines.append((item,))
    return found


def _beside(left: _Stretch | None, right: _Stretch | None, width: int) -> _Stretch:
    """Both as one stretch; ``width`` is the number of runs on the left."""
    nothing: tuple[Item | None, ...] = (None,) * width
    if left is None:
        return right._replace(lines=[(*nothing, *line) for line in right.lines]) if right else _Stretch("", [])
    if right is None:
        return left._replace(lines=[(*line, None) for line in left.lines])
    pairs = _pairs(left.lines, right.lines, _text, zipped=True)
    return left._replace(lines=[(*(one or nothing), *(other or (None,))) for one, other in pairs])


def _text(line: tuple[Item | None, ...]) -> str:
    item = next(item for item in line if item is not None)
    return str(item) if isinstance(item, Fold) else item.text


def _pairs(
    left: Sequence[T], right: Sequence[T], key: Callable[[T], str], *, zipped: bool
) -> list[tuple[T | None, T | None]]:
    """Both sequences as pairs in which equal keys meet; with ``zipped`` unequal ones share lines as well."""
    pairs: list[tuple[T | None, T | None]] = []
    matcher = SequenceMatcher(None, [key(item) for item in left], [key(item) for item in right], autojunk=False)
    for tag, i, i_end, j, j_end in matcher.get_opcodes():
        ours: list[T | None] = list(left[i:i_end])
        theirs: list[T | None] = list(right[j:j_end])
        if tag == "equal" or (zipped and tag == "replace"):
            length = max(len(ours), len(theirs))
            pairs += zip(ours + [None] * (length - len(ours)), theirs + [None] * (length - len(theirs)), strict=True)
        else:
            pairs += [(item, None) for item in ours] + [(None, item) for item in theirs]
    return pairs
