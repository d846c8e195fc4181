"""Acknowledged findings: known, with a reason, so that only new ones count.

A file, by custom ``acknowledged.toml``::

    format = 1

    [[acknowledged]]
    signature = "shadow-bleed.unexplained-shadow.*"  # a signature, or a prefix ending in *
    path = "linux-6.1"                               # optional: on this path alone
    reason = "fixed upstream by be45bc4eff33, not yet backported"
    who = "a name or an address"                     # optional
    date = 2026-11-25                                # optional: since when
    until = 2027-03-01                               # optional: the last day on which it holds

Nothing is hidden: an acknowledged finding is still shown, with its reason. After ``until`` it counts as new again, and
the output says that its acknowledgement has expired. An entry that matches nothing any more is said, too.
"""

import datetime
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from worldswitch.text.read import Document, load

FORMAT: Final = 1
DEFAULT_FILE: Final = "acknowledged.toml"

_TEXTS: Final = ("signature", "path", "reason", "who")
_DATES: Final = ("date", "until")


class Entry(NamedTuple):
    """One acknowledgement."""

    signature: str  # exact, or a prefix ending in ``*``
    reason: str
    path: str = ""  # "": on every path
    who: str = ""
    date: datetime.date | None = None
    until: datetime.date | None = None
    file: str = ""
    line: int = 0

    def covers(self, signature: str, path: str) -> bool:
        """Whether this entry is about a finding on a path, expired or not."""
        if self.path and self.path != path:
            return False
        if self.signature.endswith("*"):
            return signature.startswith(self.signature[:-1])
        return signature == self.signature

    def expired(self, today: datetime.date) -> bool:
        """Whether ``until`` is past."""
        return self.until is not None and today > self.until

    def __str__(self) -> str:
        """The reason, and who said so when."""
        parts = [self.reason]
        if self.who or self.date:
            parts.append(", ".join(str(part) for part in (self.who, self.date) if part))
        if self.until:
            parts.append(f"until {self.until}")
        return "; ".join(parts)


Shown = tuple[str, str]
"""A finding by signature and the path that shows it."""


@dataclass(slots=True)
class Sorted:
    """Findings told apart: each is in exactly one of ``new`` and ``acknowledged``."""

    new: list[Shown] = field(default_factory=list)
    acknowledged: dict[Shown, Entry] = field(default_factory=dict)
    expired: dict[Shown, Entry] = field(default_factory=dict)  # among the new ones
    unmatched: list[Entry] = field(default_factory=list)  # entries about nothing that is shown

    def lines(self) -> list[str]:
        """What a person is told: every acknowledged finding, what has expired, what matches nothing."""
        said = [f"acknowledged: {sig} on {path}: {entry}" for (sig, path), entry in self.acknowledged.items()]
        said += [
            f"expired: {sig} on {path} counts as new since its acknowledgement ended on {entry.until}"
            for (sig, path), entry in self.expired.items()
        ]
        for entry in self.unmatched:
            where = f"{entry.file}:{entry.line}: " if entry.file else ""
            on = f" on {entry.path}" if entry.path else ""
            said.append(f"{where}acknowledges {entry.signature}{on}, which was not seen: remove it?")
        return said

    def as_json(self) -> dict[str, Any]:
        """The same for ``--json``."""
        return {
            "new": [{"signature": sig, "path": path} for sig, path in self.new],
            "acknowledged": [
                {"signature": sig, "path": path, "reason": entry.reason, "until": _day(entry.until)}
                for (sig, path), entry in self.acknowledged.items()
            ],
            "expired": [
                {"signature": sig, "path": path, "reason": entry.reason, "until": _day(entry.until)}
                for (sig, path), entry in self.expired.items()
            ],
            "unmatched": [{"signature": entry.signature, "path": entry.path or None} for entry in self.unmatched],
        }


def read_acknowledged(file: str) -> list[Entry]:
    """The entries of a file; none where ``file`` is "". Raises ``InputError`` with file, line and field."""
    return parse(load(file)) if file else []


def parse(document: Document) -> list[Entry]:
    """The entries of a TOML document; raises ``InputError``."""
    data = document.data
    for key in data:
        if key not in ("format", "acknowledged"):
            raise document.error("unknown field; there are format, [[acknowledged]]", (key,))
    if data.get("format") != FORMAT:
        raise document.error(f"this version reads format {FORMAT}, not {data.get('format')!r}", ("format",))
    tables = data.get("acknowledged", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise document.error("expected [[acknowledged]] tables", ("acknowledged",))
    return [_entry(document, table, number) for number, table in enumerate(tables)]


def _entry(document: Document, table: dict[str, Any], number: int) -> Entry:
    place: tuple[str | int, ...] = ("acknowledged", number)
    for key, value in table.items():
        if key in _TEXTS:
            if not isinstance(value, str) or not value.strip():
                raise document.error("expected a text that is not empty", (*place, key))
        elif key in _DATES:
            if not isinstance(value, datetime.date) or isinstance(value, datetime.datetime):
                raise document.error("expected a date such as 2026-11-25, without quotes", (*place, key))
        else:
            raise document.error(f"unknown field; there are {', '.join((*_TEXTS, *_DATES))}", (*place, key))
    for key in ("signature", "reason"):
        if key not in table:
            raise document.error("missing", (*place, key))
    if table["signature"] == "*" or "*" in table["signature"][:-1]:
        raise document.error("expected a signature, or the beginning of one followed by *", (*place, "signature"))
    return Entry(**table, file=document.file, line=document.line(place))


def sort(shown: Iterable[Shown], entries: Iterable[Entry], today: datetime.date | None = None) -> Sorted:
    """Findings that count and findings that are acknowledged, as of ``today`` (by default the present day)."""
    today = today or datetime.date.today()
    result = Sorted()
    entries = list(entries)
    matched: set[int] = set()
    for finding in dict.fromkeys(shown):
        covering = [number for number, entry in enumerate(entries) if entry.covers(*finding)]
        matched.update(covering)
        in_force = next((entries[number] for number in covering if not entries[number].expired(today)), None)
        if in_force is not None:
            result.acknowledged[finding] = in_force
            continue
        result.new.append(finding)
        if covering:
            result.expired[finding] = entries[covering[-1]]
    result.unmatched = [entry for number, entry in enumerate(entries) if number not in matched]
    return result


def entry_text(entry: Entry) -> str:
    """An entry as it stands in the file."""
    lines = ["[[acknowledged]]", f"signature = {_quoted(entry.signature)}"]
    lines += [f"path = {_quoted(entry.path)}"] if entry.path else []
    lines.append(f"reason = {_quoted(entry.reason)}")
    lines += [f"who = {_quoted(entry.who)}"] if entry.who else []
    lines += [f"{key} = {day}" for key, day in (("date", entry.date), ("until", entry.until)) if day]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are TOML's, but for DEL, which TOML wants escaped as well."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _day(day: datetime.date | None) -> str | None:
    return day.isoformat() if day else None
