"""The processor's run loop under a nested plan: one execution of L0's path at a time, events on every level."""

from typing import TYPE_CHECKING, Final

from worldswitch.core.boundary import SMI_EXTERNAL, SMI_INTERNAL
from worldswitch.core.state import RUNNING, Vmcb, World
from worldswitch.machine.compile import Plan
from worldswitch.machine.machine import Machine
from worldswitch.machine.trace import Trace
from worldswitch.nested.record import Journal
from worldswitch.program.layout import Layout

if TYPE_CHECKING:
    from worldswitch.nested.compile import NestedPlan
    from worldswitch.nested.vcpu import Vcpu

ROUND_STEPS: Final = 600
"""Steps of one execution of the path, guest included, after which the run is cut off."""


class NestedMachine(Machine):
    """One processor under L0, whose guest is L1 or L2."""

    __slots__ = (
        "_plans",
        "completed",
        "journal",
        "kicks",
        "level",
        "loaded_int_state",
        "path_round",
        "stretch",
        "vcpu",
        "worlds",
    )

    def __init__(self, plan: "NestedPlan", trace: Trace | None = None) -> None:
        super().__init__(plan, trace)
        self.journal: Journal = Journal()
        self.kicks: list[int] = []  # steps at which L0 sent its own CPU an interrupt
        self.loaded_int_state: int = 0  # of vmcb12 at L1's last VMRUN
        self.level: int = 1
        self.path_round: int = 0  # executions of the path so far
        self.stretch: dict[int, int] = {1: 1, 2: 0}  # how often each level was entered from the other
        self.completed: dict[int, int] = {1: 0, 2: 0}  # instructions of each level in its present stretch
        self._plans: dict[int, Plan] = {1: plan, 2: plan.second}
        second = World(plan.second.guest.code)
        second.idt = dict(plan.second.guest_idt)
        self.worlds: dict[int, World] = {1: self.cpu.guest_world, 2: second}
        self.vcpu: Vcpu | None = None

    def layout(self, level: int) -> Layout:
        """The code of L1 or L2."""
        return self._plans[level].guest

    def level_entered(self, level: int) -> None:
        """L1 or L2 starts or goes on where the other left off."""
        self.stretch[level] += 1
        self.completed[level] = 0

    def execute_path(self, level: int, vmcb: Vmcb) -> None:
        """Execute L0's entry path once, with this VMCB for VMRUN; the guest is that level."""
        cpu = self.cpu
        self.level = level
        self.plan = self._plans[level]
        self.path_round += 1
        cpu.guest_world = self.worlds[level]
        cpu.vmcb = vmcb
        cpu.regs.rip = self.plan.host.code.start
        cpu.stop = RUNNING
        self.idle = 0
        self.step_limit = cpu.step + ROUND_STEPS
        entries = len(cpu.recorder.entries)
        self.run()
        if len(cpu.recorder.entries) > entries:
            self.completed[level] += cpu.recorder.entries[-1].retired

    def _arrive(self, number: int) -> None:
        event = self.plan.scenario.events[number]
        if number in self.arrived:
            return
        self.arrived[number] = self.cpu.step
        if event.level:
            from worldswitch.nested.arrivals import arrive

            assert self.vcpu is not None
            arrive(self.vcpu, event)
        else:
            self.latch(event.kind, event.vector, SMI_INTERNAL if event.origin == "internal" else SMI_EXTERNAL)

    def _arrive_in_host(self) -> None:
        rip = self.cpu.regs.rip
        visit = self.visits[rip] = self.visits.get(rip, 0) + 1
        events = self.plan.scenario.events
        for wanted, number in self.plan.host_arrivals[rip]:
            if wanted == (visit if events[number].at.landmark == "handler" else self.path_round):
                self._arrive(number)

    def _arrive_in_guest(self) -> None:
        entry = self.cpu.recorder.entries[-1]
        key = (self.stretch[self.level], self.completed[self.level] + entry.retired)
        for number in self.plan.guest_arrivals.get(key, ()):
            self._arrive(number)
        if self.level == 1:
            for number in self.plan.guest_arrivals.get((-1, self.cpu.regs.rip), ()):
                self._arrive(number)

    def _awaits_arrival(self) -> bool:
        if not self.cpu.guest:
            return False
        now = self.completed[self.level] + self.cpu.recorder.entries[-1].retired
        stretch = self.stretch[self.level]
        return any(number == stretch and after >= now for number, after in self.plan.guest_arrivals)

    def _entered(self, number: int) -> None:
        if self.cpu.recorder.handlers[number].guest:  # each round has the host's handlers once more
            super()._entered(number)
