"""The shipped verdict matrix: which findings each path is known to show, and what a smoke run must reach."""

from dataclasses import dataclass
from importlib import resources
from typing import Final

from worldswitch.core.names import EXIT_CODES
from worldswitch.core.record import KINDS, WORLDS
from worldswitch.machine.observe import STOP_NAMES
from worldswitch.text.read import Document, load, loads

FORMAT: Final = 1
_LISTS: Final = {
    "exits": frozenset(EXIT_CODES),
    "handlers": frozenset(f"{world} {kind}" for world in WORLDS for kind in KINDS),
    "outcomes": frozenset(STOP_NAMES.values()),
}
_NUMBERS: Final = ("injection_exits", "points")


@dataclass(frozen=True, slots=True)
class Floors:
    """What a smoke run must reach."""

    exits: frozenset[str]
    handlers: frozenset[str]  # "WORLD KIND"
    outcomes: frozenset[str]
    injection_exits: int  # exits during the delivery of EVENTINJ
    points: int  # of the projection that guides the fuzzer


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Expected signatures by path, and the floors."""

    paths: dict[str, frozenset[str]]
    floors: Floors


def shipped() -> Verdicts:
    """The matrix that ships with this version."""
    resource = resources.files("worldswitch.fuzzing") / "verdicts.toml"
    return read_verdicts(loads(resource.read_text(encoding="utf-8"), "verdicts.toml"))


def from_file(file: str) -> Verdicts:
    """A matrix of the user's own; raises ``InputError``."""
    return read_verdicts(load(file))


def read_verdicts(document: Document) -> Verdicts:
    """The matrix in a TOML document; raises ``InputError``."""
    data = document.data
    for key in data:
        if key not in ("format", "paths", "floors"):
            raise document.error("unknown field; there are format, paths, floors", (key,))
    if data.get("format") != FORMAT:
        raise document.error(f"this version reads format {FORMAT}, not {data.get('format')!r}", ("format",))
    paths = data.get("paths")
    if not isinstance(paths, dict) or not paths:
        raise document.error("missing or empty", ("paths",))
    expected = {}
    for name, table in paths.items():
        findings = table.get("findings") if isinstance(table, dict) else None
        if not isinstance(findings, list) or not all(isinstance(item, str) for item in findings):
            raise document.error("expected findings = [signatures]", ("paths", name))
        expected[name] = frozenset(findings)
    floors = data.get("floors")
    if not isinstance(floors, dict) or set(floors) != {*_LISTS, *_NUMBERS}:
        raise document.error(f"expected exactly {', '.join((*_LISTS, *_NUMBERS))}", ("floors",))
    for key, allowed in _LISTS.items():
        value = floors[key]
        if not isinstance(value, list) or not all(item in allowed for item in value):
            raise document.error(f"expected a list of {', '.join(sorted(allowed)[:8])}, ...", ("floors", key))
    for key in _NUMBERS:
        if not isinstance(floors[key], int) or floors[key] < 0:
            raise document.error("expected a number from 0", ("floors", key))
    lists = {key: frozenset(floors[key]) for key in _LISTS}
    return Verdicts(expected, Floors(**lists, injection_exits=floors["injection_exits"], points=floors["points"]))
