"""The search: every scenario of a space, smallest first, each judged as a whole.

A scenario is run and judged; then, if it may differ in one choice more, it is watched, and each point that it comes to
*after* its last choice yields the scenarios that differ there. Before it, its ancestors have seen to that: so each set
of choices comes up once. Where a watched run comes to a state that was explored with as many choices left and no larger
scenario, it ends: what follows is known.

The queue is ordered by size (``choices.Cost``), so that the first scenario to show a finding is a smallest one; of
several of one cost the one with the smaller text is kept.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

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
from worldswitch.check.opened import Openings
from worldswitch.check.passages import PassageMachine
from worldswitch.check.reached import Reached
from worldswitch.check.space import Settings, Space
from worldswitch.check.watch import Chosen, Merged, Watch
from worldswitch.machine.compile import compile_scenario, make_options
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

    @property
    def spelled(self) -> bool:
        """Whether the text says all of it (``Choice.spelled``)."""
        return all(choice.spelled for choice in self.choices)

    @property
    def order(self) -> tuple[bool, int, str]:
        """Of two of one cost, the lesser is the one to keep."""
        return not self.spelled, len(self.text), self.text


@dataclass(slots=True)
class Progress:
    """Where a search is."""

    runs: int = 0  # scenarios executed and judged
    states: int = 0  # passed in them
    visited: int = 0  # states at which something was left to choose, looked up among the known ones ...
    unique: int = 0  # ... and those that were not known
    merged: int = 0  # scenarios whose choices ended in a known state
    depth: int = 0  # choices of the deepest scenario
    cost: Cost = field(default_factory=lambda: Cost(0, 0))  # of the scenario under way
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
        self._spelled: str = _spelled(path) if path else ""
        self._profile, self._options = profile, options or {}
        self._model = make_options(profile, self._options, None)
        self._trace, self._merge = trace, merge
        self._stretches = Stretches()
        self._known: dict[Key, list[tuple[int, Cost]]] = {}
        self._openings = Openings(space.fields, self._start)

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
        """One scenario: execute, judge, and queue those with one choice more; True where the bound forbids these."""
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
        plan = compile_scenario(scenario, self._path, options=self._model)
        events = _events(choices)
        if all(event.spelled for event in events):
            return Machine(plan, self._trace, self._stretches)
        return PassageMachine(plan, events, self._trace, self._stretches)

    def _judge(self, choices: Choices, cost: Cost, scenario: Scenario) -> None:
        outcome, progress = self.outcome, self.outcome.progress
        machine = self._machine(choices, scenario)
        machine.run()
        run = Run(machine)
        verdict = judge(run)
        progress.runs += 1
        progress.states += run.cpu.step
        progress.depth = max(progress.depth, len(choices))
        outcome.by_depth[len(choices)] += 1
        outcome.reached.note(run, verdict)
        for finding in verdict.findings:
            best = outcome.found.get(finding.signature)
            if best is not None:
                best.scenarios += 1
                if best.cost != cost:  # in the order of size: the one found is smaller
                    continue
            example = Counterexample(finding, choices, cost, scenario, scenario_text(scenario))
            if best is None or example.order < best.order:
                example.scenarios = best.scenarios if best else 1
                outcome.found[finding.signature] = example

    def _points(self, choices: Choices, start: int, cost: Cost, scenario: Scenario) -> Iterator[tuple[Choice, int]]:
        """The choices that the scenario leaves open, and the first point at which each scenario may differ further."""
        progress = self.outcome.progress
        words = max((choice.number + 1 for choice in choices if choice.kind == WORD), default=0)
        chosen = Chosen(words, chosen_slots(choices))
        decided = {choice.name for choice in choices if choice.kind == FIELD}
        mine = (len(choices) if self._space.depth is not None else 0, cost)

        def visit(watch: Watch) -> None:
            progress.visited += 1
            key = key_of(watch.machine, watch.asked | decided, self._space.rounds)
            known = self._known.get(key)
            if known is None:
                progress.unique += 1
                self._known[key] = [mine]
                return
            if self._merge and any(depth <= mine[0] and size <= cost for depth, size in known):
                raise Merged
            known.append(mine)

        plan = compile_scenario(scenario, self._path, options=self._model)
        watch = Watch(self._space, plan, _events(choices), self._openings.slots(choices), chosen, start, visit)
        points = watch.run()
        progress.merged += watch.merged
        for number, point in enumerate(points, start):
            for choice in point.choices:
                yield choice, number + point.stays

    def _start(self, settings: Settings) -> Machine:
        """A machine that starts with these settings."""
        scenario = self.scenario(())
        scenario.settings = dict(settings)
        return Machine(compile_scenario(scenario, self._path, options=self._model))


def _spelled(path: EntryPath) -> str:
    """How a scenario names a path: a shipped one by its name, another by its file."""
    return path.name if path.name in names() and not Path(path.file).is_file() else path.file


def _events(choices: Choices) -> Choices:
    return tuple([choice for choice in choices if choice.kind == EVENT])
