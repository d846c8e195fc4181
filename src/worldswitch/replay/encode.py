"""A plan as a record that the boot image executes, or the reason why it cannot be one."""

from itertools import pairwise
from typing import Final

from worldswitch.core import isa
from worldswitch.core.bits import (
    EFER_SVME,
    ERROR_CODE_VECTORS,
    EVENT_V,
    EXIT_CR_READ,
    EXIT_CR_WRITE,
    EXIT_INTR,
    EXIT_POPF,
    EXIT_PUSHF,
    EXIT_VINTR,
    PHYSICAL_LIMIT,
    RFLAGS_IF,
    SHADOW_MOVSS,
    SHADOW_STI,
    VECTOR_PF,
)
from worldswitch.core.record import KIND_INTR
from worldswitch.core.state import Cpu
from worldswitch.kernel.calls import K_EXCEPTION
from worldswitch.machine.compile import Plan
from worldswitch.machine.machine import Machine
from worldswitch.machine.run import Run
from worldswitch.program.layout import Layout
from worldswitch.replay import fields, memory, software
from worldswitch.replay.assemble import MOV_SS, STI, Unit, UnsupportedError, assemble, call_slot, enter, u32, write_icr
from worldswitch.replay.checks import check_run, check_start
from worldswitch.replay.gates import gate_quads
from worldswitch.replay.place import COUNTERS, Placed, command, place_events
from worldswitch.replay.record import NotComparable, Places, Record
from worldswitch.replay.steps import Step, run_steps
from worldswitch.replay.target import Target

_USED_BY_SOFTWARE: Final = (EXIT_PUSHF, EXIT_POPF, EXIT_CR_READ + 3, EXIT_CR_WRITE + 3)
"""Exit codes of what the seam for software operations executes."""


def encode(plan: Plan, target: Target) -> Record | NotComparable:
    """The record of ``plan`` for an implementation, or why there is none.

    The model runs the plan once: where it says an event arrives decides where the event is raised. A wrong answer of
    the model therefore shows as a disagreement, or as no record.
    """
    try:
        return _encode(plan, target)
    except UnsupportedError as reason:
        return NotComparable(str(reason))


def _encode(plan: Plan, target: Target) -> Record:
    if plan.scenario.nested is not None:
        raise UnsupportedError("the image runs one level: a host and its guest")
    start = Machine(plan)
    check_start(plan, start.cpu, target)
    run, steps = run_steps(plan)
    check_run(plan, run, steps, target)
    placed = place_events(plan, steps)
    builder = _Builder(plan, run, steps, placed)
    return builder.build(start)


class _Builder:
    def __init__(self, plan: Plan, run: Run, steps: list[Step], placed: Placed) -> None:
        self.plan = plan
        self.run = run
        self.steps = steps
        self.placed = placed
        self.operations = software.Operations()
        self.record_operations: list[tuple[bool, int]] = []
        self.shadowed = {(s.guest, s.rip) for s in steps if s.shadow and not s.recognised}
        self.stepped = {(s.guest, s.rip) for s in steps if s.tf and not s.recognised}
        self.pushf_intercepted = bool(run.cpu.vmcb.intercepts[EXIT_PUSHF])

    def build(self, start: Machine) -> Record:
        """All parts together."""
        plan = self.plan
        cpu = start.cpu
        guest = self._world(True, plan.guest, cpu)
        host = self._world(False, plan.host, cpu)
        entry, flags = self._enter(cpu)
        late = self._late(guest, host)
        host_code = self._lay_out(host, entry, memory.HOST_CODE, late, False)
        guest_code = self._lay_out(guest, b"", memory.GUEST_CODE, late, True)
        quads = dict(fields.merge([*fields.control_area(cpu.vmcb), *fields.save_area(cpu.vmcb.save)]))
        quads[memory.VMCB + 0x578] = guest.at(cpu.vmcb.save.rip)
        quads[memory.VMCB + 0x5D8] = memory.GUEST_STACK
        quads[memory.VMCB + 0x5F8] = _rax(cpu.vmcb.save.rax)
        quads[memory.VMCB + 0xC8] = guest.at(cpu.vmcb.nrip) if cpu.vmcb.nrip else 0
        nested = cpu.vmcb.np_enable
        for world, idt, is_guest in (
            (cpu.guest_world, memory.GUEST_IDT, True),
            (cpu.host_world, memory.HOST_IDT, False),
        ):
            for vector, gate in world.idt.items():
                stubs = memory.GUEST_STUBS if is_guest else memory.HOST_STUBS
                quads.update(gate_quads(idt, vector, gate, stubs + memory.STUB_SIZE * vector, is_guest and nested))
        pokes = [(address, value.to_bytes(8, "little")) for address, value in quads.items()]
        self._handlers(guest, host, late, pokes)
        silent = {
            (is_guest, vector)
            for (is_guest, vector), index in late.items()
            if (plan.guest if is_guest else plan.host).code.ops[index] == isa.OP_IRET
        }
        if any(h.kind == KIND_INTR and (h.world == 1, h.vector) in silent for h in self.run.recorder.handlers):
            raise UnsupportedError("an interrupt's handler that a shadow reaches cannot end the interrupt")
        for (is_guest, vector), index in late.items():
            (guest if is_guest else host).late[vector] = index
        for (is_guest, vector), index in late.items():
            (guest if is_guest else host).late[vector] = index
        pokes.append((memory.HOST_CODE, host_code))
        pokes.append((memory.GUEST_CODE, guest_code))
        pokes.append((memory.OPERATIONS, self.operations.to_bytes(guest, host)))
        pokes.append((memory.HOST_PLACES, host.table()))
        pokes.append((memory.GUEST_PLACES, guest.table()))
        if self.placed.counters:
            pokes.append((COUNTERS, b"".join(u32(passes) for passes in self.placed.counters)))
        pokes.append((memory.DATA + 0x40, u32(0) + u32(0x10)))  # the operand of LSS
        record = Record(plan, self.run, flags, _joined(pokes), host, guest, late, silent, self.record_operations)
        if len(guest.table()) > memory.HOST_PLACES - memory.GUEST_PLACES:
            raise UnsupportedError("the guest's program is too long")
        return record

    def _enter(self, cpu: Cpu) -> tuple[bytes, int]:
        """The code before the host's first instruction, and the record's flags."""
        regs = cpu.regs
        pending = self.plan.scenario.settings.get("cpu.pending", ())
        triggers = self.placed.at_start
        for name in pending:
            kind, _, vector = name.partition(":")
            triggers += write_icr(command(kind, int(vector, 0) if vector else 0))
        rflags = regs.rflags
        last = b""
        if cpu.shadow:
            if [name for name in pending if not name.startswith("intr")] or (pending and not rflags & RFLAGS_IF):
                raise UnsupportedError("an NMI pending in a shadow at the start")
            if cpu.shadow == SHADOW_STI:
                if not rflags & RFLAGS_IF:
                    raise UnsupportedError("an STI shadow with IF=0")
                rflags &= ~RFLAGS_IF
                last = STI
            elif cpu.shadow == SHADOW_MOVSS and not triggers:
                last = MOV_SS
            else:
                raise UnsupportedError("an event pending in a MOV SS shadow at the start")
        svme = bool(regs.efer & EFER_SVME)
        entry = enter(rflags, _rax(regs.rax), cpu.tpr, triggers, svme, cpu.gif, last)
        flags = memory.FLAG_START_IN_NMI if cpu.nmi_masked else 0
        flags |= memory.FLAG_PROBE_GIF
        # an NMI sent at the end would hide one that is pending, against the model
        nmis = [event for event in self.plan.scenario.events if event.kind == "nmi"] or "nmi" in pending
        if not self.run.cpu.pend_nmi and (self.run.cpu.nmi_masked or not nmis):
            flags |= memory.FLAG_PROBE_NMI
        return entry, flags

    def _world(self, guest: bool, layout: Layout, cpu: Cpu) -> Places:
        units = [Unit()]
        code = layout.code
        executed = {step.rip for step in self.steps if step.guest == guest and not step.recognised and not step.halted}
        for index in range(1, len(code.ops)):
            try:
                unit = self._unit(guest, layout, index, cpu)
            except UnsupportedError:
                if index in executed:
                    raise
                unit = Unit(main=b"\x0f\x0b")
            key = (guest, index)
            unit.insert = self.placed.inserts.get(key, b"")
            if not unit.single:
                if key in self.stepped:
                    raise UnsupportedError("single-step through code that the image adds")
                if key in self.shadowed and (unit.before or unit.insert):
                    raise UnsupportedError(f"{code.texts[index]!r} in a shadow needs an instruction before it")
            units.append(unit)
        if guest:
            self._check_resumption(units)
            return Places(layout, units, memory.GUEST_STUBS, memory.GUEST_DEFAULT_HANDLER, memory.GUEST_CODE)
        return Places(layout, units, memory.HOST_STUBS, memory.HOST_DEFAULT_HANDLER, memory.HOST_CODE)

    def _check_resumption(self, units: list[Unit]) -> None:
        """Refuse a VMRUN in a shadow that resumes where the image has more code than the program."""
        exits = self.run.recorder.exits
        entries = 0
        for before, step in pairwise(self.steps):
            if not step.guest or before.guest:
                continue
            entries += 1
            last = exits[entries - 2] if entries > 1 else None
            interrupted = last is not None and (EXIT_INTR <= last.code <= EXIT_VINTR or last.exitintinfo & EVENT_V)
            if interrupted and step.shadow and step.rip > 1 and units[step.rip - 1].after:
                raise UnsupportedError("a VMRUN in a shadow may resume in code that the image added")

    def _unit(self, guest: bool, layout: Layout, index: int, cpu: Cpu) -> Unit:
        code = layout.code
        op, arg, text = code.ops[index], code.args[index], code.texts[index]
        if op == isa.OP_SET:
            if guest and any(cpu.vmcb.intercepts[code] for code in _USED_BY_SOFTWARE):
                raise UnsupportedError("an intercept would catch the image's own code for `set` in a guest")
            first = self.operations.assignment(layout.assignments[arg], guest, self.plan)
            return self._software(first, guest, index)
        if op == K_EXCEPTION:
            return self._software(self.operations.fixup(self.plan), guest, index)
        if op == isa.OP_IRET:
            return self._iret(guest, layout, index)
        if op == isa.OP_ACCESS and arg == isa.GATE_NPF and not (guest and cpu.vmcb.np_enable):
            arg = VECTOR_PF  # without nested paging the page is simply not there
        unit = assemble(op, arg, text, guest, cpu.vmcb.intercepts)
        if op == isa.OP_VMRUN and not guest:
            unit.after = call_slot(memory.SLOT_EXIT)
        return unit

    def _software(self, first: int, guest: bool, index: int) -> Unit:
        self.record_operations.append((guest, index))
        return Unit(main=b"\x41\xb8" + u32(first), after=call_slot(memory.SLOT_SOFTWARE))

    def _iret(self, guest: bool, layout: Layout, index: int) -> Unit:
        """IRET of a handler; of a main program, where there is no frame, one that goes to the next instruction."""
        frames = {s.frames > 0 for s in self.steps if (s.guest, s.rip) == (guest, index)}
        if index > layout.end or frames == {True}:
            if False in frames:
                raise UnsupportedError("IRET of a handler without its frame")
            return Unit(main=b"\x48\xcf")
        if True in frames:
            raise UnsupportedError("IRET of a program with a handler's frame")
        if guest and self.pushf_intercepted:
            raise UnsupportedError("IRET without a frame needs PUSHF, which is intercepted")
        # MOV R8, RSP; PUSH SS; PUSH R8; PUSHFQ; PUSH CS; LEA R8, [next]; PUSH R8; IRETQ
        before = b"\x49\x89\xe0" + b"\x6a\x10" + b"\x41\x50" + b"\x9c" + b"\x6a\x08"
        before += b"\x4c\x8d\x05" + u32(4) + b"\x41\x50"
        return Unit(before=before, main=b"\x48\xcf")

    @staticmethod
    def _lay_out(places: Places, entry: bytes, base: int, late: dict[tuple[bool, int], int], guest: bool) -> bytes:
        code = entry
        stubs = {index: places.stubs + memory.STUB_SIZE * vector for (w, vector), index in late.items() if w == guest}
        for index, unit in enumerate(places.units):
            if index == 0:
                continue
            unit.start = base + len(code)
            if unit.main is None:
                unit.main_at = unit.start + len(unit.code) - 1
            else:
                unit.main_at = unit.start + len(unit.insert) + len(unit.before)
            if index in stubs:
                unit.after = b"\xe9" + u32(stubs[index] - (base + len(code) + len(unit.code)))
            code += unit.code
            unit.next = base + len(code)
        if len(code) > memory.CODE_SIZE - 16:
            raise UnsupportedError("the program is too long for the image")
        return code

    def _late(self, guest: Places, host: Places) -> dict[tuple[bool, int], int]:
        """Handlers entered while a shadow is live, with their first Code index: what reports must not end it.

        They report after their first instruction instead: a jump to the vector's stub, which comes back behind it.
        """
        late: dict[tuple[bool, int], int] = {}
        shadowed = {(step.guest, step.rip) for step in self.steps if step.shadow}
        taken: set[tuple[bool, int]] = set()
        for is_guest, places in ((True, guest), (False, host)):
            code = places.layout.code
            for vector in sorted(self._vectors(is_guest, places)):
                index = code.handlers.get(vector, code.default_handler)
                if (is_guest, index) not in shadowed:
                    continue
                if any(step.recognised and (step.guest, step.rip) == (is_guest, index) for step in self.steps):
                    raise UnsupportedError("an event arrives in a handler that reports late")
                if (is_guest, index + 1) in shadowed and code.ops[index] == isa.OP_INTERCEPTABLE:
                    raise UnsupportedError("a shadow lives on in a handler, where reporting would end it")
                if (is_guest, index) in taken and code.ops[index] != isa.OP_IRET:
                    raise UnsupportedError("several vectors share a handler that a shadow reaches")
                unit = places.units[index]
                if code.ops[index] == isa.OP_IRET and vector in ERROR_CODE_VECTORS:
                    raise UnsupportedError("a handler that a shadow reaches begins with an error code and IRET")
                if not unit.single:
                    raise UnsupportedError("a handler that a shadow reaches begins with more than one instruction")
                if is_guest and any(entry.rip in (index, index + 1) for entry in self.run.recorder.entries[1:]):
                    raise UnsupportedError("a VMRUN resumes in a handler that reports late")
                taken.add((is_guest, index))
                late[(is_guest, vector)] = index
                unit.after = b"\xe9\0\0\0\0"
        return late

    def _vectors(self, guest: bool, places: Places) -> set[int]:
        handlers = self.run.recorder.handlers
        return {h.vector for h in handlers if h.world < 2 and (h.world == 1) == guest} | set(
            places.layout.code.handlers
        )

    def _handlers(
        self, guest: Places, host: Places, late: dict[tuple[bool, int], int], pokes: list[tuple[int, bytes]]
    ) -> None:
        """Connects vectors, stubs and handlers."""
        for is_guest, places in ((True, guest), (False, host)):
            code = places.layout.code
            for vector in sorted(self._vectors(is_guest, places)):
                unit = places.units[code.handlers.get(vector, code.default_handler)]
                stub = places.stubs + memory.STUB_SIZE * vector
                target = unit.start
                if (is_guest, vector) in late:
                    target = unit.next
                    idt = memory.GUEST_IDT if is_guest else memory.HOST_IDT
                    pokes.append((idt + 16 * vector, (unit.start & 0xFFFF).to_bytes(2, "little")))
                    pokes.append((idt + 16 * vector + 6, (unit.start >> 16 & 0xFFFF).to_bytes(2, "little")))
                jump = stub + memory.STUB_LENGTH
                pokes.append((jump, b"\xe9" + u32(target - (jump + 5))))


def _rax(value: int) -> int:
    """RAX on the image: the VMCB for any aligned address of memory; a bad address as it is."""
    return value if value >= PHYSICAL_LIMIT else memory.VMCB + (value & 0xFFF)


def _joined(pokes: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Neighbouring pokes as one."""
    joined: list[tuple[int, bytes]] = []
    for address, data in pokes:
        if joined and joined[-1][0] + len(joined[-1][1]) == address and len(joined[-1][1]) % 8 == 0:
            joined[-1] = (joined[-1][0], joined[-1][1] + data)
        elif data:
            joined.append((address, data))
    return joined
