"""What the page says of a campaign: the view of its directory, what is acknowledged, and its findings run again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from worldswitch.errors import InputError
from worldswitch.fuzzing.acknowledged import Entry, Sorted, sort
from worldswitch.fuzzing.records import Record
from worldswitch.fuzzing.view import CampaignView, open_read
from worldswitch.paths.catalogue import names
from worldswitch.result import Result, Variant, execute
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.read import parse_scenario
from worldswitch.text.read import load

SHOWN_PATHS: Final = 3
"""Timelines beside each other at the most."""


@dataclass(slots=True)
class Campaign:
    """A campaign, its findings in the order of the page: those that count first."""

    view: CampaignView
    sorting: Sorted = field(default_factory=Sorted)
    records: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.records = sorted(self.view.records, key=lambda record: not self.is_new(record))

    @property
    def paths(self) -> list[str]:
        """The paths that the campaign runs on, as findings name them."""
        return list(dict.fromkeys(path for lane in self.view.lanes for path in lane.paths))

    @property
    def directory(self) -> Path:
        """Where the campaign is."""
        return self.view.directory

    def status(self, record: Record, path: str) -> str:
        """``new``, ``acknowledged`` or ``expired``."""
        if (record.signature, path) in self.sorting.acknowledged:
            return "acknowledged"
        return "expired" if (record.signature, path) in self.sorting.expired else "new"

    def is_new(self, record: Record) -> bool:
        """Whether a finding counts on any path."""
        return any(self.status(record, path) != "acknowledged" for path in record.paths)


def read_campaign(directory: Path, known: Sequence[Entry] = ()) -> Campaign:
    """The campaign in a directory; raises ``InputError``."""
    view = open_read(directory)
    return Campaign(view, sort([(record.signature, path) for record in view.records for path in record.paths], known))


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
    """The paths whose timelines stand beside each other; "" is the scenario's own.

    The campaign's paths in their order where they are few; else the scenario's own, and one that does not show the
    finding. An edited path stands beside the path that was edited.
    """
    if not scenario.path:
        return [""]
    if "~" in scenario.path:
        from worldswitch.paths.edits import split

        return [split(scenario.path)[0], ""]
    known = [path for path in campaign.paths if path in names()]
    if scenario.path in known and len(known) <= SHOWN_PATHS:
        return known
    return ["", *[path for path in known if path not in record.paths and path != scenario.path][:1]]
