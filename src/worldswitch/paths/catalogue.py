"""The shipped entry paths, by name.

Everywhere a name is accepted, the name of a path file is accepted too, and either with edits after it
(``paths.edits``).
"""

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from worldswitch.errors import InputError
from worldswitch.paths.model import EntryPath, read_path
from worldswitch.text.read import load, loads

IMPLEMENTATIONS: Final = ("linux-6.1", "linux-6.14")
"""The two implementations of Linux commit be45bc4eff33: before and after."""


@cache
def names() -> tuple[str, ...]:
    """The names of all shipped paths, in the catalogue's order."""
    folder = resources.files("worldswitch.paths") / "data"
    found = [item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml")]
    return tuple(sorted(found, key=_natural))


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorts Linux first, and linux-6.1 before linux-6.14."""
    words = name.replace("-", ".").split(".")
    rest = tuple((0, int(word)) if word.isdigit() else (1, word) for word in words)
    return ((0, 0 if words[0] == "linux" else 1), *rest)


def find(name: str) -> EntryPath:
    """The path of that name or in that file, with its edits; raises ``InputError``."""
    if "~" in name:
        from worldswitch.paths.edits import cached, split

        base, edits = split(name)
        return cached(_find(base), edits) if edits else _find(base)
    return _find(name)


@cache
def _find(name: str) -> EntryPath:
    if name in names():
        resource = resources.files("worldswitch.paths") / "data" / f"{name}.toml"
        path = read_path(loads(resource.read_text(encoding="utf-8"), f"{name}.toml"))
        if path.name != name:
            raise InputError(f"is named {path.name!r} inside", f"{name}.toml", 0, "name")
        return path
    if name.endswith(".toml") or "/" in name:
        return read_path(load(Path(name)))
    raise InputError(f"unknown path {name!r}; `worldswitch paths` lists them, and a path file is named with .toml")
