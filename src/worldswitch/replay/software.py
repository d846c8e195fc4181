"""``set FIELD=VALUE`` and the exception table as operations that the image's C code performs."""

from typing import TYPE_CHECKING, Final

from worldswitch.core.bits import RFLAGS_IOPL, VECTOR_PF
from worldswitch.core.isa import GATE_NPF, GATE_OK
from worldswitch.core.state import Gate
from worldswitch.errors import InputError
from worldswitch.machine.compile import Plan
from worldswitch.program.instruction import meets_number, parse_vector
from worldswitch.replay import fields, memory
from worldswitch.replay.assemble import UnsupportedError, u64
from worldswitch.replay.gates import gate_quads
from worldswitch.replay.place import command
from worldswitch.scenario.fields import BY_NAME
from worldswitch.scenario.kinds import Bool

if TYPE_CHECKING:
    from worldswitch.replay.record import Places

_ALL: Final = (1 << 64) - 1
_FRAME_BITS: Final = {"if": 1 << 9, "tf": 1 << 8, "rf": 1 << 16}
_TARGET: Final = 0xFFFF | 0xFFFF << 48  # of a gate's first quadword

Operation = tuple[int, int, int, int]


class Operations:
    """The operations of one record, in groups; a group is named by the number of its first operation."""

    def __init__(self) -> None:
        self._entries: list[Operation] = []
        self._places: dict[int, int] = {}  # entry number to the guest's Code index that its value stands for

    def assignment(self, pair: tuple[str, str], guest: bool, plan: Plan) -> int:
        """``set FIELD=VALUE``; raises ``UnsupportedError``."""
        return self._group(self._assign(pair[0], pair[1], guest, plan))

    def fixup(self, plan: Plan) -> int:
        """``fixup_exception``: resume behind the faulting instruction while rebooting, else BUG (S7-08)."""
        rebooting = bool(plan.scenario.settings.get("kernel.kvm_rebooting", False))
        return self._group([(memory.OP_FIXUP, 0, 0, int(rebooting))])

    def to_bytes(self, guest: "Places", host: "Places") -> bytes:
        """The table, addresses filled in now that code has them."""
        data = b""
        targets: dict[int, int] = {}  # of gates that lead to their handler directly
        for idt, places in ((memory.GUEST_IDT, guest), (memory.HOST_IDT, host)):
            for vector, index in places.late.items():
                start = places.units[index].start
                targets[idt + 16 * vector] = (start & 0xFFFF) | (start >> 16 & 0xFFFF) << 48
        for number, (kind, argument, mask, value) in enumerate(self._entries):
            if number in self._places:
                value = guest.at(self._places[number])
            if kind == memory.OP_WRITE and argument in targets:
                value = value & ~_TARGET | targets[argument]
            data += u64(kind) + u64(argument) + u64(mask) + u64(value)
        return data

    def _group(self, operations: list[Operation]) -> int:
        first = len(self._entries)
        self._entries += operations
        self._entries.append((memory.OP_STOP, 0, 0, 0))
        if len(self._entries) > memory.MAX_OPERATIONS:
            raise UnsupportedError("too many software operations")
        return first

    def _assign(self, name: str, value: str, guest: bool, plan: Plan) -> list[Operation]:
        if (name, value) == ("vmcb.eventinj", "exitintinfo"):
            return [(memory.OP_REINJECT, 0, 0, 0)]
        if (name, value) == ("guest.rip", "next"):
            return [(memory.OP_SKIP_GUEST, 0, 0, 0)]
        world, _, rest = name.partition(".")
        if world == "frame":
            if rest == "rip":
                table = memory.GUEST_PLACES if guest else memory.HOST_PLACES
                return [(memory.OP_FRAME_NEXT, table, 0, 0)]
            bit = _FRAME_BITS[rest]
            return [(memory.OP_FRAME_FLAGS, 0, bit, bit if Bool().parse(value) else 0)]
        nested = bool(plan.scenario.settings.get("vmcb.np_enable", True))
        if world in ("host", "guest") and rest.startswith("idt."):
            vector, outcome = parse_vector(rest[4:]), meets_number(value)
            idt = plan.guest_idt if world == "guest" else plan.host_idt
            old = idt.get(vector, Gate())
            return _gate(world == "guest", vector, Gate(outcome, old.trap, old.dpl), nested)
        if world in ("host", "guest") and rest == "memory":
            return _repair(world == "guest", plan, nested)
        return self._field(name, value)

    def _field(self, name: str, text: str) -> list[Operation]:
        field = BY_NAME.get(name)
        if field is None:
            raise UnsupportedError(f"set {name} is not replayed")
        plain = [word.strip() for word in text[1:-1].split(",") if word.strip()] if text.startswith("[") else text
        try:
            value = field.kind.parse(plain)
        except InputError as error:
            raise UnsupportedError(str(error)) from None
        if name in ("guest.rip", "vmcb.nrip"):
            self._places[len(self._entries)] = value
            offset = 0x578 if name == "guest.rip" else 0xC8
            return [(memory.OP_WRITE, memory.VMCB + offset, _ALL, 0)]
        if name == "vmcb.np_enable":
            raise UnsupportedError("nested paging stays as it is")
        writes = fields.settings_writes(name, value)
        if writes is not None:
            return [(memory.OP_WRITE, *write) for write in writes]
        if name in ("cpu.if", "cpu.iopl"):
            bits = 1 << 9 if name == "cpu.if" else RFLAGS_IOPL
            return [(memory.OP_RFLAGS, 0, bits, value << (9 if name == "cpu.if" else 12))]
        if name == "cpu.rax":
            return [(memory.OP_RAX, 0, 0, value if value >= 1 << 48 else memory.VMCB + (value & 0xFFF))]
        if name == "cpu.tpr":
            return [(memory.OP_CR8, 0, 0, value)]
        if name == "cpu.svme":
            return [(memory.OP_SVME, 0, 0, int(value))]
        if name == "cpu.gif":
            return [(memory.OP_GIF, 0, 0, int(value))]
        if name == "cpu.pending":
            commands = [command(*_event(item)) for item in value]
            if len(commands) > 1:
                raise UnsupportedError("several events at once")
            return [(memory.OP_TRIGGER, 0, 0, item) for item in commands]
        if name.startswith("kernel.") and name != "kernel.kvm_rebooting":
            return []
        raise UnsupportedError(f"set {name} is not replayed")


def _event(name: str) -> tuple[str, int]:
    kind, _, vector = name.partition(":")
    return kind, int(vector, 0) if vector else 0


def _gate(guest: bool, vector: int, gate: Gate, nested: bool) -> list[Operation]:
    idt = memory.GUEST_IDT if guest else memory.HOST_IDT
    stubs = memory.GUEST_STUBS if guest else memory.HOST_STUBS
    quads = gate_quads(idt, vector, gate, stubs + memory.STUB_SIZE * vector, guest and nested)
    return [(memory.OP_WRITE, address, _ALL, value) for address, value in quads.items()]


def _repair(guest: bool, plan: Plan, nested: bool) -> list[Operation]:
    """``set guest.memory=ok``: the page of faulting accesses is there from now on, and gates need no absent stack."""
    tables = [memory.GUEST_PT, memory.NESTED_PT] if guest else [memory.HOST_PT]
    operations = [
        (memory.OP_WRITE, table + 8 * (memory.DATA_HOLE >> 12), _ALL, memory.DATA_HOLE | 7) for table in tables
    ]
    operations.append((memory.OP_POINTERS, 0, 0, memory.DATA))
    for vector, gate in (plan.guest_idt if guest else plan.host_idt).items():
        if guest and gate.outcome in (GATE_NPF, VECTOR_PF):
            operations += _gate(True, vector, Gate(GATE_OK, gate.trap, gate.dpl), nested)
    return operations
