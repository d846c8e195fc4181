"""``paths edits``: the edits that break a path, by what the oracles say of them."""

from collections.abc import Iterator
from typing import Any, Final

from worldswitch.paths.closeness import Breaking, Closeness
from worldswitch.report.terminal import Screen

SHOWN: Final = 3
"""Edits listed for each cause, unless all are asked for."""


def lines(found: Closeness, screen: Screen, everything: bool = False) -> Iterator[str]:
    """A summary, then each cause with its smallest edits."""
    path = found.path
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(found.kinds.items())) or "none"
    yield screen.bold(f"{path.name}: {found.tried} single edits tried, {found.broken} of them break it ({kinds})")
    for cause, edits in sorted(found.by_cause.items(), key=_order):
        yield ""
        yield screen.bad(cause) + f": {len(edits)} edit{'' if len(edits) == 1 else 's'}"
        for edit in edits if everything else edits[:SHOWN]:
            yield from screen.wrapped(
                f"{edit.about} (on {edit.scenario}): {path.name}~{edit.edit}", f"  {edit.size:>3}  ", "       "
            )
        if not everything and len(edits) > SHOWN:
            yield screen.dim(f"       and {len(edits) - SHOWN} more; --all lists them")
    yield ""
    yield from screen.wrapped(
        "The number is an edit's size: the lines that one line moves over, 1 for any other edit. The name at the end "
        "of a row is accepted wherever the name of a path is."
    )


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
        "path": f"{found.path.name}~{edit.edit}",
        "scenario": edit.scenario,
    }
