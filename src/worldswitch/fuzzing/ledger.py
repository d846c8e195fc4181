"""What was executed and what it showed: slices, counts, inputs; each slice counted once, however often it was begun.

A slice is a function of its lane, its seed, its number of cases and the inputs that there were when it was made, all of
which stand in the database before its process starts. One that was cut short, by a kill or by the user, is done again
from its beginning, and what it counts takes the place of what was counted; counts are added to a campaign's totals in
the transaction that closes the slice. With one job nothing else depends on time, so that a campaign ends the same
however often it was killed.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worldswitch.errors import InputError
from worldswitch.fuzzing.lanes import Lane
from worldswitch.fuzzing.store import Store
from worldswitch.fuzzing.units import name_of, write

CULL: Final = "cull:"
"""What the lane of a slice begins with that minimises a target's corpus; the target follows."""

_LARGEST_SEED: Final = 0xFFFF_FFFF
_STRIDE: Final = 0x9E37_79B1

Count = tuple[str, str, int, int]
"""Signature, path, cases, and the execution within the slice of the last one."""


@dataclass(slots=True)
class Slice:
    """A piece of work for one process."""

    number: int
    lane: str
    seed: int
    planned: int  # cases
    corpus: int  # inputs up to this id are its corpus
    first_execution: int  # cases of the campaign before it
    attempts: int = 0
    executions: int = 0


class Ledger:
    """The slices of a campaign, in its open store."""

    def __init__(self, store: Store, lanes: Sequence[Lane]) -> None:
        self.store = store
        self.lanes = {lane.name: lane for lane in lanes}
        query = "SELECT slices, executions, features, yield, failures FROM lanes WHERE name = ?"
        for lane in lanes:
            row = store.connection.execute(query, (lane.name,)).fetchone()
            lane.slices, lane.executions, lane.features, lane.recent, lane.failures = row
            lane.failures = 0  # a new run tries again

    @property
    def executions(self) -> int:
        """Cases that are counted, those of open slices included."""
        (going,) = self.store.connection.execute(
            "SELECT coalesce(sum(executions), 0) FROM slices WHERE state = 'open'"
        ).fetchone()
        return sum(lane.executions for lane in self.lanes.values()) + int(going)

    @property
    def closed(self) -> int:
        """Cases of slices that are done."""
        return sum(lane.executions for lane in self.lanes.values())

    def features(self) -> dict[str, int]:
        """Lane to the points of guidance it reached, in open slices too."""
        best = {name: lane.features for name, lane in self.lanes.items()}
        for name, reached in self.store.connection.execute(
            "SELECT lane, max(features) FROM slices WHERE state = 'open' GROUP BY lane"
        ):
            if name in best:
                best[name] = max(best[name], int(reached))
        return best

    def corpus_size(self, target: str = "") -> int:
        """Inputs in use, of one target or of all."""
        (count,) = self.store.connection.execute(
            "SELECT count(*) FROM units WHERE retired IS NULL AND (? = '' OR target = ?)", (target, target)
        ).fetchone()
        return int(count)

    def seed_units(self, target: str, seeds: Iterable[bytes]) -> None:
        """Inputs to start from; an empty one is skipped, libFuzzer tries it by itself."""
        self._add_units(target, -1, [(name_of(data), data) for data in sorted(set(seeds)) if data])

    def open_slices(self) -> list[Slice]:
        """Slices that were begun and not closed, in order."""
        rows = self.store.connection.execute(
            "SELECT number, lane, seed, planned, corpus, first_execution, attempts, executions FROM slices "
            "WHERE state = 'open' ORDER BY number"
        )
        return [Slice(*row) for row in rows]

    def new(self, lane: str, seed: int, planned: int) -> Slice:
        """Plan a slice."""
        with self.store.writing() as connection:
            (number,) = connection.execute("SELECT coalesce(max(number), -1) + 1 FROM slices").fetchone()
            (corpus,) = connection.execute("SELECT coalesce(max(id), 0) FROM units").fetchone()
            slice_seed = (seed - 1 + number * _STRIDE) % _LARGEST_SEED + 1
            made = Slice(number, lane, slice_seed, planned, corpus, self.executions)
            connection.execute(
                "INSERT INTO slices (number, lane, seed, planned, corpus, first_execution) VALUES (?, ?, ?, ?, ?, ?)",
                (number, lane, slice_seed, planned, corpus, made.first_execution),
            )
        return made

    def begin(self, one: Slice) -> None:
        """A process is about to work on it."""
        one.attempts += 1
        with self.store.writing() as connection:
            connection.execute("UPDATE slices SET attempts = ? WHERE number = ?", (one.attempts, one.number))

    def units(self, one: Slice, target: str) -> list[str]:
        """The names of the inputs it starts from, sorted."""
        rows = self.store.connection.execute(
            "SELECT name FROM units WHERE target = ? AND id <= ? AND (retired IS NULL OR retired > ?) ORDER BY name",
            (target, one.corpus, one.number),
        )
        return [str(name) for (name,) in rows]

    def progress(self, one: Slice, executions: int, counts: Sequence[Count], features: int) -> None:
        """How far it is; what an earlier attempt had counted stays until this one is as far."""
        if executions <= one.executions:
            return
        with self.store.writing() as connection:
            self._count(connection, one, executions, counts)
            connection.execute("UPDATE slices SET features = max(features, ?) WHERE number = ?", (features, one.number))
        one.executions = executions

    def booked(self, one: Slice) -> list[Count]:
        """What is counted of an open slice, by the attempt that got furthest: it is of ``one.executions`` cases."""
        query = "SELECT signature, path, cases, last FROM open_counts WHERE slice = ?"
        return self.store.connection.execute(query, (one.number,)).fetchall()

    def _count(self, connection: sqlite3.Connection, one: Slice, executions: int, counts: Sequence[Count]) -> None:
        connection.execute("UPDATE slices SET executions = ? WHERE number = ?", (executions, one.number))
        connection.executemany(
            "INSERT OR REPLACE INTO open_counts (slice, signature, path, cases, last) VALUES (?, ?, ?, ?, ?)",
            [(one.number, *count) for count in counts],
        )
        latest: dict[str, int] = {}
        for signature, _, _, last in counts:
            latest[signature] = max(latest.get(signature, 0), one.first_execution + last)
        connection.executemany(
            "UPDATE findings SET last_execution = ?, last_second = ?, last_seen = ? "
            "WHERE signature = ? AND last_execution < ?",
            [
                (execution, round(self.store.seconds, 2), self.store.clock.date(), signature, execution)
                for signature, execution in latest.items()
            ],
        )

    def close(
        self,
        one: Slice,
        executions: int,
        counts: Sequence[Count],
        features: int,
        found: Sequence[tuple[str, bytes]],
        failed: bool = False,
    ) -> int:
        """It is done: count it, for good, and take in the inputs it found; returns how many are new to the corpus."""
        lane = self.lanes[one.lane]
        target = lane.configuration.target
        names = {name for name, _ in found}
        fresh = sum(
            one.first_execution < record.first_execution <= one.first_execution + executions
            for record in self.store.records.values()
            if record.lane == lane.name
        )
        recent = lane.reward(executions, features, fresh)
        with self.store.writing() as connection:
            connection.execute("DELETE FROM open_counts WHERE slice = ?", (one.number,))
            self._count(connection, one, executions, counts)
            connection.execute(
                "INSERT INTO counts SELECT signature, ?, path, cases FROM open_counts WHERE slice = ? "
                "ON CONFLICT DO UPDATE SET cases = cases + excluded.cases",
                (target, one.number),
            )
            connection.execute("DELETE FROM open_counts WHERE slice = ?", (one.number,))
            connection.execute(
                "UPDATE slices SET state = ?, features = ? WHERE number = ?",
                ("failed" if failed else "closed", features, one.number),
            )
            connection.execute(
                "UPDATE lanes SET slices = slices + 1, executions = executions + ?, features = max(features, ?), "
                "yield = ?, failures = iif(?, failures + 1, 0) WHERE name = ?",
                (executions, features, recent, failed, lane.name),
            )
            # What an attempt that was cut short had found, and the whole slice did not, because something smaller took
            # its place: not part of the campaign.
            for name in [
                str(row[0])
                for row in connection.execute(
                    "SELECT name FROM units WHERE slice = ? AND retired IS NULL", (one.number,)
                )
                if row[0] not in names
            ]:
                connection.execute(
                    "UPDATE units SET retired = ? WHERE target = ? AND name = ?", (one.number, target, name)
                )
            added = self._insert_units(connection, target, one.number, found)
        lane.slices += 1
        lane.executions += executions
        lane.features = max(lane.features, features)
        lane.recent = recent
        lane.failures = lane.failures + 1 if failed else 0
        one.executions = executions
        self._write_units(target, found)
        return added

    def keep_units(self, one: Slice, found: Sequence[tuple[str, bytes]]) -> None:
        """Inputs of a slice that was cut short: part of the corpus, but not of what the slice starts from again."""
        self._add_units(self.lanes[one.lane].configuration.target, one.number, found)

    def _add_units(self, target: str, number: int, found: Sequence[tuple[str, bytes]]) -> None:
        with self.store.writing() as connection:
            self._insert_units(connection, target, number, found)
        self._write_units(target, found)

    def _insert_units(
        self, connection: sqlite3.Connection, target: str, number: int, found: Sequence[tuple[str, bytes]]
    ) -> int:
        before = connection.total_changes
        connection.executemany(
            "INSERT OR IGNORE INTO units (target, name, slice, data) VALUES (?, ?, ?, ?)",
            [(target, name, number, data) for name, data in sorted(found)],
        )
        added = connection.total_changes - before
        connection.executemany(
            "UPDATE units SET retired = NULL WHERE target = ? AND name = ? AND retired IS NOT NULL",
            [(target, name) for name, _ in found],
        )
        return added

    def _write_units(self, target: str, found: Sequence[tuple[str, bytes]]) -> None:
        corpus = self.corpus(target)
        try:
            corpus.mkdir(parents=True, exist_ok=True)
            for _, data in found:
                write(corpus, data)
        except OSError as error:  # the database has them: they are written when the campaign is next opened
            raise InputError(f"cannot be written: {error.strerror}", str(corpus)) from None

    def corpus(self, target: str) -> Path:
        """The directory of a target's inputs."""
        return self.store.directory / "corpus" / target

    # Minimisation.

    def close_cull(self, one: Slice, keep: Sequence[str]) -> int:
        """Retire what a target's corpus can do without; returns how many inputs."""
        target = one.lane.removeprefix(CULL)
        kept = set(keep)
        gone = [name for name in self.units(one, target) if name not in kept]
        with self.store.writing() as connection:
            # Slices that were planned before this moment keep them.
            (following,) = connection.execute("SELECT max(number) + 1 FROM slices").fetchone()
            connection.executemany(
                "UPDATE units SET retired = ? WHERE target = ? AND name = ?",
                [(following, target, name) for name in gone],
            )
            connection.execute("UPDATE slices SET state = 'closed' WHERE number = ?", (one.number,))
            connection.execute(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"culled:{target}", str(self.corpus_size(target)))
            )
        return len(gone)

    def culled_at(self, target: str) -> int:
        """The size of a target's corpus after it was last minimised; 0 if it never was."""
        return int(self.store.meta(f"culled:{target}", "0"))

    def remove_retired(self) -> None:
        """Delete the files of retired inputs once no open slice can still need them."""
        if any(not one.lane.startswith(CULL) for one in self.open_slices()):
            return
        rows = self.store.connection.execute("SELECT target, name FROM units WHERE retired >= 0").fetchall()
        for target, name in rows:
            (self.corpus(target) / name).unlink(missing_ok=True)
