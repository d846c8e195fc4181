"""What the page says of a campaign, read from its directory."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from worldswitch.errors import InputError
from worldswitch.fuzzing.acknowledged import Entry, Sorted, sort
from worldswitch.fuzzing.store import Record, read_json, read_records
from worldswitch.result import Result, Variant, execute
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.read import parse_scenario
from worldswitch.text.read import load

SHOWN_PATHS: Final = 3
"""Timelines beside each other at the most."""


class Sample(NamedTuple):
    """Where a campaign stood at one time."""

    second: float  # of fuzzing, from the campaign's beginning
    executions: int
    points: int
    corpus: int
    findings: int


@dataclass(slots=True)
class Campaign:
    """A campaign as its directory tells it."""

    directory: Path
    target: str = ""
    paths: list[str] = field(default_factory=list)
    profile: str = ""
    options: dict[str, str] = field(default_factory=dict)
    executions: int = 0
    seconds: float = 0.0
    records: list[Record] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    sorting: Sorted = field(default_factory=Sorted)

    def status(self, record: Record, path: str) -> str:
        """``new``, ``acknowledged`` or ``expired``."""
        if (record.signature, path) in self.sorting.acknowledged:
            return "acknowledged"
        return "expired" if (record.signature, path) in self.sorting.expired else "new"

    def is_new(self, record: Record) -> bool:
        """Whether a finding counts on any path."""
        return any(self.status(record, path) != "acknowledged" for path in record.paths)


def read_campaign(directory: Path, known: list[Entry]) -> Campaign:
    """The campaign in a directory, findings that count first; raises ``InputError``."""
    state = directory / "campaign.json"
    if not directory.is_dir():
        raise InputError("is no directory", str(directory))
    if not state.exists():
        raise InputError("holds no campaign: there is no campaign.json", str(directory))
    data = read_json(state)
    try:
        about: dict[str, Any] = data["description"]
        totals: dict[str, Any] = data["totals"]
        campaign = Campaign(
            directory, str(about["target"]), [str(path) for path in about["paths"]], str(about["profile"]),
            {str(name): str(value) for name, value in about["options"].items()}, int(totals["executions"]),
            float(totals["seconds"]), read_records(directory),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError("damaged: it does not describe a campaign", str(state)) from None
    campaign.sorting = sort([(record.signature, path) for record in campaign.records for path in record.paths], known)
    campaign.records.sort(key=lambda record: (not campaign.is_new(record), record.first_second, record.signature))
    return campaign


@dataclass(slots=True)
class Evidence:
    """A finding's scenario, and its runs on the paths that are shown beside each other."""

    file: Path | None = None
    text: str = ""
    scenario: Scenario | None = None
    results: list[Result] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)  # why something is missing


def evidence(campaign: Campaign, record: Record) -> Evidence:
    """The smallest scenario of a finding, executed; what cannot be read or run is said in ``trouble``."""
    found = Evidence()
    folder = campaign.directory / "findings" / record.signature
    for name in ("minimized.toml", "scenario.toml"):
        if (folder / name).is_file():
            found.file = folder / name
            break
    else:
        found.trouble.append(f"{folder} holds no scenario")
        return found
    try:
        document = load(found.file)
        found.text = document.text
        found.scenario = parse_scenario(document)
    except InputError as error:
        found.trouble.append(str(error))
        return found
    for path in shown_paths(campaign, record, found.scenario):
        try:
            found.results.append(execute(found.scenario, Variant(path, "", (), None), traced=True))
        except InputError as error:
            found.trouble.append(f"not run on {path or 'its own path'}: {error}")
    if found.results and not any(
        finding.signature == record.signature for result in found.results for finding in result.verdict.findings
    ):
        found.trouble.append("run again for this page, the scenario does not show the finding")
    return found


def shown_paths(campaign: Campaign, record: Record, scenario: Scenario) -> list[str]:
    """The campaign's paths in their order where they are few; else one that shows the finding and one that does not."""
    if not scenario.path and scenario.nested is None:
        return [""]
    if scenario.path.endswith(".toml") or scenario.path not in campaign.paths:
        return [""]
    if len(campaign.paths) <= SHOWN_PATHS:
        return list(campaign.paths)
    others = [path for path in campaign.paths if path not in record.paths][:1]
    return [scenario.path, *others]
