"""Arrival points: the boundary at which an event arrives.

``vmrun`` is the boundary before the instruction at that landmark, ``vmrun-1`` one instruction of the path's own
earlier, ``sti@2`` the same in the second round. ``guest+2`` is the boundary after two instructions of the guest
completed since VMRUN, in whichever guest code. ``handler:0x02`` is the entry of the host's handler for that vector,
``handler:0x02@2`` its second run.
"""

import re
from typing import Final, NamedTuple

from worldswitch.errors import InputError
from worldswitch.program.layout import LANDMARKS, Layout

MAX_ROUNDS: Final = 16
MAX_OFFSET: Final = 4095

_PLACE: Final = re.compile(r"(?:l([0-2])\.)?([a-z]+)(?::(\w+))?(?:@([0-9]{1,6}))?([+-][0-9]{1,6})?")


class Place(NamedTuple):
    """A landmark, the vector for ``handler``, the round (or occurrence) from 1, and an offset in instructions."""

    landmark: str
    vector: int = -1
    round: int = 1
    offset: int = 0
    level: int = -1  # the nested level; -1 where not given

    def __str__(self) -> str:
        level = f"L{self.level}." if self.level >= 0 else ""
        vector = f":0x{self.vector:02x}" if self.vector >= 0 else ""
        at = f"@{self.round}" if self.round > 1 else ""
        return f"{level}{self.landmark}{vector}{at}" + (f"{self.offset:+d}" if self.offset else "")


def parse_place(text: object) -> Place:
    """Parse an arrival point; raises ``InputError``."""
    match = _PLACE.fullmatch(text.strip().lower()) if isinstance(text, str) else None
    if match is None:
        raise InputError(f"{text!r} is no place; use a landmark with an optional round and offset, e.g. vmrun@2-1")
    level, landmark, vector_text, number_text, offset_text = match.groups()
    if landmark not in LANDMARKS and landmark not in ("guest", "handler"):
        raise InputError(f"{landmark!r} is no landmark; there are {' '.join(LANDMARKS)} guest handler:VECTOR")
    if (landmark == "handler") != (vector_text is not None):
        raise InputError(f"{text!r}: handler takes a vector (handler:0x02), other landmarks take none")
    vector = -1
    if vector_text is not None:
        try:
            vector = int(vector_text, 0)
        except ValueError:
            vector = -1
        if not 0 <= vector <= 255:
            raise InputError(f"{text!r}: vector {vector_text} is not in 0..0xff")
    number, offset = int(number_text or 1), int(offset_text or 0)
    if not 1 <= number <= MAX_ROUNDS:
        raise InputError(f"{text!r}: the round is not in 1..{MAX_ROUNDS}")
    if abs(offset) > MAX_OFFSET:
        raise InputError(f"{text!r}: the offset is beyond {MAX_OFFSET}")
    if landmark == "guest" and offset < 0:
        raise InputError(f"{text!r}: offsets in the guest count completed instructions, from guest+0")
    return Place(landmark, vector, number, offset, int(level) if level else -1)


def resolve(place: Place, layout: Layout) -> int:
    """The host Code index of a place, or -1 where this path has no such place."""
    if place.landmark == "handler":
        first = layout.code.handlers.get(place.vector, -1)
        return first + place.offset if first >= 0 and place.offset >= 0 else -1
    places = layout.landmarks.get(place.landmark, [])
    number = 1 if place.landmark == "end" else place.round
    if number > len(places):
        return -1
    index = places[number - 1] + place.offset
    return index if layout.code.start <= index <= layout.end else -1
