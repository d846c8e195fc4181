"""Single edits of an entry path: what somebody may get wrong in one line of it.

Every mutant is a path like any other, to be run and judged. An edit leaves the landmarks standing, so that the same
scenarios fit: the label of a line that goes moves to a neighbour; a label that is named after its instruction
(``clgi``) moves with it, any other (``enter``) keeps its place. What a line is (its fixup) moves with it; where it
stands (``.noinstr``) does not.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from worldswitch.paths.model import EntryPath
from worldswitch.program.instruction import expand
from worldswitch.program.layout import LANDMARKS, Line, find_landmarks

TRACED: Final = {"raw_local_irq_enable": "local_irq_enable", "raw_local_irq_disable": "local_irq_disable"}
"""The helpers that only change IF, and those that tell lockdep and the tracepoints as well (S8-03, S8-50 to S8-52)."""

_NAMED_AFTER_INSTRUCTION: Final = frozenset({"clgi", "sti", "vmrun", "cli", "stgi"})


class Mutant(NamedTuple):
    """A path with one edit: the edit's name, the path, the edit in words, and the line of ``path`` that it is at."""

    name: str
    path: EntryPath
    about: str
    line: int


def mutants(path: EntryPath) -> Iterator[Mutant]:
    """Every single edit of ``path`` that this module knows."""
    yield from removals(path)
    yield from traced_helpers(path)
    yield from duplicates(path)
    yield from exchanges(path)


def removals(path: EntryPath) -> Iterator[Mutant]:
    """``path`` without one line: one instruction, one call, or one step of a composite call."""
    lines = labelled(path.lines)
    for number, line in enumerate(lines):
        yield _mutant(path, without(lines, number), "remove", number, f"{line.instruction.text} left out")


def traced_helpers(path: EntryPath) -> Iterator[Mutant]:
    """``path`` with the traced helper in place of a raw one."""
    lines = labelled(path.lines)
    for number, line in enumerate(lines):
        traced = TRACED.get(line.instruction.text)
        if traced:
            steps = [replace(line, instruction=step, label="", comment="") for step in expand(traced)]
            steps[0] = replace(steps[0], label=line.label)
            edited = (*lines[:number], *steps, *lines[number + 1 :])
            yield _mutant(path, edited, "trace", number, f"{traced}() in place of {line.instruction.text}()")


def duplicates(path: EntryPath) -> Iterator[Mutant]:
    """``path`` with one line twice in a row."""
    lines = labelled(path.lines)
    for number, line in enumerate(lines):
        edited = (*lines[: number + 1], replace(line, label=""), *lines[number + 1 :])
        yield _mutant(path, edited, "repeat", number, f"{line.instruction.text} twice")


def exchanges(path: EntryPath) -> Iterator[Mutant]:
    """``path`` with two neighbouring lines exchanged, where they differ."""
    lines = labelled(path.lines)
    for number in range(len(lines) - 1):
        first, second = lines[number], lines[number + 1]
        if first.instruction != second.instruction:
            edited = (*lines[:number], *exchanged(first, second), *lines[number + 2 :])
            about = f"{second.instruction.text} before {first.instruction.text}"
            yield _mutant(path, edited, "exchange", number, about)


def _mutant(path: EntryPath, lines: tuple[Line, ...], verb: str, number: int, about: str) -> Mutant:
    name = f"{verb} {place_of(path, number)}"
    return Mutant(name, replace(path, name=f"{path.name}, {name}", lines=lines), about, number)


def place_of(path: EntryPath, number: int) -> str:
    """A line as ``landmark+offset``; of two landmarks on one line the later."""
    found = find_landmarks(path.lines)
    marks = sorted((line, LANDMARKS.index(name), name) for name, line in found.items())
    line, _, name = marks[bisect_right(marks, (number, len(LANDMARKS), "")) - 1]
    return name + (f"+{number - line}" if number > line else "")


def labelled(lines: tuple[Line, ...]) -> tuple[Line, ...]:
    """The same lines with the landmarks that are found by instruction as labels: an edit must not find others."""
    names = {number: name for name, number in find_landmarks(lines).items() if name in _NAMED_AFTER_INSTRUCTION}
    return tuple(
        line if line.label or number not in names else replace(line, label=names[number])
        for number, line in enumerate(lines)
    )


def without(lines: tuple[Line, ...], number: int) -> tuple[Line, ...]:
    """The lines without one; its label moves to a neighbour."""
    kept = [*lines[:number], *lines[number + 1 :]]
    label = lines[number].label
    for neighbour in (number, number - 1):
        if label and 0 <= neighbour < len(kept) and not kept[neighbour].label:
            kept[neighbour] = replace(kept[neighbour], label=label)
            break
    return tuple(kept)


def exchanged(first: Line, second: Line) -> tuple[Line, Line]:
    """Two neighbouring lines the other way round."""
    ahead = replace(second, noinstr=first.noinstr)
    behind = replace(first, noinstr=second.noinstr)
    labels = [line.label for line in (first, second) if line.label]
    if len(labels) == 1 and labels[0] not in _NAMED_AFTER_INSTRUCTION:
        return replace(ahead, label=first.label), replace(behind, label=second.label)
    return ahead, behind
