"""One fuzzing process, seen from the process that started it: its start, its two pipes, its end."""

import contextlib
import json
import mmap
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import IO

from worldswitch.fuzzing.harness import CURRENT, REGION, STATUS, STOPPED, Job
from worldswitch.fuzzing.units import Incoming

_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from worldswitch.fuzzing.harness import serve; serve()"
)

# libFuzzer's status lines: "#4115<tab>NEW    cov: 273 ft: 273 corp: 273/693b lim: 6 exec/s: 0 rss: 63Mb L: 6/6 ..."
_EVENT = re.compile(rb"#\d+\t(\w+) .*?(?:ft: (\d+) )?(?:corp: (\d+)/\S+ .*?)?exec/s: \d+ rss: (\d+)Mb")
_FINAL = re.compile(rb"stat::(number_of_executed_units|peak_rss_mb): +(\d+)")
_ARTIFACT = re.compile(rb"Test unit written to (.*/(?:crash|timeout|oom)-[0-9a-f]{40})$")

_OUTCOMES = {77: "crash", 70: "timeout", 71: "memory", STOPPED: "target"}

_INTERRUPTED = 72
"""libFuzzer's exit code after SIGTERM."""

_GRACE_SECONDS = 5.0
"""How long a process may take over its current execution once it was asked to stop."""

_LOG_LINES = 200
_LONGEST_LINE = 1 << 16


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception in the fuzzing process."""

    what: str  # whose: "target", "mutator" (or crossover) or "build"
    summary: str  # "ValueError: ..."
    traceback: str
    data: bytes | None  # the input, where the target raised


@dataclass(frozen=True, slots=True)
class Message:
    """What a target sent; ``None`` in its place in an inbox only wakes the reader."""

    value: object


Inbox = SimpleQueue[Message | None]


class Worker:
    """A fuzzing process, read by two threads: one follows libFuzzer's log, one puts what the target sends in the inbox.

    Threads, because a target that waits for its message to be read is, to libFuzzer, a target that hangs; and whoever
    handles the messages may take time over one.
    """

    def __init__(self, job: Job, incoming: Incoming, inbox: Inbox) -> None:
        """Starts the process."""
        self.features = self.units = self.rss_mb = self.new_units = 0
        self.last_new = self.ended = time.monotonic()
        self.failure: Failure | None = None
        self.artifact: Path | None = None
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        self._incoming = incoming
        self._inbox = inbox
        self._final_executions: int | None = None
        self._asked_at: float | None = None
        with open(job.status, "w+b") as file:
            file.truncate(REGION)
            self._status = mmap.mmap(file.fileno(), REGION)
        receiving, sending = os.pipe()
        messages = open(receiving, "rb")  # noqa: SIM115 - closed by the thread that reads it
        try:
            self._process = _start(replace(job, messages=sending), incoming)
        except BaseException:
            messages.close()
            raise
        finally:
            os.close(sending)
        assert self._process.stdout is not None
        self._open = {"log", "messages"}
        self._threads = [
            threading.Thread(target=self._read, args=arguments, daemon=True)
            for arguments in (
                ("log", self._process.stdout, self._follow_log, _LONGEST_LINE),
                ("messages", messages, self._take_message, -1),
            )
        ]
        for thread in self._threads:
            thread.start()

    @property
    def running(self) -> bool:
        """Whether anything can still arrive from the process."""
        return bool(self._open)

    @property
    def executions(self) -> int:
        """Executions so far: at most some tenths of a second old, exact once libFuzzer or the target ended the run."""
        if self._final_executions is not None:
            return self._final_executions
        return int(STATUS.unpack_from(self._status)[0])

    @property
    def started(self) -> float | None:
        """Time of the first execution, or None before it."""
        return float(STATUS.unpack_from(self._status)[1]) or None

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def current_input(self) -> bytes:
        """The input that is being executed, or was when the process ended; up to 64 KiB of it."""
        (size,) = CURRENT.unpack_from(self._status, STATUS.size)
        begin = STATUS.size + CURRENT.size
        return bytes(self._status[begin : begin + min(size, REGION - begin)])

    @property
    def outcome(self) -> str | None:
        """What ended the process unasked (see ``engine.Result``), or None; once it is no longer `running`."""
        code = self._process.wait()
        if code == 0 or (self._asked_at is not None and (code == _INTERRUPTED or code < 0)):
            return None
        if code == _INTERRUPTED:
            return "interrupted"
        return _OUTCOMES.get(code, "failed")

    @property
    def how(self) -> str:
        """How the process ended, in words."""
        code = self._process.wait()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    @property
    def log_text(self) -> str:
        """The last lines that the process printed."""
        return "\n".join(self.log)

    def stop(self) -> None:
        """Asks the process to end after its current execution; called again and again, it insists after a while."""
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            self._process.send_signal(signal.SIGUSR1)
        elif now > self._asked_at + _GRACE_SECONDS:
            self._process.kill()

    def kill(self) -> None:
        """Ends the process at once."""
        self._process.kill()

    def close(self) -> int:
        """Ends the process if it still runs, and moves its inputs into the corpus; returns how many were new."""
        if self.running:
            self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        return self._incoming.adopt()

    def exchange(self, others: "list[Worker]") -> None:
        """Shows the others the inputs found here."""
        self._incoming.exchange([other._incoming for other in others if other is not self])

    def _read(self, name: str, pipe: IO[bytes], consume: Callable[[bytes], None], longest: int) -> None:
        with pipe:
            for line in _lines(pipe, longest):
                consume(line)
        self.ended = time.monotonic()
        self._open.discard(name)
        self._inbox.put(None)

    def _follow_log(self, line: bytes) -> None:
        self.log.append(line.decode(errors="replace"))
        if event := _EVENT.match(line):
            self.features = max(self.features, int(event[2] or 0))
            self.units = int(event[3] or 0)
            self.rss_mb = int(event[4])
            if event[1] == b"NEW":
                self.new_units += 1  # and so many files, where the disk lets it
                self.last_new = time.monotonic()
        elif final := _FINAL.match(line):
            if final[1] == b"peak_rss_mb":
                self.rss_mb = int(final[2])
            else:
                self._final_executions = int(final[2])
        elif artifact := _ARTIFACT.search(line):
            self.artifact = Path(os.fsdecode(artifact[1]))

    def _take_message(self, line: bytes) -> None:
        content = json.loads(line)
        if "message" in content:
            self._inbox.put(Message(content["message"]))
            return
        failure = content["failure"]
        data = failure.pop("data")
        self.failure = Failure(**failure, data=None if data is None else bytes.fromhex(data))


def _lines(pipe: IO[bytes], longest: int) -> Iterator[bytes]:
    while line := pipe.readline(longest):
        yield line.rstrip(b"\n")


def _start(job: Job, incoming: Incoming) -> "subprocess.Popen[bytes]":
    job = replace(job, flags=(*job.flags, str(incoming.path)))
    # A terminal sends its signals to both processes, but when to stop is decided here. The child inherits the mask.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", _CODE, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(job.messages, incoming.lock),
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin:
        pickle.dump(job, process.stdin)
    return process
