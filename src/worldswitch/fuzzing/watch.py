"""Waiting for the fuzzing processes of a run, and ending them when there is a reason to."""

import math
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from worldswitch.fuzzing.worker import Inbox, Worker

_EXCHANGE_SECONDS = 10.0
"""How often several jobs show each other what they found."""

_RATE_SECONDS = 3.0
"""The stretch of time over which `Progress.rate` is taken."""

_LONGEST_WAIT = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """A running campaign at a glance; sums over the jobs, except where stated."""

    executions: int
    seconds: float  # since the first execution
    rate: float  # executions a second, lately
    features: int  # of the job that has most
    units: int  # inputs in memory, of the job that has most
    since_new: float  # seconds since the last input that reached something new
    rss_mb: int  # of the largest job


class Watch:
    """Waits for the workers, and for a reason to stop them. Entered, it turns signals into such a reason."""

    def __init__(
        self,
        on_message: Callable[[object], bool | None] | None,
        on_tick: Callable[[Progress], bool | None] | None,
        tick_seconds: float,
    ) -> None:
        self.workers: list[Worker] = []
        self.inbox: Inbox = queue.SimpleQueue()
        self.reason = ""
        self.signal = 0
        self._on_message = on_message
        self._on_tick = on_tick
        self._tick_seconds = tick_seconds
        self._handlers: dict[int, object] = {}
        self._history: deque[tuple[float, int]] = deque(maxlen=max(2, round(_RATE_SECONDS / tick_seconds)))

    def __enter__(self) -> "Watch":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves SIGHUP
                    self._handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def run(self, deadline: float | None) -> None:
        """Returns when every worker has ended."""
        next_tick = time.monotonic() + self._tick_seconds
        next_exchange = time.monotonic() + _EXCHANGE_SECONDS
        while running := [worker for worker in self.workers if worker.running]:
            now = time.monotonic()
            # A signal handler runs, but does not end the wait: hence the limit.
            wait = min(_LONGEST_WAIT, next_tick - now, math.inf if deadline is None else deadline - now)
            self._receive(max(0.0, wait))
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + self._tick_seconds
                if self._on_tick is not None and self._on_tick(self._progress(now)):
                    self.reason = self.reason or "requested"
            if self.signal:
                self.reason = self.reason or "interrupted"
            if deadline is not None and now >= deadline:
                self.reason = self.reason or "time"
            if self.reason or any(worker.outcome for worker in self.workers if not worker.running):
                for worker in running:
                    worker.stop()
            elif len(running) > 1 and now >= next_exchange:
                next_exchange = now + _EXCHANGE_SECONDS
                for worker in running:
                    worker.exchange(running)
        while not self.inbox.empty():
            self._receive(0.0)

    def _receive(self, wait: float) -> None:
        """Handles one message, if there is one within ``wait`` seconds."""
        try:
            message = self.inbox.get(timeout=wait)
        except queue.Empty:
            return
        if message is not None and self._on_message is not None and self._on_message(message.value):
            self.reason = self.reason or "requested"

    def _progress(self, now: float) -> Progress:
        executions = sum(worker.executions for worker in self.workers)
        started = self.started(now)
        if not self._history:
            self._history.append((started, 0))
        then, before = self._history[0]
        self._history.append((now, executions))
        return Progress(
            executions=executions,
            seconds=now - started,
            rate=(executions - before) / (now - then) if now > then else 0.0,
            features=max(worker.features for worker in self.workers),
            units=max(worker.units for worker in self.workers),
            since_new=now - max(worker.last_new for worker in self.workers),
            rss_mb=max(worker.rss_mb for worker in self.workers),
        )

    def started(self, now: float) -> float:
        """Time of the first execution; ``now`` where there was none."""
        return min((worker.started for worker in self.workers if worker.started is not None), default=now)
