"""What a campaign keeps records of, as it is read: findings, samples, runs, lanes, failures, events."""

from dataclasses import dataclass, field
from typing import Any

from worldswitch.fuzzing import database


@dataclass(slots=True)
class Record:
    """What a campaign knows of one signature. Dates are UTC in ISO 8601, "" where not known."""

    signature: str
    oracle: str
    message: str
    rules: list[str]
    target: str  # the target that showed it first
    profile: str
    options: dict[str, str]
    case: str  # the first case, hex
    first_path: str
    first_execution: int  # of the whole campaign
    first_second: float  # of the time that the campaign ran
    paths: dict[str, int] = field(default_factory=dict)  # path to the number of cases that showed it there
    minimized: bool = False
    replayed: bool = False
    stands_only_on: dict[str, list[str]] = field(default_factory=dict)  # model option to values that make it vanish
    disputed: list[str] = field(default_factory=list)  # those of them whose rules the sources dispute or leave open
    lane: str = ""  # the lane that showed it first, in which the case is to be decoded
    first_seen: str = ""  # date
    last_execution: int = 0  # of the whole campaign: not seen by any case since
    last_second: float = 0.0
    last_seen: str = ""  # date
    targets: dict[str, int] = field(default_factory=dict)  # target to the number of cases
    shown_on: dict[str, list[str]] = field(default_factory=dict)  # profile to the paths on which the reduced case shows
    problem: str = ""  # what went wrong with its reduction or replay: a defect of this program

    @property
    def cases(self) -> int:
        """How many cases showed it."""
        return sum(self.paths.values())

    def as_json(self) -> dict[str, Any]:
        """The content of ``finding.json``."""
        return {"format": database.FORMAT, **{name: getattr(self, name) for name in self.__slots__}}


@dataclass(frozen=True, slots=True)
class Sample:
    """The campaign at one moment."""

    second: float  # of the time that the campaign ran, never falling
    wall: str  # date
    executions: int
    rate: float  # executions a second since the sample before
    features: int  # points of guidance reached, summed over the lanes
    corpus: int  # inputs, all targets
    findings: int
    workers: dict[str, int]  # worker to resident memory in MB


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One call of ``fuzz``; ``ended`` and ``outcome`` are "" while it runs, and for one that was killed."""

    id: int
    started: str
    version: str
    seed: int
    jobs: int
    first_execution: int
    first_second: float
    ended: str
    outcome: str
    executions: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LaneRecord:
    """One target on one tuple of paths. ``recent`` is what the scheduler goes by: what it lately found, by cost."""

    name: str
    target: str
    paths: tuple[str, ...]  # as findings name them: "program" for free host programs, "edited" for edited paths
    slices: int
    executions: int
    features: int
    recent: float
    failures: int  # in a row


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """A worker that died, hung or grew too large; ``input`` (hex) is what it executed then."""

    id: int
    wall: str
    second: float
    slice: int
    lane: str
    execution: int
    outcome: str
    summary: str
    details: str
    input: str
    file: str  # where the input is kept


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the campaign itself."""

    id: int
    wall: str
    second: float
    text: str


@dataclass(frozen=True, slots=True)
class Totals:
    """The campaign in numbers."""

    executions: int = 0
    seconds: float = 0.0
    features: int = 0
    corpus: int = 0
    findings: int = 0
