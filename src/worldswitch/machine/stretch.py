"""Stretches: host code that runs the same way again and again, executed once and then skipped.

Between two VMRUNs a host executes some forty instructions in which, with nothing pending and no event to arrive,
nothing is left to chance: the state at the end follows from the state at the beginning. A stretch is such a piece, from
the start of the program, from an exit, or from a ``set``, to the next VMRUN, ``set`` or end. It is recorded when it is
first executed, under everything that it depends on, and replayed as one delta from then on.

A run with stretches leaves exactly the records of one without; only the fuzz loop uses them.
"""

from typing import TYPE_CHECKING, Final

from worldswitch.core.bits import DR7_L0, DR7_L1, RFLAGS_TF
from worldswitch.core.isa import OP_END, OP_SET, OP_VMRUN
from worldswitch.core.state import Cpu
from worldswitch.kernel.state import Kernel, Warning
from worldswitch.program.layout import Layout

if TYPE_CHECKING:
    from worldswitch.machine.machine import Machine

LIMIT: Final = 4096
"""Stretches kept of one layout; there are a few dozen."""

LAYOUTS: Final = 64
"""Layouts whose stretches are kept: one path has one for each way of running its rounds."""

ENDS: Final = frozenset({OP_VMRUN, OP_END, OP_SET})
"""Operations before which a stretch ends."""

Key = tuple[int, ...]


class Stretch:
    """What one stretch does: the state it leaves, and what it records."""

    __slots__ = (
        "calls", "gif", "kernel", "last", "nmi_masked", "redundant", "rflags", "rip", "seen", "shadow", "steps",
        "warnings",
    )  # fmt: skip

    def __init__(self, machine: "Machine", begin: "Begin") -> None:
        cpu, kernel = machine.cpu, machine.kernel
        self.rip: int = cpu.regs.rip
        self.rflags: int = cpu.regs.rflags
        self.shadow: int = cpu.shadow
        self.gif: bool = cpu.gif
        self.nmi_masked: bool = cpu.nmi_masked
        self.kernel: Key = kernel_state(kernel)
        self.steps: int = cpu.step - begin.step
        self.seen: frozenset[int] = frozenset(begin.seen)  # elements of ``Run.seen``
        self.last: int = max(seen >> 8 for seen in begin.seen) if begin.seen else begin.rip
        self.calls: list[tuple[int, int]] = [(step - begin.step, op) for step, op in kernel.call_log[begin.calls :]]
        self.warnings: list[Warning] = [
            Warning(w.step - begin.step, w.rip, w.kind, w.cause, w.rule) for w in kernel.warnings[begin.warnings :]
        ]
        self.redundant: int = kernel.redundant - begin.redundant

    def replay(self, machine: "Machine") -> None:
        """Put the machine where the stretch ends, with its records made."""
        cpu, kernel = machine.cpu, machine.kernel
        step = cpu.step
        cpu.regs.rip = self.rip
        cpu.regs.rflags = self.rflags
        cpu.shadow = self.shadow
        cpu.gif = self.gif
        cpu.nmi_masked = self.nmi_masked
        set_kernel_state(kernel, self.kernel)
        machine.replayed.append(self)
        for offset, op in self.calls:
            kernel.call_log.append((step + offset, op))
        for w in self.warnings:
            kernel.warnings.append(Warning(step + w.step, w.rip, w.kind, w.cause, w.rule))
        kernel.redundant += self.redundant
        cpu.step = step + self.steps


class Begin:
    """A stretch under way, not known yet: where its records begin."""

    __slots__ = ("calls", "key", "redundant", "rip", "seen", "step", "untouched", "warnings")

    def __init__(self, machine: "Machine", key: Key) -> None:
        self.key: Key = key
        self.rip: int = machine.cpu.regs.rip
        self.step: int = machine.cpu.step
        self.seen: list[int] = []
        self.calls: int = len(machine.kernel.call_log)
        self.warnings: int = len(machine.kernel.warnings)
        self.redundant: int = machine.kernel.redundant
        self.untouched: tuple[int, ...] = untouched(machine.cpu)


class Stretches:
    """The stretches known for one path under one set of options, layout by layout."""

    __slots__ = ("_layouts", "skipped")

    def __init__(self) -> None:
        self._layouts: dict[int, tuple[Layout, dict[Key, Stretch]]] = {}  # by identity; holds on to the layout
        self.skipped: int = 0  # steps that were not executed one by one

    def _known(self, layout: Layout) -> dict[Key, Stretch]:
        entry = self._layouts.get(id(layout))
        if entry is None:
            if len(self._layouts) >= LAYOUTS:
                self._layouts.clear()
            entry = self._layouts[id(layout)] = (layout, {})
        return entry[1]

    def begin(self, machine: "Machine") -> Begin | None:
        """At a host boundary: skip the stretch that begins here if it is known, else start to record it."""
        if machine.plan.host.code.ops[machine.cpu.regs.rip] in ENDS or not quiet(machine.cpu):
            return None
        key = depends_on(machine)
        known = self._known(machine.plan.host)
        stretch = known.get(key)
        if stretch is None:
            return Begin(machine, key) if len(known) < LIMIT else None
        for place in machine.plan.host_arrivals:
            if stretch.last >= place >= machine.cpu.regs.rip or place == stretch.rip:
                return None
        stretch.replay(machine)
        self.skipped += stretch.steps
        return None

    def end(self, machine: "Machine", begin: Begin) -> bool:
        """At every later boundary: True where the recording is over, kept or not."""
        cpu = machine.cpu
        if cpu.guest or not quiet(cpu) or untouched(cpu) != begin.untouched:
            return True
        op = machine.plan.host.code.ops[cpu.regs.rip]
        if op not in ENDS:
            return False
        if cpu.step > begin.step:
            self._known(machine.plan.host)[begin.key] = Stretch(machine, begin)
        return True


def untouched(cpu: Cpu) -> tuple[int, ...]:
    """What a stretch that can be replayed leaves alone: no event is taken or dropped, none of these registers set."""
    recorder, regs = cpu.recorder, cpu.regs
    return (
        len(recorder.handlers), len(recorder.entries), len(recorder.exits), len(recorder.acknowledged),
        len(recorder.discarded), len(recorder.superseded), cpu.tpr, cpu.host_world.rep_left, regs.cr2, regs.dr6,
        regs.dr7,
    )  # fmt: skip


def quiet(cpu: Cpu) -> bool:
    """Nothing is pending, no trap is armed, no handler runs: instructions do what they always do."""
    return not (
        cpu.irr or cpu.pend_nmi or cpu.pend_smi or cpu.pend_init or cpu.pend_mce or cpu.debug_trap or cpu.halted
        or cpu.host_world.frames or cpu.regs.rflags & RFLAGS_TF or cpu.regs.dr7 & (DR7_L0 | DR7_L1)
    )  # fmt: skip


def depends_on(machine: "Machine") -> Key:
    """Everything that host instructions with nothing pending depend on."""
    cpu, regs = machine.cpu, machine.cpu.regs
    return (
        regs.rip, regs.rflags, regs.efer, regs.cr0, regs.cpl, regs.rax, cpu.gif, cpu.shadow, cpu.nmi_masked, cpu.skinit,
        regs.dr7, *kernel_state(machine.kernel),
    )  # fmt: skip


def kernel_state(kernel: Kernel) -> Key:
    """The kernel's state as a tuple; in a quiet host the depth of handlers is 0."""
    return (
        kernel.debug_locks, kernel.hardirqs_enabled, kernel.hardirq_context, kernel.chain_key,
        kernel.recorded_chain_key, kernel.hardirqs_traced_on, kernel.context,
        kernel.context_tracking, kernel.rcu_watching, kernel.instrumentation,
        kernel.rebooting, kernel.in_nmi, kernel.nmi_state, kernel.irq_was_on.get(0, False), len(kernel.entry_stack),
    )  # fmt: skip


def set_kernel_state(kernel: Kernel, state: Key) -> None:
    """The inverse of :func:`kernel_state` for what a stretch may change."""
    kernel.debug_locks = bool(state[0])
    kernel.hardirqs_enabled = bool(state[1])
    kernel.hardirq_context = state[2]
    kernel.chain_key = state[3]
    kernel.recorded_chain_key = state[4]
    kernel.hardirqs_traced_on = bool(state[5])
    kernel.context = state[6]
    kernel.rcu_watching = bool(state[8])
    kernel.instrumentation = state[9]
    kernel.irq_was_on[0] = bool(state[13])
