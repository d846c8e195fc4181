"""Laying programs out as code: addresses, landmarks, handlers."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Final, NamedTuple

from worldswitch.core.isa import OP_CLGI, OP_CLI, OP_END, OP_NONCANONICAL, OP_STGI, OP_STI, OP_VMRUN
from worldswitch.core.state import Code
from worldswitch.kernel import calls as k
from worldswitch.kernel.entry import handler_program
from worldswitch.program.instruction import Instruction, parse_instruction, parse_program

LANDMARKS: Final = ("start", "clgi", "enter", "sti", "vmrun", "vmexit", "cli", "exit", "stgi", "end")
"""The places of a host program that mean the same on every path, in their usual order."""

GUEST_BASE: Final = 0x10000
GUEST_HANDLERS: Final = 0x20000
HOST_BASE: Final = 0xFFFF_FFFF_8100_0000
HOST_HANDLERS: Final = 0xFFFF_FFFF_8110_0000
HANDLER_SPACING: Final = 0x100
DEFAULT_HANDLER: Final = 0x100 * HANDLER_SPACING
NONCANONICAL: Final = 0x8000_0000_0000_0000

_SPIN: Final = parse_instruction("spin")
_END: Final = Instruction(OP_END, 0, 1, "end")
_NONCANONICAL: Final = Instruction(OP_NONCANONICAL, 0, 1, "(non-canonical RIP)")
_IRET: Final = (parse_instruction("iret"),)


@dataclass(frozen=True, slots=True)
class Line:
    """One step of a host program with what its path file says about it."""

    instruction: Instruction
    label: str = ""
    fixup: bool = False  # has an exception-table entry
    noinstr: bool = False
    comment: str = ""


class Layout:
    """Code, and the names of its places; equal to itself alone, so that what follows from it can be remembered."""

    __slots__ = ("_names", "assignments", "code", "end", "handler_names", "home", "landmarks", "segment")

    def __init__(self, home: str = "start") -> None:
        self.code: Code = Code()
        self.home: str = home  # the landmark at the first instruction
        self.landmarks: dict[str, list[int]] = {}  # one index a round; -1 where a round has none
        self.segment: list[int] = []  # index into LANDMARKS; -1 in handlers
        self.end: int = 0  # index of the program's end
        self.handler_names: dict[int, str] = {}  # first index of a handler to its landmark
        self.assignments: list[tuple[str, str]] = []
        self._names: dict[int, str] = {}  # see `names`

    def where(self, rip: int) -> str:
        """The place of an instruction as ``landmark+offset``, ``vmrun@2`` in the second round."""
        if rip == 0:
            return "noncanonical"
        names = self.names()
        mark = max(place for place in names if place <= rip)
        return names[mark] + (f"+{rip - mark}" if rip > mark else "")

    def names(self) -> dict[int, str]:
        """What places are called: landmarks and handlers by index; of two names for one the later landmark wins."""
        if self._names:
            return self._names
        names = dict(self.handler_names)
        names[self.code.start] = self.home
        for name in LANDMARKS:
            for number, place in enumerate(self.landmarks.get(name, ())):
                if place >= 0:
                    names[place] = name + (f"@{number + 1}" if number else "")
        self._names = names
        return names


class _Builder:
    def __init__(self, home: str = "start") -> None:
        self.layout: Layout = Layout(home)
        self._address: int = 0

    def emit(self, instruction: Instruction, fixup: bool = False, noinstr: bool = False, segment: int = -1) -> int:
        """Append one instruction; returns its index."""
        code = self.layout.code
        arg = instruction.arg
        if instruction.assignment is not None:
            arg = len(self.layout.assignments)
            self.layout.assignments.append(instruction.assignment)
        code.ops.append(instruction.op)
        code.args.append(arg)
        code.address.append(self._address)
        code.texts.append(instruction.text)
        code.fixup.append(fixup)
        code.noinstr.append(noinstr)
        self.layout.segment.append(segment)
        self._address += instruction.length
        return len(code.ops) - 1

    def at(self, address: int) -> None:
        self._address = address

    def handler(self, name: str, address: int, body: tuple[Instruction, ...], vector: int = -1) -> int:
        """Append a handler and the spin that stops a run off its end; in Linux entry code where ``vector`` is given."""
        layout, code = self.layout, self.layout.code
        first = len(code.ops)
        layout.handler_names[first] = name
        block = _handler(address, body, vector)
        code.ops += block.ops
        code.args += block.args
        code.address += block.address
        code.texts += block.texts
        code.fixup += block.unmarked
        code.noinstr += block.unmarked
        layout.segment += block.segment
        for place, assignment in block.assignments:
            code.args[first + place] = len(layout.assignments)
            layout.assignments.append(assignment)
        return first


class _Handler(NamedTuple):
    """A handler's part of the lists of a layout."""

    ops: tuple[int, ...]
    args: tuple[int, ...]
    address: tuple[int, ...]
    texts: tuple[str, ...]
    unmarked: tuple[bool, ...]
    segment: tuple[int, ...]
    assignments: tuple[tuple[int, tuple[str, str]], ...]  # where in it, and what


@lru_cache(maxsize=1024)
def _handler(address: int, body: tuple[Instruction, ...], vector: int) -> _Handler:
    """A handler at an address; remembered, since three quarters of a Linux host's code are the same 33 handlers."""
    program = (*(body if vector < 0 else _linux_handler(vector, body)), _SPIN)
    places = accumulate((instruction.length for instruction in program[:-1]), initial=address)
    return _Handler(
        ops=tuple(instruction.op for instruction in program),
        args=tuple(instruction.arg for instruction in program),
        address=tuple(places),
        texts=tuple(instruction.text for instruction in program),
        unmarked=(False,) * len(program),
        segment=(-1,) * len(program),
        assignments=tuple((place, one.assignment) for place, one in enumerate(program) if one.assignment is not None),
    )


def lay_out_guest(program: tuple[Instruction, ...], handlers: dict[int, tuple[Instruction, ...]]) -> Layout:
    """The guest's code. A run off the end of the program or of a handler spins."""
    builder = _Builder("guest")
    code = builder.layout.code
    builder.at(NONCANONICAL)
    builder.emit(_NONCANONICAL)
    builder.at(GUEST_BASE)
    code.start = 1
    for instruction in program:
        builder.emit(instruction)
    builder.layout.end = builder.emit(_SPIN)
    code.default_handler = builder.handler("guest.handler", GUEST_HANDLERS + DEFAULT_HANDLER, _IRET)
    for vector, body in sorted(handlers.items()):
        name = f"guest.handler:0x{vector:02x}"
        code.handlers[vector] = builder.handler(name, GUEST_HANDLERS + vector * HANDLER_SPACING, body)
    return builder.layout


def lay_out_host(
    lines: tuple[Line, ...],
    rounds: int,
    between: tuple[Instruction, ...],
    handlers: dict[int, tuple[Instruction, ...]],
    linux: bool,
    tail: tuple[Instruction, ...] = (),
) -> Layout:
    """The host's code: the program once a round, ``between`` between the rounds, then the handlers.

    ``linux`` wraps the handlers in Linux entry code. ``tail`` is what the program's caller executes after its end; it
    belongs to no segment.
    """
    builder = _Builder()
    layout = builder.layout
    code = layout.code
    builder.at(NONCANONICAL)
    builder.emit(_NONCANONICAL)
    builder.at(HOST_BASE)
    code.start = 1
    landmark_lines = find_landmarks(lines)
    names_at: dict[int, list[str]] = {}
    for name, number in landmark_lines.items():
        names_at.setdefault(number, []).append(name)
    layout.landmarks = {name: [] for name in landmark_lines}
    for number in range(rounds):
        if number:
            for instruction in between:
                builder.emit(instruction, segment=LANDMARKS.index("end"))
        segment = 0
        for line_number, line in enumerate(lines):
            for name in names_at.get(line_number, ()):
                layout.landmarks[name].append(len(code.ops))
                segment = max(segment, LANDMARKS.index(name))
            builder.emit(line.instruction, line.fixup, line.noinstr, segment)
    layout.landmarks["end"] = [len(code.ops)]
    if not lines:
        layout.landmarks["start"] = [len(code.ops)]
    for instruction in tail:
        builder.emit(instruction)
    layout.end = builder.emit(_END, segment=LANDMARKS.index("end"))
    for vector in sorted({*handlers, *(range(33) if linux else ())}):
        body = handlers.get(vector, ())
        address = HOST_HANDLERS + vector * HANDLER_SPACING
        code.handlers[vector] = builder.handler(f"handler:0x{vector:02x}", address, body, vector if linux else -1)
        if linux and vector == 2:
            _patch_nmi_targets(code, code.handlers[vector])
    code.default_handler = (
        code.handlers[32] if linux else builder.handler("handler", HOST_HANDLERS + DEFAULT_HANDLER, _IRET)
    )
    return layout


def _linux_handler(vector: int, body: tuple[Instruction, ...]) -> tuple[Instruction, ...]:
    """Entry code around a body; the body's own final IRET, if any, is the entry code's."""
    if body and body[-1].text == "iret":
        body = body[:-1]
    return tuple(
        instruction
        for text in handler_program(vector, ["\0"])
        for instruction in (body if text == "\0" else parse_program([text]))
    )


def _patch_nmi_targets(code: Code, first: int) -> None:
    """exc_nmi: a nested NMI goes straight to the IRET, a latched one back to nmi_restart (S8-78)."""
    end = next(i for i in range(first, len(code.ops)) if code.ops[i] == k.K_EXC_NMI_END)
    code.args[first] = end + 1
    code.args[end] = first + 1


def find_landmarks(lines: tuple[Line, ...]) -> dict[str, int]:
    """Landmark name to line number of one round.

    A label names its place. Of the landmarks without a label: ``clgi`` is the first CLGI, ``sti`` the last STI before
    VMRUN, ``cli`` and ``stgi`` the first after it; in a program without VMRUN, the first of each (the last STI).
    """
    found = {"start": 0} if lines else {}
    ops = [line.instruction.op for line in lines]
    vmrun = ops.index(OP_VMRUN) if OP_VMRUN in ops else -1
    before, after = (ops[:vmrun], range(vmrun + 1, len(ops))) if vmrun >= 0 else (ops, range(len(ops)))
    if vmrun >= 0:
        found["vmrun"] = vmrun
    if OP_CLGI in before:
        found["clgi"] = before.index(OP_CLGI)
    if OP_STI in before:
        found["sti"] = len(before) - 1 - before[::-1].index(OP_STI)
    for name, op in (("cli", OP_CLI), ("stgi", OP_STGI)):
        places = [number for number in after if ops[number] == op]
        if places:
            found[name] = places[0]
    for number, line in enumerate(lines):
        if line.label:
            found[line.label] = number
    if "vmrun" in found and found["vmrun"] + 1 < len(lines):
        found.setdefault("vmexit", found["vmrun"] + 1)
    return found
