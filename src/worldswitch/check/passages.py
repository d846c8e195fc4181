"""A machine for events whose place has no name of its own."""

from worldswitch.check.choices import Choices
from worldswitch.machine.compile import Plan
from worldswitch.machine.machine import Machine
from worldswitch.machine.stretch import Stretches
from worldswitch.machine.trace import Trace
from worldswitch.scenario.places import Place, resolve


class PassageMachine(Machine):
    """A machine in which an event may also arrive at a later passage of a boundary that has one name.

    The boundary at the entry of a guest's handler has the name of the one before delivery, since places count completed
    instructions; and where a handler returns to, the host passes a boundary again. Scenario files cannot say which, nor
    can they name the one default handler of a host that is not Linux.
    """

    __slots__ = ("_in_guest", "_passed")

    def __init__(
        self, plan: Plan, events: Choices, trace: Trace | None = None, stretches: Stretches | None = None
    ) -> None:
        self._in_guest: dict[tuple[int, int], list[tuple[int, int]]] = {}  # place to passage and number of the event
        self._passed: dict[tuple[int, int], int] = {}
        for number, event in enumerate(events):
            place: Place = event.value
            if place.landmark == "guest":
                self._in_guest.setdefault((place.round, place.offset), []).append((event.number, number))
            elif place.landmark == "handler" and place.vector < 0:
                index = plan.host.code.default_handler + place.offset
                plan.host_arrivals[index] = (*plan.host_arrivals.get(index, ()), (event.number, number))
            elif place.landmark != "handler":
                index = resolve(place, plan.host)
                plan.host_arrivals[index] = tuple(
                    (event.number if other == number else passage, other)
                    for passage, other in plan.host_arrivals[index]
                )
        super().__init__(plan, trace, stretches)

    def _arrive_in_guest(self) -> None:
        entry = self.cpu.recorder.entries[-1]
        here = (entry.number, entry.retired)
        passage = self._passed[here] = self._passed.get(here, 0) + 1
        for wanted, number in self._in_guest.get(here, ()):
            if wanted == passage:
                self._arrive(number)
