"""Reachable states and transitions in a form that runs of any scenario can be mapped to.

An exploration sees all of them within its bound: the truth against which a fuzzer is measured. Of a boundary it keeps
what the world switch is about, and not which program or configuration led there:

- in the host: the place on the path, IF, TF, GIF, the shadow, the NMI mask, lockdep, the context, what is pending;
- in the guest: whether a handler runs, IF, TF, GIF, the shadow, the NMI mask, HIF, V_INTR_MASKING, the virtual latches
  and masks, whether it is halted, what is pending.

A transition is a state, what the step from it did (a #VMEXIT with its code, a handler entered, or neither), and the
next state, or how the run ended.
"""

from typing import Final

from worldswitch.core.bits import RFLAGS_IF, RFLAGS_TF
from worldswitch.core.state import RUNNING
from worldswitch.machine.compile import Plan
from worldswitch.machine.machine import Machine
from worldswitch.machine.trace import Trace
from worldswitch.program.layout import Layout

State = tuple[int | str, ...]
Transition = tuple[State, tuple[int, ...], State]

SINGLE_STEPPING: Final = 2
"""The bit of a state's flags that is RFLAGS.TF."""

_HOST: Final = "host"
_GUEST: Final = "guest"
_ENDS: Final = "end"


class Seen(Trace):
    """Collects the states and transitions of all machines that it follows, one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.states: set[State] = set()
        self.transitions: set[Transition] = set()
        self._last: State | None = None
        self._counts: tuple[int, ...] = (0, 0)
        self._places: dict[int, tuple[Layout, list[str]]] = {}  # by identity of the layout, which it holds on to

    def before(self, machine: Machine) -> None:
        """A boundary."""
        state = self._state(machine)
        self.states.add(state)
        recorder = machine.cpu.recorder
        if machine.cpu.step == 1:
            self._last = None
        if self._last is not None:
            self.transitions.add((self._last, self._did, state))
        self._last = state
        self._counts = (len(recorder.exits), len(recorder.handlers))

    def after(self, machine: Machine) -> None:
        """What the step did."""
        recorder = machine.cpu.recorder
        exits, handlers = self._counts
        if len(recorder.exits) > exits:
            self._did = (1, recorder.exits[-1].code)
        elif len(recorder.handlers) > handlers:
            handler = recorder.handlers[-1]
            self._did = (2, handler.world, handler.kind)
        else:
            self._did = ()
        if machine.cpu.stop != RUNNING and self._last is not None:
            self.transitions.add((self._last, self._did, (_ENDS, machine.cpu.stop)))

    _did: tuple[int, ...] = ()

    def _state(self, machine: Machine) -> State:
        cpu, regs = machine.cpu, machine.cpu.regs
        pending = bool(cpu.irr) | cpu.pend_nmi << 1 | bool(cpu.pend_smi) << 2 | cpu.pend_init << 3 | cpu.pend_mce << 4
        flags = (
            bool(regs.rflags & RFLAGS_IF) | bool(regs.rflags & RFLAGS_TF) << 1 | cpu.gif << 2 | bool(cpu.shadow) << 3
            | cpu.nmi_masked << 4 | bool(cpu.debug_trap) << 5 | cpu.halted << 6
        )  # fmt: skip
        if not cpu.guest:
            kernel = machine.kernel
            flags |= kernel.hardirqs_enabled << 7 | bool(kernel.context) << 8 | kernel.debug_locks << 9
            return (_HOST, self._place(machine.plan, regs.rip), flags, pending)
        vmcb = cpu.vmcb
        flags |= (
            cpu.hif << 7 | vmcb.v_intr_masking << 8 | vmcb.v_irq << 9 | vmcb.v_nmi << 10 | vmcb.v_nmi_mask << 11
            | vmcb.v_nmi_enable << 12 | vmcb.vgif << 13 | vmcb.vgif_enable << 14 | bool(cpu.guest_world.frames) << 15
        )  # fmt: skip
        return (_GUEST, flags, pending)

    def _place(self, plan: Plan, rip: int) -> str:
        """The place on the path, the same in every round."""
        layout = plan.host
        known = self._places.get(id(layout))
        if known is None:
            if len(self._places) > 256:
                self._places.clear()
            names = [layout.where(index) for index in range(len(layout.code.ops))]
            known = self._places[id(layout)] = (layout, [_every_round(name) for name in names])
        return known[1][rip]


def _every_round(name: str) -> str:
    landmark, at, rest = name.partition("@")
    if not at:
        return name
    _, plus, offset = rest.partition("+")
    return f"{landmark}{plus}{offset}"
