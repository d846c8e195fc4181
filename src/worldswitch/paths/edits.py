"""Edited paths by name: ``linux-6.14~remove@clgi`` is ``linux-6.14`` without its CLGI.

Wherever the name of a path is accepted, edits may follow it, each applied to what those before it left::

    ~remove@PLACE         the line is left out
    ~repeat@PLACE         the line stands twice
    ~exchange@PLACE       the line and the next one change places
    ~trace@PLACE          the traced helper in place of the raw one (S8-50 to S8-52)
    ~move@PLACE:TO        the line moves to before TO
    ~insert@PLACE:TEXT    a new line before PLACE

PLACE and TO are ``LANDMARK`` or ``LANDMARK+N``, counted in lines (the steps of a composite call count one by one).
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Final, NamedTuple

from worldswitch.errors import InputError
from worldswitch.paths.model import EntryPath
from worldswitch.paths.mutate import TRACED, exchanged, labelled, place_of, without
from worldswitch.program.instruction import expand, parse_instruction
from worldswitch.program.layout import LANDMARKS, Line, find_landmarks

KINDS: Final = ("remove", "repeat", "exchange", "trace", "move", "insert")
INSERTED: Final = (
    "sti", "cli", "clgi", "stgi", "nop", "mov_ss", "vmload", "popf", "popf if", "lock_acquire", "lockdep_hardirqs_on",
    "lockdep_hardirqs_off", "instrumentation_begin", "traceable f", "guest_context_exit_irqoff", "ud2",
)  # fmt: skip
"""What searches and the fuzzer insert; a name may insert any instruction."""

MAX_EDITS: Final = 32
REMEMBERED: Final = 1024
"""Edited paths that are kept for the next one who asks; a path alone takes half a kilobyte."""

_MARK: Final = re.compile(rf"~(?={'|'.join(f'{kind}@' for kind in KINDS)})")
_PLACE: Final = re.compile(r"([a-z]+)(?:\+(\d{1,3}))?")


class Edit(NamedTuple):
    """One edit of a path, by line number in the path that it is applied to."""

    kind: str  # one of KINDS
    line: int
    to: int = -1  # of ``move``: the line to stand before; len(lines) for the end
    text: str = ""  # of ``insert``


def split(name: str) -> tuple[str, tuple[str, ...]]:
    """The path's own name or file, and the edits after it."""
    base, *edits = _MARK.split(name)
    return base, tuple(edits)


def fewer(name: str) -> Iterator[str]:
    """``name`` with one of its edits left out; the rest may no longer fit."""
    base, edits = split(name)
    for number in range(len(edits)):
        yield "~".join((base, *edits[:number], *edits[number + 1 :]))


def edited(path: EntryPath, edits: tuple[str, ...]) -> EntryPath:
    """``path`` with edits in the spelling of this module; raises ``InputError``."""
    if len(edits) > MAX_EDITS:
        raise InputError(f"more than {MAX_EDITS} edits of {path.name}")
    for text in edits:
        try:
            path = apply(path, parse(path, text))
        except InputError as error:
            raise InputError(f"edit ~{text}: {error.message}") from None
    return path


@lru_cache(maxsize=REMEMBERED)
def cached(path: EntryPath, edits: tuple[str, ...]) -> EntryPath:
    """``edited``, without reading the edits again where they were asked for lately."""
    return edited(path, edits)


def parse(path: EntryPath, text: str) -> Edit:
    """One edit of ``path``, without the tilde; raises ``InputError``."""
    kind, _, rest = text.partition("@")
    where, colon, operand = rest.partition(":")
    if kind not in KINDS:
        raise InputError(f"{kind!r} is no edit; there are {', '.join(KINDS)}")
    if bool(colon and operand.strip()) != (kind in ("move", "insert")):
        raise InputError(f"expected {kind}@PLACE{':TO' if kind == 'move' else ':TEXT' if kind == 'insert' else ''}")
    line = _line(path, where)
    if kind == "move":
        return Edit(kind, line, _line(path, operand))
    return Edit(kind, line, text=" ".join(operand.split()))


def spell(path: EntryPath, edit: Edit) -> str:
    """Inverse of :func:`parse`."""
    text = f"{edit.kind}@{place_of(path, edit.line)}"
    if edit.kind == "move":
        return f"{text}:{'end' if edit.to == len(path.lines) else place_of(path, edit.to)}"
    return f"{text}:{edit.text}" if edit.text else text


@lru_cache(maxsize=REMEMBERED)
def apply(path: EntryPath, edit: Edit) -> EntryPath:
    """``path`` with one edit, under the name that says so; raises ``InputError`` where it fits no line or call.

    The same object again where it was asked for lately: layouts are cached by path.
    """
    lines = labelled(path.lines)
    if not lines or not 0 <= edit.line < len(lines):
        raise InputError("the path has no such line")
    name = f"{path.name}~{spell(path, edit)}"
    return replace(path, name=name, lines=_APPLY[edit.kind](lines, edit))


def _remove(lines: tuple[Line, ...], edit: Edit) -> tuple[Line, ...]:
    if len(lines) == 1:
        raise InputError("nothing would be left")
    return without(lines, edit.line)


def _repeat(lines: tuple[Line, ...], edit: Edit) -> tuple[Line, ...]:
    return (*lines[: edit.line + 1], replace(lines[edit.line], label=""), *lines[edit.line + 1 :])


def _exchange(lines: tuple[Line, ...], edit: Edit) -> tuple[Line, ...]:
    if edit.line + 1 >= len(lines):
        raise InputError("the last line has no next one")
    return (*lines[: edit.line], *exchanged(lines[edit.line], lines[edit.line + 1]), *lines[edit.line + 2 :])


def _trace(lines: tuple[Line, ...], edit: Edit) -> tuple[Line, ...]:
    line = lines[edit.line]
    traced = TRACED.get(line.instruction.text)
    if traced is None:
        raise InputError(f"{line.instruction.text} is no raw helper; these are {', '.join(TRACED)}")
    steps = [replace(line, instruction=step, label="", comment="") for step in expand(traced)]
    return (*lines[: edit.line], replace(steps[0], label=line.label), *steps[1:], *lines[edit.line + 1 :])


def _move(lines: tuple[Line, ...], edit: Edit) -> tuple[Line, ...]:
    """The label of an instruction (``sti``) goes with it, that of a place (``enter``) stays."""
    line, to = lines[edit.line], edit.to
    if not 0 <= to <= len(lines):
        raise InputError("the path has no such line")
    if to in (edit.line, edit.line + 1):
        return lines
    goes = line.label in ("", "clgi", "sti", "vmrun", "cli", "stgi")
    beside = lines[to if to < len(lines) else to - 1]
    moved = replace(line, label=line.label if goes else "", noinstr=beside.noinstr)
    source = replace(line, label="") if goes else line
    rest = without((*lines[: edit.line], source, *lines[edit.line + 1 :]), edit.line)
    place = to - (to > edit.line)
    return (*rest[:place], moved, *rest[place:])


def _insert(lines: tuple[Line, ...], edit: Edit) -> tuple[Line, ...]:
    beside = lines[edit.line]
    steps = expand(edit.text)
    if any(step.assignment for step in steps):
        raise InputError("a path has no `set`")
    return (*lines[: edit.line], *(Line(step, noinstr=beside.noinstr) for step in steps), *lines[edit.line :])


_APPLY: Final = {
    "remove": _remove, "repeat": _repeat, "exchange": _exchange, "trace": _trace, "move": _move, "insert": _insert,
}  # fmt: skip


def singles(path: EntryPath, sensitive: frozenset[int], words: tuple[str, ...] = INSERTED) -> Iterator[Edit]:
    """Every single edit of the lines whose operation is in ``sensitive``, and every insertion of ``words``."""
    lines = path.lines
    chosen = [number for number, line in enumerate(lines) if line.instruction.op in sensitive]
    for number in chosen:
        yield Edit("remove", number)
        yield Edit("repeat", number)
        if lines[number].instruction.text in TRACED:
            yield Edit("trace", number)
        for to in range(len(lines) + 1):
            if to not in (number, number + 1):
                yield Edit("move", number, to)
    for number in range(len(lines)):
        for word in words:
            parse_instruction(word)
            yield Edit("insert", number, text=word)


def _line(path: EntryPath, text: str) -> int:
    match = _PLACE.fullmatch(text.strip())
    found = find_landmarks(path.lines) | {"end": len(path.lines)}
    if match is None or match[1] not in LANDMARKS:
        raise InputError(f"{text.strip()!r} is no place; expected LANDMARK or LANDMARK+N, of {' '.join(LANDMARKS)}")
    if match[1] not in found:
        raise InputError(f"this path has no {match[1]}; it has {' '.join(found)}")
    line = found[match[1]] + int(match[2] or 0)
    if line > len(path.lines):
        raise InputError(f"{text.strip()} is beyond the path's end")
    return line
