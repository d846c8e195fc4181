"""A campaign: lanes fuzzed slice by slice, findings recorded when they are seen, reduced and replayed meanwhile.

One process, this one, writes the directory. It starts fuzzing processes (``fleet``), decides what they work on
(``lanes``), books what they did (``endings``, over ``ledger``), has a helper reduce what they found (``findings``) and
minimise what they start from (``culling``), and keeps the time (``growth``).
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import worldswitch
from worldswitch.errors import InputError
from worldswitch.fuzzing import endings, fleet
from worldswitch.fuzzing.clock import SYSTEM, Clock
from worldswitch.fuzzing.culling import Culling
from worldswitch.fuzzing.engine import check_numbers, require_atheris
from worldswitch.fuzzing.findings import Findings
from worldswitch.fuzzing.growth import Growth, Progress
from worldswitch.fuzzing.lanes import Lane, choose, describe
from worldswitch.fuzzing.ledger import CULL, Ledger, Slice
from worldswitch.fuzzing.store import Store

TICK_SECONDS: Final = 0.5
BOOK_SECONDS: Final = 2.0
"""Between two bookings of what running slices have counted so far."""

FILES_SECONDS: Final = 300.0
"""Between two rewritings of the counts in ``finding.json``."""

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
class Until:
    """What ends a run: so many cases of the campaign, a moment of its clock, a wish; without any, nothing."""

    cases: int | None
    deadline: float | None
    signals: fleet.Signals
    on_tick: "Callable[[Progress, Campaign], object] | None"


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
    crews: list[fleet.Crew] = field(default_factory=list)  # the processes at work
    _culling: Culling = field(init=False)
    _endings: endings.Endings = field(init=False)
    _growth: Growth = field(init=False)  # of this run

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
        self._endings = endings.Endings(self.store, self.ledger, self.directory, self.say)
        self._endings.clean({lane.configuration.target for lane in self.lanes})

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
        self._endings.failures = 0
        self._growth = growth = Growth(self.store, self.ledger, self.lanes)
        with self.store.writing() as connection:
            run = connection.execute(
                "INSERT INTO runs (started, version, seed, jobs, first_execution, first_second) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (self.clock.date(), worldswitch.__version__, seed, jobs, before, self.store.seconds),
            ).lastrowid
        deadline = None if seconds is None else growth.began + seconds
        try:
            with fleet.Signals() as signals:
                reason = self._loop(seed, jobs, Until(limit, deadline, signals, on_tick))
        finally:
            self._abandon()
        now = growth.advance()
        done, elapsed = self.ledger.executions - before, growth.seconds
        with self.store.writing() as connection:
            connection.execute(
                "UPDATE runs SET ended = ?, outcome = ?, executions = ?, seconds = ? WHERE id = ?",
                (self.clock.date(), reason, done, round(elapsed, 2), run),
            )
        growth.sample(growth.progress(now, self.crews, self.findings.reducing))
        self.store.save_findings()
        self.store.save_state()
        return Outcome(
            reason, done, elapsed, growth.executed / elapsed if elapsed > 0 else 0.0,
            growth.features, self.ledger.corpus_size(), self._endings.failures,
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

    def _loop(self, seed: int, jobs: int, until: Until) -> str:
        """Keep ``jobs`` processes at work; returns why the run ended."""
        reason = ""
        now = self.clock.monotonic()
        next_tick, next_booking, next_files = now, now + BOOK_SECONDS, now + FILES_SECONDS
        while True:
            if not reason:
                reason = self._fill(until.cases, seed, jobs)
            if reason and not self.crews and self._culling.piece is None:
                return reason
            time.sleep(_POLL_SECONDS)
            now = self._growth.advance()
            self._look_after(bool(reason))
            if now >= next_booking:
                next_booking = now + BOOK_SECONDS
                for crew in self.crews:
                    self.ledger.progress(crew.piece, crew.at, crew.counts, crew.worker.features)
                self.store.refresh()
            if now >= next_tick:
                next_tick = now + TICK_SECONDS
                self._growth.check_clock(now)
                progress = self._growth.progress(now, self.crews, self.findings.reducing)
                self._growth.sample_when_due(now, progress)
                if until.on_tick is not None and until.on_tick(progress, self):
                    reason = reason or "requested"
            if now >= next_files:
                next_files = now + FILES_SECONDS
                self.store.save_findings()
            if until.signals.number:
                reason = reason or "interrupted"
            if until.deadline is not None and now >= until.deadline:
                reason = reason or "time"

    def _look_after(self, stopping: bool) -> None:
        """Take what the processes sent, those included that ended; when ``stopping``, have them end."""
        for crew in list(self.crews):
            self._take_news(crew)
            crew.watch(time.monotonic(), self.limits)
            if not crew.worker.running and crew.inbox.empty():
                self._take_news(crew)
                self.crews.remove(crew)
                self._endings.take(crew)
                self._growth.executed += crew.worker.executions
            elif stopping:
                crew.worker.stop()
        self.findings.step()
        self._culling.step()
        if stopping:
            self._culling.close()

    def _take_news(self, crew: fleet.Crew) -> None:
        for news in crew.receive():
            if self.findings.seen(crew.lane, crew.piece, news):
                self._growth.found()

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
        lane = choose(self.lanes, going, endings.REST_AFTER)
        if lane is None:
            return None
        length = self.slice_cases or lane.length(self.ledger.corpus_size(lane.configuration.target))
        return self.ledger.new(lane.name, seed, length)

    def _abandon(self) -> None:
        """End what is still running, whatever the reason."""
        for crew in self.crews:
            with contextlib.suppress(OSError, InputError):
                crew.worker.kill()
                crew.close()
        self.crews.clear()
        self._culling.close()

    def reduce(self) -> None:
        """Wait until every finding is reduced, and replayed: one that does not replay is a defect of this program."""
        self.findings.finish()
