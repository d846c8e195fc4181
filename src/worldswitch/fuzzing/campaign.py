"""A campaign: lanes fuzzed slice by slice, findings recorded when they are seen, reduced and replayed meanwhile.

One process, this one, writes the directory. It starts fuzzing processes (``fleet``), decides what they work on
(``lanes``), books what they did (``ledger``), and has a helper reduce what they found (``chores``).
"""

import contextlib
import hashlib
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import worldswitch
from worldswitch.errors import InputError
from worldswitch.fuzzing import fleet, units
from worldswitch.fuzzing.clock import SYSTEM, Clock
from worldswitch.fuzzing.culling import Culling
from worldswitch.fuzzing.engine import check_numbers, require_atheris
from worldswitch.fuzzing.findings import Findings
from worldswitch.fuzzing.lanes import Lane, choose, describe
from worldswitch.fuzzing.ledger import CULL, Ledger, Slice
from worldswitch.fuzzing.store import Sample, Store
from worldswitch.fuzzing.view import LaneRecord

TICK_SECONDS: Final = 0.5
BOOK_SECONDS: Final = 2.0
"""Between two bookings of what running slices have counted so far."""

FILES_SECONDS: Final = 300.0
"""Between two rewritings of the counts in ``finding.json``."""

SAMPLE_SECONDS: Final = (2.0, 60.0)
"""Between two growth samples: at first, and at most; a 360th of the time in between."""

JUMP_SECONDS: Final = 5.0
"""By so much the wall clock may part from the monotonic one within a tick before somebody must have set it."""

PATIENCE: Final = 5
"""A slice that was cut short so often is closed where it was cut, so that short runs get on too."""

RETRIES: Final = 25
"""A slice whose process was killed so often by something other than its input is closed where it got to."""

REST_AFTER: Final = 5
"""A lane rests after so many failed slices in a row."""

_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    ``outcome`` is ``runs``, ``time``, ``requested``, ``interrupted``, or ``failed``: every lane rests, because its
    processes keep failing.
    """

    outcome: str
    executions: int  # cases that this run added to the campaign
    seconds: float
    rate: float  # cases a second, those that were done again included
    features: int
    corpus: int
    failures: int  # processes that died, hung or grew too large in this run, except by somebody's kill


@dataclass(frozen=True, slots=True)
class Progress:
    """A running campaign at a glance."""

    executions: int
    seconds: float  # of this run
    rate: float  # cases a second, lately
    features: int
    units: int
    since_new: float  # seconds since the last new point of guidance or finding
    workers: dict[str, int]  # process to resident memory in MB
    lanes: list[LaneRecord]
    reducing: bool


@dataclass(slots=True)
class Campaign:
    """One campaign in one directory."""

    lanes: Sequence[Lane]
    directory: Path
    say: Callable[[str], None]
    profile: str = "amd"
    options: tuple[tuple[str, str], ...] = ()
    limits: fleet.Limits = field(default_factory=fleet.Limits)
    clock: Clock = SYSTEM
    slice_cases: int | None = None  # cases of every slice, for tests
    store: Store = field(init=False)
    ledger: Ledger = field(init=False)
    findings: Findings = field(init=False)
    failures: int = 0
    crews: list[fleet.Crew] = field(default_factory=list)  # the processes at work
    _culling: Culling = field(init=False)
    _base_seconds: float = 0.0
    _began: float = 0.0
    _executed: int = 0  # by processes that ended, in this run
    _last_new: float = 0.0
    _best: dict[str, int] = field(default_factory=dict)  # lane to points reached, open slices included
    _deaths: dict[int, bytes] = field(default_factory=dict)  # slice to the input that its process died of
    _history: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=10))

    def __post_init__(self) -> None:
        self.store = Store(self.directory, self.say, self.clock)

    @property
    def description(self) -> dict[str, Any]:
        """What makes two runs the same campaign."""
        return describe(self.lanes, self.profile, self.options)

    @property
    def new(self) -> list[str]:
        """Signatures first seen in this run."""
        return self.findings.new

    @property
    def path_names(self) -> list[str]:
        """The names under which findings are reported, of all lanes."""
        return list(dict.fromkeys(name for lane in self.lanes for name in lane.target.path_names))

    def by_path(self) -> dict[str, int]:
        """Path to the cases executed on it."""
        result = dict.fromkeys(self.path_names, 0)
        going = {one.lane: one.executions for one in self.ledger.open_slices()}
        for lane in self.lanes:
            for name in lane.target.path_names:
                result[name] += lane.executions + going.get(lane.name, 0)
        return result

    # A run.

    def open(self) -> None:
        """Take the directory, and whatever an earlier run left in it; raises ``InputError``. See :meth:`close`."""
        if self.store.is_open:
            return
        self.store.open(
            self.description,
            {lane.name: (lane.configuration.target, lane.target.path_names) for lane in self.lanes},
        )
        self.ledger = Ledger(self.store, self.lanes)
        self.findings = Findings(self.store, self.ledger.lanes, self.say)
        self._culling = Culling(self.store, self.ledger)
        self._clean()

    def run(
        self,
        *,
        runs: int | None = None,
        total: int | None = None,
        seconds: float | None = None,
        seed: int = 1,
        jobs: int = 1,
        seeds: dict[str, list[bytes]] | None = None,
        on_tick: Callable[[Progress, "Campaign"], object] | None = None,
    ) -> Outcome:
        """Fuzz until a limit, an interruption, or ``on_tick`` returns true; then all that was found is on the disk.

        ``runs`` are cases in this run, ``total`` cases of the campaign, ``seconds`` from now; without any of them,
        until stopped. ``seeds`` are inputs by target. The store stays open, for what is to be asked of it: see
        :meth:`close`. Raises ``InputError``.
        """
        check_numbers(runs=runs, total=total, seconds=seconds, seed=seed, jobs=jobs, memory_mb=self.limits.memory_mb)
        require_atheris()
        self.open()
        for target, given in (seeds or {}).items():
            self.ledger.seed_units(target, given)
        before = self.ledger.executions
        limit = total if runs is None else before + runs
        self._began = self._last_new = self.clock.monotonic()
        self._base_seconds = self.store.seconds
        self._best = self.ledger.features()
        with self.store.writing() as connection:
            run = connection.execute(
                "INSERT INTO runs (started, version, seed, jobs, first_execution, first_second) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (self.clock.date(), worldswitch.__version__, seed, jobs, before, self._base_seconds),
            ).lastrowid
        deadline = None if seconds is None else self._began + seconds
        try:
            with fleet.Signals() as signals:
                reason = self._loop(limit, deadline, seed, jobs, signals, on_tick)
        finally:
            self._abandon()
        self._advance()
        done = self.ledger.executions - before
        elapsed = self.store.seconds - self._base_seconds
        with self.store.writing() as connection:
            connection.execute(
                "UPDATE runs SET ended = ?, outcome = ?, executions = ?, seconds = ? WHERE id = ?",
                (self.clock.date(), reason, done, round(elapsed, 2), run),
            )
        self._sample(self._progress(self.clock.monotonic()))
        self.store.save_findings()
        self.store.save_state()
        return Outcome(
            reason, done, elapsed, self._executed / elapsed if elapsed > 0 else 0.0,
            sum(self._best.values()), self.ledger.corpus_size(), self.failures,
        )  # fmt: skip

    def close(self) -> None:
        """Give the directory back."""
        if self.store.is_open:
            self.findings.close()
            self._culling.close()
        self.store.close()

    def __enter__(self) -> "Campaign":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _loop(
        self,
        limit: int | None,
        deadline: float | None,
        seed: int,
        jobs: int,
        signals: fleet.Signals,
        on_tick: Callable[[Progress, "Campaign"], object] | None,
    ) -> str:
        """Keep ``jobs`` processes at work; returns why the run ended."""
        reason = ""
        now = self.clock.monotonic()
        next_tick, next_booking, next_files = now, now + BOOK_SECONDS, now + FILES_SECONDS
        next_sample = now
        drift = self.clock.wall() - now
        while True:
            if not reason:
                reason = self._fill(limit, seed, jobs)
            if reason and not self.crews and self._culling.piece is None:
                return reason
            time.sleep(_POLL_SECONDS)
            now = self._advance()
            for crew in list(self.crews):
                for news in crew.receive():
                    self._news(crew, news)
                crew.watch(time.monotonic(), self.limits)
                if not crew.worker.running and crew.inbox.empty():
                    self._ended(crew)
                elif reason:
                    crew.worker.stop()
            self.findings.step()
            self._culling.step()
            if reason:
                self._culling.close()
            if now >= next_booking:
                next_booking = now + BOOK_SECONDS
                for crew in self.crews:
                    self.ledger.progress(crew.piece, crew.at, crew.counts, crew.worker.features)
                self.store.refresh()
            if now >= next_tick:
                next_tick = now + TICK_SECONDS
                if abs(self.clock.wall() - now - drift) > JUMP_SECONDS:
                    jump = self.clock.wall() - now - drift
                    drift = self.clock.wall() - now
                    self.store.tell(f"the system's clock was set {'on' if jump > 0 else 'back'} by {abs(jump):.0f} s")
                progress = self._progress(now)
                if now >= next_sample:
                    next_sample = now + min(max(SAMPLE_SECONDS[0], self.store.seconds / 360), SAMPLE_SECONDS[1])
                    self._sample(progress)
                if on_tick is not None and on_tick(progress, self):
                    reason = reason or "requested"
            if now >= next_files:
                next_files = now + FILES_SECONDS
                self.store.save_findings()
            if signals.number:
                reason = reason or "interrupted"
            if deadline is not None and now >= deadline:
                reason = reason or "time"

    def _advance(self) -> float:
        """Let the campaign's time go on; returns the clock's."""
        now = self.clock.monotonic()
        self.store.seconds = max(self.store.seconds, self._base_seconds + now - self._began)
        return now

    def _fill(self, limit: int | None, seed: int, jobs: int) -> str:
        """Start processes until ``jobs`` are at work; why nothing more is to be started, else ""."""
        while len(self.crews) + (self._culling.piece is not None) < jobs:
            going = {crew.piece.number for crew in self.crews}
            if self._culling.piece is not None:
                going.add(self._culling.piece.number)
            promised = sum(crew.cases for crew in self.crews)
            waiting = [one for one in self.ledger.open_slices() if one.number not in going]
            left = None
            if limit is not None:
                left = limit - self.ledger.closed - promised - sum(one.executions for one in waiting)
                if left <= 0:
                    return "" if self.crews or self._culling.piece else "runs"
            if waiting:
                piece = waiting[0]
            else:
                planned = self._plan(seed)
                if planned is None:
                    return "" if self.crews else "failed"
                piece = planned
            if piece.lane.startswith(CULL):
                self._culling.begin(piece)
                continue
            lane = self.ledger.lanes[piece.lane]
            cases = piece.planned if left is None else min(piece.planned, left + piece.executions)
            self.ledger.begin(piece)
            names = self.ledger.units(piece, lane.configuration.target)
            self.crews.append(fleet.start(piece, lane, self.directory, names, cases, self.limits))
        return ""

    def _plan(self, seed: int) -> Slice | None:
        """The next slice; None where every lane rests."""
        for target in dict.fromkeys(lane.configuration.target for lane in self.lanes):
            busy = any(crew.lane.configuration.target == target for crew in self.crews)
            if not busy and self._culling.due(target):
                return self.ledger.new(CULL + target, seed, 0)
        going: dict[str, int] = {}
        for crew in self.crews:
            going[crew.lane.name] = going.get(crew.lane.name, 0) + crew.cases
        lane = choose(self.lanes, going, REST_AFTER)
        if lane is None:
            return None
        length = self.slice_cases or lane.length(self.ledger.corpus_size(lane.configuration.target))
        return self.ledger.new(lane.name, seed, length)

    def _news(self, crew: fleet.Crew, news: dict[str, Any]) -> None:
        if self.findings.seen(crew.lane, crew.piece, news):
            self._last_new = self.clock.monotonic()

    # Ends of slices.

    def _ended(self, crew: fleet.Crew) -> None:
        """Book what a process did, keep what it died of."""
        for news in crew.receive():
            self._news(crew, news)
        self.crews.remove(crew)
        ended = crew.close()
        self._executed += crew.worker.executions
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
                self.ledger.progress(piece, crew.at, crew.counts, crew.worker.features)
                return  # open: done again
            self._close(crew, crew.at, found, failed=True)
            return
        # Cut short: by a limit of cases, by time or by the user.
        if piece.attempts >= PATIENCE and crew.at >= piece.executions:
            self._close(crew, crew.at, found)
            return
        self.ledger.progress(piece, crew.at, crew.counts, crew.worker.features)
        self.ledger.keep_units(piece, found)

    def _close(self, crew: fleet.Crew, at: int, found: list[tuple[str, bytes]], failed: bool = False) -> None:
        counts = crew.counts
        if at < crew.piece.executions:  # an earlier attempt got further, and that is what was reported
            at, counts = crew.piece.executions, self.ledger.booked(crew.piece)
        self.ledger.close(crew.piece, at, counts, crew.worker.features, found, failed)
        self._deaths.pop(crew.piece.number, None)
        if failed and crew.lane.failures == REST_AFTER:
            self.store.tell(f"{crew.lane.name} rests: its last {REST_AFTER} slices failed")
        self.store.save_state()

    def _failure(self, crew: fleet.Crew, ended: fleet.Ended) -> None:
        """Keep what a process died of, and say it."""
        kept = ""
        if ended.artifact is not None:
            kept = str(ended.artifact.relative_to(self.directory.absolute()))
        elif ended.data:
            name = hashlib.sha1(ended.data, usedforsecurity=False).hexdigest()
            kept = f"{fleet.CRASHES}/{ended.outcome}-{name}"
            with contextlib.suppress(OSError):
                (self.directory / kept).write_bytes(ended.data)
        if ended.outcome != "killed":
            self.failures += 1
        with self.store.writing() as connection:
            connection.execute(
                "INSERT INTO failures (wall, second, slice, lane, execution, outcome, summary, details, input, file) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self.clock.date(), round(self.store.seconds, 2), crew.piece.number, crew.lane.name,
                    crew.worker.executions, ended.outcome, ended.summary, ended.details, ended.data.hex(), kept,
                ),
            )  # fmt: skip
        self.say(
            f"a process on {crew.lane.name} ended: {ended.outcome}, {ended.summary}"
            + (f"; its input: {self.directory / kept}" if kept else "")
        )

    def _abandon(self) -> None:
        """End what is still running, whatever the reason."""
        for crew in self.crews:
            with contextlib.suppress(OSError, InputError):
                crew.worker.kill()
                crew.close()
        self.crews.clear()
        self._culling.close()

    def _clean(self) -> None:
        """What killed runs left behind: slices that never get done, and directories of processes."""
        shutil.rmtree(self.directory / fleet.SCRATCH, ignore_errors=True)
        going = []
        for one in self.ledger.open_slices():
            if one.lane.startswith(CULL):
                continue
            lane = self.ledger.lanes.get(one.lane)
            if lane is None or one.attempts < RETRIES:
                going.append(one.number)
                continue
            corpus = self.ledger.corpus(lane.configuration.target)
            found = units.left_behind(corpus, one.number)
            self.ledger.close(one, one.executions, self.ledger.booked(one), lane.features, found)
            self.store.tell(f"slice {one.number} was begun {one.attempts} times and never done: closed where it was")
        for target in {lane.configuration.target for lane in self.lanes}:
            corpus = self.ledger.corpus(target)
            if corpus.is_dir():
                units.discard_left(corpus, going)
        self.ledger.remove_retired()

    def reduce(self) -> None:
        """Wait until every finding is reduced, and replayed: one that does not replay is a defect of this program."""
        self.findings.finish()

    # Progress.

    def _progress(self, now: float) -> Progress:
        executed = self._executed + sum(crew.worker.executions for crew in self.crews)
        if not self._history:
            self._history.append((self._began, 0))
        then, before = self._history[0]
        self._history.append((now, executed))
        for lane in self.lanes:
            best = max([lane.features, *(crew.worker.features for crew in self.crews if crew.lane is lane)])
            if best > self._best[lane.name]:
                self._last_new = now
                self._best[lane.name] = best
        return Progress(
            executions=self.ledger.executions,
            seconds=now - self._began,
            rate=(executed - before) / (now - then) if now > then else 0.0,
            features=sum(self._best.values()),
            units=self.ledger.corpus_size() + sum(len(crew.incoming.names()) for crew in self.crews),
            since_new=now - self._last_new,
            workers={crew.name: crew.rss_mb() for crew in self.crews},
            lanes=[self._lane_now(lane) for lane in self.lanes],
            reducing=self.findings.reducing,
        )

    def _lane_now(self, lane: Lane) -> LaneRecord:
        done = lane.executions + sum(crew.worker.executions for crew in self.crews if crew.lane is lane)
        return LaneRecord(
            lane.name, lane.configuration.target, lane.target.path_names, lane.slices, done, self._best[lane.name],
            lane.recent, lane.failures,
        )  # fmt: skip

    def _sample(self, progress: Progress) -> None:
        self.store.sample(
            Sample(
                round(self.store.seconds, 2), self.clock.date(), progress.executions, round(progress.rate, 1),
                progress.features, progress.units, len(self.store.records), progress.workers,
            )
        )  # fmt: skip
