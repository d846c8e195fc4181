"""A comparison as text, as Markdown fit for a cover letter, and as JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

from worldswitch.diff.aspects import Aspect
from worldswitch.diff.claims import CLAIMS, HOLDS, REFUTED, Claim, Outcome
from worldswitch.diff.side import Side
from worldswitch.report.terminal import Screen

Checked = tuple[Claim, Outcome]


def check_claims(first: Side, second: Side) -> list[Checked]:
    """Every claim with what its check found."""
    return [(claim, claim.check(first, second)) for claim in CLAIMS]


def text(
    first: Side, second: Side, aspects: Sequence[Aspect], claims: Sequence[Checked], screen: Screen
) -> Iterator[str]:
    """For a terminal or a plain-text mail."""
    yield screen.bold(f"{first.name} -> {second.name}")
    for aspect in aspects:
        if aspect.same:
            yield from screen.wrapped(f"{aspect.name}: unchanged: {aspect.first}", "  ", "      ")
            continue
        yield screen.bold(f"* {aspect.name} ({', '.join(aspect.rules)})")
        for side, value in ((first, aspect.first), (second, aspect.second)):
            yield from screen.wrapped(f"{side.name}: {value}", "      ", "          ")
    if claims:
        yield ""
        yield screen.bold("what the message of Linux commit be45bc4eff33 says")
    for claim, outcome in claims:
        word = outcome.result if outcome.result == HOLDS else outcome.result.upper()
        paint = screen.bad if outcome.result == REFUTED else str
        yield paint(f"  {word}: {claim.says}")
        yield from screen.wrapped(f"{outcome.evidence} ({claim.name}; {', '.join(claim.rules)})", "      ", "      ")


def markdown(first: Side, second: Side, aspects: Sequence[Aspect], claims: Sequence[Checked]) -> Iterator[str]:
    """Tables to paste."""
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
