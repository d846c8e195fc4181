"""Twins: when two paths must run a scenario alike, so that the second need not be run at all.

Two implementations of one world switch differ in what they do between CLGI and STGI. There GIF=0, so that no event is
recognised, and if no instruction faults either, the guest is entered in the same state by both, but for one thing:
the shadow that VMRUN executes in. That matters to exits during injection alone (S2-70, S2-74). Everything else of the
run then is the same on both, and what the oracles say of the second path's own code is what they say of it in any
quiet run.

:func:`alike` is deliberately narrow: whatever it does not understand is run on both paths.
"""

from typing import Final

from worldswitch.core.bits import EVENT_V
from worldswitch.core.isa import (
    FIRST_KERNEL_OP,
    OP_CLGI,
    OP_CLI,
    OP_INTERCEPTABLE,
    OP_PLAIN,
    OP_STGI,
    OP_STI,
    OP_VMLOAD,
    OP_VMRUN,
    OP_VMSAVE,
)
from worldswitch.core.options import BLEED_QEMU_OLD, Options
from worldswitch.core.record import KIND_EXCEPTION, KIND_MCE, WORLD_HOST
from worldswitch.core.state import END, IDLE
from worldswitch.machine.compile import Plan
from worldswitch.machine.run import Run
from worldswitch.paths.model import EntryPath
from worldswitch.program.layout import Line

QUIET_OPS: Final = frozenset(
    {OP_PLAIN, OP_INTERCEPTABLE, OP_CLGI, OP_STI, OP_VMLOAD, OP_VMRUN, OP_VMSAVE, OP_CLI, OP_STGI}
)
"""Processor instructions that, without a fault, do the same on both paths or only what this module allows for."""

HOST_FIELDS: Final = (
    "cpu.if", "cpu.gif", "cpu.tf", "cpu.rf", "cpu.dr7", "cpu.cpl", "cpu.mode", "cpu.paging", "cpu.svme", "cpu.rax",
    "cpu.iopl", "cpu.shadow", "cpu.nmi_masked", "cpu.mce", "kernel.kvm_rebooting", "kernel.lockdep", "kernel.context",
)  # fmt: skip
"""Settings with which a host instruction may fault, be trapped, or start from another state."""


def comparable(first: EntryPath, second: EntryPath, options: Options) -> bool:
    """Whether two paths can be twins at all: alike before CLGI and from STGI on, quiet in between."""
    if options.bleed_sti_shadow == BLEED_QEMU_OLD or options.bleed_on_invalid_exit or options.mce_gif0_shutdown:
        return False
    entries = [(p.system, p.entry_if, p.entry_gif, p.entry_lockdep, p.entry_context) for p in (first, second)]
    a, b = _parts(first), _parts(second)
    return (
        a is not None
        and b is not None
        and entries[0] == entries[1]
        and not first.entry_if
        and first.entry_gif
        and a == b
    )


def _parts(path: EntryPath) -> tuple[list[int], list[int], list[bool]] | None:
    """Operations up to CLGI, operations from STGI, and whether VMRUN finds IF=1; None for a path of another shape."""
    ops = [line.instruction.op for line in path.lines]
    if [ops.count(op) for op in (OP_CLGI, OP_VMRUN, OP_STGI)] != [1, 1, 1]:
        return None
    clgi, vmrun, stgi = ops.index(OP_CLGI), ops.index(OP_VMRUN), ops.index(OP_STGI)
    if not clgi < vmrun < stgi or not all(_quiet(line) for line in path.lines):
        return None
    flags = (
        [op for op in ops[clgi:vmrun] if op in (OP_STI, OP_CLI)],
        [op for op in ops[vmrun:] if op in (OP_STI, OP_CLI)],
    )
    if flags != ([OP_STI], [OP_CLI]) or OP_CLI in ops[stgi:] or OP_STI in ops[:clgi] or OP_CLI in ops[:clgi]:
        return None
    return ops[: clgi + 1], ops[stgi:], [True]


def _quiet(line: Line) -> bool:
    op = line.instruction.op
    return op in QUIET_OPS or op >= FIRST_KERNEL_OP


def alike(run: Run, second: Plan, to_the_end: bool) -> bool:
    """Whether ``second``, the same scenario on the other of two comparable paths, must run as ``run`` did.

    ``to_the_end`` asks for runs that came to their end: what the second path's own code shows may lie behind VMRUN.
    """
    plan, scenario = run.plan, run.plan.scenario
    if run.cpu.stop != END and (to_the_end or run.cpu.stop != IDLE):
        return False
    if scenario.host.handlers or scenario.host.idt or scenario.nested is not None:
        return False
    if any(name in scenario.settings for name in HOST_FIELDS):
        return False
    if any(not text.startswith("set vmcb.") and not text.startswith("set guest.") for text in scenario.between):
        return False
    for handler in run.recorder.handlers:
        if handler.world == WORLD_HOST and handler.kind in (KIND_EXCEPTION, KIND_MCE):
            return False
    for record in run.recorder.exits:
        entry = record.entry
        if entry.eventinj & EVENT_V and not entry.delivered and not entry.retired:
            return False  # an exit during injection: the one place where the shadow at VMRUN shows
    return _same_arrivals(plan, second)


def _same_arrivals(first: Plan, second: Plan) -> bool:
    """Host arrivals fall before VMRUN with GIF=0 on both paths, in the same round, or there are none."""
    if not first.host_arrivals and not second.host_arrivals:
        return True
    if first.impossible != second.impossible:
        return False
    held = _held(first)
    return held is not None and held == _held(second)


def _held(plan: Plan) -> dict[int, int] | None:
    """Event to round, for events that arrive after CLGI and up to VMRUN; None where one arrives elsewhere."""
    clgi, vmrun = plan.host.landmarks["clgi"], plan.host.landmarks["vmrun"]
    rounds: dict[int, int] = {}
    for index, arrivals in plan.host_arrivals.items():
        number = next((n for n, (low, high) in enumerate(zip(clgi, vmrun, strict=True)) if low < index <= high), -1)
        if number < 0:
            return None
        for visit, event in arrivals:
            if visit != 1:
                return None
            rounds[event] = number
    return rounds
