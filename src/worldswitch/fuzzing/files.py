"""The files beside a campaign's database, read: ``campaign.json`` and each ``finding.json``, of formats 1 and 2."""

import json
from pathlib import Path
from typing import Any, Final

from worldswitch.errors import InputError
from worldswitch.fuzzing import database
from worldswitch.fuzzing.records import LaneRecord, Record, Totals

FINDINGS: Final = "findings"
STATE: Final = "campaign.json"


def read_state(directory: Path) -> dict[str, Any]:
    """``campaign.json`` in the present form, whatever its format; raises ``InputError``."""
    path = directory / STATE
    data = read_json(path)
    try:
        if data["format"] == 1:
            return _converted(data)
        lanes, totals, description = data["lanes"], data["totals"], data["description"]
        [LaneRecord(**lane) for lane in lanes], Totals(**totals)
        assert isinstance(description, dict)
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError):
        raise InputError("damaged: its totals cannot be read", str(path)) from None
    return data


def _converted(data: dict[str, Any]) -> dict[str, Any]:
    """A state file of format 1, which had one target."""
    old, totals = data["description"], data["totals"]
    target, paths = str(old["target"]), [str(path) for path in old["paths"]]
    executions, seconds = int(totals["executions"]), float(totals["seconds"])
    lane = {
        "name": target, "target": target, "paths": paths, "slices": 0, "executions": executions, "features": 0,
        "recent": 0.0, "failures": 0,
    }  # fmt: skip
    return {
        "format": 1,
        "description": {
            "lanes": {target: {"target": target, "paths": paths}},
            "profile": old["profile"],
            "options": dict(old["options"]),
        },
        "totals": {"executions": executions, "seconds": seconds},
        "lanes": [lane],
    }


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a format that this version reads; raises ``InputError``."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from None
    except (ValueError, RecursionError):
        raise InputError("damaged: not valid JSON", str(path)) from None
    if not isinstance(data, dict):
        raise InputError("damaged: not a JSON object", str(path))
    if data.get("format") not in (1, database.FORMAT):
        raise InputError(f"this version reads formats 1 and {database.FORMAT}, not {data.get('format')!r}", str(path))
    return data


def read_finding(path: Path) -> Record:
    """A ``finding.json`` of either format; raises ``InputError``."""
    data = read_json(path)
    del data["format"]
    try:
        return Record(**data)
    except TypeError:
        raise InputError("damaged: its fields are not those of a finding", str(path)) from None


def read_finding_files(directory: Path) -> list[Record]:
    """The findings in a campaign's directory, by signature; raises ``InputError``."""
    return [read_finding(path) for path in sorted(directory.glob(f"{FINDINGS}/*/finding.json"))]
