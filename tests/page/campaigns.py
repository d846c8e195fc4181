"""Campaigns' directories as files, for tests that read them; nothing is fuzzed."""

import json
from pathlib import Path
from typing import Any

BLEED = "shadow-bleed.unexplained-shadow.injection"
PATHS = ("linux-6.1", "linux-6.14")
SCENARIO = """\
format = 1
about = "EVENTINJ takes #NPF"
host.path = "linux-6.1"
vmcb.eventinj = "bp"
guest.idt = { 0x03 = "npf" }
"""


def write_campaign(directory: Path, paths: tuple[str, ...] = PATHS, executions: int = 3000) -> Path:
    """An empty campaign on ``paths``."""
    directory.mkdir(parents=True, exist_ok=True)
    data = {
        "format": 1,
        "description": {"target": "world-switch", "paths": list(paths), "profile": "amd", "options": {}},
        "totals": {"executions": executions, "seconds": 6.0, "by_path": dict.fromkeys(paths, executions)},
    }
    (directory / "campaign.json").write_text(json.dumps(data))
    return directory


def write_finding(directory: Path, signature: str = BLEED, scenario: str | None = SCENARIO, **fields: Any) -> Path:
    """A finding in it; ``fields`` are those of its record that differ."""
    folder = directory / "findings" / signature
    folder.mkdir(parents=True)
    record = {
        "format": 1, "signature": signature, "oracle": signature.partition(".")[0], "message": "nothing explains it",
        "rules": ["S2-70"], "target": "world-switch", "profile": "amd", "options": {}, "case": "00",
        "first_path": "linux-6.1", "first_execution": 30, "first_second": 0.8, "paths": {"linux-6.1": 282},
        "minimized": True, "replayed": True, "stands_only_on": {"bleed_sti_shadow": ["off"]}, "disputed": [], **fields,
    }  # fmt: skip
    (folder / "finding.json").write_text(json.dumps(record))
    if scenario is not None:
        (folder / "minimized.toml").write_text(scenario)
    return folder
