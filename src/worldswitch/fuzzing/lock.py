"""One coordinator a campaign's directory, by a lock that ends with its process however that ends."""

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import IO, Final

from worldswitch.errors import InputError
from worldswitch.fuzzing.clock import SYSTEM, Clock

NAME: Final = "campaign.lock"

ATTEMPTS: Final = 5


class DirectoryLock:
    """Holds a directory from its making to :meth:`release`; raises ``InputError`` that says who else holds it.

    The lock is ``flock``'s: the kernel drops it with the process, so that a killed campaign leaves nothing to clean up.
    What the file says is for people; nothing is decided by it.
    """

    def __init__(self, directory: Path, clock: Clock = SYSTEM) -> None:
        path = directory / NAME
        try:
            self._file: IO[str] = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - held until release
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", str(path)) from None
        if not self._taken():
            holder = holder_of(path)
            self._file.close()
            raise InputError(
                f"another campaign is running here{holder}; stop it, or name another --out", str(directory)
            ) from None
        try:
            self._file.seek(0)
            self._file.truncate()
            json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": clock.date()}, self._file)
            self._file.flush()
        except OSError as error:
            self.release()
            raise InputError(f"cannot be written: {error.strerror}", str(path)) from None

    def _taken(self) -> bool:
        for attempt in range(ATTEMPTS):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except OSError:
                if attempt < ATTEMPTS - 1:  # `is_held` holds it for a moment
                    time.sleep(0.1)
        return False

    def release(self) -> None:
        """Let others in."""
        self._file.close()


def holder_of(path: Path) -> str:
    """Who wrote the lock file, in words; "" where it does not say."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return f": process {int(data['pid'])} on {data['host']}, since {data['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def is_held(directory: Path) -> bool:
    """Whether a campaign is running in a directory on this machine."""
    try:
        with open(directory / NAME, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False
