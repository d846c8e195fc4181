"""Lanes: what a campaign divides its time between, and the rule by which it does.

A lane is one target on one tuple of paths. Work is done in slices: one fuzzing process, one lane, a fixed number of
cases. Which lane gets the next slice is a bandit problem whose arms dry up: what a lane yields falls with every slice
spent on it, and rises again when another lane of its target has found new inputs. Hence not a rule for arms that stay
as they are (UCB, Thompson), but the plainest for arms that do not: the lane that lately found most, by cost, with a
floor for each, so that one which found nothing for a while is still looked at.

Cost is nominal, so many units a case, not measured: the same campaign then makes the same choices on every machine, and
again after it was killed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from worldswitch.errors import InputError
from worldswitch.fuzzing.targets import JOINT, NAMES, ON_PATHS, Configuration, Target

ALL: Final = "all"

COST: Final = {"world-switch": 0.5, "sequence": 0.5, "nested": 1.6, "edits": 1.1}
"""Time of a case on one path, relative to a case of ``world-switch`` on two (``benchmarks/targets.py`` measures it)."""

FLOOR: Final = 0.2
"""The part of all time that is shared evenly, whatever the lanes yield."""

DECAY: Final = 0.5
"""How much of what a lane yielded before still counts after one more slice."""

FINDING: Final = 10.0
"""What a finding counts for, in new points of guidance."""

SPENT: Final = 1e-3
"""Below so many new points in a thousand cases a lane counts as having found nothing."""

SHORTEST: Final = 4096
LONGEST: Final = 32768
"""Cases of a lane's first slice, and of its slices after a few doublings, at cost 1: about half a minute."""

LOADS: Final = 16
"""A slice has at least so many cases for each input that its process has to load first."""


@dataclass(slots=True)
class Lane:
    """A target on its paths, and what became of the slices it had."""

    name: str
    configuration: Configuration
    target: Target
    slices: int = 0
    executions: int = 0
    features: int = 0
    recent: float = 0.0  # new points in a thousand cases at cost 1, lately
    failures: int = 0  # in a row

    @property
    def cost(self) -> float:
        """Nominal time of one case."""
        return COST[self.configuration.target] * max(1, len(self.target.paths))

    def length(self, corpus: int) -> int:
        """Cases of the next slice, with so many inputs to load."""
        base = min(SHORTEST << min(self.slices, 16), LONGEST)
        return max(int(base / self.cost), LOADS * corpus, 1)

    def reward(self, executions: int, features: int, findings: int) -> float:
        """``recent`` after a slice that reached ``features`` points in all and brought so many new findings."""
        thousands = max(1, executions) * self.cost / 1000
        gained = max(0, features - self.features) + FINDING * findings
        return DECAY * self.recent + (1 - DECAY) * gained / thousands


def choose(lanes: Sequence[Lane], going: Mapping[str, int], rest_after: int) -> Lane | None:
    """The lane of the next slice; None where every lane rests after ``rest_after`` failures in a row.

    ``going`` is the number of cases that are being executed now, by lane.
    """
    able = [lane for lane in lanes if lane.failures < rest_after]
    if not able:
        return None
    spent = {lane.name: (lane.executions + going.get(lane.name, 0)) * lane.cost for lane in able}
    least = min(able, key=lambda lane: spent[lane.name])
    if spent[least.name] <= FLOOR * sum(spent.values()) / len(able):
        return least
    promise = {lane.name: lane.recent / (2 if going.get(lane.name) else 1) for lane in able}
    best = max(able, key=lambda lane: promise[lane.name])
    return best if promise[best.name] >= SPENT else least


def make_lanes(
    targets: Sequence[str],
    pairs: Sequence[tuple[str, ...]],
    profile: str,
    options: tuple[tuple[str, str], ...],
    guidance: str = JOINT,
) -> list[Lane]:
    """Every target on every tuple of paths that it runs on; raises ``InputError`` for names that do not exist.

    The target ``edits`` has one lane, on all the paths: a case says which one it edits.
    """
    wanted = list(dict.fromkeys(name for given in targets for name in (NAMES if given == ALL else (given,))))
    every = tuple(dict.fromkeys(path for pair in pairs for path in pair))
    lanes: list[Lane] = []
    for target in wanted:
        for paths in pairs if target in ON_PATHS else (every,):
            configuration = Configuration(target, paths, profile, options, guidance)
            made = Target(configuration)
            name = target if len(pairs) == 1 or target not in ON_PATHS else f"{target}:{'+'.join(made.path_names)}"
            if any(lane.name == name for lane in lanes):
                raise InputError(f"{name} is given twice")
            lanes.append(Lane(name, configuration, made))
    return lanes


def describe(lanes: Sequence[Lane], profile: str, options: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """What makes two runs the same campaign."""
    described = {}
    for lane in lanes:
        paths = lane.configuration.paths if lane.configuration.target == "edits" else lane.target.path_names
        described[lane.name] = {"target": lane.configuration.target, "paths": list(paths)}
    description = {"lanes": described, "profile": profile, "options": dict(options)}
    guidance = lanes[0].configuration.guidance if lanes else JOINT
    return description if guidance == JOINT else {**description, "guidance": guidance}
