"""The straight line through code: from a function's entry to VMRUN, on to STGI, and to the function's end.

At a branch:

1. the way that leads to the next goal (VMRUN, then STGI, then the end), where only one of them does;
2. else the way that has not been gone yet: loops are passed once;
3. else the way that the same test of the same field of a structure went before (``tests``);
4. else the fall-through: compilers and authors put what is rare out of line.

Calls that lead to VMRUN are gone into, all others are passed over. A branch that the last rule decides is free: its
other way would have done as well. ``flips`` has the free branches to take the other way.
"""

from collections.abc import Set
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from worldswitch.importer.consistent import Tests
from worldswitch.importer.decode import Decoded, Flow
from worldswitch.importer.flow import Function, Functions, is_local_call, is_return
from worldswitch.importer.image import clean

MAX_STEPS: Final = 3000


class Stage(IntEnum):
    """What the walk is on its way to."""

    VMRUN = 0
    STGI = 1
    END = 2


class Step(NamedTuple):
    """One instruction of the line."""

    instruction: Decoded
    function: Function
    called: int | None = None  # the function that it calls
    entered: bool = False  # which the line goes into


class Choice(NamedTuple):
    """A conditional branch on the line."""

    address: int
    other: int  # where the way not taken leads
    taken: bool  # whether the line jumps here
    free: bool  # whether the other way would have done as well
    step: int  # its number on the line
    why: str = ""  # what decided it, where it is not free


@dataclass(slots=True)
class Line:
    """A walk's result."""

    steps: list[Step] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    end: str = ""  # how it ended


@dataclass(slots=True)
class _Frame:
    function: Function
    back: int | None  # where it returns to
    visited: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Walk:
    """A walk under way."""

    flips: Set[int]
    line: Line = field(default_factory=Line)
    stage: Stage = Stage.VMRUN
    tests: Tests = field(default_factory=Tests)


class Walker:
    """Walks; made once for one object, so that what it learns of functions is kept."""

    def __init__(self, functions: Functions, root: int, ways: dict[int, set[int]]) -> None:
        self.functions = functions
        self.root = root
        self.ways = ways
        self._reaching: dict[tuple[int, Stage], set[int]] = {}

    def forget(self, address: int) -> None:
        """Forget what holds an address, whose code has changed."""
        self.functions.forget(address)
        self._reaching.clear()

    def walk(self, flips: Set[int] = frozenset()) -> Line:
        """The line; raises ``InputError`` where it does not come to VMRUN."""
        image = self.functions.code.image
        walk = _Walk(flips)
        line = walk.line
        frames = [_Frame(self.functions.at(self.root), None)]
        address = self.root
        while len(line.steps) < MAX_STEPS:
            frame = frames[-1]
            instruction = frame.function.nodes.get(address)
            if instruction is None:
                line.end = f"comes to {image.shown(address)}, where no code can be followed"
                break
            frame.visited.add(address)
            called = frame.function.calls.get(address)
            entered = walk.stage is Stage.VMRUN and called in self.ways.get(frame.function.entry, ())
            line.steps.append(Step(instruction, frame.function, called, entered))
            walk.tests.see(instruction)
            if instruction.mnemonic == "vmrun":
                walk.stage = Stage.STGI
            elif instruction.mnemonic == "stgi" and walk.stage is Stage.STGI:
                walk.stage = Stage.END
            leaves = address in frame.function.leaves
            if entered and called is not None:
                if len(frames) > len(self.ways):
                    raise image.complaint("the calls that lead to VMRUN go round in a circle")
                # A jump in place of a call leaves nothing to come back to in its own function.
                frames.append(_Frame(self.functions.at(called), None if leaves else instruction.next))
                address = called
            elif leaves:
                back = self._return(frames)
                if back is None:
                    line.end = "returns"
                    break
                address = back
            else:
                successor = self._successor(walk, frame, instruction)
                if successor is None:
                    line.end = line.end or f"ends at {image.shown(address)}"
                    break
                address = successor
        else:
            line.end = f"goes on for more than {MAX_STEPS} instructions"
        if walk.stage is Stage.VMRUN:
            raise image.complaint(
                f"no straight line leads to VMRUN from {clean(image.name_of(self.root))}: it {line.end}"
            )
        return line

    def _return(self, frames: list[_Frame]) -> int | None:
        """Leave functions up to one that was called with a place to come back to; None at the end of the first."""
        while frames:
            back = frames.pop().back
            if back is not None:
                return back
        return None

    def _successor(self, walk: _Walk, frame: _Frame, instruction: Decoded) -> int | None:
        after = frame.function.next[instruction.address]
        good = after
        if instruction.flow is Flow.BRANCH and len(after) > 1:
            good = tuple(self._good(frame, after, walk.stage))
        elif after and after[0] in frame.visited:
            good = ()
        if not good:
            if after:
                walk.line.end = f"goes round to {self.functions.code.image.shown(after[0])}"
            return None
        return self._choose(walk, instruction, after, good) if len(after) > 1 else good[0]

    def _choose(self, walk: _Walk, instruction: Decoded, after: tuple[int, ...], good: tuple[int, ...]) -> int:
        """The way to go at a branch, which is noted."""
        chosen, why = good[0], "the only way on"
        if len(good) > 1:
            known = walk.tests.outcome(instruction)
            why = ""
            if known is not None:
                chosen, why = after[int(known)], "as the same test before"
            elif instruction.address in walk.flips:
                chosen = good[1]
        taken = chosen != after[0]
        walk.tests.decide(instruction, taken)
        other = after[0] if taken else after[1]
        walk.line.choices.append(Choice(instruction.address, other, taken, not why, len(walk.line.steps) - 1, why))
        return chosen

    def _good(self, frame: _Frame, after: tuple[int, ...], stage: Stage) -> list[int]:
        """The ways that lead to the goal, else to the end, and have not been gone; else all that have not."""
        fresh = [address for address in after if address not in frame.visited]
        for goal in range(stage, Stage.END + 1):
            reaching = self._reach(frame.function, Stage(goal))
            good = [address for address in fresh if address in reaching]
            if good:
                return good
        return fresh

    def _reach(self, function: Function, stage: Stage) -> set[int]:
        key = (function.entry, stage)
        if key not in self._reaching:
            if stage is Stage.VMRUN:
                on_way = self.ways.get(function.entry, set())
                goals = {address for address, called in function.calls.items() if called in on_way}
                goals |= function.of("vmrun")
            elif stage is Stage.STGI:
                goals = function.of("stgi")
            else:
                goals = function.leaves
            self._reaching[key] = function.reaching(goals)
        return self._reaching[key]


def ends_call(functions: Functions, step: Step) -> bool:
    """Whether the line leaves the step's function here."""
    return is_return(functions.code, step.instruction) or step.instruction.address in step.function.leaves


def is_label_call(functions: Functions, step: Step) -> bool:
    """Whether the step calls a label of its own function."""
    return is_local_call(functions.code, step.instruction)
