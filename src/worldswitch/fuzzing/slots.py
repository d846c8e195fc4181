"""Slots: a case of the fuzzer is a fixed row of bytes, each an index into the choices of its slot.

Any bytes are a case: what is missing counts as 0, what is too much is ignored, and each byte counts modulo its slot's
number of choices. Choice 0 is always the default, so that a case of zeros is the plainest one. One byte changed is one
choice changed.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from worldswitch.core.bits import INTERCEPT_BITS
from worldswitch.core.names import INTERCEPTS
from worldswitch.scenario.fields import BY_NAME
from worldswitch.scenario.model import Arrival
from worldswitch.scenario.places import parse_place

Settings = tuple[tuple[str, Any], ...]


class Slot(NamedTuple):
    """One byte of a case: its name and its choices."""

    name: str
    choices: tuple[Any, ...]


def setting(name: str, *values: Any) -> Slot:
    """A slot of one field: not set, then each of ``values`` in file spelling."""
    kind = BY_NAME[name].kind
    choices: list[Settings] = [(), *(((name, kind.parse(value)),) for value in values)]
    return Slot(name, tuple(choices))


def settings(name: str, *choices: dict[str, Any], rare: int = 0) -> Slot:
    """A slot of several fields at once: none set, then each of ``choices`` in file spelling.

    ``rare`` more choices set nothing either: for what ends a case early and would drown the rest.
    """
    parsed: list[Settings] = [()] * (1 + rare)
    for choice in choices:
        parsed.append(tuple((field, BY_NAME[field].kind.parse(value)) for field, value in choice.items()))
    return Slot(name, tuple(parsed))


def intercept_slot(name: str, *names: str) -> Slot:
    """A slot of up to eight intercepts, a bit each; the choice is the set of their exit codes."""
    codes = [INTERCEPTS[word] for word in names]
    choices = [tuple(code for bit, code in enumerate(codes) if number >> bit & 1) for number in range(1 << len(codes))]
    return Slot(name, tuple(choices))


def intercept_vector(codes: Sequence[int]) -> bytes:
    """The intercept vector with these exit codes set (S1-54)."""
    bits = bytearray(INTERCEPT_BITS)
    for code in codes:
        bits[code] = 1
    return bytes(bits)


def event_slots(number: int, kinds: Sequence[tuple[str, int, str]], places: Sequence[str]) -> tuple[Slot, Slot]:
    """Two slots of one event: what arrives (or nothing), and where."""
    return (
        Slot(f"event{number}.kind", (None, *kinds)),
        Slot(f"event{number}.at", tuple(parse_place(place) for place in places)),
    )


def arrival(kind: tuple[str, int, str], place: Any) -> Arrival:
    """The event that two slots make."""
    return Arrival(kind[0], place, kind[1], kind[2])


EVENT_KINDS: Final = (
    ("intr", 0x20, "external"),
    ("nmi", 0x20, "external"),
    ("smi", 0x20, "external"),
    ("init", 0x20, "external"),
    ("mce", 0x20, "external"),
    ("intr", 0xF1, "external"),
    ("smi", 0x20, "internal"),
)

Decoder = Callable[[Sequence[Any]], Any]
