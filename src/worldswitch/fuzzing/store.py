"""A campaign's directory: findings, corpus and state, each file written whole or not at all.

::

    DIR/campaign.json                       what the campaign fuzzes, and its totals
    DIR/corpus/TARGET/                      inputs, in libFuzzer's form
    DIR/findings/SIGNATURE/scenario.toml    the first case that showed it
    DIR/findings/SIGNATURE/minimized.toml   the smallest one
    DIR/findings/SIGNATURE/finding.json     what it is, where and how often it was seen
"""

import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from worldswitch.errors import InputError
from worldswitch.fuzzing.view import CampaignView, open_read

__all__ = ["CampaignView", "Record", "Store", "open_read", "read_json", "read_records", "write_whole"]

FORMAT: Final = 1


@dataclass(slots=True)
class Record:
    """What a campaign knows of one signature."""

    signature: str
    oracle: str
    message: str
    rules: list[str]
    target: str
    profile: str
    options: dict[str, str]
    case: str  # the first case, hex
    first_path: str
    first_execution: int
    first_second: float
    paths: dict[str, int] = field(default_factory=dict)  # path to the number of cases that showed it there
    minimized: bool = False
    replayed: bool = False
    stands_only_on: dict[str, list[str]] = field(default_factory=dict)  # model option to values that make it vanish
    disputed: list[str] = field(default_factory=list)  # those of them whose rules the sources dispute or leave open

    def as_json(self) -> dict[str, Any]:
        """The content of ``finding.json``."""
        return {"format": FORMAT, **{name: getattr(self, name) for name in self.__slots__}}


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all; raises ``InputError`` on a full or read-only disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=".", suffix=".tmp", delete=False
        ) as stream:
            try:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            except BaseException:
                os.unlink(stream.name)
                raise
        os.replace(stream.name, path)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", str(path)) from None


class Store:
    """The directory of one campaign."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.records: dict[str, Record] = {}
        self.executions = 0
        self.seconds = 0.0
        self.by_path: dict[str, int] = {}  # path to cases executed on it

    def open(self, description: dict[str, Any]) -> bool:
        """Create the directory, or read what an earlier run left; True where there was one.

        Raises ``InputError`` if it holds another campaign, or something unreadable.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"not usable as a directory: {error.strerror}", str(self.directory)) from None
        state = self.directory / "campaign.json"
        found = state.exists()
        if found:
            data = read_json(state)
            if data.get("description") != description:
                raise InputError(
                    "holds a campaign with another target, paths, profile or options; name another --out", str(state)
                )
            totals = data.get("totals", {})
            try:
                self.executions = int(totals["executions"])
                self.seconds = float(totals["seconds"])
                self.by_path = {str(name): int(count) for name, count in totals["by_path"].items()}
            except (KeyError, TypeError, ValueError, AttributeError):
                raise InputError("damaged: its totals cannot be read", str(state)) from None
        self.records = {record.signature: record for record in read_records(self.directory)}
        self.save_state(description)
        return found

    def save_state(self, description: dict[str, Any]) -> None:
        """Write ``campaign.json``."""
        totals = {"executions": self.executions, "seconds": round(self.seconds, 1), "by_path": self.by_path}
        data = {"format": FORMAT, "description": description, "totals": totals}
        write_whole(self.directory / "campaign.json", json.dumps(data, indent=2) + "\n")

    def finding_directory(self, signature: str) -> Path:
        """Where a finding's files are."""
        return self.directory / "findings" / signature

    def save(self, record: Record, scenario: str = "", minimized: str = "") -> None:
        """Write a finding's files; a scenario's only where given."""
        directory = self.finding_directory(record.signature)
        if scenario:
            write_whole(directory / "scenario.toml", scenario)
        if minimized:
            write_whole(directory / "minimized.toml", minimized)
        write_whole(directory / "finding.json", json.dumps(record.as_json(), indent=2) + "\n")
        self.records[record.signature] = record


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises ``InputError``."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from None
    except (ValueError, RecursionError):
        raise InputError("damaged: not valid JSON", str(path)) from None
    if not isinstance(data, dict):
        raise InputError("damaged: not a JSON object", str(path))
    if data.get("format") != FORMAT:
        raise InputError(f"this version reads format {FORMAT}, not {data.get('format')!r}", str(path))
    return data


def read_records(directory: Path) -> list[Record]:
    """The findings in a campaign's directory, by signature; raises ``InputError``."""
    records = []
    for path in sorted(directory.glob("findings/*/finding.json")):
        data = read_json(path)
        del data["format"]
        try:
            records.append(Record(**data))
        except TypeError:
            raise InputError("damaged: its fields are not those of a finding", str(path)) from None
    return records
