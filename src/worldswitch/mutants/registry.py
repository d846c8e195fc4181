"""All mutants, by name."""

from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from typing import Final

from worldswitch.errors import InputError
from worldswitch.mutants import delivery, events, kernel, paths, shadow, switch
from worldswitch.mutants.model import Mutant
from worldswitch.paths.catalogue import find
from worldswitch.paths.model import EntryPath

MUTANTS: Final[tuple[Mutant, ...]] = (
    *paths.MUTANTS, *kernel.MUTANTS, *shadow.MUTANTS, *events.MUTANTS, *switch.MUTANTS, *delivery.MUTANTS,
)  # fmt: skip
BY_NAME: Final = {mutant.name: mutant for mutant in MUTANTS}


def find_mutant(name: str) -> Mutant:
    """The mutant of that name; raises ``InputError``."""
    if name in BY_NAME:
        return BY_NAME[name]
    near = get_close_matches(name, BY_NAME, 1)
    raise InputError(
        f"no mutant {name!r}" + (f"; did you mean {near[0]}?" if near else "; see worldswitch mutants --list")
    )


def select(names: Iterable[str]) -> list[Mutant]:
    """The mutants named, in the registry's order; all of them where none is named. Raises ``InputError``."""
    wanted = {find_mutant(name).name for name in names}
    return [mutant for mutant in MUTANTS if not wanted or mutant.name in wanted]


def path_of(subject: str) -> EntryPath:
    """A shipped path, or the path of a path mutant that is a subject itself."""
    mutant = BY_NAME.get(subject)
    return replace(mutant.path(), name=subject) if mutant and mutant.path else find(subject)
