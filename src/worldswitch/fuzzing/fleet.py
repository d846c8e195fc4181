"""The processes of a campaign: each works on a slice, is watched, and is replaced when it is done, dies or hangs."""

import contextlib
import os
import pickle
import queue
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

from worldswitch.core import compiled
from worldswitch.errors import InputError
from worldswitch.fuzzing import slices, units
from worldswitch.fuzzing.engine import common_flags, scratch_directory
from worldswitch.fuzzing.harness import Build, Job
from worldswitch.fuzzing.lanes import Lane
from worldswitch.fuzzing.ledger import Count, Slice
from worldswitch.fuzzing.targets import JOINT, Configuration
from worldswitch.fuzzing.worker import Inbox, Worker

SLACK_SECONDS: Final = 15.0
"""A process that does not move for so long beyond the time that one case may take hangs: libFuzzer's own alarm, which
ends a case that takes too long, did not get through to it."""

START_SECONDS: Final = 120.0
"""How long a process may take to its first case."""

CRASHES: Final = "crashes"
SCRATCH: Final = ".scratch"

CORE_PACKAGES: Final = ("worldswitch.core", "worldswitch.kernel", "worldswitch.machine")
"""What the coverage of the core's code is of, where atheris instruments it."""

BUILD: Build = slices.build
"""What makes the harness of a slice; tests put another in its place."""

_PAGE_MB: Final = os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process, and one case, may take."""

    timeout: int = 60  # seconds a case
    memory_mb: int = 2048  # resident


@dataclass(slots=True)
class Ended:
    """How a process ended; ``outcome`` is "" where it did what it had to."""

    outcome: str
    summary: str = ""
    details: str = ""
    data: bytes = b""  # the input that it executed
    artifact: Path | None = None


@dataclass(slots=True)
class Crew:
    """One process at work on one slice."""

    piece: Slice
    lane: Lane
    worker: Worker
    inbox: Inbox
    incoming: units.Collected
    cases: int  # that it is to execute
    cleanup: contextlib.ExitStack
    at: int = 0  # cases that its counts are of
    counts: list[Count] = field(default_factory=list)
    moved: float = 0.0  # when it was last seen to move
    executions: int = -1
    hung: bool = False
    peak_mb: int = 0

    @property
    def name(self) -> str:
        """What it is called in samples and in the live view."""
        return f"{self.lane.name}/{self.piece.number}"

    def rss_mb(self) -> int:
        """Resident memory now; 0 once it ended."""
        try:
            with open(f"/proc/{self.worker.pid}/statm", "rb") as file:
                now = round(int(file.read().split()[1]) * _PAGE_MB)
        except (OSError, IndexError):
            return 0
        self.peak_mb = max(self.peak_mb, now)
        return now

    def receive(self) -> list[dict[str, Any]]:
        """What it sent since; counts are taken note of, the rest is returned."""
        news = []
        with contextlib.suppress(queue.Empty):
            while True:
                message = self.inbox.get_nowait()
                if message is None or not isinstance(message.value, dict):
                    continue
                if "at" in message.value:
                    self.at = message.value["at"]
                    self.counts = [(s, p, c, last) for s, p, c, last in message.value["counts"]]
                else:
                    news.append(message.value)
        return news

    def watch(self, now: float, limits: Limits) -> None:
        """Kill it if it hangs."""
        done = self.worker.executions
        if done != self.executions:
            self.executions, self.moved = done, now
        limit = limits.timeout + SLACK_SECONDS if self.worker.started is not None else START_SECONDS
        if now - self.moved > limit and self.worker.running:
            self.hung = True
            self.worker.kill()

    def close(self) -> Ended:
        """Take in what it found, once it is no longer running or is to be killed."""
        data = self.worker.current_input
        self.worker.close()
        self.cleanup.close()
        outcome = self.worker.outcome
        if self.hung:
            return Ended("hung", "it did not move any more, and was killed", self.worker.log_text, data)
        if outcome is None or outcome == "target":
            lost = max(self.incoming.broken, self.worker.new_units - len(self.incoming.found))
            if lost:  # libFuzzer says nothing when it cannot write
                raise InputError(f"{lost} inputs could not be written: is the disk full?", str(self.incoming.corpus))
            return Ended("")
        if outcome == "interrupted":  # terminated by somebody else
            return Ended("killed", "terminated", "", data)
        failure = self.worker.failure
        if failure is not None:
            return Ended(outcome, failure.summary, failure.traceback, failure.data or data, self.worker.artifact)
        if outcome == "failed":
            return Ended("killed", self.worker.how, self.worker.log_text, data)
        return Ended(outcome, self.worker.how, self.worker.log_text, data, self.worker.artifact)


def start(piece: Slice, lane: Lane, directory: Path, names: list[str], cases: int, limits: Limits) -> Crew:
    """Start a process on a slice, with those inputs; raises ``InputError`` where the disk does not let it."""
    directory = directory.absolute()
    corpus = directory / "corpus" / lane.configuration.target
    scratches = directory / SCRATCH
    cleanup = contextlib.ExitStack()
    try:
        for folder in (corpus, directory / CRASHES, scratches):
            folder.mkdir(parents=True, exist_ok=True)
        # libFuzzer takes no comma in the names of a list.
        scratch, seed_flags = cleanup.enter_context(
            scratch_directory([corpus / name for name in names], None if "," in str(scratches) else scratches)
        )
        incoming = units.Collected(corpus, piece.number)
        cleanup.callback(incoming.discard)
        job = Job(
            module=BUILD.__module__,
            name=BUILD.__qualname__,
            file=sys.modules[BUILD.__module__].__file__ or "",
            arguments=pickle.dumps((lane.configuration, cases)),
            flags=(
                *common_flags(
                    directory / CRASHES, lane.target.codec.length, limits.timeout, limits.memory_mb, reload=0
                ),
                *seed_flags,
                f"-seed={piece.seed}",
                f"-runs={cases}",
            ),
            instrument=instrumented(lane.configuration),
            status=str(scratch / "status"),
            parent=os.getpid(),
        )
        inbox: Inbox = queue.SimpleQueue()
        worker = Worker(job, incoming, inbox)
    except OSError as error:
        cleanup.close()
        raise InputError(f"cannot be written: {error.strerror}", error.filename or str(corpus)) from None
    except BaseException:
        cleanup.close()
        raise
    return Crew(piece, lane, worker, inbox, incoming, cases, cleanup, moved=time.monotonic())


def instrumented(configuration: Configuration) -> tuple[str, ...]:
    """The packages that atheris instruments: none for the joint projection, and none of a compiled core."""
    return () if configuration.guidance == JOINT or compiled() else CORE_PACKAGES


class Signals:
    """Turns SIGINT, SIGTERM and SIGHUP into a wish to stop; a second SIGINT raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.number = 0
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves SIGHUP
                    self._handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
