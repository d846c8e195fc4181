"""The steps of a run of the model, as far as placing events on a real processor needs them."""

from typing import TYPE_CHECKING, NamedTuple

from worldswitch.core.bits import EFER_SVME, EXIT_INTR, EXIT_VINTR, RFLAGS_IF, RFLAGS_TF
from worldswitch.core.boundary import virtual_intr_is_due
from worldswitch.core.record import KIND_EXCEPTION, KIND_INTR, KIND_VNMI, WORLD_GUEST
from worldswitch.core.state import Cpu
from worldswitch.machine.machine import Machine
from worldswitch.machine.run import Run
from worldswitch.machine.trace import Trace

if TYPE_CHECKING:
    from worldswitch.machine.compile import Plan


class Step(NamedTuple):
    """The boundary before a step, and what became of it."""

    guest: bool
    rip: int  # Code index
    shadow: int
    tf: bool
    interrupts: bool  # RFLAGS.IF
    gif: bool
    nmi_masked: bool
    halted: bool
    hif: bool
    v_intr_masking: bool
    frames: int
    svme: bool
    repeating: bool  # within a REP instruction
    pending: bool  # something besides the arrivals is pending
    recognised: bool  # an event was taken: the instruction did not run
    retired: bool  # the instruction ran, and what interrupts or resumes later finds RIP behind it
    arrivals: tuple[int, ...]  # events of the scenario that arrive at this boundary


def _latched(cpu: Cpu) -> int:
    """How many events wait, virtual ones included."""
    physical = len(cpu.irr) + sum(map(bool, (cpu.pend_nmi, cpu.pend_smi, cpu.pend_init, cpu.pend_mce)))
    return physical + cpu.vmcb.v_irq + (cpu.vmcb.v_nmi and cpu.vmcb.v_nmi_enable)


class _Collector(Trace):
    """Collects steps in place of timeline rows."""

    __slots__ = ("_before", "_left", "_virtual", "steps")

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self._before = (0, 0, 0)
        self._virtual = False  # a virtual interrupt is due, whose delivery may exit or fault and leave V_IRQ set
        self._left = 0  # events still latched after the last step

    def start(self, cpu: Cpu) -> None:
        """What is pending before the first step."""
        self._left = _latched(cpu)

    def before(self, machine: Machine) -> None:
        cpu = machine.cpu
        arrivals = tuple(number for number, step in machine.arrived.items() if step == cpu.step)
        latched = _latched(cpu)
        rflags = cpu.regs.rflags
        self.steps.append(
            Step(
                guest=cpu.guest,
                rip=cpu.regs.rip,
                shadow=cpu.shadow,
                tf=bool(rflags & RFLAGS_TF),
                interrupts=bool(rflags & RFLAGS_IF),
                gif=cpu.gif,
                nmi_masked=cpu.nmi_masked,
                halted=cpu.halted,
                hif=cpu.hif,
                v_intr_masking=cpu.vmcb.v_intr_masking,
                frames=len(cpu.world().frames),
                svme=bool(cpu.regs.efer & EFER_SVME),
                repeating=cpu.world().rep_left > 0,
                pending=self._left > 0,
                recognised=False,
                retired=False,
                arrivals=arrivals,
            )
        )
        self._before = (len(cpu.recorder.handlers), len(cpu.recorder.exits), latched)
        self._virtual = cpu.guest and cpu.vmcb.v_irq and virtual_intr_is_due(cpu)

    def after(self, machine: Machine) -> None:
        step = self.steps[-1]
        self._left = _latched(machine.cpu)
        recorder, cpu = machine.cpu.recorder, machine.cpu
        handlers, exits, latched = self._before
        taken = any(KIND_INTR <= handler.kind <= KIND_VNMI for handler in recorder.handlers[handlers:])
        left = any(EXIT_INTR <= record.code <= EXIT_VINTR for record in recorder.exits[exits:])
        if taken or left or self._virtual or _latched(cpu) < latched:
            self.steps[-1] = step._replace(recognised=True)
            return
        faulted = any(
            handler.kind == KIND_EXCEPTION and (handler.world == WORLD_GUEST) == step.guest
            for handler in recorder.handlers[handlers:]
        )
        self.steps[-1] = step._replace(retired=not faulted and (not step.guest or len(recorder.exits) == exits))


def bypasses(steps: list[Step], at: int) -> bool:
    """Whether control comes to a step's own instruction without passing code inserted before it.

    That is so where the same instruction faulted or exited before: what returns to it knows its own address.
    """
    step = steps[at]
    if step.repeating:
        return True
    for earlier in range(at - 1, -1, -1):
        other = steps[earlier]
        if (other.guest, other.rip) == (step.guest, step.rip) and not other.recognised and not other.halted:
            return not other.retired
    return False


def run_steps(plan: "Plan") -> tuple[Run, list[Step]]:
    """Run a plan in the model; the run, and its steps."""
    collector = _Collector()
    machine = Machine(plan, collector)
    collector.start(machine.cpu)
    machine.run()
    return Run(machine), collector.steps
