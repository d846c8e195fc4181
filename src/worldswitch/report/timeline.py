"""The timeline of a run: one line a step, the state at the boundary before it, what ran, and what that caused.

Runs of the same scenario stand side by side where the screen is wide enough, otherwise one after another.
"""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final

from worldswitch.machine.trace import Row
from worldswitch.report.beside import least_width, side_by_side
from worldswitch.report.columns import MARK, NARROW, NARROW_LEGEND, WIDE, WIDE_LEGEND, Column, heads, state
from worldswitch.report.fold import Fold, Item, fold
from worldswitch.report.terminal import Screen, cut, wrapped
from worldswitch.result import Result

_WIDE_FROM: Final = 100  # columns


def timelines(results: Sequence[Result], screen: Screen, full: bool = False) -> list[str]:
    """The timelines of traced runs of one scenario as lines of text; ``full`` folds nothing.

    Raises ``ValueError`` for a run that was not traced.
    """
    runs = [_items(result, full) for result in results]
    titles = [title(result) for result in results]
    if len(results) > 1 and screen.width >= least_width(len(results)):
        return side_by_side(titles, runs, screen)
    wide = screen.width >= _WIDE_FROM
    lines = screen.wrapped(WIDE_LEGEND if wide else NARROW_LEGEND)
    for heading, items in zip(titles, runs, strict=True):
        lines += ["", screen.bold(heading), *_alone(items, WIDE if wide else NARROW, screen)]
    return lines


def title(result: Result) -> str:
    """The path, the profile and the options of a run in a line."""
    parts = [result.path, f"profile {result.profile}", *(f"{name}={value}" for name, value in result.options.items())]
    return ", ".join(parts)


def mark(result: Result) -> None:
    """Note in the rows of a traced run which oracles objected to which step."""
    if result.run.trace is None:
        raise ValueError("the run was not traced")
    marks: dict[int, list[str]] = {}
    for finding in result.verdict.findings:
        for step in finding.steps:
            marks.setdefault(step, []).append(finding.oracle)
    for finding, _ in result.verdict.documented:
        for step in finding.steps:
            marks.setdefault(step, []).append(f"{finding.oracle} (documented)")
    rows = result.run.trace.rows
    for row, following in zip_longest(rows, rows[1:]):
        is_last = following is None or following.step != row.step  # several rows of a step: what it came to is marked
        row.marks = list(dict.fromkeys(marks.get(row.step, ()))) if is_last else []


def _items(result: Result, full: bool) -> list[Item]:
    mark(result)
    rows = result.run.trace.rows if result.run.trace else []
    return list(rows) if full else fold(rows)


def _alone(items: Sequence[Item], columns: Sequence[Column], screen: Screen) -> Iterator[str]:
    rows = [item for item in items if isinstance(item, Row)]
    pending = max([len("pending"), *(len(row.pending) for row in rows)])
    place = max([len("place"), *(len(row.where) for row in rows)])
    head = f"   step  {heads(columns)}  {'pending'.ljust(pending)}  "
    note = " " * (len(head) + 2)
    room = screen.width - len(head) - place - 2
    yield screen.bold(f"{head}{'place'.ljust(place)}  {cut('what runs, and what it causes', room)}")
    previous: Row | None = None
    for item in items:
        if isinstance(item, Fold):
            yield note + screen.dim(str(item))
            continue
        gutter = screen.bad(MARK) if item.marks else "  "
        where = f"{(item.pending or '-').ljust(pending)}  {item.where.ljust(place)}"
        yield f"{gutter} {item.step:>4}  {state(item, previous, columns, screen)}  {where}  {cut(item.text, room)}"
        for text in item.notes:
            yield from wrapped(text, screen.width, note, note + "   ")
        for name in item.marks:
            yield note + screen.bad(f"{MARK} {name}")
        previous = item
