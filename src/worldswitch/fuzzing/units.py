"""A corpus on disk: one file an input, named by the SHA-1 of its content, as libFuzzer names them.

libFuzzer is never pointed at the corpus itself. It would read the files in the order the file system lists them, which
differs between two copies of one directory, and then every run differs; and it writes files in place, so that a power
cut leaves half of one under a name that promises the whole. It gets the files as a sorted list instead, and writes
into a hidden directory inside the corpus, from which whole files are moved when the run ends. Left behind by a killed
run, that directory is taken over by the next one: its owner holds a lock on it as long as it lives.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from worldswitch.errors import InputError

_PREFIX = ".incoming-"


def name_of(data: bytes) -> str:
    """The file name of an input: 40 lower-case hex digits."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def open_corpus(corpus: Path, seeds: Iterable[bytes] = ()) -> None:
    """Makes ``corpus`` a usable corpus: creates it, takes in what a killed run left behind, adds ``seeds``.

    Empty seeds are skipped: libFuzzer tries the empty input by itself and keeps no empty file. Raises InputError where
    the directory can't be created, read or written, or a file in it can't be read.
    """
    try:
        corpus.mkdir(parents=True, exist_ok=True)
        for left in sorted(corpus.glob(_PREFIX + "*")):
            _recover(left, corpus)
        for seed in seeds:
            if seed:
                write(corpus, seed)
    except OSError as error:
        raise InputError(f"not usable as a corpus: {error.strerror}", file=str(corpus)) from error
    for path in list_units(corpus):
        if not os.access(path, os.R_OK):
            raise InputError("not readable", file=str(path))


def list_units(corpus: Path) -> list[Path]:
    """The input files of a corpus, sorted by name; hidden files and directories are not inputs."""
    with os.scandir(corpus) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())
    return [corpus / name for name in names]


def write(corpus: Path, data: bytes) -> Path:
    """Adds one input under its name, whole or not at all; an input already there is left alone."""
    path = corpus / name_of(data)
    if not path.exists():
        descriptor, temporary = tempfile.mkstemp(prefix=".unit-", dir=corpus)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    return path


class Incoming:
    """A directory inside a corpus into which one running fuzzer writes."""

    def __init__(self, corpus: Path, prefix: str = _PREFIX) -> None:
        self.corpus = corpus
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=corpus))
        # The fuzzing process inherits the descriptor: the directory is in use until both have ended.
        self.lock = _lock(self.path)

    def exchange(self, others: "Iterable[Incoming]") -> None:
        """Shows the units written here to other running fuzzers, which look for new files by their time stamps."""
        for unit in list_units(self.path):
            for other in others:
                if other is not self and not (other.path / unit.name).exists():
                    # libFuzzer may have replaced the unit by a smaller one and deleted it meanwhile.
                    with contextlib.suppress(FileNotFoundError):
                        os.link(unit, other.path / unit.name)
                        os.utime(other.path / unit.name)

    def adopt(self) -> int:
        """Moves the units into the corpus and removes the directory; returns how many were new."""
        try:
            return _adopt(self.path, self.corpus)
        finally:
            os.close(self.lock)


def _lock(directory: Path) -> int:
    """A descriptor that holds the lock on a directory; BlockingIOError when another process holds it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _recover(left: Path, corpus: Path) -> None:
    try:
        lock = _lock(left)
    except (BlockingIOError, FileNotFoundError):  # in use, or another process has just recovered it
        return
    try:
        _adopt(left, corpus)
    finally:
        os.close(lock)


def _adopt(incoming: Path, corpus: Path) -> int:
    added = 0
    for unit in list_units(incoming):
        if name_of(unit.read_bytes()) != unit.name:  # written half: its process was killed
            continue
        if not (corpus / unit.name).exists():
            os.replace(unit, corpus / unit.name)
            added += 1
    shutil.rmtree(incoming)
    return added


class Collected(Incoming):
    """A directory whose units are read, not moved into the corpus: what becomes of them is the caller's decision."""

    def __init__(self, corpus: Path, number: int) -> None:
        super().__init__(corpus, f"{_PREFIX}{number}-")
        self.found: list[tuple[str, bytes]] = []
        self.broken = 0  # files that are not what their names say: written when the disk was full, or half

    def adopt(self) -> int:
        """Reads the units; the directory stays until `discard`."""
        try:
            for unit in list_units(self.path):
                data = unit.read_bytes()
                if name_of(data) == unit.name:
                    self.found.append((unit.name, data))
                else:
                    self.broken += 1
        finally:
            os.close(self.lock)
        return len(self.found)

    def names(self) -> list[str]:
        """The files that are there now, whole or not."""
        try:
            return [path.name for path in list_units(self.path)]
        except OSError:
            return []

    def discard(self) -> None:
        """Removes the directory."""
        shutil.rmtree(self.path, ignore_errors=True)


def left_behind(corpus: Path, number: int) -> list[tuple[str, bytes]]:
    """The units in directories that killed processes left behind for one slice."""
    found = {}
    for directory in sorted(corpus.glob(f"{_PREFIX}{number}-*")):
        for unit in list_units(directory):
            data = unit.read_bytes()
            if name_of(data) == unit.name:
                found[unit.name] = data
    return sorted(found.items())


def discard_left(corpus: Path, keep: Iterable[int]) -> None:
    """Removes directories that killed processes left behind, but for those in use and those of slices in ``keep``."""
    kept = tuple(f"{_PREFIX}{number}-" for number in keep)
    for directory in sorted(corpus.glob(_PREFIX + "*")):
        if directory.name.startswith(kept):
            continue
        try:
            lock = _lock(directory)
        except OSError:  # in use, or gone
            continue
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)
