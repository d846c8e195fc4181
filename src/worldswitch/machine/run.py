"""The finished run, as oracles and reports read it."""

from functools import lru_cache

from worldswitch.core.record import Recorder
from worldswitch.core.state import Cpu
from worldswitch.kernel.state import Kernel
from worldswitch.machine.compile import Plan
from worldswitch.machine.machine import Machine
from worldswitch.machine.stretch import Stretch, Stretches
from worldswitch.machine.trace import Trace


class Run:
    """The records of one run of one plan. Oracles read it and change nothing."""

    __slots__ = ("arrived", "cpu", "kernel", "plan", "recorder", "seen", "start_seen", "trace")

    def __init__(self, machine: Machine) -> None:
        self.plan: Plan = machine.plan
        self.cpu: Cpu = machine.cpu
        self.kernel: Kernel = machine.kernel
        self.recorder: Recorder = machine.cpu.recorder
        self.seen: frozenset[int] = _boundaries(tuple(machine.passed), tuple(machine.replayed))
        self.start_seen: int = machine.start_seen
        self.arrived: dict[int, int] = machine.arrived
        self.trace: Trace | None = machine.trace

    @property
    def unreached(self) -> list[int]:
        """Indices of the scenario's events that never arrived."""
        return [number for number in range(len(self.plan.scenario.events)) if number not in self.arrived]

    def where(self, guest: bool, rip: int) -> str:
        """The place of a Code index: ``vmrun-1`` style in the host, ``guest+2`` in the guest."""
        return (self.plan.guest if guest else self.plan.host).where(rip)


@lru_cache(maxsize=4096)
def _boundaries(passed: tuple[int, ...], replayed: tuple[Stretch, ...]) -> frozenset[int]:
    """Every host boundary that was passed, with its state; remembered, for making the set is slow."""
    return _shared(frozenset(passed).union(*(stretch.seen for stretch in replayed)))


@lru_cache(maxsize=4096)
def _shared(seen: frozenset[int]) -> frozenset[int]:
    """Of equal sets one: a campaign passes the same few hundred again and again, and oracles remember them by it."""
    return seen


def run_plan(plan: Plan, traced: bool = False, stretches: Stretches | None = None) -> Run:
    """Run a plan; with ``traced`` the timeline is recorded as well, with ``stretches`` known host code is skipped."""
    if plan.scenario.nested is not None:
        from worldswitch.nested.compile import NestedPlan
        from worldswitch.nested.run import run_nested

        assert isinstance(plan, NestedPlan)
        return run_nested(plan, traced)
    machine = Machine(plan, Trace() if traced else None, stretches)
    machine.run()
    return Run(machine)
