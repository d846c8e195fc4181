"""The text of an imported path file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from worldswitch.importer.classify import Doubt, Row
from worldswitch.paths.listing import MAX_LINES
from worldswitch.text.write import Style, dumps

BEFORE: Final = 12
AFTER: Final = 12
"""Rows that are kept before CLGI and after STGI, at the least; what concerns interrupts is kept in any case."""

FOLDED: Final = 3
"""The shortest run of alike instructions that ``fold`` makes one line of."""

_KEPT: Final = ("sti", "cli", "pushf", "popf", "mov_ss", "hlt", "clgi", "stgi", "lockdep_", "trace_", "lock_", "guest_")


@dataclass(slots=True)
class Sheet:
    """What goes into a path file besides its rows."""

    name: str
    about: str
    sources: Sequence[str]
    system: str
    entry: dict[str, Any]
    documented: dict[str, Any]
    notes: dict[str, list[str]] = field(default_factory=dict)  # heading to lines, put after the rows


def trimmed(rows: Sequence[Row]) -> tuple[int, int]:
    """The first row to keep and the one after the last: from a little before CLGI to a little after STGI."""
    texts = [row.text for row in rows]
    vmrun = texts.index("vmrun")
    clgi = next((number for number in range(vmrun) if texts[number] == "clgi"), None)
    stgi = next((number for number in range(vmrun, len(rows)) if texts[number] == "stgi"), None)
    state = [number for number, text in enumerate(texts) if text.startswith(_KEPT)]
    first = 0 if clgi is None else max(0, min([clgi - BEFORE, *(n for n in state if n < clgi)]))
    last = len(rows) if stgi is None else min(len(rows), max([stgi + AFTER, *state]) + 1)
    return first, last


def path_text(sheet: Sheet, rows: Sequence[Row], first: int, last: int, fold: bool) -> str:
    """The path file: the rows from ``first`` to before ``last``, with addresses and bytes as comments."""
    lines = [*_left_out(rows[:first], "before")]
    lines += _listing(rows[first:last], fold)
    lines += _left_out(rows[last:], "after")
    for heading, notes in sheet.notes.items():
        lines += [f"# {heading}:", *(f"#   {note}" for note in notes or ["none"])]
    data = {
        "format": 1,
        "name": sheet.name,
        "about": sheet.about,
        "system": sheet.system,
        "sources": list(sheet.sources),
        "listing": "\n".join(line.rstrip() for line in lines) + "\n",
        "entry": sheet.entry,
        "documented": sheet.documented,
    }
    return dumps(data, style=Style(literal=lambda path: path == ("listing",)))


def too_long(rows: Sequence[Row]) -> bool:
    """Whether there are more rows than a listing may have lines."""
    return len(rows) > MAX_LINES


def doubt_lines(doubts: Iterable[Doubt]) -> list[str]:
    """What could not be classified, one line each."""
    return [" ".join(part for part in (doubt.place, doubt.text) if part) + f": {doubt.reason}" for doubt in doubts]


def _left_out(rows: Sequence[Row], side: str) -> list[str]:
    if not rows:
        return []
    calls = [row.text for row in rows if row.text.startswith(("call", "traceable", "inline"))]
    named = f", among them {', '.join(dict.fromkeys(calls))}" if calls else ""
    return [f"# {len(rows)} instructions {side} this are left out: none concerns interrupts{named}"]


def _listing(rows: Sequence[Row], fold: bool) -> list[str]:
    lines: list[str] = []
    home: tuple[str, bool] | None = None
    noinstr = False
    number = 0
    while number < len(rows):
        row = rows[number]
        if row.step is not None and (row.step.function.name, row.noinstr) != home:
            home = (row.step.function.name, row.noinstr)
            lines.append(f"# {_comment(home[0])}()")
        if row.noinstr != noinstr:
            noinstr = row.noinstr
            lines.append("        .noinstr" if noinstr else "        .text")
        run = _run(rows, number) if fold else 1
        if run >= FOLDED:
            lines += [f"#       {_origin(folded)}  {folded.text}" for folded in rows[number : number + run]]
            lines.append(_line(_folded(row, run), f"{run} instructions"))
        else:
            run = 1
            lines.append(_line(row, _origin(row)))
        number += run
    return lines


def _run(rows: Sequence[Row], first: int) -> int:
    """How many rows from ``first`` on are alike and plain."""
    word = _word(rows[first])
    number = first
    while number < len(rows) and _word(rows[number]) == word and _is_foldable(rows[number], rows[first]):
        number += 1
    return number - first


def _is_foldable(row: Row, first: Row) -> bool:
    if row.step is None or first.step is None or row.label or row.fixup:
        return False
    same = row.step.function is first.step.function and row.noinstr == first.noinstr
    return same and _word(row) in ("mov", "push", "pop", "xor", "nop", "lea", "and", "or")


def _word(row: Row) -> str:
    return row.text.partition(" ")[0]


def _folded(row: Row, count: int) -> Row:
    word = _word(row)
    return Row(word if word == "nop" else f"{word} x{count}", row.step)


def _line(row: Row, comment: str) -> str:
    label = f"{row.label}: " if row.label else ""
    fixup = " [fixup]" if row.fixup else ""
    return f"{label}{row.text}{fixup} # {comment}"


def _origin(row: Row) -> str:
    """A row's address, bytes and remark."""
    return _comment("  ".join(part for part in (row.place, row.data.hex(" "), row.remark) if part))


def _comment(text: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() and c not in "'\"\\" else "_" for c in text)
