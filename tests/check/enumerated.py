"""Every scenario of a space by brute force: all sets of choices, whatever the machine asks for, nothing merged."""

from itertools import combinations

from worldswitch.check.choices import (
    EVENT,
    FIELD,
    GATE,
    HANDLER,
    INTERCEPT,
    ROUND,
    WORD,
    Choice,
    Cost,
    cost_of,
    scenario_of,
)
from worldswitch.check.explore import Explorer
from worldswitch.check.reached import Reached
from worldswitch.check.space import Space
from worldswitch.check.truth import Seen, State
from worldswitch.core.names import INTERCEPTS
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.machine import Machine
from worldswitch.machine.run import Run
from worldswitch.oracles.judge import judge
from worldswitch.paths.model import EntryPath
from worldswitch.scenario.places import Place, parse_place

CODES = ("exception:db", "exception:ud", "exception:df", "exception:gp", "exception:pf", "exception:mc", "intr", "nmi", "smi",
         "init", "vintr", "iret", "swint", "hlt", "shutdown")  # fmt: skip
VECTORS = (0, 1, 2, 3, 6, 8, 0xD, 0xE, 0x12, 0x20, 0x80)
GUEST_PLACES = 6


class Seeing:
    """What a set of scenarios shows: transitions, what was reached, signatures with the least cost of each."""

    def __init__(self, seen: Seen, reached: Reached, found: dict[str, Cost], runs: int) -> None:
        self.transitions = {(_plain(a), did, _plain(b)) for a, did, b in seen.transitions}
        self.exits, self.contexts, self.outcomes = reached.exits, reached.contexts, reached.outcomes
        self.found, self.runs = found, runs


def explored(space: Space, path: EntryPath, merge: bool = True) -> Seeing:
    """What the search shows."""
    seen = Seen()
    outcome = Explorer(space, path, trace=seen, merge=merge).run()
    found = {signature: example.cost for signature, example in outcome.found.items()}
    return Seeing(seen, outcome.reached, found, outcome.progress.runs)


def enumerated(space: Space, path: EntryPath) -> Seeing:
    """What all sets of at most ``space.depth`` choices show."""
    seen, reached, found, runs = Seen(), Reached(), dict[str, Cost](), 0
    choices = alphabet(space, path)
    assert space.depth is not None
    for size in range(space.depth + 1):
        for combination in combinations(choices, size):
            if _clash(combination):
                continue
            scenario = scenario_of(combination, path.name)
            machine = Machine(compile_scenario(scenario, path), seen)
            machine.run()
            verdict = judge(Run(machine))
            reached.note(Run(machine), verdict)
            runs += 1
            for finding in verdict.findings:
                cost = cost_of(scenario)
                found[finding.signature] = min(cost, found.get(finding.signature, cost))
    return Seeing(seen, reached, found, runs)


def alphabet(space: Space, path: EntryPath) -> list[Choice]:
    """Every choice that there can be in one round, asked for or not."""
    choices = [
        Choice(FIELD, name, number, tuple(settings.items()))
        for name, alternatives in space.fields.items()
        for number, settings in enumerate(alternatives, 1)
    ]
    if space.intercepts:
        choices += [Choice(INTERCEPT, "", INTERCEPTS[name]) for name in CODES]
    for vector in VECTORS:
        choices += [Choice(GATE, "", vector, gate) for gate in space.gates]
        choices += [Choice(HANDLER, "", vector, body) for body in space.bodies]
    choices += [Choice(WORD, "", 0, word) for word in space.words if word != "nop"]
    choices += [Choice(WORD, "", 1, word) for word in space.words if word != "vmmcall"]
    layout = compile_scenario(scenario_of((), path.name), path).host
    host = [parse_place(layout.where(index)) for index in range(layout.code.start, layout.end + 1)]
    guest = [Place("guest", offset=number) for number in range(GUEST_PLACES)]
    choices += [Choice(EVENT, kind, 1, place) for kind in space.events for place in (*host, *guest)]
    if space.rounds > 1:
        choices += [Choice(ROUND, "", 0, before) for before in space.between]
    return choices


def _clash(choices: tuple[Choice, ...]) -> bool:
    """Whether two of them choose the same thing."""
    things = [(choice.kind, choice.name, choice.number) for choice in choices if choice.kind not in (EVENT, ROUND)]
    rounds = sum(choice.kind == ROUND for choice in choices)
    words = sorted(choice.number for choice in choices if choice.kind == WORD)
    return len(set(things)) < len(things) or rounds > 1 or (words == [0, 1] and choices[-1].number == 0)


# Of a state, the flags that are the machine's own doing. A choice that nothing asked for shows in the others, and may
# show in RFLAGS too; where an event that is held is latched makes no difference, so pending events are left out.
HOST_FLAGS = 0b11_1111_1101
GUEST_FLAGS = 1 << 15 | 0b111_1100


def _plain(state: State) -> State:
    if state[0] == "host":
        assert isinstance(state[2], int)
        return (*state[:2], state[2] & HOST_FLAGS)
    if state[0] == "guest":
        assert isinstance(state[1], int)
        return (state[0], state[1] & GUEST_FLAGS)
    return state
