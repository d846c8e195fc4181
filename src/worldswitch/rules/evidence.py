"""What stands behind each fact: the code that implements it, the tests that test it, or why there is none."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from worldswitch.rules.citations import CODE, MENTION, SCENARIO, TEST, Citation, citations
from worldswitch.rules.facts import find, known_ids, rows, rules
from worldswitch.rules.left_out import left_out

IMPLEMENTED: Final = "implemented"
PARTLY: Final = "implemented in part"
FOLLOWS: Final = "follows from other rules"
LEFT_OUT: Final = "left out"
UNACCOUNTED: Final = "unaccounted for"


class RowEvidence(NamedTuple):
    """A conformance row that cites a rule, and the tests of the row."""

    id: str
    tests: tuple[Citation, ...]


class Evidence(NamedTuple):
    """Everything the sources say about one fact."""

    id: str
    code: tuple[Citation, ...]
    mentions: tuple[Citation, ...]
    tests: tuple[Citation, ...]  # tests and asserting scenario files that name the fact itself
    rows: tuple[
        RowEvidence, ...
    ]  # of a rule: the conformance rows that cite it; an indirect test where they have tests

    @property
    def indirect(self) -> bool:
        """Whether a conformance row with a test cites it."""
        return any(row.tests for row in self.rows)


def evidence(name: str, root: Path | None = None) -> Evidence:
    """The evidence for one id; ``root`` as for :func:`citations`. Raises ``InputError`` for an unknown id."""
    fact = find(name).id
    based = [row.id for row in rows().values() if fact in row.rules]
    return _assemble(fact, based, citations([fact, *based], root))


def all_evidence(root: Path | None = None) -> dict[str, Evidence]:
    """The evidence for every id, in the order of the facts."""
    by_id: dict[str, list[Citation]] = {}
    for citation in citations(None, root):
        by_id.setdefault(citation.id, []).append(citation)
    based: dict[str, list[str]] = {}
    for row in rows().values():
        for rule in row.rules:
            based.setdefault(rule, []).append(row.id)
    return {
        fact: _assemble(
            fact, based.get(fact, []), [c for name in (fact, *based.get(fact, [])) for c in by_id.get(name, [])]
        )
        for fact in known_ids()
    }


def _assemble(fact: str, based: Iterable[str], found: list[Citation]) -> Evidence:
    own = [citation for citation in found if citation.id == fact]
    return Evidence(
        fact,
        tuple(citation for citation in own if citation.kind == CODE),
        tuple(citation for citation in own if citation.kind == MENTION),
        _tests(own),
        tuple(RowEvidence(row, _tests(c for c in found if c.id == row)) for row in based),
    )


def _tests(found: Iterable[Citation]) -> tuple[Citation, ...]:
    return tuple(citation for citation in found if citation.kind in (TEST, SCENARIO))


def status(found: Evidence) -> str:
    """How the model stands to a rule: one of the five words above."""
    if found.code:
        return PARTLY if found.id in left_out().partly else IMPLEMENTED
    if found.id in left_out().follows:
        return FOLLOWS
    return LEFT_OUT if left_out().group_of(found.id) else UNACCOUNTED


def places(found: Iterable[Citation]) -> list[str]:
    """The distinct places: functions and classes first, then values; a whole file only where it has no other place."""
    found = list(found)
    precise = {citation.file for citation in found if citation.place}
    kept = [citation for citation in found if citation.place or citation.file not in precise]
    kept.sort(key=lambda citation: 2 if not citation.place else int(citation.place.isupper()))
    return list(dict.fromkeys(map(str, kept)))


def problems(root: Path | None = None) -> list[str]:
    """What is wrong with the bookkeeping, one line each: a rule is either cited by the model's code or accounted for.

    Also wrong: ids that do not exist, in the package or in scenario files; consequences whose ground is gone.
    """
    book = left_out()
    found = all_evidence(root)
    lines = [
        f"{c.file}:{c.line}: {c.id} does not exist"
        for c in citations(None, root)
        if c.kind != TEST and c.id not in found
    ]
    listed = [*book.follows, *(rule for group in book.groups for rule in group.rules)]
    lines += [f"left_out.toml: {rule} is listed twice" for rule in sorted({r for r in listed if listed.count(r) > 1})]
    lines += [f"left_out.toml: {rule} is no rule" for rule in [*listed, *book.partly] if rule not in rules()]
    for rule in rules():
        if found[rule].code and rule in listed:
            lines.append(f"{rule} is cited by {places(found[rule].code)[0]} and listed in left_out.toml")
        elif not found[rule].code and rule not in listed:
            lines.append(f"{rule} is neither cited by the model's code nor listed in left_out.toml")
        elif not found[rule].code and rule in book.partly:
            lines.append(f"{rule} is modelled in part, says left_out.toml, but no code cites it")
    for rule, ground in book.follows.items():
        lines += [
            f"{rule} is to follow from {base}, which no code cites"
            for base in ground
            if base not in found or not found[base].code
        ]
    return lines
