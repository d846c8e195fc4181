"""A campaign as it is read: by ``status``, by ``report``, by anybody; while it runs too.

>>> from worldswitch.fuzzing.view import open_read
>>> view = open_read(Path("campaign"))          # doctest: +SKIP
>>> view.totals.executions, [record.signature for record in view.records]   # doctest: +SKIP

What it holds is one instant of the campaign. It reads the present format and format 1, and of a directory whose
database is damaged what the files beside it say; ``notes`` then has a line about that.
"""

import json
import sqlite3
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from worldswitch.errors import InputError
from worldswitch.fuzzing import database

FINDINGS: Final = "findings"
STATE: Final = "campaign.json"


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


@dataclass(frozen=True, slots=True)
class CampaignView:
    """One instant of a campaign. ``records`` are in the order in which they were found."""

    directory: Path
    description: dict[str, Any]  # lanes (name to its target and paths), profile, options
    records: list[Record]
    samples: list[Sample] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)
    lanes: list[LaneRecord] = field(default_factory=list)
    failures: list[FailureRecord] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)
    notes: list[str] = field(default_factory=list)  # what could not be read

    @property
    def by_path(self) -> dict[str, int]:
        """Path to the cases executed on it."""
        result: dict[str, int] = {}
        for lane in self.lanes:
            for path in lane.paths:
                result[path] = result.get(path, 0) + lane.executions
        return result


def open_read(directory: Path) -> CampaignView:
    """The campaign in ``directory``; raises ``InputError`` where there is none that can be read."""
    if not directory.is_dir():
        raise InputError("no such directory", str(directory))
    if not (directory / database.NAME).exists():
        return _from_files(directory, [])
    try:
        connection = database.connect_read(directory)
        try:
            return _from_database(directory, connection)
        finally:
            connection.close()
    except (database.DamagedError, sqlite3.DatabaseError, ValueError, TypeError, KeyError) as error:
        return _from_files(
            directory, [f"{directory / database.NAME}: damaged ({error}); read from the files beside it"]
        )


def _from_database(directory: Path, connection: sqlite3.Connection) -> CampaignView:
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    lanes = _lanes(connection)
    records = read_records(connection)
    (corpus,) = connection.execute("SELECT count(*) FROM units WHERE retired IS NULL").fetchone()
    return CampaignView(
        directory=directory,
        description=json.loads(meta["description"]),
        records=records,
        samples=[
            Sample(second, wall, executions, rate, features, units, findings, json.loads(workers))
            for second, wall, executions, rate, features, units, findings, workers in connection.execute(
                "SELECT second, wall, executions, rate, features, corpus, findings, workers FROM samples ORDER BY rowid"
            )
        ],
        runs=[RunRecord(*row) for row in connection.execute(_select(RunRecord, "runs"))],
        lanes=lanes,
        failures=[FailureRecord(*row) for row in connection.execute(_select(FailureRecord, "failures"))],
        events=[Event(*row) for row in connection.execute(_select(Event, "events"))],
        totals=Totals(
            executions=sum(lane.executions for lane in lanes),
            seconds=float(meta.get("seconds", 0)),
            features=sum(lane.features for lane in lanes),
            corpus=corpus,
            findings=len(records),
        ),
    )


def _select(kind: type, table: str) -> str:
    return f"SELECT {', '.join(one.name for one in fields(kind))} FROM {table} ORDER BY id"


def _lanes(connection: sqlite3.Connection) -> list[LaneRecord]:
    """Every lane, with what its open slices have done so far."""
    going = {
        str(lane): (int(executions), int(features))
        for lane, executions, features in connection.execute(
            "SELECT lane, sum(executions), max(features) FROM slices WHERE state = 'open' GROUP BY lane"
        )
    }
    lanes = []
    for name, target, paths, slices, executions, features, recent, failures in connection.execute(
        "SELECT name, target, paths, slices, executions, features, yield, failures FROM lanes"
    ):
        more, reached = going.get(name, (0, 0))
        lanes.append(
            LaneRecord(
                name, target, tuple(json.loads(paths)), slices, executions + more, max(features, reached), recent,
                failures,
            )
        )  # fmt: skip
    return lanes


def read_records(connection: sqlite3.Connection) -> list[Record]:
    """Every finding with its counts, in the order in which they were found."""
    counts: dict[str, list[tuple[str, str, int]]] = {}
    for signature, target, path, cases in connection.execute(
        "SELECT signature, target, path, cases FROM counts UNION ALL "
        "SELECT signature, lanes.target, path, cases FROM open_counts JOIN slices ON slices.number = slice "
        "JOIN lanes ON lanes.name = slices.lane"
    ):
        counts.setdefault(signature, []).append((target, path, cases))
    records = []
    for data, execution, second, seen in connection.execute(
        "SELECT data, last_execution, last_second, last_seen FROM findings"
    ):
        record = Record(**json.loads(data))
        record.last_execution, record.last_second, record.last_seen = execution, second, seen
        record.paths, record.targets = {record.first_path: 0}, {record.target: 0}  # seen, and perhaps not booked yet
        for target, path, cases in counts.get(record.signature, ()):
            record.paths[path] = record.paths.get(path, 0) + cases
            record.targets[target] = record.targets.get(target, 0) + cases
        records.append(record)
    return sorted(records, key=lambda one: (one.first_execution, one.signature))


def _from_files(directory: Path, notes: list[str]) -> CampaignView:
    """What ``campaign.json`` and the findings' files say."""
    if not (directory / STATE).exists():
        raise InputError(f"holds no campaign: there is neither {database.NAME} nor {STATE}", str(directory))
    state = read_state(directory)
    records = read_finding_files(directory)
    return CampaignView(
        directory=directory,
        description=state["description"],
        records=sorted(records, key=lambda one: (one.first_execution, one.signature)),
        lanes=[LaneRecord(**{**lane, "paths": tuple(lane["paths"])}) for lane in state["lanes"]],
        totals=Totals(**{"findings": len(records), **state["totals"]}),
        notes=notes,
    )


def read_state(directory: Path) -> dict[str, Any]:
    """``campaign.json`` in the present form, whatever its format; raises ``InputError``."""
    path = directory / STATE
    data = read_json(path)
    try:
        if data["format"] == 1:
            return _converted(data)
        lanes, totals, description = data["lanes"], data["totals"], data["description"]
        [LaneRecord(**lane) for lane in lanes], Totals(**totals)
        assert isinstance(description, dict)
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError):
        raise InputError("damaged: its totals cannot be read", str(path)) from None
    return data


def _converted(data: dict[str, Any]) -> dict[str, Any]:
    """A state file of format 1, which had one target."""
    old, totals = data["description"], data["totals"]
    target, paths = str(old["target"]), [str(path) for path in old["paths"]]
    executions, seconds = int(totals["executions"]), float(totals["seconds"])
    lane = {
        "name": target, "target": target, "paths": paths, "slices": 0, "executions": executions, "features": 0,
        "recent": 0.0, "failures": 0,
    }  # fmt: skip
    return {
        "format": 1,
        "description": {
            "lanes": {target: {"target": target, "paths": paths}},
            "profile": old["profile"],
            "options": dict(old["options"]),
        },
        "totals": {"executions": executions, "seconds": seconds},
        "lanes": [lane],
    }


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a format that this version reads; raises ``InputError``."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from None
    except (ValueError, RecursionError):
        raise InputError("damaged: not valid JSON", str(path)) from None
    if not isinstance(data, dict):
        raise InputError("damaged: not a JSON object", str(path))
    if data.get("format") not in (1, database.FORMAT):
        raise InputError(f"this version reads formats 1 and {database.FORMAT}, not {data.get('format')!r}", str(path))
    return data


def read_finding(path: Path) -> Record:
    """A ``finding.json`` of either format; raises ``InputError``."""
    data = read_json(path)
    del data["format"]
    try:
        return Record(**data)
    except TypeError:
        raise InputError("damaged: its fields are not those of a finding", str(path)) from None


def read_finding_files(directory: Path) -> list[Record]:
    """The findings in a campaign's directory, by signature; raises ``InputError``."""
    return [read_finding(path) for path in sorted(directory.glob(f"{FINDINGS}/*/finding.json"))]
