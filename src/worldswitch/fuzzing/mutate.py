"""Mutation and crossover of cases: edits of slots, so that a small edit is a small change of the scenario.

Both are pure functions of the case, the engine's seed number, and how often the mutator was called before.
"""

import random
from typing import Final

from worldswitch.fuzzing.codec import Codec
from worldswitch.nested.codec import NestedCodec

MULTIPLIER: Final = 6364136223846793005
INCREMENT: Final = 1442695040888963407
MASK: Final = (1 << 64) - 1

THINNING: Final = (0, 64, 128, 192, 256)
"""How many of 256 slots return to their default: chosen anew for each group of slots of a new case.

Which density finds a defect soonest differs by a factor of ten from one defect to another, in both directions:
one wants every gate set and no event from outside, another the reverse.
"""

WHOLE: Final = (0, 256)
"""The same of a guest's program: chance's or the plain one. Shortened at random it mostly ends early."""

NEVER_THINNED: Final = ("rounds",)
"""A later round hides nothing of those before it: what one round shows, two show as well."""

DENSE: Final = 32
FRESH: Final = 2048
"""Of the first calls of a run, how many give uniform cases, and how many new ones at all.

A defect that shows in one case of ten needs no feedback, and a case with every slot set shows most of them. What is
kept of the new cases is then what edits and crossover start from.
"""

EDITED_BITS: Final = 3
EDITED_EVERY: Final = 1 << EDITED_BITS
"""One case in so many is an edit of one that was kept, or a crossover of two."""

SELDOM: Final = {
    "invalid": (1, 8), "rebooting": (1, 3), "cpu.rax": (1, 4), "cpu.cpl": (1, 4), "guest.tf": (1, 3), "cpu.tf": (1, 2),
    "guest.rip": (1, 3), "l1.tf": (1, 2), "l2.tf": (1, 2), "guest.if": (1, 4),
}  # fmt: skip
"""Slots whose choices end a case early or drown the rest: the first such choice, and one in how many draws keeps it."""

NMI_INTERCEPT: Final = 2
"""The bit of the slot ``intercepts.events``."""


def slot_groups(names: list[str]) -> list[list[int]]:
    """The numbers of slots that belong together: their names start alike (``vmcb.``, ``idt.``, ``guest0`` to 5)."""
    groups: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        stem = name.partition(".")[0]
        kind = stem.rstrip("0123456789")
        groups.setdefault(stem if stem == kind else kind + "#", []).append(number)
    return list(groups.values())


def thinned(groups: list[list[int]], names: list[str]) -> list[tuple[list[int], tuple[int, ...]]]:
    """The groups of which a new case thins some, each with the densities to choose from."""
    return [
        (group, WHOLE if names[group[0]] == "guest0" else THINNING)
        for group in groups
        if names[group[0]] not in NEVER_THINNED
    ]


class Mutator:
    """The custom mutator and crossover of one codec, in the form that `fuzzing.engine` takes."""

    def __init__(self, codec: Codec | NestedCodec) -> None:
        self._codec = codec
        self._calls = 0
        self._counts = codec.counts
        self._length = codec.length
        self._programs = [number for number, slot in enumerate(codec.slots) if slot.name.startswith(("guest", "host"))]
        self._programs = [number for number in self._programs if codec.slots[number].name[-1].isdigit()]
        names = [slot.name for slot in codec.slots]
        self._groups = thinned(slot_groups(names), names)
        self._seldom = [(names.index(name), *rule) for name, rule in SELDOM.items() if name in names]
        self._vnmi = names.index("vnmi") if {"vnmi", "intercepts.events"} <= set(names) else -1
        self._events = names.index("intercepts.events") if self._vnmi >= 0 else -1
        self._places = [number for number, slot in enumerate(codec.slots) if slot.name.endswith(".at")]

    def mutate_or_draw(self, data: bytes, max_size: int, seed: int) -> bytes:
        """:meth:`mutate` once in `EDITED_EVERY` calls, else a new case; at first new cases only.

        What takes many slots at once is far from every case that was kept, and no step towards it shows: edits alone
        come there later than new cases (``benchmarks/guidance.py``).
        """
        return self._new(seed)[:max_size] or self.mutate(data, max_size, seed >> EDITED_BITS)

    def cross_or_draw(self, data: bytes, other: bytes, max_size: int, seed: int) -> bytes:
        """:meth:`crossover`, or a new case, likewise: libFuzzer calls this as often as the mutator."""
        return self._new(seed)[:max_size] or self.crossover(data, other, max_size, seed >> EDITED_BITS)

    def _new(self, seed: int) -> bytes:
        """A new case where it is time for one; else nothing."""
        self._calls += 1
        if self._calls <= DENSE:
            return random.Random(seed).randbytes(self._length)
        if self._calls <= FRESH or seed % EDITED_EVERY:
            return self.draw(seed)
        return b""

    def draw(self, seed: int) -> bytes:
        """A new case: one in four uniform; the others thinned, and without most choices that leave little to happen.

        A case with every slot set shows most rules at once, and hides those that need something to be left alone.
        """
        rng = random.Random(seed)
        row = bytearray(rng.randbytes(self._length))
        if not rng.getrandbits(2):
            return bytes(row)
        chance = rng.randbytes(self._length)
        for group, densities in self._groups:
            thin = densities[int(rng.random() * len(densities))]
            for number in group:
                if chance[number] < thin:
                    row[number] = 0
        for number, first, odds in self._seldom:
            if row[number] % self._counts[number] >= first and rng.randrange(odds):
                row[number] = 0
        if self._vnmi >= 0 and row[self._vnmi] % self._counts[self._vnmi] and rng.getrandbits(4):
            row[self._events] |= NMI_INTERCEPT  # without it vNMI is a consistency failure (S6-33)
        return bytes(row)

    def mutate(self, data: bytes, max_size: int, seed: int) -> bytes:
        """One to four edits of ``data``."""
        row = bytearray(data[: self._length].ljust(self._length, b"\0"))
        state = (seed * MULTIPLIER + INCREMENT) & MASK
        for _ in range(1 + (state >> 62)):
            state = (state * MULTIPLIER + INCREMENT) & MASK
            self._edit(row, state >> 16)
        return bytes(row[:max_size])

    def _edit(self, row: bytearray, bits: int) -> None:
        kind, bits = bits % 16, bits >> 4
        if kind < 10:  # one slot takes another of its choices
            number, bits = bits % self._length, bits >> 8
            row[number] = bits % self._counts[number]
        elif kind < 13:  # one slot returns to its default
            row[bits % self._length] = 0
        elif kind == 13:  # two neighbours of a program change places
            index = bits % (len(self._programs) - 1)
            first, second = self._programs[index], self._programs[index + 1]
            if self._counts[first] == self._counts[second]:
                row[first], row[second] = row[second], row[first]
        elif kind == 14:  # an event moves to the next place of the list
            number = self._places[bits % len(self._places)]
            row[number] = (row[number] + 1) % self._counts[number]
        else:  # a program moves down by one instruction
            index = bits % len(self._programs)
            for number in range(self._programs[-1], self._programs[index], -1):
                if self._counts[number] == self._counts[number - 1]:
                    row[number] = row[number - 1]

    def crossover(self, data: bytes, other: bytes, max_size: int, seed: int) -> bytes:
        """Each slot from one parent or the other, in stretches."""
        first = data[: self._length].ljust(self._length, b"\0")
        second = other[: self._length].ljust(self._length, b"\0")
        state = (seed * MULTIPLIER + INCREMENT) & MASK
        start = (state >> 20) % self._length
        end = start + 1 + (state >> 40) % (self._length - start)
        return (first[:start] + second[start:end] + first[end:])[:max_size]
