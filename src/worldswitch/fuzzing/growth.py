"""How a run of a campaign goes: its time, its rate, when it last found something new, and the growth samples."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from worldswitch.fuzzing.fleet import Crew
from worldswitch.fuzzing.lanes import Lane
from worldswitch.fuzzing.ledger import Ledger
from worldswitch.fuzzing.records import LaneRecord, Sample
from worldswitch.fuzzing.store import Store

SAMPLE_SECONDS: Final = (2.0, 60.0)
"""Between two growth samples: at first, and at most; a 360th of the time in between."""

JUMP_SECONDS: Final = 5.0
"""By so much the wall clock may part from the monotonic one within a tick before somebody must have set it."""


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


class Growth:
    """One run of a campaign whose store is open."""

    def __init__(self, store: Store, ledger: Ledger, lanes: Sequence[Lane]) -> None:
        self.began = store.clock.monotonic()
        self.executed = 0  # by processes that ended, those cases included that are done again
        self._store = store
        self._ledger = ledger
        self._lanes = lanes
        self._base_seconds = store.seconds  # of earlier runs
        self._last_new = self.began
        self._best = ledger.features()  # lane to points reached, open slices included
        self._history: deque[tuple[float, int]] = deque([(self.began, 0)], maxlen=10)
        self._next_sample = self.began
        self._drift = store.clock.wall() - self.began

    @property
    def features(self) -> int:
        """Points of guidance reached, summed over the lanes."""
        return sum(self._best.values())

    @property
    def seconds(self) -> float:
        """How long this run has gone on."""
        return self._store.seconds - self._base_seconds

    def advance(self) -> float:
        """Let the campaign's time go on; returns the clock's."""
        now = self._store.clock.monotonic()
        self._store.seconds = max(self._store.seconds, self._base_seconds + now - self.began)
        return now

    def found(self) -> None:
        """There is a new finding."""
        self._last_new = self._store.clock.monotonic()

    def progress(self, now: float, crews: Sequence[Crew], reducing: bool) -> Progress:
        """The run at a glance."""
        executed = self.executed + sum(crew.worker.executions for crew in crews)
        then, before = self._history[0]
        self._history.append((now, executed))
        for lane in self._lanes:
            best = max([lane.features, *(crew.worker.features for crew in crews if crew.lane is lane)])
            if best > self._best[lane.name]:
                self._last_new = now
                self._best[lane.name] = best
        return Progress(
            executions=self._ledger.executions,
            seconds=now - self.began,
            rate=(executed - before) / (now - then) if now > then else 0.0,
            features=self.features,
            units=self._ledger.corpus_size() + sum(len(crew.incoming.names()) for crew in crews),
            since_new=now - self._last_new,
            workers={crew.name: crew.rss_mb() for crew in crews},
            lanes=[self._lane_now(lane, crews) for lane in self._lanes],
            reducing=reducing,
        )

    def _lane_now(self, lane: Lane, crews: Sequence[Crew]) -> LaneRecord:
        done = lane.executions + sum(crew.worker.executions for crew in crews if crew.lane is lane)
        return LaneRecord(
            lane.name, lane.configuration.target, lane.target.path_names, lane.slices, done, self._best[lane.name],
            lane.recent, lane.failures,
        )  # fmt: skip

    def sample_when_due(self, now: float, progress: Progress) -> None:
        """Write a growth sample, if it is time for one."""
        if now >= self._next_sample:
            self._next_sample = now + min(max(SAMPLE_SECONDS[0], self._store.seconds / 360), SAMPLE_SECONDS[1])
            self.sample(progress)

    def sample(self, progress: Progress) -> None:
        """Write a growth sample."""
        self._store.sample(
            Sample(
                round(self._store.seconds, 2), self._store.clock.date(), progress.executions, round(progress.rate, 1),
                progress.features, progress.units, len(self._store.records), progress.workers,
            )
        )  # fmt: skip

    def check_clock(self, now: float) -> None:
        """Tell of a wall clock that was set; intervals do not depend on it."""
        jump = self._store.clock.wall() - now - self._drift
        if abs(jump) > JUMP_SECONDS:
            self._drift += jump
            self._store.tell(f"the system's clock was set {'on' if jump > 0 else 'back'} by {abs(jump):.0f} s")
