"""``paths edits``: the edits that break a path, by what the oracles say of them."""

from collections.abc import Iterator
from typing import Any, Final

from worldswitch.paths.closeness import Breaking, Closeness
from worldswitch.report.terminal import Screen

SHOWN: Final = 3
"""Edits listed for each oracle, unless all are asked for."""


def lines(found: Closeness, screen: Screen, everything: bool = False) -> Iterator[str]:
    """A summary, then each oracle with its smallest edits, a cause once; or each cause with all of its edits."""
    path = found.path
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(found.kinds.items())) or "none"
    yield screen.bold(f"{path.name}: {found.tried} single edits tried, {found.broken} of them break it ({kinds})")
    yield from _by_cause(found, screen) if everything else _by_oracle(found, screen)
    yield ""
    yield from screen.wrapped(
        "The number is an edit's size: the lines that one line moves over, 1 for any other edit. The name at the end "
        "of a row is accepted wherever the name of a path is."
    )


def _by_cause(found: Closeness, screen: Screen) -> Iterator[str]:
    for cause, edits in sorted(found.by_cause.items(), key=_order):
        yield ""
        yield screen.bad(cause) + f": {_count(len(edits), 'edit')}"
        for edit in edits:
            yield from _row(found, edit, f"on {edit.scenario}", screen)


def _by_oracle(found: Closeness, screen: Screen) -> Iterator[str]:
    """An oracle's edits are the smallest that show a cause which no smaller one has shown."""
    oracles: dict[str, dict[Breaking, list[str]]] = {}
    for cause, edits in sorted(found.by_cause.items(), key=_order):
        oracle, _, rest = cause.partition(".")
        for edit in edits:
            # What scenario showed which cause is told by --all.
            oracles.setdefault(oracle, {}).setdefault(edit._replace(scenario=""), []).append(rest)
    for oracle, by_edit in oracles.items():
        causes = {cause for named in by_edit.values() for cause in named}
        yield ""
        yield screen.bad(oracle) + f": {_count(len(by_edit), 'edit')}, {_count(len(causes), 'cause')}"
        shown: set[str] = set()
        rows = 0
        for edit, named in sorted(by_edit.items()):
            if rows < SHOWN and not shown.issuperset(named):
                rows += 1
                shown.update(named)
                yield from _row(found, edit, ", ".join(named), screen)
        if left := len(causes - shown):
            yield screen.dim(f"       and {_count(left, 'cause')} more; --all lists them")


def _row(found: Closeness, edit: Breaking, remark: str, screen: Screen) -> Iterator[str]:
    text = f"{edit.about} ({remark}): {found.given}~{edit.edit}"
    yield from screen.wrapped(text, f"  {edit.size:>3}  ", "       ")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _order(item: tuple[str, list[Breaking]]) -> tuple[bool, tuple[str, list[Breaking]]]:
    """The bleed first; that is what most paths are asked about."""
    return (not item[0].startswith("shadow-bleed."), item)


def as_json(found: Closeness) -> dict[str, Any]:
    """One path of ``paths edits --json``."""
    return {
        "path": found.path.name,
        "tried": found.tried,
        "broken": found.broken,
        "causes": {cause: [_edit(found, edit) for edit in edits] for cause, edits in sorted(found.by_cause.items())},
    }


def _edit(found: Closeness, edit: Breaking) -> dict[str, Any]:
    return {
        "size": edit.size,
        "about": edit.about,
        "path": f"{found.given}~{edit.edit}",
        "scenario": edit.scenario,
    }
