"""How slices end: done and booked, cut short and to be done again, or closed where the process died of its input.

One that was cut short is done again from its beginning, so that it comes to the same end however often that happened;
but not for ever.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from worldswitch.fuzzing import fleet, units
from worldswitch.fuzzing.ledger import CULL, Ledger
from worldswitch.fuzzing.store import Store

PATIENCE: Final = 5
"""A slice that was cut short so often is closed where it was cut, so that short runs get on too."""

RETRIES: Final = 25
"""A slice whose process was killed so often by something other than its input is closed where it got to."""

REST_AFTER: Final = 5
"""A lane rests after so many failed slices in a row."""


class Endings:
    """Closes the slices of a campaign whose store is open, or leaves them open for another attempt."""

    def __init__(self, store: Store, ledger: Ledger, directory: Path, say: Callable[[str], None]) -> None:
        self.failures = 0  # processes that died, hung or grew too large, except by somebody's kill
        self._store = store
        self._ledger = ledger
        self._directory = directory
        self._say = say
        self._deaths: dict[int, bytes] = {}  # slice to the input that its process died of

    def take(self, crew: fleet.Crew) -> None:
        """Book what a process that is no longer running did; keep what it died of. Raises ``InputError``."""
        ended = crew.close()
        piece, found = crew.piece, crew.incoming.found
        whole = crew.at >= piece.planned
        if not ended.outcome and whole:
            self._close(crew, crew.at, found)
            return
        if ended.outcome:
            # Once it may have been anybody who killed it; when it executed the same input twice, it was the input.
            same = bool(ended.data) and self._deaths.get(piece.number) == ended.data
            self._deaths[piece.number] = ended.data
            blameless = ended.outcome in ("killed", "hung") and not same and piece.attempts < RETRIES
            if same and ended.outcome == "killed":
                ended.outcome = "died"
            self._failure(crew, ended)
            if blameless:
                self._ledger.progress(piece, crew.at, crew.counts, crew.worker.features)
                return  # open: done again
            self._close(crew, crew.at, found, failed=True)
            return
        # Cut short: by a limit of cases, by time or by the user.
        if piece.attempts >= PATIENCE and crew.at >= piece.executions:
            self._close(crew, crew.at, found)
            return
        self._ledger.progress(piece, crew.at, crew.counts, crew.worker.features)
        self._ledger.keep_units(piece, found)

    def _close(self, crew: fleet.Crew, at: int, found: list[tuple[str, bytes]], failed: bool = False) -> None:
        counts = crew.counts
        if at < crew.piece.executions:  # an earlier attempt got further, and that is what was reported
            at, counts = crew.piece.executions, self._ledger.booked(crew.piece)
        self._ledger.close(crew.piece, at, counts, crew.worker.features, found, failed)
        self._deaths.pop(crew.piece.number, None)
        if failed and crew.lane.failures == REST_AFTER:
            self._store.tell(f"{crew.lane.name} rests: its last {REST_AFTER} slices failed")
        self._store.save_state()

    def _failure(self, crew: fleet.Crew, ended: fleet.Ended) -> None:
        """Keep what a process died of, and say it."""
        kept = ""
        if ended.artifact is not None:
            kept = str(ended.artifact.relative_to(self._directory.absolute()))
        elif ended.data:
            name = hashlib.sha1(ended.data, usedforsecurity=False).hexdigest()
            kept = f"{fleet.CRASHES}/{ended.outcome}-{name}"
            with contextlib.suppress(OSError):
                (self._directory / kept).write_bytes(ended.data)
        if ended.outcome != "killed":
            self.failures += 1
        with self._store.writing() as connection:
            connection.execute(
                "INSERT INTO failures (wall, second, slice, lane, execution, outcome, summary, details, input, file) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self._store.clock.date(), round(self._store.seconds, 2), crew.piece.number, crew.lane.name,
                    crew.worker.executions, ended.outcome, ended.summary, ended.details, ended.data.hex(), kept,
                ),
            )  # fmt: skip
        self._say(
            f"a process on {crew.lane.name} ended: {ended.outcome}, {ended.summary}"
            + (f"; its input: {self._directory / kept}" if kept else "")
        )

    def clean(self, targets: Iterable[str]) -> None:
        """What killed runs left behind: slices that never get done, and directories of processes."""
        shutil.rmtree(self._directory / fleet.SCRATCH, ignore_errors=True)
        going = []
        for one in self._ledger.open_slices():
            if one.lane.startswith(CULL):
                continue
            lane = self._ledger.lanes.get(one.lane)
            if lane is None or one.attempts < RETRIES:
                going.append(one.number)
                continue
            corpus = self._ledger.corpus(lane.configuration.target)
            found = units.left_behind(corpus, one.number)
            self._ledger.close(one, one.executions, self._ledger.booked(one), lane.features, found)
            self._store.tell(f"slice {one.number} was begun {one.attempts} times and never done: closed where it was")
        for target in targets:
            corpus = self._ledger.corpus(target)
            if corpus.is_dir():
                units.discard_left(corpus, going)
        self._ledger.remove_retired()
