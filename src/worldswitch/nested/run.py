"""Rounds of entry and exit until nothing more can happen, and the finished run."""

from bisect import bisect_right
from typing import Final

from worldswitch.core.bits import RFLAGS_FIXED, RFLAGS_IF
from worldswitch.core.state import END, HOST_BUG, IDLE, INIT_RESET, LIMIT, SHUTDOWN, World
from worldswitch.machine.machine import DEFAULT_INTERCEPTS
from worldswitch.machine.run import Run
from worldswitch.nested.compile import NestedPlan
from worldswitch.nested.fields import apply_all
from worldswitch.nested.kvm import Kvm
from worldswitch.nested.machine import NestedMachine
from worldswitch.nested.memory import Memory
from worldswitch.nested.model import Nested
from worldswitch.nested.record import VMCB12, Journal, Ran, Wrote, control_of
from worldswitch.nested.trace import NestedTrace
from worldswitch.nested.vcpu import Vcpu
from worldswitch.program.layout import Layout

STOPS: Final = {
    END: "end", SHUTDOWN: "shutdown", INIT_RESET: "init-reset", HOST_BUG: "bug", IDLE: "idle", LIMIT: "limit",
}  # fmt: skip

STOP_TEXTS: Final = {
    "end": "L1's program returned",
    "shutdown": "the processor shut down",
    "init-reset": "INIT reset the processor",
    "bug": "L0's kernel stopped: BUG",
    "idle": "nothing left that could happen",
    "limit": "cut off: limit of steps or rounds",
    "no-entry": "L0's path did not enter the guest",
    "l1-assert": "an assertion of L1 failed",
    "l1-shutdown": "L1 met a triple fault",
    "l1-reset": "INIT reset L1",
    "vmcb01-invalid": "the processor refused vmcb01",
    "unhandled": "an exit that the model of L0 does not handle",
}
"""Why a nested run ended, by name."""


class NestedRun(Run):
    """The records of one nested run."""

    __slots__ = ("_starts", "journal", "kicks", "levels", "machine", "memory", "nested", "rounds", "stop_name", "vcpu")

    def __init__(self, machine: NestedMachine, vcpu: Vcpu, plan: NestedPlan, stop_name: str) -> None:
        super().__init__(machine)
        self.plan = plan
        self.nested: Nested = plan.nested
        self.machine = machine
        self.vcpu: Vcpu = vcpu
        self.memory: Memory = vcpu.memory
        self.journal: Journal = machine.journal
        self.kicks: list[int] = machine.kicks
        self.rounds: int = machine.path_round
        self.stop_name: str = stop_name
        ran = [item for item in self.journal.items if isinstance(item, Ran)]
        self._starts: list[int] = [item.entry.step for item in ran]
        self.levels: list[int] = [item.level for item in ran]

    def level_at(self, step: int) -> int:
        """The level of the guest that ran at this step or last before it; 1 before the first."""
        number = bisect_right(self._starts, step) - 1
        return self.levels[number] if number >= 0 else 1

    def layout(self, level: int) -> Layout:
        """The code of a level."""
        return self.plan.host if level == 0 else self.machine.layout(level)

    def place(self, level: int, rip: int) -> str:
        """A place with its level: ``L1.vmrun``, ``L2.guest+2``; of L0 without."""
        name = self.layout(level).where(rip)
        return f"L{level}.{name.removeprefix('guest.')}" if level else name

    def where(self, guest: bool, rip: int) -> str:
        """The place of a Code index of the guest that ran last, or of L0's path."""
        return self.place(self.machine.level if guest else 0, rip)


def run_nested(plan: NestedPlan, traced: bool = False) -> NestedRun:
    """Run a nested plan; with ``traced`` the timeline is recorded as well."""
    trace = NestedTrace() if traced else None
    machine = NestedMachine(plan, trace)
    nested = plan.nested
    apply_all(machine.cpu.vmcb, nested.settings, "l1")
    vcpu = Vcpu(machine, nested, Memory(nested, machine.worlds))
    machine.vcpu = vcpu
    _prepare_vmcb12(vcpu, machine.worlds[2])
    l0 = Kvm(vcpu)
    stop = ""
    while not stop:
        if machine.path_round >= nested.rounds:
            stop = "limit"
        elif not l0.before():
            stop = vcpu.dead or "idle"
        else:
            stop = _round(l0)
        if trace is not None:
            trace.software(machine)
    return NestedRun(machine, vcpu, plan, stop)


def _prepare_vmcb12(vcpu: Vcpu, world: World) -> None:
    vmcb12 = vcpu.vmcb12
    vmcb12.intercepts = DEFAULT_INTERCEPTS
    vmcb12.save.rip = world.code.start
    vmcb12.save.rflags = RFLAGS_FIXED | RFLAGS_IF
    apply_all(vmcb12, vcpu.nested.settings, "vmcb12", "l2")
    vcpu.record(Wrote(0, VMCB12, vmcb12.int_state, 1))


def _round(l0: Kvm) -> str:
    """One execution of the path and what L0 does after it; why the run is over, if it is."""
    vcpu, machine = l0.vcpu, l0.vcpu.machine
    cpu = machine.cpu
    entries, exits = cpu.recorder.entries, cpu.recorder.exits
    entered, left = len(entries), len(exits)
    level, place = vcpu.level, vcpu.place
    if isinstance(machine.trace, NestedTrace):
        machine.trace.software(machine)
    control = control_of(vcpu.vmcb)
    machine.execute_path(level, vcpu.vmcb)
    if len(entries) > entered:
        record = exits[-1] if len(exits) > left else None
        vcpu.record(Ran(cpu.step, place, level, entries[-1], record, control))
    if cpu.stop == END and cpu.guest:  # L1's program is over, or has stopped itself
        cpu.stop = IDLE
        return vcpu.dead or "end"
    if cpu.stop != END:
        return STOPS[cpu.stop]
    if len(exits) == left:
        return "no-entry"
    l0.after(exits[-1])
    return vcpu.dead
