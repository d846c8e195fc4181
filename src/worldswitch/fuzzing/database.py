"""``campaign.db``: the one file that holds a campaign's records, in SQLite.

A rollback journal, not a write-ahead log: a campaign writes about once a second, so that there is no throughput to win;
the file alone is then the whole campaign between two transactions, and can be copied, mailed, and read from a read-only
medium. ``synchronous=FULL``: what was committed is on the disk. Readers never lock a writer out for longer than they
read.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from worldswitch.errors import InputError

NAME: Final = "campaign.db"

FORMAT: Final = 2
"""The format of a campaign's directory; 1 had JSON files alone. ``user_version`` of the database."""

APPLICATION: Final = 0x7773_6462  # "wsdb"

BUSY_SECONDS: Final = 10.0
"""How long to wait for another process's transaction."""

SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, started TEXT NOT NULL, version TEXT NOT NULL, seed INTEGER NOT NULL, jobs INTEGER NOT NULL,
    first_execution INTEGER NOT NULL, first_second REAL NOT NULL,
    ended TEXT NOT NULL DEFAULT '', outcome TEXT NOT NULL DEFAULT '',
    executions INTEGER NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0
);
CREATE TABLE lanes (
    name TEXT PRIMARY KEY, target TEXT NOT NULL, paths TEXT NOT NULL, slices INTEGER NOT NULL DEFAULT 0,
    executions INTEGER NOT NULL DEFAULT 0, features INTEGER NOT NULL DEFAULT 0, yield REAL NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE slices (
    number INTEGER PRIMARY KEY, lane TEXT NOT NULL, seed INTEGER NOT NULL, planned INTEGER NOT NULL,
    corpus INTEGER NOT NULL, first_execution INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    executions INTEGER NOT NULL DEFAULT 0, features INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL DEFAULT 'open'
);
CREATE TABLE open_counts (
    slice INTEGER NOT NULL, signature TEXT NOT NULL, path TEXT NOT NULL, cases INTEGER NOT NULL,
    last INTEGER NOT NULL, PRIMARY KEY (slice, signature, path)
) WITHOUT ROWID;
CREATE TABLE counts (
    signature TEXT NOT NULL, target TEXT NOT NULL, path TEXT NOT NULL, cases INTEGER NOT NULL,
    PRIMARY KEY (signature, target, path)
) WITHOUT ROWID;
CREATE TABLE findings (
    signature TEXT PRIMARY KEY, data TEXT NOT NULL, scenario TEXT NOT NULL, minimized TEXT NOT NULL DEFAULT '',
    last_execution INTEGER NOT NULL, last_second REAL NOT NULL, last_seen TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE units (
    id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, name TEXT NOT NULL, slice INTEGER NOT NULL,
    data BLOB NOT NULL, retired INTEGER, UNIQUE (target, name)
);
CREATE TABLE samples (
    second REAL NOT NULL, wall TEXT NOT NULL, executions INTEGER NOT NULL, rate REAL NOT NULL,
    features INTEGER NOT NULL, corpus INTEGER NOT NULL, findings INTEGER NOT NULL, workers TEXT NOT NULL
);
CREATE TABLE failures (
    id INTEGER PRIMARY KEY, wall TEXT NOT NULL, second REAL NOT NULL, slice INTEGER NOT NULL, lane TEXT NOT NULL,
    execution INTEGER NOT NULL, outcome TEXT NOT NULL, summary TEXT NOT NULL, details TEXT NOT NULL,
    input TEXT NOT NULL, file TEXT NOT NULL
);
CREATE TABLE events (id INTEGER PRIMARY KEY, wall TEXT NOT NULL, second REAL NOT NULL, text TEXT NOT NULL);
"""


class DamagedError(Exception):
    """The database is not one, or its content is inconsistent."""


def connect(directory: Path) -> sqlite3.Connection:
    """The database of a campaign, created where there is none.

    Raises ``DamagedError`` for what is no sound database, ``InputError`` where it cannot be written or is of a newer
    format.
    """
    path = directory / NAME
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("PRAGMA synchronous=FULL")
            version = _version(connection, path)
            if version == 0:
                with transaction(connection):
                    for statement in SCHEMA.split(";\n"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id={APPLICATION}")
                    connection.execute(f"PRAGMA user_version={FORMAT}")
            _check(connection)
            with transaction(connection):  # a read-only file says so now, not at the first finding
                connection.execute("UPDATE meta SET value = value")
        except BaseException:
            connection.close()
            raise
    except sqlite3.DatabaseError as error:
        raise translated(error, path) from None
    return connection


def connect_read(directory: Path) -> sqlite3.Connection:
    """The database of a campaign, for reading, also while the campaign runs; raises as :func:`connect` does."""
    path = directory / NAME
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=BUSY_SECONDS, uri=True)
        try:
            if _version(connection, path) == 0:
                raise DamagedError("it is empty")
            connection.execute("BEGIN")  # everything that is read belongs to one instant
        except BaseException:
            connection.close()
            raise
    except sqlite3.DatabaseError as error:
        raise translated(error, path) from None
    return connection


def translated(error: sqlite3.DatabaseError, path: Path) -> Exception:
    """``InputError`` for what the disk or another process is to blame for, else ``DamagedError``."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or not isinstance(error, sqlite3.OperationalError):
        return DamagedError(str(error))
    if name.startswith("SQLITE_ERROR"):  # no such table, no such column
        return DamagedError(str(error))
    return InputError(f"cannot be used: {error}", str(path))


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of what is done within, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection, path: Path) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version not in (0, FORMAT):
        raise InputError(f"this version reads formats 1 and {FORMAT}, not {version}: use a newer one", str(path))
    if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise DamagedError("it has tables and no version")
    return version


def _check(connection: sqlite3.Connection) -> None:
    said = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    if said != "ok":
        raise DamagedError(said)
