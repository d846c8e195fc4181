"""A fuzzer measured against the truth: which share of the reachable states and transitions its cases visit, over time.

The truth is what an exploration saw (``truth.Seen``). A fuzzer sees more than that where its scenarios go beyond the
bound of the exploration; this is counted apart and no part of any share.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from worldswitch.check.explore import Explorer
from worldswitch.check.space import EVERYTHING, PARTS, SEQUENCE
from worldswitch.check.truth import Seen, State, Transition
from worldswitch.fuzzing.harness import Harness, Send
from worldswitch.fuzzing.mutate import Mutator
from worldswitch.fuzzing.projection import SIZE, points
from worldswitch.fuzzing.targets import Configuration, Target
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.machine import Machine
from worldswitch.machine.run import Run
from worldswitch.paths.catalogue import find

BATCH: Final = 64
"""Executions after which the fuzzing process reports what it saw for the first time."""


def reachable(configuration: Configuration, depth: int, tick: Callable[[str], None]) -> Seen:
    """What the target's first path, or a free host program, can reach in the spaces of a check; ``tick`` sees each."""
    seen = Seen()
    path = find(configuration.paths[0]) if configuration.target == "world-switch" else None
    for space in PARTS if path else (SEQUENCE,):
        bounded = space.bounded(depth) if space in (EVERYTHING, SEQUENCE) else space
        Explorer(bounded, path, configuration.profile, dict(configuration.options), seen).run()
        tick(f"{space.name}: {len(seen.states):,} states, {len(seen.transitions):,} transitions")
    return seen


@dataclass(slots=True)
class Share:
    """What a fuzzer has visited of the truth."""

    truth: Seen
    states: set[State] = field(default_factory=set)
    transitions: set[Transition] = field(default_factory=set)

    def add(self, states: Iterable[State], transitions: Iterable[Transition]) -> None:
        """Take in what was visited."""
        self.states.update(states)
        self.transitions.update(transitions)

    @property
    def of_states(self) -> float:
        """The share of the reachable states, 0 to 1."""
        return len(self.states & self.truth.states) / len(self.truth.states)

    @property
    def of_transitions(self) -> float:
        """The share of the reachable transitions, 0 to 1."""
        return len(self.transitions & self.truth.transitions) / len(self.truth.transitions)

    @property
    def beyond(self) -> int:
        """Transitions visited beyond the bound of the truth."""
        return len(self.transitions - self.truth.transitions)


class Follower:
    """Runs cases of a target on its first path and notes what they visit."""

    def __init__(self, configuration: Configuration) -> None:
        self.target: Target = Target(configuration)
        self.seen: Seen = Seen()
        self._path = self.target.paths[0] if self.target.paths else None

    def run(self, data: bytes) -> Run:
        """Execute a case."""
        machine = Machine(compile_scenario(self.target.scenario(data), self._path), self.seen)
        machine.run()
        return Run(machine)

    def fresh(self) -> tuple[set[State], set[Transition]]:
        """What was seen since the last call."""
        states, transitions = self.seen.states, self.seen.transitions
        self.seen.states, self.seen.transitions = set(), set()
        return states, transitions


def build(send: Send, configuration: Configuration) -> Harness:
    """The harness of a campaign that reports what its cases visit, in the fuzzing process; no oracle looks on."""
    from worldswitch.fuzzing.counters import Features

    follower = Follower(configuration)
    mutator = Mutator(follower.target.codec)
    guidance = Features(SIZE)
    buffer = guidance.buffer
    states: set[State] = set()
    transitions: set[Transition] = set()
    executions = 0

    def one_input(data: bytes) -> None:
        nonlocal executions
        executions += 1
        for point in points(follower.run(data)):
            buffer[point] = 1
        if executions % BATCH == 0:
            new_states, new_transitions = follower.fresh()
            send([executions, list(new_states - states), list(new_transitions - transitions)])
            states.update(new_states)
            transitions.update(new_transitions)

    return Harness(one_input, mutator.mutate_or_draw, mutator.cross_or_draw, guidance)


def campaign(configuration: Configuration, runs: int, seed: int, directory: Path) -> Iterator[tuple[int, Any, Any]]:
    """What a campaign of ``runs`` cases visits for the first time, after how many executions."""
    from worldswitch.fuzzing.engine import fuzz

    reports: list[Any] = []
    fuzz(
        build, (configuration,), corpus=directory / "corpus", artifacts=directory / "crashes", seed=seed, runs=runs,
        max_len=Target(configuration).codec.length, on_message=reports.append,
    )  # fmt: skip
    for executions, states, transitions in reports:
        yield executions, map(_tuples, states), map(_tuples, transitions)


def at_random(configuration: Configuration, runs: int, seed: int) -> Iterator[tuple[int, Any, Any]]:
    """The same of cases drawn at random: every slot any of its choices."""
    follower, rng = Follower(configuration), random.Random(seed)
    length = follower.target.codec.length
    for number in range(1, runs + 1):
        follower.run(rng.randbytes(length))
        if number % BATCH == 0:
            yield number, *follower.fresh()


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
