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
from typing import Any

from worldswitch.errors import InputError
from worldswitch.fuzzing import database
from worldswitch.fuzzing.files import STATE, read_finding_files, read_state
from worldswitch.fuzzing.records import Event, FailureRecord, LaneRecord, Record, RunRecord, Sample, Totals


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
