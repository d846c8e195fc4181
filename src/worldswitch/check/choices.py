"""One choice, and the scenario that several of them make."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from worldswitch.check.space import HOST_PROGRAM
from worldswitch.core.bits import EXIT_VMMCALL, EXIT_VMRUN
from worldswitch.core.names import INTERCEPTS
from worldswitch.fuzzing.slots import intercept_vector
from worldswitch.program.instruction import meets_name
from worldswitch.scenario.fields import BY_NAME
from worldswitch.scenario.model import DEFAULT_GUEST, Arrival, GateSpec, Program, Scenario

FIELD: Final = "field"
INTERCEPT: Final = "intercept"
GATE: Final = "gate"
HANDLER: Final = "handler"
WORD: Final = "word"
EVENT: Final = "event"
ROUND: Final = "round"
REPLACE: Final = "replace"
INSERT: Final = "insert"

ALWAYS_INTERCEPTED: Final = (EXIT_VMRUN, EXIT_VMMCALL)
"""The default intercepts; they are no choice."""


class Choice(NamedTuple):
    """One thing that differs from the default.

    ==================  =============  ========================  ========================================
    kind                name           number                    value
    ==================  =============  ========================  ========================================
    field               of the choice  which alternative         what it sets, as pairs
    intercept                          exit code
    gate                               vector                    its ``GateSpec``
    handler                            vector                    its program
    word                               slot in the program       the instruction
    event               its kind       passage of the boundary   the ``Place``
    round                                                        what software does before it
    replace, insert                    slot in the host program  the instruction there, or before it
    ==================  =============  ========================  ========================================
    """

    kind: str
    name: str = ""
    number: int = 0
    value: Any = None

    def __str__(self) -> str:
        if self.kind == FIELD:
            return ", ".join(f"{name} = {_shown(name, value)}" for name, value in self.value)
        if self.kind == INTERCEPT:
            return f"{next(name for name, code in INTERCEPTS.items() if code == self.number)} intercepted"
        if self.kind == GATE:
            gate: GateSpec = self.value
            return f"gate 0x{self.number:02x} {'is a trap gate' if gate.trap else 'meets ' + meets_name(gate.outcome)}"
        if self.kind == HANDLER:
            return f"handler 0x{self.number:02x} is {', '.join(self.value)}"
        if self.kind == WORD:
            return f"guest instruction {self.number} is {self.value}"
        if self.kind == EVENT:
            passage = f", passage {self.number}" if self.number > 1 and self.value.landmark != "handler" else ""
            return f"{self.name} arrives at {self.value}{passage}"
        if self.kind == ROUND:
            return "another round" + (f" after {', '.join(self.value)}" if self.value else "")
        return f"host instruction {self.number} {'is' if self.kind == REPLACE else 'comes after'} {self.value}"

    @property
    def spelled(self) -> bool:
        """Whether a scenario file can say it: not a later passage of a boundary, nor one without a name."""
        if self.kind != EVENT:
            return True
        if self.value.landmark == "handler":
            return bool(self.value.vector >= 0)
        return self.number == 1


Choices = tuple[Choice, ...]


class Cost(NamedTuple):
    """The order of size without its last part: see ``fuzzing.minimize.size``."""

    instructions: int  # events and instructions beyond the path itself
    fields: int  # fields that differ from their defaults


def _shown(name: str, value: Any) -> str:
    shown = BY_NAME[name].kind.show(value)
    if isinstance(shown, bool):
        return str(shown).lower()
    return ", ".join(shown) if isinstance(shown, list) else hex(shown) if name == "cpu.rax" else str(shown)


def scenario_of(choices: Iterable[Choice], path: str) -> Scenario:
    """The scenario on ``path`` that differs from the plain one in ``choices``; with "" on a free host program."""
    settings: dict[str, Any] = {}
    codes: list[int] = []
    idt: dict[int, GateSpec] = {}
    handlers: dict[int, tuple[str, ...]] = {}
    program = DEFAULT_GUEST
    host = HOST_PROGRAM if not path else ()
    events: list[Arrival] = []
    rounds: int = 1
    between: tuple[str, ...] = ()
    for kind, name, number, value in choices:
        if kind == FIELD:
            settings.update(value)
        elif kind == INTERCEPT:
            codes.append(number)
        elif kind == GATE:
            idt[number] = value
        elif kind == HANDLER:
            handlers[number] = value
        elif kind == WORD:
            program = (*program[:number], value)
        elif kind == EVENT:
            events.append(Arrival(name, value))
        elif kind == ROUND:
            rounds, between = rounds + 1, value
        else:
            host = (*host[:number], value, *host[number + (kind == REPLACE) :])
    if codes:
        settings["vmcb.intercepts"] = intercept_vector((*ALWAYS_INTERCEPTED, *codes))
    return Scenario(
        path=path, settings=settings, host=Program(host), rounds=rounds, between=between,
        guest=Program(program, idt, handlers), events=tuple(events),
    )  # fmt: skip


def chosen_slots(choices: Iterable[Choice]) -> frozenset[int]:
    """The slots of a free host program that hold a chosen instruction."""
    slots: set[int] = set()
    for kind, _, number, _ in choices:
        if kind == INSERT:
            slots = {slot + (slot >= number) for slot in slots} | {number}
        elif kind == REPLACE:
            slots.add(number)
    return frozenset(slots)


def cost_of(scenario: Scenario) -> Cost:
    """The first two parts of the order of size."""
    instructions = (scenario.rounds - 1) * (1 + len(scenario.between)) + len(scenario.events)
    instructions += _program_cost(scenario.guest.program) + len(scenario.host.program)
    instructions += sum(len(body) for body in scenario.guest.handlers.values())
    fields = len(scenario.guest.idt)
    for name, value in scenario.settings.items():
        fields += sum(value) if name == "vmcb.intercepts" else 1
    return Cost(instructions, fields)


def _program_cost(program: tuple[str, ...]) -> int:
    return 0 if program == DEFAULT_GUEST else len(program)


def cost_after(cost: Cost, scenario: Scenario, choice: Choice) -> Cost:
    """``cost_of`` the scenario, whose own is ``cost``, with one choice more."""
    instructions, fields = cost
    kind, _, number, value = choice
    if kind == FIELD:
        return Cost(instructions, fields + len(value))
    if kind == INTERCEPT:
        first = "vmcb.intercepts" not in scenario.settings  # the whole list counts, once one differs
        return Cost(instructions, fields + 1 + (len(ALWAYS_INTERCEPTED) if first else 0))
    if kind == GATE:
        return Cost(instructions, fields + 1)
    if kind == HANDLER:
        return Cost(instructions + len(value), fields)
    if kind == WORD:
        program = scenario.guest.program
        more = _program_cost((*program[:number], value)) - _program_cost(program)
        return Cost(instructions + more, fields)
    if kind == ROUND:
        return Cost(instructions + 1 + len(value), fields)
    return Cost(instructions + (kind != REPLACE), fields)
