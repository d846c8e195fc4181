"""One run of a scenario in which whatever the scenario leaves open is asked for when the machine first needs it.

The run itself is the machine's own, from the first step to the last, with everything open at its default. What it asks
for on the way are the points at which another scenario may differ, in the order in which the machine comes to them.
Events are offered at boundaries:

- in the guest, and in the host with GIF=1, at each;
- not with GIF=0, and no INTR that is masked: such an event stays in its latch, which no instruction reads, until the
  first boundary that may recognise it, and arriving there is the same (S3-10..S3-14, S3-23, S5-03). Where an option
  says that a #MC with GIF=0 shuts the processor down (S3-15), it is offered at each;
- not if its latch is set: one more changes nothing (S1-11);
- of every kind at the last boundary of the run, for events that are never recognised.
"""

from collections.abc import Callable
from copy import copy
from typing import NamedTuple

from worldswitch.check.choices import (
    ALWAYS_INTERCEPTED,
    EVENT,
    FIELD,
    GATE,
    HANDLER,
    INSERT,
    INTERCEPT,
    REPLACE,
    ROUND,
    WORD,
    Choice,
)
from worldswitch.check.opened import Intercepts, Slot, Vectors, owner_of
from worldswitch.check.passages import PassageMachine
from worldswitch.check.space import PENDING, Space
from worldswitch.check.values import Open, is_open, settled
from worldswitch.core.bits import RFLAGS_IF
from worldswitch.core.isa import OP_END, OP_VMRUN
from worldswitch.core.state import END
from worldswitch.machine.compile import Plan
from worldswitch.machine.machine import Machine
from worldswitch.machine.trace import Trace
from worldswitch.scenario.model import DEFAULT_INTR_VECTOR
from worldswitch.scenario.places import Place, parse_place


class Point(NamedTuple):
    """A point of a run at which another scenario may differ, and how.

    ``stays`` where a scenario that made the choice comes by the point as well: a boundary at which an event arrives.
    What has been chosen is not asked for again.
    """

    choices: tuple[Choice, ...]
    stays: bool


class Chosen(NamedTuple):
    """What a scenario has chosen already, as far as watching must know: slots of the programs."""

    guest_words: int  # of the guest's program, from its start
    host_slots: frozenset[int]


class Merged(Exception):  # noqa: N818 - no error: the rest of the run is known
    """The run came to a state from which everything has been explored."""


class _Watched(PassageMachine):
    __slots__ = ()

    def boundary_state(self) -> int:
        """The state without kvm_rebooting, which is no reason to ask for it."""
        kernel = self.kernel
        rebooting, kernel.rebooting = kernel.rebooting, False
        state = super().boundary_state()
        kernel.rebooting = rebooting
        return state


class Watch(Trace):
    """Runs a plan and collects the points beyond the ``start`` first ones.

    ``visit`` is called at each boundary beyond these at which something may be chosen; it may raise :class:`Merged`.
    """

    def __init__(
        self,
        space: Space,
        plan: Plan,
        events: tuple[Choice, ...],
        slots: list[Slot],
        chosen: Chosen,
        start: int,
        visit: Callable[["Watch"], None],
    ) -> None:
        super().__init__()
        self.space: Space = space
        self.start: int = start
        self.asked: set[str] = set()
        self.merged: bool = False
        self._points: list[Point] = []
        self._visit: Callable[[Watch], None] = visit
        self._chosen: Chosen = chosen
        self._passages: dict[int, int] = {}  # of host boundaries
        self._host_rip: int = 0  # of the last boundary in the host
        self._guest_passages: dict[tuple[int, int], int] = {}  # by VMRUN and instructions completed since
        self._guest_place: tuple[int, int] = (0, 0)  # of the last boundary in the guest
        self._held: tuple[str, ...] = ()  # kinds that at the last boundary could only be latched
        self.machine: Machine = _Watched(plan, events, self)
        self._open(slots)

    def run(self) -> list[Point]:
        """Run; returns the points beyond ``start``."""
        if PENDING in self.space.fields and PENDING not in self.machine.plan.scenario.settings:
            self._ask(PENDING)
        try:
            self.machine.run()
        except Merged:
            self.merged = True
        else:
            self._end()
        return self._points[self.start :]

    def _open(self, slots: list[Slot]) -> None:
        machine, space = self.machine, self.space
        for slot in slots:
            value = Open(slot.names, slot.table, slot.widths, self._ask)
            setattr(owner_of(machine, slot.owner), slot.attribute, value)
        vmcb, world = machine.cpu.vmcb, machine.cpu.guest_world
        if space.intercepts:
            vmcb.intercepts = Intercepts(vmcb.intercepts, self._ask_intercept)  # type: ignore[assignment]
        if space.gates:
            world.idt = Vectors(world.idt, self._ask_gate)
        if space.bodies:
            world.code = copy(world.code)
            world.code.handlers = Vectors(world.code.handlers, self._ask_handler)

    def _point(self, name: str, choices: Callable[[], list[Choice]]) -> None:
        """Something is asked for, the first time."""
        if name not in self.asked:
            self.asked.add(name)
            self._points.append(Point(tuple(choices()) if len(self._points) >= self.start else (), False))

    def _ask(self, name: str) -> None:
        alternatives = self.space.fields[name]
        self._point(
            name,
            lambda: [Choice(FIELD, name, n, tuple(settings.items())) for n, settings in enumerate(alternatives, 1)],
        )

    def _ask_intercept(self, code: int) -> None:
        if code not in ALWAYS_INTERCEPTED:
            self._point(f"intercept {code}", lambda: [Choice(INTERCEPT, "", code)])

    def _ask_gate(self, vector: int) -> None:
        self._point(f"gate {vector}", lambda: [Choice(GATE, "", vector, gate) for gate in self.space.gates])

    def _ask_handler(self, vector: int) -> None:
        self._point(f"handler {vector}", lambda: [Choice(HANDLER, "", vector, body) for body in self.space.bodies])

    def _ask_guest_word(self, slot: int) -> None:
        program = self.machine.plan.scenario.guest.program
        default = program[slot] if slot < len(program) else "spin"  # off its end a program spins
        words = self.space.words
        self._point(f"guest {slot}", lambda: [Choice(WORD, "", slot, word) for word in words if word != default])

    def _ask_host_word(self, slot: int) -> None:
        default, words = self.machine.plan.scenario.host.program[slot], self.space.host_words
        self._point(
            f"host {slot}",
            lambda: [
                Choice(kind, "", slot, word)
                for kind in (REPLACE, INSERT)
                for word in words
                if word != default or kind == INSERT
            ],
        )

    def before(self, machine: Machine) -> None:
        """A boundary, with the step's arrivals latched."""
        cpu, space, plan = machine.cpu, self.space, machine.plan
        kinds = self._not_latched(space.events)
        rip = cpu.regs.rip
        if cpu.guest:
            index = int(settled(rip))
            if space.words and self._chosen.guest_words < index <= plan.guest.end:
                self._ask_guest_word(index - 1)
            self._pass_in_guest()
            self._boundary(kinds, "intr" if self._intr_masked_for_good() else "")
            return
        self._host_rip = rip
        self._passages[rip] = self._passages.get(rip, 0) + 1
        if space.host_words and rip < plan.host.end and rip - 1 not in self._chosen.host_slots:
            self._ask_host_word(rip - 1)
        if cpu.gif:
            self._boundary(kinds, "" if settled(cpu.regs.rflags) & RFLAGS_IF else "intr")
        elif cpu.options.mce_gif0_shutdown:
            self._boundary(kinds, "intr nmi smi init")
        elif plan.host.code.ops[rip] in (OP_VMRUN, OP_END):
            self._boundary(kinds, "intr nmi smi init mce")
        else:
            self._held = kinds

    def after(self, machine: Machine) -> None:
        """Nothing is left to do."""

    def _not_latched(self, kinds: tuple[str, ...]) -> tuple[str, ...]:
        cpu = self.machine.cpu
        if not (cpu.irr or cpu.pend_nmi or cpu.pend_smi or cpu.pend_init or cpu.pend_mce):
            return kinds
        latched = {
            "intr": DEFAULT_INTR_VECTOR in cpu.irr, "nmi": cpu.pend_nmi, "smi": cpu.pend_smi, "init": cpu.pend_init,
            "mce": cpu.pend_mce,
        }  # fmt: skip
        return tuple([kind for kind in kinds if not latched[kind]])

    def _intr_masked_for_good(self) -> bool:
        """Whether INTR is masked for as long as this guest runs (S5-03)."""
        cpu = self.machine.cpu
        masking = cpu.vmcb.v_intr_masking
        return not (cpu.hif or cpu.options.physical_intr_gate_bochs or is_open(masking) or not masking)

    def _boundary(self, kinds: tuple[str, ...], held: str) -> None:
        """One at which something may be chosen: events of ``kinds``; of those ``held`` it would only set the latch."""
        nesting = self.space.nesting
        if nesting is not None and len(self.machine.cpu.world().frames) > nesting:
            kinds = ()
        number = len(self._points)
        self._points.append(Point((), True))
        self._held = tuple([kind for kind in kinds if kind in held])
        if number >= self.start:
            self._visit(self)
            taken = tuple([kind for kind in kinds if kind not in held])
            self._points[number] = Point(self._events(taken), True)

    def _events(self, kinds: tuple[str, ...]) -> tuple[Choice, ...]:
        """The arrivals of these kinds at this boundary; after the run, at the last one."""
        if not kinds:
            return ()
        if self.machine.cpu.guest:
            place = Place("guest", -1, *self._guest_place)
            passage = self._guest_passages[self._guest_place]
        else:
            passage = self._passages[self._host_rip]
            place = self._host_place()
            if place.landmark == "handler":
                place = place._replace(round=passage)
        return tuple([Choice(EVENT, kind, passage, place) for kind in kinds])

    def _host_place(self) -> Place:
        """The name of the last boundary in the host."""
        layout = self.machine.plan.host
        name, plus, offset = layout.where(self._host_rip).partition("+")
        if name == "handler":
            return Place(name, offset=int(offset or 0))
        return parse_place(name + plus + offset)

    def _pass_in_guest(self) -> None:
        entry = self.machine.cpu.recorder.entries[-1]
        self._guest_place = (entry.number, entry.retired)
        self._guest_passages[self._guest_place] = self._guest_passages.get(self._guest_place, 0) + 1

    def _end(self) -> None:
        """What may follow the path's end, and what may have arrived last of all."""
        cpu, space = self.machine.cpu, self.space
        if cpu.guest:
            self._pass_in_guest()  # where a run that waits for an event would go on
        scenario = self.machine.plan.scenario
        if cpu.stop == END and scenario.rounds < space.rounds and cpu.recorder.entries:
            between = space.between if scenario.rounds == 1 else (scenario.between,)
            self._points.append(Point(tuple(Choice(ROUND, "", 0, before) for before in between), False))
        self._points.append(Point(self._events(self._held) if len(self._points) >= self.start else (), False))
