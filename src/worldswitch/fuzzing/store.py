"""A campaign's directory as it is written: every change of the database whole or not at all, and so every file.

::

    DIR/campaign.db                         the records: findings, counts, slices, samples, failures (SQLite)
    DIR/campaign.json                       what the campaign fuzzes, its totals, and what the database is rebuilt from
    DIR/campaign.lock                       who is fuzzing here
    DIR/metrics.jsonl                       the growth samples, one JSON object a line
    DIR/corpus/TARGET/                      inputs, one file each, named by SHA-1 as libFuzzer names them
    DIR/crashes/                            inputs of workers that died, hung or grew too large
    DIR/damaged/                            files that were found damaged, set aside
    DIR/findings/SIGNATURE/scenario.toml    the first case that showed it
    DIR/findings/SIGNATURE/minimized.toml   the smallest one
    DIR/findings/SIGNATURE/finding.json     what it is, where and how often it was seen

The database is the truth. The files repeat it, for people and for the day on which it is damaged: whatever is missing
or damaged beside it is written again when the campaign is next opened.
"""

import contextlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from worldswitch.errors import InputError
from worldswitch.fuzzing import database
from worldswitch.fuzzing.clock import SYSTEM, Clock
from worldswitch.fuzzing.files import FINDINGS, STATE
from worldswitch.fuzzing.lock import DirectoryLock
from worldswitch.fuzzing.records import Record, Sample
from worldswitch.fuzzing.view import read_records

METRICS: Final = "metrics.jsonl"

DERIVED: Final = ("paths", "targets", "last_execution", "last_second", "last_seen")
"""Fields of a record that the database counts by itself."""


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all; raises ``InputError`` on a full or read-only disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=".", suffix=".tmp", delete=False
        ) as stream:
            try:
                stream.write(text)
                stream.flush()
                os.fchmod(stream.fileno(), 0o666 & ~_umask())  # a temporary file is readable by its owner alone
                os.fsync(stream.fileno())
            except BaseException:
                os.unlink(stream.name)
                raise
        os.replace(stream.name, path)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", str(path)) from None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


class Store:
    """The directory of one campaign, held by one process at a time."""

    def __init__(self, directory: Path, say: Callable[[str], None] = lambda _text: None, clock: Clock = SYSTEM) -> None:
        self.directory = directory
        self.records: dict[str, Record] = {}
        self.seconds = 0.0  # of the time that the campaign ran, all runs together
        self.clock = clock
        self._say = say
        self._lock: DirectoryLock | None = None
        self._connection: sqlite3.Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether this process holds the directory."""
        return self._connection is not None

    @property
    def connection(self) -> sqlite3.Connection:
        """The open database."""
        assert self._connection is not None, "the store is not open"
        return self._connection

    def open(self, description: dict[str, Any], lanes: Mapping[str, tuple[str, tuple[str, ...]]]) -> bool:
        """Create the directory, or take over what an earlier run left; True where there was one.

        ``lanes`` are the target and the reported paths by name. Repairs what a crash left, and reads format 1. Raises
        ``InputError`` if the directory holds another campaign, something unreadable, or is in use.
        """
        from worldswitch.fuzzing.repair import restore_files, take_over

        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"not usable as a directory: {error.strerror}", str(self.directory)) from None
        self._lock = DirectoryLock(self.directory, self.clock)
        try:
            self._connection, found, notes = take_over(self.directory, description, self.clock)
            self.seconds = float(self.meta("seconds", "0"))
            with self.writing() as connection:
                for name, (target, paths) in lanes.items():
                    connection.execute(
                        "INSERT OR IGNORE INTO lanes (name, target, paths) VALUES (?, ?, ?)",
                        (name, target, json.dumps(paths)),
                    )
            self.refresh()
            notes += restore_files(self, sorted({target for target, _ in lanes.values()}))
            for note in notes:
                self.tell(note)
            self.save_state()
        except BaseException:
            self.close()
            raise
        return found

    def close(self) -> None:
        """Let others in."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; raises ``InputError`` where it cannot be written, and then nothing of it is."""
        try:
            with database.transaction(self.connection):
                yield self.connection
        except sqlite3.DatabaseError as error:
            path = self.directory / database.NAME
            wrong = database.translated(error, path)
            if isinstance(wrong, database.DamagedError):
                wrong = InputError(f"damaged ({error}); the same command again rebuilds it from the files", str(path))
            raise wrong from None

    def meta(self, key: str, default: str = "") -> str:
        """A value of the table of single values."""
        row = self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else str(row[0])

    def refresh(self) -> None:
        """Read the records again: the database counts."""
        self.records = {record.signature: record for record in read_records(self.connection)}

    def tell(self, text: str) -> None:
        """Say something that happened to the campaign itself, and keep it."""
        self._say(text)
        with self.writing() as connection:
            connection.execute(
                "INSERT INTO events (wall, second, text) VALUES (?, ?, ?)",
                (self.clock.date(), round(self.seconds, 2), text),
            )

    # Findings.

    def finding_directory(self, signature: str) -> Path:
        """Where a finding's files are."""
        return self.directory / FINDINGS / signature

    def add(self, record: Record, scenario: str) -> bool:
        """A finding seen for the first time; False where it is known. It is on the disk when this returns."""
        if record.signature in self.records:
            return False
        with self.writing() as connection:
            connection.execute(
                "INSERT INTO findings (signature, data, scenario, last_execution, last_second, last_seen) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (
                    record.signature, _data(record), scenario, record.first_execution, record.first_second,
                    record.first_seen,
                ),
            )  # fmt: skip
        record.last_execution, record.last_second = record.first_execution, record.first_second
        record.last_seen = record.first_seen
        self.records[record.signature] = record
        self.write_files(record, scenario=scenario)
        return True

    def save(self, record: Record, minimized: str = "") -> None:
        """What was learned of a finding, with its reduced scenario where given."""
        with self.writing() as connection:
            connection.execute(
                "UPDATE findings SET data = ?, minimized = iif(? = '', minimized, ?) WHERE signature = ?",
                (_data(record), minimized, minimized, record.signature),
            )
        self.write_files(record, minimized=minimized)

    def write_files(self, record: Record, scenario: str = "", minimized: str = "") -> None:
        """A finding's files; a scenario's only where given."""
        directory = self.finding_directory(record.signature)
        if scenario:
            write_whole(directory / "scenario.toml", scenario)
        if minimized:
            write_whole(directory / "minimized.toml", minimized)
        write_whole(directory / "finding.json", json.dumps(record.as_json(), indent=2) + "\n")

    # The campaign as a whole.

    def save_state(self) -> None:
        """Write ``campaign.json``: the campaign at a glance, and all that a damaged database is rebuilt from."""
        write_whole(self.directory / STATE, json.dumps(state_of(self.connection), indent=2) + "\n")

    def save_findings(self) -> None:
        """Bring every ``finding.json`` up to date: its counts."""
        self.refresh()
        for record in self.records.values():
            self.write_files(record)

    def sample(self, sample: Sample) -> None:
        """Keep a growth sample."""
        values = [getattr(sample, name) for name in sample.__slots__]
        with self.writing() as connection:
            connection.execute(
                "INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*values[:-1], json.dumps(sample.workers))
            )
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('seconds', ?)", (repr(self.seconds),))
        line = json.dumps(dict(zip(sample.__slots__, values, strict=True))) + "\n"
        try:
            with open(self.directory / METRICS, "a", encoding="utf-8") as stream:
                stream.write(line)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", str(self.directory / METRICS)) from None


def state_of(connection: sqlite3.Connection) -> dict[str, Any]:
    """The content of ``campaign.json``, from the database at one instant."""
    connection.execute("BEGIN")
    try:
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        seconds = float(meta.get("seconds", "0"))
        lanes = [
            {"name": name, "target": target, "paths": json.loads(paths), "slices": slices, "executions": executions,
             "features": features, "recent": recent, "failures": failures}
            for name, target, paths, slices, executions, features, recent, failures in connection.execute(
                "SELECT name, target, paths, slices, executions, features, yield, failures FROM lanes"
            )
        ]  # fmt: skip
        columns = "number, lane, seed, planned, corpus, first_execution, attempts, executions, features"
        slices = [
            dict(zip(columns.split(", "), row, strict=True))
            for row in connection.execute(f"SELECT {columns} FROM slices WHERE state = 'open'")
        ]
        going = sum(int(str(one["executions"])) for one in slices)
        (corpus,) = connection.execute("SELECT count(*) FROM units WHERE retired IS NULL").fetchone()
        (findings,) = connection.execute("SELECT count(*) FROM findings").fetchone()
        (last,) = connection.execute("SELECT coalesce(max(number), -1) FROM slices").fetchone()
        return {
            "format": database.FORMAT,
            "description": json.loads(meta["description"]),
            "totals": {
                "executions": sum(int(str(lane["executions"])) for lane in lanes) + going,
                "seconds": round(seconds, 1),
                "features": sum(int(str(lane["features"])) for lane in lanes),
                "corpus": corpus,
                "findings": findings,
            },
            "lanes": lanes,
            "last_slice": last,
            "open_slices": slices,
            "counts": [list(row) for row in connection.execute("SELECT signature, target, path, cases FROM counts")],
            "last": [
                list(row)
                for row in connection.execute("SELECT signature, last_execution, last_second, last_seen FROM findings")
            ],
        }
    finally:
        connection.execute("COMMIT")


def _data(record: Record) -> str:
    return json.dumps({name: getattr(record, name) for name in record.__slots__ if name not in DERIVED})
