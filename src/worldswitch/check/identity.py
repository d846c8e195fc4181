"""What makes two states the same: everything that the rest of a run, or an oracle, can depend on.

Left out is what is overwritten before anybody reads it:

- the step number and counts of things, which only reports show;
- in the host: the host save area, HIF, the host shadow at VMRUN and the other state of the VMRUN that is over (S6-05,
  S2-80), until the next VMRUN sets it;
- in the host, with no VMRUN ahead: the VMCB and the guest;
- EXITCODE, EXITINFO1 and EXITINFO2, which the next #VMEXIT writes and no software here reads (S6-53).

Included is what the oracles carry from the past into the future, besides the state of the machine itself: the present
VMRUN and what the guest did since (S2-71), whether a shadow bit in the VMCB was left there unexplained (I-04), warnings
of the kernel, the calls that lockdep-order counts (S8-42), a CLGI that was skipped (S7-15). Everything else they object
to is there in the step in which it happens, and every scenario explored is judged as a whole.
"""

from collections.abc import Callable, Hashable
from operator import attrgetter
from typing import Any, Final

from worldswitch.check.values import Open, settled
from worldswitch.core.bits import EXIT_INVALID, EXIT_SHUTDOWN
from worldswitch.core.isa import OP_VMRUN
from worldswitch.core.state import Cpu, Frame, Registers, Vmcb
from worldswitch.kernel.state import Kernel
from worldswitch.machine.machine import Machine
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import clgi_skipped

_OF_VMRUN: Final = (
    "guest_if_seen",
    "hif",
    "host_nmi_masked",
    "host_shadow",
    "injecting",
    "virq_gate_open",
    "vmrun_trap",
)
_OBJECTS: Final = ("guest_world", "host_world", "hsave", "irr", "options", "recorder", "regs", "vmcb")
_COUNTS: Final = ("nmi_reruns", "redundant", "step")
_OVERWRITTEN: Final = ("exit_code", "exitinfo1", "exitinfo2", "intercepts", "save")
_LISTS: Final = ("call_log", "entry_stack", "irq_was_on", "warnings")


def _all_but(cls: type, *left_out: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    names = {name for group in left_out for name in group}
    return attrgetter(*sorted(name for name in cls.__slots__ if name not in names))  # type: ignore[attr-defined]


_cpu = _all_but(Cpu, _OBJECTS, _OF_VMRUN, _COUNTS)
_of_vmrun = attrgetter(*_OF_VMRUN)
_registers = _all_but(Registers)
_vmcb = _all_but(Vmcb, _OVERWRITTEN)
_kernel = _all_but(Kernel, _LISTS, _COUNTS)
_frame = _all_but(Frame)

Key = tuple[Hashable, ...]


def key_of(machine: Machine, asked: frozenset[str] | set[str], rounds: int) -> Key:
    """The identity of the state at a boundary.

    ``asked`` are the choices that are open no longer; ``rounds`` is how often the path may be gone through.
    """
    cpu, kernel = machine.cpu, machine.kernel
    recorder, scenario = cpu.recorder, machine.plan.scenario
    ahead = cpu.guest or scenario.rounds < rounds or _vmrun_ahead(machine)
    return (
        _values(_cpu(cpu)), _values(_registers(cpu.regs)), tuple(cpu.irr), _frames(cpu.host_world.frames),
        cpu.host_world.accesses_ok, cpu.host_world.rep_left, machine.idle,
        _values(_kernel(kernel)), tuple(kernel.entry_stack), tuple(kernel.irq_was_on.items()),
        tuple([(warning.cause, warning.rip) for warning in kernel.warnings]), tuple([op for _, op in kernel.call_log]),
        len(recorder.entries), clgi_skipped(Run(machine)), scenario.rounds, scenario.between, scenario.host.program,
        frozenset(asked) if ahead else frozenset(name for name in asked if name.startswith(("cpu.", "kernel."))),
        _of_guest(machine) if ahead else None,
        (_values(_registers(cpu.hsave)), _values(_of_vmrun(cpu)), _entry(machine)) if cpu.guest else None,
    )  # fmt: skip


def _vmrun_ahead(machine: Machine) -> bool:
    """Whether the host may come to a VMRUN."""
    cpu = machine.cpu
    rip = cpu.host_world.frames[0].rip if cpu.host_world.frames else cpu.regs.rip
    ops = machine.plan.host.code.ops
    return OP_VMRUN in ops[rip : machine.plan.host.end]


def _of_guest(machine: Machine) -> Key:
    cpu = machine.cpu
    world, vmcb, guest = cpu.guest_world, cpu.vmcb, machine.plan.scenario.guest
    return (
        _values(_vmcb(vmcb)), _values(_registers(vmcb.save)), machine.plan.scenario.settings.get("vmcb.intercepts"),
        _frames(world.frames), world.accesses_ok, world.rep_left,
        tuple([(vector, gate.outcome, gate.trap, gate.dpl) for vector, gate in sorted(world.idt.items())]),
        guest.program, tuple(sorted(guest.handlers.items())), cpu.recorder.int_state_from, _unexplained(machine),
    )  # fmt: skip


def _entry(machine: Machine) -> Key:
    """The VMRUN under which the guest runs, and what the guest has done."""
    entry = machine.cpu.recorder.entries[-1]
    return (
        settled(entry.eventinj), settled(entry.int_state), entry.int_state_from, settled(entry.v_intr_masking),
        entry.hif, bool(entry.retired), bool(entry.delivered), entry.injected_deliveries, entry.last_op,
        settled(entry.last_rflags),
    )  # fmt: skip


def _unexplained(machine: Machine) -> Key:
    """The exits since int_state was last 0: what it holds now comes from them."""
    exits: list[Hashable] = []
    for record in machine.cpu.recorder.exits:
        if not settled(record.int_state) & 1:
            exits.clear()
            continue
        entry = record.entry
        exits.append((
            record.code in (EXIT_SHUTDOWN, EXIT_INVALID), settled(entry.int_state), entry.int_state_from,
            bool(entry.retired), bool(entry.delivered), entry.last_op, settled(entry.last_rflags),
        ))  # fmt: skip
    return tuple(exits)


def _frames(frames: list[Frame]) -> Key:
    return tuple([_values(_frame(frame)) for frame in frames])


def _values(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for value in values:
        if type(value) is Open:
            return tuple(map(settled, values))
    return values
