"""The process that does a campaign's chores, seen from the campaign: one chore at a time, never waited for unasked."""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Final

from worldswitch.fuzzing.chores import Chore

_CODE = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from worldswitch.fuzzing.chores import serve; serve()"

LIMIT_SECONDS: Final = 900.0
"""How long one chore may take."""

CHORES: Final = 50
"""A process does so many and is replaced, so that what it remembers stays bounded."""

TRIES: Final = 3


class Helper:
    """Does chores. ``poll`` is to be called now and then, and returns what is done."""

    def __init__(self, limit_seconds: float = LIMIT_SECONDS) -> None:
        self.deaths = 0  # of processes, all told
        self._limit = limit_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._line: bytes | None = None
        self._reader: threading.Thread | None = None
        self._chore: Chore | None = None
        self._tries = 0
        self._begun = 0.0
        self._done = 0

    @property
    def busy(self) -> bool:
        """Whether a chore is being done."""
        return self._chore is not None

    @property
    def pid(self) -> int:
        """The process; 0 where there is none."""
        return self._process.pid if self._process else 0

    def begin(self, chore: Chore) -> None:
        """Start a chore; only while not `busy`."""
        assert self._chore is None
        self._chore, self._tries = chore, 0
        self._send()

    def poll(self) -> dict[str, Any] | None:
        """The result of the chore once it is done, else None; ``{"problem": ...}`` where it cannot be done."""
        if self._chore is None or self._reader is None or self._process is None:
            return None
        if self._reader.is_alive():
            if time.monotonic() - self._begun < self._limit:
                return None
            self._end()
            self._chore = None
            return {"problem": f"its reduction took longer than {self._limit:.0f} s"}
        line, self._line = self._line, None
        if line:
            self._chore = None
            self._done += 1
            if self._done >= CHORES:
                self._end()
            result: dict[str, Any] = json.loads(line)
            return result
        code = self._process.wait()
        self._end()
        self.deaths += 1
        if self._tries < TRIES:
            self._send()
            return None
        self._chore = None
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return {"problem": f"the process that reduced it ended {TRIES} times ({how})"}

    def close(self) -> None:
        """End the process; a chore that is being done is forgotten."""
        self._chore = None
        self._end()

    def _send(self) -> None:
        self._tries += 1
        self._begun = time.monotonic()
        if self._process is None:
            self._done = 0
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CODE, json.dumps(sys.path), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONHASHSEED": "0"},
                start_new_session=True,  # Ctrl-C is for the campaign, which decides what to finish
            )
        process = self._process
        assert process.stdin is not None
        self._reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._reader.start()
        with contextlib.suppress(BrokenPipeError):
            pickle.dump(self._chore, process.stdin)
            process.stdin.flush()

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # closed meanwhile
            self._line = process.stdout.readline()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._reader is not None:
                self._reader.join()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            self._process = None
