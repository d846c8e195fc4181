"""Twins: when two paths must run a scenario alike, so that the second need not be run at all.

Two implementations of one world switch differ in what they do between CLGI and STGI. There GIF=0, so that no event is
recognised, and if no instruction faults either, the guest is entered in the same state by both, but for one thing:
the shadow that VMRUN executes in. That matters to exits during injection alone (S2-70, S2-74). Everything else of the
run then is the same on both, what lies before CLGI and from STGI on included, and what the oracles say of the second
path's own code is what they say of it in any quiet run.

:func:`alike` is deliberately narrow: whatever it does not understand is run on both paths.
"""

from typing import Final

from worldswitch.core.bits import EVENT_V, EXIT_INVALID
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
from worldswitch.core.record import WORLD_HOST
from worldswitch.core.state import END
from worldswitch.machine.compile import Plan
from worldswitch.machine.machine import SEEN_SHIFT, STEP_LIMIT
from worldswitch.machine.run import Run
from worldswitch.machine.stretch import kernel_state
from worldswitch.paths.model import EntryPath
from worldswitch.program.layout import Layout, Line

QUIET_OPS: Final = frozenset(
    {OP_PLAIN, OP_INTERCEPTABLE, OP_CLGI, OP_STI, OP_VMLOAD, OP_VMRUN, OP_VMSAVE, OP_CLI, OP_STGI}
)
"""Processor instructions that, without a fault, do the same on both paths or only what this module allows for."""

HOST_FIELDS: Final = frozenset({
    "cpu.if", "cpu.gif", "cpu.tf", "cpu.rf", "cpu.dr7", "cpu.cpl", "cpu.mode", "cpu.paging", "cpu.svme", "cpu.rax",
    "cpu.iopl", "cpu.shadow", "cpu.nmi_masked", "cpu.mce", "kernel.kvm_rebooting", "kernel.lockdep", "kernel.context",
})  # fmt: skip
"""Settings with which a host instruction may fault, be trapped, or start from another state."""

Place = tuple[str, int, int]
"""Which part of which round, and how far in it; the part ``handler`` has no round."""

BEFORE: Final = "before VMRUN"  # CLGI is behind
AFTER: Final = "after VMRUN"  # STGI has not been executed
INSIDE: Final = frozenset({BEFORE, AFTER})


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


def agree_outside(first: Run, second: Run) -> bool:
    """Whether two quiet runs pass the boundaries outside of CLGI to STGI in the same states, and end in the same."""
    if first.kernel.warnings or second.kernel.warnings:
        return False
    states = [
        {(place(run.plan.host, seen >> SEEN_SHIFT), seen & (1 << SEEN_SHIFT) - 1) for seen in run.seen}
        for run in (first, second)
    ]
    outside = [{state for state in found if state[0][0] not in INSIDE} for found in states]
    return outside[0] == outside[1] and kernel_state(first.kernel) == kernel_state(second.kernel)


def alike(run: Run, second: Plan, to_the_end: bool) -> bool:
    """Whether ``second``, the same scenario on the other of two comparable paths, must run as ``run`` did.

    ``to_the_end`` asks for runs that came to their end: what the second path's own code shows may lie behind VMRUN.
    """
    cpu, host, scenario = run.cpu, run.plan.host, run.plan.scenario
    if cpu.step > STEP_LIMIT // 2 or (to_the_end and cpu.stop != END):
        return False  # the other path has more steps or fewer: where the limit cuts in is another place
    if not cpu.guest and place(host, cpu.regs.rip)[0] in INSIDE:
        return False
    if scenario.host.handlers or scenario.host.idt or scenario.nested is not None:
        return False
    for name in scenario.settings:
        if name in HOST_FIELDS:
            return False
    for text in scenario.between:
        if not text.startswith(("set vmcb.", "set guest.")):
            return False
    for handler in run.recorder.handlers:
        if handler.world == WORLD_HOST and not handler.guest and place(host, handler.rip)[0] in INSIDE:
            return False
    for record in run.recorder.exits:
        entry = record.entry
        if entry.eventinj & EVENT_V and not entry.delivered and not entry.retired and record.code != EXIT_INVALID:
            return False  # an exit during injection: the one place where the shadow at VMRUN shows (S2-70, S2-79)
    return _same_arrivals(run.plan, second)


def _same_arrivals(first: Plan, second: Plan) -> bool:
    """Host arrivals fall on corresponding boundaries, or while GIF=0 holds them, on the same side of VMRUN."""
    if not first.host_arrivals and not second.host_arrivals:
        return True
    return first.impossible == second.impossible and _arrivals(first) == _arrivals(second)


def _arrivals(plan: Plan) -> list[tuple[int, int, Place]]:
    return sorted(
        (event, visit, corresponding(place(plan.host, index)))
        for index, arrivals in plan.host_arrivals.items()
        for visit, event in arrivals
    )


def place(host: Layout, index: int) -> Place:
    """The place of a boundary: inside of CLGI to STGI or outside, and there counted from what both paths have."""
    if index > host.end:
        return ("handler", 0, index - host.end)
    landmarks = host.landmarks
    number = 0
    for number, clgi in enumerate(landmarks["clgi"]):
        if index <= clgi:
            return ("outside", number, index - clgi)
        if index <= landmarks["vmrun"][number]:
            return (BEFORE, number, index - clgi)
        if index <= landmarks["stgi"][number]:
            return (AFTER, number, index - landmarks["vmrun"][number])
    return ("outside", number + 1, index - landmarks["stgi"][number])


def corresponding(found: Place) -> Place:
    """The place without the distance where GIF=0 makes all of its part one."""
    return (found[0], found[1], 0) if found[0] in INSIDE else found
