"""The search: every scenario of a space, smallest first, each judged as a whole.

A scenario is run and judged; then, if it may differ in one choice more, it is watched, and each point that it comes to
*after* its last choice yields the scenarios that differ there. Before it, its ancestors have seen to that: so each set of
choices comes up once. Where a watched run comes to a state that was explored with as many choices left and no larger
scenario, it ends: what follows is known.

The queue is ordered by size (``choices.Cost``), so that the first scenario to show a finding is a smallest one; of
several of one cost the one with the smaller text is kept.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final, NamedTuple

from worldswitch.check.choices import (
    EVENT,
    FIELD,
    WORD,
    Choice,
    Choices,
    Cost,
    chosen_slots,
    cost_after,
    cost_of,
    scenario_of,
)
from worldswitch.check.identity import Key, key_of
from worldswitch.check.reached import Reached
from worldswitch.check.space import PENDING, Space
from worldswitch.check.watch import OWNERS, Chosen, Merged, PassageMachine, Slot, Watch, owner_of
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.machine import Machine
from worldswitch.machine.run import Run
from worldswitch.machine.stretch import Stretches
from worldswitch.machine.trace import Trace
from worldswitch.oracles.finding import Finding
from worldswitch.oracles.judge import judge
from worldswitch.paths.catalogue import names
from worldswitch.paths.model import EntryPath
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.write import scenario_text


PROGRAM: Final = "program"
"""What results call the path of free host programs."""


@dataclass(slots=True)
class Counterexample:
    """The smallest scenario found that shows a signature."""

    finding: Finding
    choices: Choices
    cost: Cost
    scenario: Scenario
    text: str
    scenarios: int = 1  # that show it


@dataclass(slots=True)
class Progress:
    """Where a search is."""

    runs: int = 0  # scenarios executed and judged
    steps: int = 0  # of the machine in them
    states: int = 0  # visited, at boundaries where something may be chosen
    unique: int = 0
    merged: int = 0  # watched runs that ended in a known state
    depth: int = 0  # choices of the deepest scenario
    cost: Cost = Cost(0, 0)  # of the scenario under way
    waiting: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Outcome:
    """What a search found."""

    space: Space
    path: str
    progress: Progress = field(default_factory=Progress)
    by_depth: Counter[int] = field(default_factory=Counter)  # scenarios by their number of choices
    found: dict[str, Counterexample] = field(default_factory=dict)
    reached: Reached = field(default_factory=Reached)
    finished: bool = False  # the queue is empty
    closed: bool = False  # and no scenario was held back by the bound

    @property
    def verdict(self) -> str:
        """``closed``, ``bounded``, or ``unfinished``."""
        return "closed" if self.closed else "bounded" if self.finished else "unfinished"


class _Waiting(NamedTuple):
    """Scenarios of one cost that differ from ``parent`` in one choice."""

    parent: Choices
    choices: tuple[tuple[Choice, int], ...]  # and from which point on each may differ further


class Explorer:
    """A search in one space on one path."""

    def __init__(
        self,
        space: Space,
        path: EntryPath | None,
        profile: str = "amd",
        options: dict[str, str] | None = None,
        trace: Trace | None = None,
        merge: bool = True,
    ) -> None:
        """Without a ``path``, of free host programs. ``trace`` follows every run that is judged.

        Without ``merge`` no state is taken for another: for measuring what merging saves, and that it loses nothing.
        """
        self.outcome: Outcome = Outcome(space, path.name if path else PROGRAM)
        self._space, self._path = space, path
        self._spelled: str = "" if path is None else path.name if path.name in names() else path.file
        self._profile, self._options = profile, options or {}
        self._trace, self._merge = trace, merge
        self._stretches = Stretches()
        self._known: dict[Key, list[tuple[int, Cost]]] = {}
        self._slots: dict[tuple[tuple[str, str], Choices], Slot | None] = {}
        self._opened = self._fields_of_slots()

    def run(self, deadline: float | None = None, tick: Callable[[Progress], None] | None = None) -> Outcome:
        """Search until nothing is left, or until ``time.monotonic()`` passes ``deadline``; ``tick`` sees every run."""
        outcome, progress = self.outcome, self.outcome.progress
        started = time.monotonic()
        queue: dict[Cost, list[_Waiting]] = {}
        held_back = self._explore((), 0, cost_of(self.scenario(())), queue)
        while queue:
            progress.cost = cost = min(queue)
            for waiting in queue.pop(cost):
                for choice, start in waiting.choices:
                    progress.waiting -= 1
                    held_back |= self._explore((*waiting.parent, choice), start, cost, queue)
                    progress.seconds = time.monotonic() - started
                    if tick is not None:
                        tick(progress)
                    if deadline is not None and started + progress.seconds > deadline:
                        return outcome
        outcome.finished = True
        outcome.closed = not held_back
        return outcome

    def _explore(self, choices: Choices, start: int, cost: Cost, queue: dict[Cost, list[_Waiting]]) -> bool:
        """One scenario: execute, judge, and queue those that differ in one choice more. True where the bound forbids it."""
        scenario = self.scenario(choices)
        self._judge(choices, cost, scenario)
        depth = self._space.depth
        if depth is not None and len(choices) >= depth:
            return True
        children: dict[Cost, list[tuple[Choice, int]]] = {}
        for choice, further in self._points(choices, start, cost, scenario):
            children.setdefault(cost_after(cost, scenario, choice), []).append((choice, further))
        for size, group in children.items():
            queue.setdefault(size, []).append(_Waiting(choices, tuple(group)))
            self.outcome.progress.waiting += len(group)
        return False

    def scenario(self, choices: Choices) -> Scenario:
        """The scenario that ``choices`` make."""
        scenario = scenario_of(choices, self._spelled)
        scenario.profile, scenario.options = self._profile, self._options
        return scenario

    def _machine(self, choices: Choices, scenario: Scenario) -> Machine:
        plan = compile_scenario(scenario, self._path)
        events = _events(choices)
        if all(event.number == 1 and event.value[:2] != ("handler", -1) for event in events):
            return Machine(plan, self._trace, self._stretches)
        return PassageMachine(plan, events, self._trace, self._stretches)

    def _judge(self, choices: Choices, cost: Cost, scenario: Scenario) -> None:
        outcome, progress = self.outcome, self.outcome.progress
        machine = self._machine(choices, scenario)
        machine.run()
        run = Run(machine)
        verdict = judge(run)
        progress.runs += 1
        progress.steps += run.cpu.step
        progress.depth = max(progress.depth, len(choices))
        outcome.by_depth[len(choices)] += 1
        outcome.reached.note(run, verdict)
        for finding in verdict.findings:
            best = outcome.found.get(finding.signature)
            if best is not None:
                best.scenarios += 1
                if best.cost != cost:  # in the order of size: the one found is smaller
                    continue
            text = scenario_text(scenario)
            if best is None:
                outcome.found[finding.signature] = Counterexample(finding, choices, cost, scenario, text)
            elif (len(text), text) < (len(best.text), best.text):
                best.choices, best.scenario, best.text = choices, scenario, text

    def _points(self, choices: Choices, start: int, cost: Cost, scenario: Scenario) -> Iterator[tuple[Choice, int]]:
        """The choices that the scenario leaves open, and the first point at which each scenario may differ further."""
        progress = self.outcome.progress
        words = max((choice.number + 1 for choice in choices if choice.kind == WORD), default=0)
        chosen = Chosen(words, chosen_slots(choices))
        decided = {choice.name for choice in choices if choice.kind == FIELD}
        mine = (len(choices) if self._space.depth is not None else 0, cost)

        def visit(watch: Watch) -> None:
            progress.states += 1
            key = key_of(watch.machine, watch.asked | decided, self._space.rounds)
            known = self._known.get(key)
            if known is None:
                progress.unique += 1
                self._known[key] = [mine]
                return
            if self._merge and any(depth <= mine[0] and size <= cost for depth, size in known):
                raise Merged
            known.append(mine)

        plan = compile_scenario(scenario, self._path)
        watch = Watch(self._space, plan, _events(choices), self._open_slots(choices), chosen, start, visit)
        points = watch.run()
        progress.merged += watch.merged
        for number, point in enumerate(points, start):
            for choice in point.choices:
                yield choice, number + point.stays

    def _fields_of_slots(self) -> dict[tuple[str, str], list[str]]:
        """The attributes that each choice of fields changes, found by making it."""
        plain = self._attributes({})
        opened: dict[tuple[str, str], list[str]] = {}
        for name, alternatives in self._space.fields.items():
            if name == PENDING:
                continue
            for settings in alternatives:
                for slot, value in self._attributes(dict(settings)).items():
                    if value != plain[slot] and name not in opened.setdefault(slot, []):
                        opened[slot].append(name)
        return {slot: names for slot, names in opened.items() if names}

    def _attributes(self, settings: dict[str, Any]) -> dict[tuple[str, str], Any]:
        """Every attribute of a machine that starts with these settings."""
        scenario = self.scenario(())
        scenario.settings = settings
        machine = Machine(compile_scenario(scenario, self._path))
        values = {}
        for owner in OWNERS:
            instance = owner_of(machine, owner)
            for attribute in type(instance).__slots__:
                value = getattr(instance, attribute)
                if isinstance(value, int | bool):
                    values[owner, attribute] = value
        return values

    def _open_slots(self, choices: Choices) -> list[Slot]:
        """The attributes that are open while the fields in ``choices`` are decided."""
        decided = {choice.name: choice for choice in choices if choice.kind == FIELD}
        slots = []
        for at, names in self._opened.items():
            relevant = tuple([decided[name] for name in names if name in decided])
            if (at, relevant) not in self._slots:
                self._slots[at, relevant] = self._slot(at, names, relevant)
            slot = self._slots[at, relevant]
            if slot is not None:
                slots.append(slot)
        return slots

    def _slot(self, at: tuple[str, str], names: list[str], decided: Choices) -> Slot | None:
        """The values of one attribute under every alternative that is left; None where there is but one."""
        made = {choice.name for choice in decided}
        free = tuple(name for name in names if name not in made)
        fields = [({}, *self._space.fields[name]) for name in free]
        table = []
        for picks in product(*fields):
            settings = {name: value for choice in decided for name, value in choice.value}
            for pick in picks:
                settings.update(pick)
            table.append(self._attributes(settings)[at])
        if all(value == table[0] for value in table):
            return None
        return Slot(*at, free, tuple(table), tuple(len(field) for field in fields))


def _events(choices: Choices) -> Choices:
    return tuple([choice for choice in choices if choice.kind == EVENT])
