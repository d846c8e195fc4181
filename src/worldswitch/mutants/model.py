"""What a mutant is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from worldswitch.paths.model import EntryPath

PATH: Final = "path"
KERNEL: Final = "kernel"
PROCESSOR: Final = "processor"
NESTED: Final = "nested"
FAMILIES: Final = (PATH, KERNEL, PROCESSOR, NESTED)
"""Where a defect is planted; ``nested``: in what L0's C code does between two entries."""

SAME: Final = "same"
OPEN: Final = "open"
OUTSIDE: Final = "outside"
GROUNDS: Final = (SAME, OPEN, OUTSIDE)
"""Why no oracle may object: nothing that is promised to anybody changes; the facts leave open which of the two is
right; what changes is outside the model."""

SEQUENCE: Final = "sequence"
"""The subject of mutants that show on random host programs."""

Maker = Callable[[Any], Any]
"""Takes the right function (or number) and returns the wrong one."""


class Replacement(NamedTuple):
    """One function or constant to replace: ``module`` is a name below ``worldswitch``."""

    module: str
    name: str
    make: Maker


@dataclass(frozen=True, slots=True, eq=False)
class Mutant:
    """One planted defect.

    ``subject`` is what it is hunted on: a shipped path, ``sequence`` for free host programs, or the name of another
    path mutant, which the defect blinds the oracles to. ``oracle`` is who should object, ``why`` what it sees.
    A mutant shows by a signature that its subject does not have without it; one with ``missing``, by the absence of
    that signature. ``equivalent`` says why no oracle may object, ``grounds`` which kind of reason that is.
    """

    name: str
    family: str
    about: str
    rules: tuple[str, ...]
    place: str
    oracle: str
    why: str
    subject: str
    replacements: tuple[Replacement, ...] = ()
    path: Callable[[], EntryPath] | None = None
    missing: str = ""
    equivalent: str = ""
    grounds: str = SAME
