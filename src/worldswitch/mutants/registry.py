"""All mutants by name, how they are chosen, and the controls: their subjects without any defect."""

from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final

from worldswitch.errors import InputError
from worldswitch.mutants import delivery, events, kernel, nested, paths, shadow, switch
from worldswitch.mutants.model import FAMILIES, NESTED, PROCESSOR, Mutant
from worldswitch.paths.catalogue import find
from worldswitch.paths.model import EntryPath

MUTANTS: Final[tuple[Mutant, ...]] = (
    *paths.MUTANTS, *kernel.MUTANTS, *shadow.MUTANTS, *events.MUTANTS, *switch.MUTANTS, *delivery.MUTANTS,
    *nested.MUTANTS,
)  # fmt: skip
BY_NAME: Final = {mutant.name: mutant for mutant in MUTANTS}
CONTROL: Final = "control"
"""How the names of controls begin."""


def find_mutant(name: str) -> Mutant:
    """The mutant or control of that name; raises ``InputError``."""
    if name in BY_NAME:
        return BY_NAME[name]
    for mutant in MUTANTS:
        if name == _control_name(mutant):
            return control(mutant)
    near = get_close_matches(name, BY_NAME, 1)
    raise InputError(
        f"no mutant {name!r}" + (f"; did you mean {near[0]}?" if near else "; see worldswitch mutants --list")
    )


def select(words: Iterable[str]) -> list[Mutant]:
    """The mutants named, in the registry's order; all of them where none is named.

    A word is a name, a family, or a shell pattern over names (``vnmi-*``). Raises ``InputError`` for one that chooses
    nothing.
    """
    wanted: set[str] = set()
    for word in words:
        if word in FAMILIES:
            wanted |= {mutant.name for mutant in MUTANTS if mutant.family == word}
        elif set("*?[") & set(word):
            found = {name for name in BY_NAME if fnmatchcase(name, word)}
            if not found:
                raise InputError(f"no mutant matches {word!r}; see worldswitch mutants --list")
            wanted |= found
        else:
            wanted.add(find_mutant(word).name)
    return [mutant for mutant in MUTANTS if not wanted or mutant.name in wanted]


def controls(mutants: Iterable[Mutant]) -> list[Mutant]:
    """The subjects of these mutants without any defect, each once: what is caught there is no mutant's doing."""
    return list({_control_name(mutant): control(mutant) for mutant in mutants}.values())


def control(mutant: Mutant) -> Mutant:
    """The subject of a mutant without its defect."""
    family, subject = (NESTED if mutant.family == NESTED else PROCESSOR), mutant.subject
    return Mutant(
        _control_name(mutant), family, f"{subject} as it is", (), "", "", "", subject,
        equivalent="nothing is planted",
    )  # fmt: skip


def _control_name(mutant: Mutant) -> str:
    return f"{CONTROL}-{'nested-' if mutant.family == NESTED else ''}{mutant.subject}"


def path_of(subject: str) -> EntryPath:
    """A shipped path, or the path of a path mutant that is a subject itself."""
    mutant = BY_NAME.get(subject)
    return replace(mutant.path(), name=subject) if mutant and mutant.path else find(subject)
