"""Targets: what one case executes, and the findings it shows.

A target runs a case on each of its paths, has every oracle judge each run, and compares the first two paths with each
other. Names: ``world-switch`` (paths), ``sequence`` (free host programs), ``nested`` (L0 on paths, with L1 and L2),
``edits`` (paths with random edits).
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from worldswitch.errors import InputError
from worldswitch.fuzzing.codec import Codec
from worldswitch.fuzzing.edits import EditsCodec
from worldswitch.fuzzing.projection import points
from worldswitch.fuzzing.twins import agree_outside, alike, comparable
from worldswitch.machine.compile import compile_scenario, compile_twin, make_options
from worldswitch.machine.run import Run, run_plan
from worldswitch.machine.stretch import Stretches
from worldswitch.nested.codec import NestedCodec
from worldswitch.oracles import nmi_exposure
from worldswitch.oracles.finding import Finding
from worldswitch.oracles.judge import Verdict, judge
from worldswitch.paths.catalogue import IMPLEMENTATIONS, find
from worldswitch.paths.model import EntryPath
from worldswitch.scenario.model import Scenario

NAMES: Final = ("world-switch", "sequence", "nested", "edits")
ON_PATHS: Final = ("world-switch", "nested")
"""Targets that run on entry paths."""

JOINT: Final = "joint"
COVERAGE: Final = "coverage"
GUIDANCE: Final = (JOINT, COVERAGE, "both")
"""What guides a campaign: the joint projection, the coverage of the core's code, or both."""

PROGRAM: Final = "program"
"""What results call the path of a free host program."""

EDITED: Final = "edited"
"""What results call the path of a case of the target ``edits``, each of which has its own."""


class Hit(NamedTuple):
    """A finding on one of the target's paths."""

    path: str
    finding: Finding


class Judged(NamedTuple):
    """One path's run and what the oracles say of it."""

    path: str
    run: Run
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Configuration:
    """Which target, on which paths, in which processor model; and what guides its campaigns."""

    target: str = NAMES[0]
    paths: tuple[str, ...] = IMPLEMENTATIONS
    profile: str = "amd"
    options: tuple[tuple[str, str], ...] = ()
    guidance: str = JOINT

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Made anew where it is unpickled: a frozen compiled object takes no state (mypyc)."""
        return Configuration, (self.target, self.paths, self.profile, self.options, self.guidance)


class Target:
    """A configured target; raises ``InputError`` for names that do not exist."""

    def __init__(self, configuration: Configuration, extra: tuple[EntryPath, ...] = ()) -> None:
        if configuration.target not in NAMES:
            raise InputError(f"unknown target {configuration.target!r}; there are {', '.join(NAMES)}")
        self.configuration = configuration
        self.paths: tuple[EntryPath, ...] = ()
        if configuration.target in ON_PATHS:
            self.paths = (*(find(name) for name in configuration.paths), *extra)
            if not self.paths:
                raise InputError(f"the target {configuration.target} needs at least one path")
        self.codec: Codec | NestedCodec = (
            EditsCodec(configuration.paths)
            if configuration.target == "edits"
            else make_codec(configuration.target, self.paths[0].name if self.paths else "")
        )
        self._own = EDITED if configuration.target == "edits" else PROGRAM  # what the scenario's own path is called
        self.path_names: tuple[str, ...] = tuple(path.name for path in self.paths) or (self._own,)
        """The names under which findings are reported."""
        self._options = dict(configuration.options)
        self._model = make_options(configuration.profile, self._options, None)
        self._stretches: list[Stretches | None] = [Stretches() for _ in self.paths]
        self._quiet: list[list[Hit] | None] = [self._quiet_hits(number) for number in range(len(self.paths))]

    def scenario(self, data: bytes) -> Scenario:
        """The scenario of a case, with the profile and options of this target."""
        scenario = self.codec.decode(data)
        scenario.profile = self.configuration.profile
        scenario.options = dict(self._options)
        return scenario

    def execute(self, data: bytes) -> tuple[list[Judged], list[Hit]]:
        """Execute a case for the fuzz loop: what :meth:`run` and :meth:`hits` give, with less work.

        Known stretches of host code are skipped, and a path that must behave like the first (``twins``) is not run: its
        hits are what its own code shows in any quiet run.
        """
        if self.configuration.target != NAMES[0]:
            judged = self.run(data)
            return judged, self.hits(judged)
        scenario = self.codec.decode(data)
        judged = []
        known: list[Hit] = []
        for number, path in enumerate(self.paths):
            plan = (
                compile_twin(judged[0].run.plan, path)
                if judged
                else compile_scenario(scenario, path, options=self._model)
            )
            quiet = self._quiet[number]
            if quiet is not None and not judged[0].verdict.findings and alike(judged[0].run, plan, bool(quiet)):
                known += quiet
                continue
            run = run_plan(plan, stretches=self._stretches[number])
            judged.append(Judged(path.name, run, judge(run)))
        return judged, self.hits(judged) + known

    def leave_out(self, *, twins: bool = True, stretches: bool = True) -> None:
        """Which of the two :meth:`execute` leaves out: all of it by default; what it gives is the same in any case."""
        count = len(self.paths)
        self._quiet = [self._quiet_hits(number) for number in range(count)] if twins else [None] * count
        self._stretches = [Stretches() if stretches else None for _ in self.paths]

    def _quiet_hits(self, number: int) -> list[Hit] | None:
        """What a path shows in any quiet run, where it can be a twin of the first; else None."""
        first, path = self.paths[0], self.paths[number]
        if number == 0 or self.configuration.target != NAMES[0] or not comparable(first, path, self._model):
            return None
        runs = [run_plan(compile_scenario(self.codec.decode(b""), p, options=self._model)) for p in (first, path)]
        if not agree_outside(runs[0], runs[1]) or nmi_exposure.compare(runs[0], runs[1]):
            return None
        return [Hit(path.name, finding) for finding in judge(runs[1]).findings]

    def run(self, data: bytes) -> list[Judged]:
        """Execute a case on every path."""
        return self.run_scenario(self.scenario(data))

    def run_scenario(self, scenario: Scenario) -> list[Judged]:
        """Execute a scenario on every path."""
        judged = []
        for path in self.paths or (None,):
            run = run_plan(compile_scenario(scenario, path))
            judged.append(Judged(path.name if path else self._own, run, judge(run)))
        return judged

    def hits(self, judged: list[Judged]) -> list[Hit]:
        """Every finding, and the undocumented differences of the first two paths as findings of the second."""
        found = [Hit(name, finding) for name, _, verdict in judged for finding in verdict.findings]
        if len(judged) > 1 and (judged[0].path, judged[1].path) == self.path_names[:2]:
            objections = nmi_exposure.objections(judged[0].run, judged[1].run)
            found += [Hit(judged[1].path, finding) for finding in objections]
        return found


def make_codec(target: str, path: str) -> Codec | NestedCodec:
    """The codec of a target whose scenarios run on ``path``."""
    return NestedCodec(path) if target == "nested" else Codec(target, path)


def features(judged: list[Judged]) -> list[int]:
    """The points of guidance that a case reaches; the paths share one projection."""
    return [point for _, run, _ in judged for point in points(run)]
