"""Campaigns at a glance, also while they run: what was executed, what was found, and since when nothing new.

DIR is a campaign's directory; with several, a line each. A campaign of an older version is read as well, and one whose
database is damaged as far as the files beside it go.
Exit code 0: no findings, or acknowledged ones alone. 1: findings. 2: no campaign there.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldswitch.commands.common import DEFAULT_OUT, add_acknowledged_argument, add_json_argument, print_json

if TYPE_CHECKING:
    from worldswitch.fuzzing.view import CampaignView

EXAMPLES = """\
worldswitch status campaign
worldswitch status campaigns/* --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``status``."""
    parser.add_argument(
        "directories", metavar="DIR", nargs="*", default=[DEFAULT_OUT], help="campaigns (default: campaign)"
    )
    add_acknowledged_argument(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the state of each campaign."""
    from worldswitch.ci.results import of_records
    from worldswitch.fuzzing.acknowledged import read_acknowledged, sort
    from worldswitch.fuzzing.view import open_read

    known = read_acknowledged(arguments.acknowledged)
    views = [open_read(Path(name)) for name in arguments.directories]
    sorting = sort(of_records(record for view in views for record in view.records), known)
    if arguments.json:
        document = {"format": 1, "campaigns": [as_json(view) for view in views], "acknowledged": sorting.as_json()}
        print_json(document)
    elif len(views) == 1:
        print(*details(views[0]), sep="\n")
    else:
        print(*table(views), sep="\n")
    if not arguments.json:
        print(*(f"{line}\n" for line in sorting.lines()), sep="", end="")
    for view in views:
        for note in view.notes:
            print(note, file=sys.stderr)
    return 1 if sorting.new else 0


def state(view: "CampaignView") -> str:
    """Whether it runs, or how its last run ended."""
    from worldswitch.fuzzing.lock import is_held

    if is_held(view.directory):
        return "running"
    if not view.runs:
        return "stopped"
    return view.runs[-1].outcome or "killed"


def since_new(view: "CampaignView") -> float:
    """Seconds of fuzzing since the last new point of guidance or finding, as far as the samples tell."""
    last = max((record.first_second for record in view.records), default=0.0)
    features = -1
    for sample in view.samples:
        if sample.features > features:
            features, last = sample.features, max(last, sample.second) if features >= 0 else last
    return max(0.0, view.totals.seconds - last)


def rate(view: "CampaignView") -> float:
    """Cases a second at the last sample."""
    return view.samples[-1].rate if view.samples else 0.0


def table(views: "list[CampaignView]") -> list[str]:
    """A line a campaign."""
    from worldswitch.fuzzing.live import spell_seconds

    rows = [
        ("campaign", "state", "cases", "cases/s", "points", "corpus", "findings", "fuzzed", "since new", "failures")
    ]
    for view in views:
        rows.append(
            (
                str(view.directory), state(view), str(view.totals.executions), f"{rate(view):.0f}",
                str(view.totals.features), str(view.totals.corpus), str(len(view.records)),
                spell_seconds(view.totals.seconds), spell_seconds(since_new(view)), str(blamed(view)),
            )
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def blamed(view: "CampaignView") -> int:
    """Processes that failed, but for those that somebody killed."""
    return sum(failure.outcome != "killed" for failure in view.failures)


def details(view: "CampaignView") -> list[str]:
    """One campaign in full."""
    from worldswitch.fuzzing.live import spell_seconds, trend

    totals = view.totals
    spent = f"{spell_seconds(totals.seconds)} and {len(view.runs)} runs"
    lines = [
        f"{view.directory}: {state(view)}",
        f"{totals.executions} cases in {spent}, {rate(view):.0f}/s lately",
        f"{totals.features} points, corpus {totals.corpus}, nothing new for {spell_seconds(since_new(view))}",
    ]
    growth = trend([sample.features for sample in view.samples][:: max(1, len(view.samples) // 60)], 61)
    if growth:
        lines.append(f"growth of points: {growth}")
    if view.samples and view.samples[-1].workers and state(view) == "running":
        lines.append("at work: " + ", ".join(f"{name} {rss} MB" for name, rss in view.samples[-1].workers.items()))
    for lane in view.lanes:
        on = f" on {', '.join(lane.paths)}" if lane.paths else ""
        lines.append(f"  {lane.name}{on}: {lane.executions} cases, {lane.features} points, {lane.slices} slices")
    lines.append(f"{len(view.records)} findings")
    for record in view.records:
        gone = max(0, totals.executions - record.last_execution)
        lines.append(
            f"  {record.signature}  {max(1, record.cases)} cases on {', '.join(record.paths) or record.first_path}, "
            f"first after {record.first_execution}, last {gone} cases ago"
        )
        if record.problem:
            lines.append(f"      {record.problem}: a defect of this program, please report it")
        elif not record.minimized:
            lines.append("      not reduced yet")
    if view.failures:
        lines.append(
            f"{len(view.failures)} processes ended before their time, {blamed(view)} by a defect of this program"
        )
        for failure in view.failures[-5:]:
            kept = f", input {view.directory / failure.file}" if failure.file else ""
            lines.append(f"  {failure.wall} {failure.lane}: {failure.outcome}, {failure.summary}{kept}")
    if view.events:
        lines.append("events")
        lines += [f"  {event.wall} {event.text}" for event in view.events[-5:]]
    return lines


def as_json(view: "CampaignView") -> dict[str, Any]:
    """One campaign for ``--json``."""
    from dataclasses import asdict

    return {
        "directory": str(view.directory),
        "state": state(view),
        "description": view.description,
        "totals": asdict(view.totals),
        "rate": rate(view),
        "seconds_since_new": round(since_new(view), 1),
        "by_path": view.by_path,
        "lanes": [asdict(lane) for lane in view.lanes],
        "findings": [record.as_json() for record in view.records],
        "samples": [asdict(sample) for sample in view.samples],
        "runs": [asdict(run) for run in view.runs],
        "failures": [asdict(failure) for failure in view.failures],
        "events": [asdict(event) for event in view.events],
        "notes": view.notes,
    }
