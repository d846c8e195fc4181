"""Opening a campaign's directory in whatever state it was left: earlier formats, crashes, damaged files.

Rules: nothing damaged is deleted, it is set aside in ``DIR/damaged``; what one file lost is taken from the others; and
everything that was done is said, one line each.
"""

import json
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from worldswitch.errors import InputError
from worldswitch.fuzzing import database
from worldswitch.fuzzing.clock import Clock
from worldswitch.fuzzing.files import FINDINGS, STATE, read_finding, read_state
from worldswitch.fuzzing.records import Record
from worldswitch.fuzzing.units import list_units, name_of, write

if TYPE_CHECKING:
    from worldswitch.fuzzing.store import Store

DAMAGED: Final = "damaged"

EDITED: Final = "edited"
"""What format 1 called the paths of the target ``edits``."""

BEFORE_ALL: Final = -1
"""The slice of inputs that were there before the first one."""


def take_over(directory: Path, description: dict[str, Any], clock: Clock) -> tuple[sqlite3.Connection, bool, list[str]]:
    """The database of a directory, whether it held a campaign before, and what was done to it.

    Raises ``InputError`` for another campaign, for one of a newer format, and where nothing readable is left.
    """
    notes: list[str] = []
    path = directory / database.NAME
    found = path.exists()
    try:
        connection = database.connect(directory)
    except database.DamagedError as error:
        aside = set_aside(directory, path)
        notes.append(f"{path} was damaged ({error}): set aside as {aside}, and rebuilt from the files beside it")
        connection = database.connect(directory)
        found = False
    try:
        if connection.execute("SELECT 1 FROM meta WHERE key = 'description'").fetchone() is None:
            state = None
            if (directory / STATE).exists():
                state = _readable_state(directory, description, clock, notes)
                _compare(_as_described(state, description), description, directory / STATE)
            with database.transaction(connection):
                if state is not None:
                    _rebuild(connection, directory, state, notes)
                connection.execute("INSERT INTO meta VALUES ('description', ?)", (json.dumps(description),))
                connection.execute("INSERT OR IGNORE INTO meta VALUES ('created', ?)", (clock.date(),))
            if state is not None and state["format"] == 1:
                notes.append(f"{directory} was of format 1, and is of format {database.FORMAT} now")
            return connection, state is not None, notes
        (known,) = connection.execute("SELECT value FROM meta WHERE key = 'description'").fetchone()
        _compare(json.loads(known), description, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise InputError(f"cannot be used: {error}", str(path)) from None
    except BaseException:
        connection.close()
        raise
    return connection, found, notes


def _readable_state(directory: Path, description: dict[str, Any], clock: Clock, notes: list[str]) -> dict[str, Any]:
    """``campaign.json``; where it is damaged too, but there are findings, a state with no more than these."""
    try:
        return read_state(directory)
    except InputError as error:
        if not notes or not any(directory.glob(f"{FINDINGS}/*/finding.json")):
            raise
        aside = set_aside(directory, directory / STATE)
        notes.append(f"{error}: set aside as {aside}; executions are counted from 0 again, findings are kept")
        return {"format": database.FORMAT, "description": description, "lanes": [], "totals": {}}


def _as_described(state: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    """The description of a state; format 1 did not say which paths were edited: these, it is assumed."""
    known: dict[str, Any] = state["description"]
    for name, lane in known["lanes"].items():
        if lane["paths"] == [EDITED] and name in description.get("lanes", {}):
            lane["paths"] = description["lanes"][name]["paths"]
    return known


def _compare(known: dict[str, Any], description: dict[str, Any], path: Path) -> None:
    if known != description:
        raise InputError(
            "holds a campaign with another target, paths, profile, options or guidance; name another --out", str(path)
        )


def _rebuild(connection: sqlite3.Connection, directory: Path, state: dict[str, Any], notes: list[str]) -> None:
    """Fill a new database from the files; what only the old one knew (samples, runs) is lost."""
    for lane in state["lanes"]:
        connection.execute(
            "INSERT INTO lanes (name, target, paths, slices, executions, features, yield, failures) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                lane["name"], lane["target"], json.dumps(lane["paths"]), lane["slices"], lane["executions"],
                lane["features"], lane["recent"], lane["failures"],
            ),
        )  # fmt: skip
    seconds = float(state["totals"].get("seconds", 0.0))
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('seconds', ?)", (repr(seconds),))
    for one in state.get("open_slices", ()):
        connection.execute(
            "INSERT INTO slices (number, lane, seed, planned, corpus, first_execution, attempts) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                one["number"], one["lane"], one["seed"], one["planned"], 1 << 62, one["first_execution"],
                one["attempts"],
            ),
        )  # fmt: skip
    last = int(state.get("last_slice", BEFORE_ALL))
    if last >= 0:
        connection.execute(
            "INSERT OR IGNORE INTO slices (number, lane, seed, planned, corpus, first_execution, state) "
            "VALUES (?, '', 0, 0, 0, 0, 'lost')",
            (last,),
        )
    seen = {signature: rest for signature, *rest in state.get("last", ())}
    counted = "counts" in state
    for path in sorted(directory.glob(f"{FINDINGS}/*/finding.json")):
        try:
            record = read_finding(path)
        except InputError as error:
            if not notes and state["format"] != 1:
                raise
            aside = set_aside(directory, path)
            notes.append(f"{error}: set aside as {aside}")
            continue
        _insert(connection, record, path.parent, seen.get(record.signature))
        if not counted or record.signature not in seen:
            for name, cases in record.paths.items():
                connection.execute(
                    "INSERT INTO counts VALUES (?, ?, ?, ?)", (record.signature, record.target, name, cases)
                )
    connection.executemany("INSERT OR IGNORE INTO counts VALUES (?, ?, ?, ?)", state.get("counts", ()))


def _insert(connection: sqlite3.Connection, record: Record, folder: Path, last: list[Any] | None) -> None:
    from worldswitch.fuzzing.store import _data

    record.lane = record.lane or record.target
    connection.execute(
        "INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            record.signature, _data(record), _text(folder / "scenario.toml"), _text(folder / "minimized.toml"),
            *(last or (record.last_execution or record.first_execution, record.last_second or record.first_second,
                       record.last_seen)),
        ),
    )  # fmt: skip


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def restore_files(store: "Store", targets: list[str]) -> list[str]:
    """Write again what is missing or damaged beside the database: findings' files, inputs; take in new inputs."""
    notes: list[str] = []
    rows = store.connection.execute("SELECT signature, scenario, minimized FROM findings").fetchall()
    for signature, scenario, minimized in rows:
        folder = store.finding_directory(signature)
        missing = []
        for name, text in (("scenario.toml", scenario), ("minimized.toml", minimized)):
            if text and _text(folder / name) != text:
                missing.append(name)
        try:
            sound = read_finding(folder / "finding.json").signature == signature
        except InputError:
            sound = False
        if not sound:
            missing.append("finding.json")
        if missing:
            for name in missing:
                if (folder / name).exists():
                    set_aside(store.directory, folder / name)
            store.write_files(
                store.records[signature],
                scenario=scenario if "scenario.toml" in missing else "",
                minimized=minimized if "minimized.toml" in missing else "",
            )
            notes.append(f"{folder}: missing or damaged, and written again: {', '.join(missing)}")
    for target in targets:
        notes += _restore_corpus(store, target)
    return notes


def _restore_corpus(store: "Store", target: str) -> list[str]:
    """The corpus of one target as the database has it, plus whole inputs that somebody put there."""
    notes: list[str] = []
    corpus = store.directory / "corpus" / target
    known = {
        str(name): bytes(data)
        for name, data in store.connection.execute(
            "SELECT name, data FROM units WHERE target = ? AND retired IS NULL", (target,)
        )
    }
    retired = {
        str(name)
        for (name,) in store.connection.execute(
            "SELECT name FROM units WHERE target = ? AND retired IS NOT NULL", (target,)
        )
    }
    try:
        corpus.mkdir(parents=True, exist_ok=True)
        new: dict[str, bytes] = {}
        damaged = present = 0
        for path in list_units(corpus):
            data = path.read_bytes()
            name = name_of(data)
            if path.name == name:
                present += name in known
                if name not in known and name not in retired:
                    new[name] = data
            elif _is_hash(path.name):
                set_aside(store.directory, path)
                damaged += 1
            elif data:
                new[name] = data
        for data in known.values():
            write(corpus, data)
        for data in new.values():
            write(corpus, data)
    except OSError as error:
        raise InputError(f"not usable as a corpus: {error.strerror}", str(corpus)) from None
    if new:
        with store.writing() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO units (target, name, slice, data) VALUES (?, ?, ?, ?)",
                [(target, name, BEFORE_ALL, data) for name, data in sorted(new.items())],
            )
    lost = len(known) - present
    if damaged:
        notes.append(f"{corpus}: {damaged} damaged inputs set aside in {store.directory / DAMAGED}")
    if lost:
        notes.append(f"{corpus}: {lost} inputs were missing or damaged, and written again")
    return notes


def _is_hash(name: str) -> bool:
    return len(name) == 40 and set(name) <= set("0123456789abcdef")


def set_aside(directory: Path, path: Path) -> Path:
    """Move a damaged file into ``DIR/damaged``, under a name of its own; returns where it is now."""
    folder = directory / DAMAGED
    try:
        folder.mkdir(exist_ok=True)
        number = 1
        while (aside := folder / f"{path.name}.{number}").exists():
            number += 1
        os.replace(path, aside)
        for name in (f"{path.name}-journal",):
            if (path.parent / name).exists():
                os.replace(path.parent / name, folder / f"{aside.name}-journal")
    except OSError as error:
        raise InputError(f"damaged, and cannot be set aside: {error.strerror}", str(path)) from None
    return aside
