"""A comparison as plain text fit for a patch's cover letter, as Markdown, and as JSON."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, Final

from worldswitch.diff.aspects import Aspect
from worldswitch.diff.claims import CLAIMS, HOLDS, REFUTED, Claim, Outcome
from worldswitch.diff.side import Side
from worldswitch.report.terminal import Screen, wrapped

WIDTH: Final = 75
"""Columns of a line: what patches and their cover letters keep to, with room for marks of quotation."""

_NAME: Final = 22  # columns for whom something changes
_GAP: Final = "  "
_INDENT: Final = " " * 4
_VALUE: Final = (WIDTH - _NAME - 2 * len(_GAP)) // 2

Checked = tuple[Claim, Outcome]


def check_claims(first: Side, second: Side) -> list[Checked]:
    """Every claim with what its check found."""
    return [(claim, claim.check(first, second)) for claim in CLAIMS]


def text(
    first: Side, second: Side, aspects: Sequence[Aspect], claims: Sequence[Checked], screen: Screen
) -> Iterator[str]:
    """For a terminal or a plain-text mail: lines of at most ``WIDTH`` columns."""
    changed = [aspect for aspect in aspects if not aspect.same]
    same = [aspect for aspect in aspects if aspect.same]
    if first.processor:
        yield from [*wrapped(f"on the processor with {first.processor}", WIDTH), ""]
    if changed:
        heading = ("what changes", first.name, second.name)
        yield from (screen.bold(line) for line in _row(heading))
        yield _GAP.join("-" * width for width in (_NAME, _VALUE, _VALUE))
    for aspect in changed:
        yield from _row((aspect.name, aspect.first, aspect.second))
    if same:
        yield from [""] if changed else []
        yield from (screen.bold(line) for line in _row(("what does not", f"{first.name} and {second.name}")))
        yield _GAP.join("-" * width for width in (_NAME, WIDTH - _NAME - len(_GAP)))
    for aspect in same:
        yield from _row((aspect.name, aspect.first))
    if claims:
        yield ""
        yield screen.bold("What the message of Linux commit be45bc4eff33 says, checked on these two:")
        yield ""
    for number, (claim, outcome) in enumerate(claims, 1):
        word = outcome.result if outcome.result == HOLDS else outcome.result.upper()
        yield from wrapped(claim.says, WIDTH, f"{number:2}. ", _INDENT)
        lines = wrapped(f"{word}: {outcome.evidence} [{', '.join(claim.rules)}]", WIDTH, _INDENT, _INDENT + "  ")
        yield from map(screen.bad, lines) if outcome.result == REFUTED else lines


def _row(cells: tuple[str, ...]) -> Iterator[str]:
    """A row of the table, each cell broken into as many lines as it needs; the last one takes what is left."""
    widths = [_NAME, *[_VALUE] * (len(cells) - 2)]
    widths.append(WIDTH - sum(widths) - len(_GAP) * len(widths))
    # The name of an edited path may be longer than a cell, and has no space in it.
    columns = [textwrap.wrap(cell, width, break_on_hyphens=False) for cell, width in zip(cells, widths, strict=True)]
    for parts in zip_longest(*columns, fillvalue=""):
        yield _GAP.join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()


def markdown(first: Side, second: Side, aspects: Sequence[Aspect], claims: Sequence[Checked]) -> Iterator[str]:
    """Tables for a page that renders them."""
    yield f"| for whom, what | {_cell(first.name)} | {_cell(second.name)} | rules |"
    yield "|---|---|---|---|"
    for aspect in aspects:
        values = [aspect.first, "unchanged" if aspect.same else aspect.second]
        yield f"| {aspect.name} | {_cell(values[0])} | {_cell(values[1])} | {', '.join(aspect.rules)} |"
    if claims:
        yield ""
        yield "| the message of be45bc4eff33 says | result | evidence | rules |"
        yield "|---|---|---|---|"
    for claim, outcome in claims:
        yield f"| {claim.says} | {outcome.result} | {_cell(outcome.evidence)} | {', '.join(claim.rules)} |"


def as_json(first: Side, second: Side, aspects: Sequence[Aspect], claims: Sequence[Checked]) -> dict[str, Any]:
    """``diff --json``."""
    return {
        "format": 1,
        "paths": [first.name, second.name],
        "profile": first.profile,
        "options": dict(first.options),
        "aspects": [
            {"aspect": a.name, "first": a.first, "second": a.second, "same": a.same, "rules": list(a.rules)}
            for a in aspects
        ],
        "claims": [
            {"claim": c.name, "says": c.says, "result": o.result, "evidence": o.evidence, "rules": list(c.rules)}
            for c, o in claims
        ],
    }


def _cell(value: str) -> str:
    return value.replace("|", "\\|")
