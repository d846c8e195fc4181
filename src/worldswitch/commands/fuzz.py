"""A coverage-guided campaign with atheris; what it finds is recorded, reduced and replayed.

Runs until stopped, unless --time or --runs is given. Stopping it loses nothing; the same command again goes on.
Exit code 0: no finding, or acknowledged ones alone. 1: findings. 2: bad input. 130: interrupted, with everything found
so far saved.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from worldswitch.commands.common import (
    DEFAULT_OUT,
    add_acknowledged_argument,
    add_ci_arguments,
    add_json_argument,
    add_model_arguments,
    model_options,
    path_names,
    print_json,
)

if TYPE_CHECKING:
    from worldswitch.fuzzing.campaign import Campaign
    from worldswitch.fuzzing.engine import Progress, Result

EXAMPLES = "worldswitch fuzz --path linux-6.1,linux-6.14 --time 60 --out campaign"

PRINTED: Final = 3
"""Findings whose scenario is printed; the rest are in the campaign's directory."""

LINE_EVERY: Final = 5.0
"""Seconds between two progress lines where standard error is no terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fuzz``."""
    add_model_arguments(parser)
    parser.add_argument(
        "--target", metavar="NAME", default="world-switch", help="world-switch (default), sequence, nested or edits"
    )
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--time", metavar="S", type=float, default=None, help="seconds to fuzz")
    limit.add_argument("--runs", metavar="N", type=int, default=None, help="cases to execute")
    parser.add_argument(
        "--seed", metavar="N", type=int, default=1, help="of libFuzzer's random numbers (default: %(default)s)"
    )
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="processes at work (default: %(default)s)")
    parser.add_argument(
        "--out", metavar="DIR", default=DEFAULT_OUT, help="the campaign's directory (default: %(default)s)"
    )
    parser.add_argument(
        "--seeds",
        metavar="DIR",
        action="append",
        default=[],
        help="scenario files to start from, such as corpus/world-switch",
    )
    add_acknowledged_argument(parser)
    add_ci_arguments(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run a campaign, then say what it found."""
    from worldswitch.ci.results import of_campaign, of_records, write
    from worldswitch.fuzzing.acknowledged import read_acknowledged, sort
    from worldswitch.fuzzing.campaign import Campaign
    from worldswitch.fuzzing.targets import Configuration, Target
    from worldswitch.paths.catalogue import IMPLEMENTATIONS

    profile, options = model_options(arguments)
    paths = tuple(path_names(arguments.path)) or IMPLEMENTATIONS
    configuration = Configuration(arguments.target, paths, profile or "amd", options)
    known = read_acknowledged(arguments.acknowledged)
    seeds = read_seeds(arguments.seeds, Target(configuration))
    display = Display(sys.stderr.isatty())
    campaign = Campaign(configuration, Path(arguments.out), display.say)
    result = campaign.run(
        runs=arguments.runs,
        seconds=arguments.time,
        seed=arguments.seed,
        jobs=arguments.jobs,
        seeds=seeds,
        on_tick=display.tick,
    )
    display.clear()
    campaign.reduce()
    records = list(campaign.store.records.values())
    sorting = sort(of_records(records), known)
    reported, cases = of_campaign(campaign.directory, campaign.target.path_names, records, sorting)
    write("worldswitch fuzz", reported, cases, sarif_file=arguments.sarif, junit_file=arguments.junit)
    if arguments.json:
        print_json({**as_json(campaign, result), "acknowledged": sorting.as_json()})
    else:
        print_summary(campaign, result)
        print(*sorting.lines(), sep="\n", end="\n" if sorting.lines() else "")
    if result.outcome == "interrupted":
        return 130
    if result.outcome in ("crash", "timeout", "memory", "failed"):
        report_failure(result)
        return 3
    return 1 if sorting.new else 0


def read_seeds(places: list[str], target: "object") -> list[bytes]:
    """The cases of the scenario files in ``places``; raises ``InputError`` for one that no case can express."""
    from worldswitch.commands.common import toml_files
    from worldswitch.fuzzing.targets import Target
    from worldswitch.scenario.read import read_scenario

    assert isinstance(target, Target)
    return [target.codec.encode(read_scenario(file)) for file in toml_files(places)] if places else []


class Display:
    """Progress on standard error: one line that is rewritten on a terminal, a line now and then elsewhere."""

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal
        self.width = 0
        self.last = time.monotonic()

    def tick(self, progress: "Progress", campaign: "Campaign") -> None:
        """Show where the campaign is."""
        now = time.monotonic()
        if not self.terminal and now - self.last < LINE_EVERY:
            return
        self.last = now
        since = now - campaign.last_new
        text = (
            f"{progress.executions} cases, {progress.rate:.0f}/s, {progress.features} points, corpus {progress.units}, "
            f"{len(campaign.store.records)} findings, last new {since:.0f} s ago"
        )
        if self.terminal:
            print("\r" + text.ljust(self.width), end="", file=sys.stderr, flush=True)
            self.width = len(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Make room for other output."""
        if self.terminal and self.width:
            print("\r" + " " * self.width + "\r", end="", file=sys.stderr, flush=True)
            self.width = 0


def as_json(campaign: "Campaign", result: "Result") -> dict[str, object]:
    """The campaign for ``--json``."""
    return {
        "format": 1,
        "outcome": result.outcome,
        "executions": campaign.store.executions,
        "executions_this_run": result.executions,
        "rate": round(result.rate, 1),
        "points": result.features,
        "corpus": result.corpus,
        "paths": {name: campaign.store.by_path.get(name, 0) for name in campaign.target.path_names},
        "findings": [record.as_json() for record in campaign.store.records.values()],
        "new": campaign.new,
        "directory": str(campaign.directory),
    }


def print_summary(campaign: "Campaign", result: "Result") -> None:
    """What was done and found, path by path."""
    store = campaign.store
    print(
        f"{store.executions} cases on {', '.join(campaign.target.path_names)}"
        f" ({result.executions} in this run, {result.rate:.0f}/s); ended: {result.outcome}"
    )
    for name in campaign.target.path_names:
        mine = [record for record in store.records.values() if name in record.paths]
        print(f"\n{name}: " + ("no finding" if not mine else f"{len(mine)} finding{'s' if len(mine) > 1 else ''}"))
        for record in mine:
            print(f"  {record.signature}  ({max(1, record.paths[name])} cases, first after {record.first_execution})")
            print(f"      {record.message}")
    shown = list(store.records.values())[:PRINTED]
    for record in shown:
        file = reproducer(campaign, record.signature)
        print(f"\n{file}:")
        text = file.read_text(encoding="utf-8")
        print("".join(f"    {line}".rstrip() + "\n" for line in text.splitlines()), end="")
    if shown:
        file = reproducer(campaign, shown[0].signature)
        paths = ",".join(campaign.configuration.paths) if campaign.target.paths else ""
        print(f"\nstep by step: worldswitch run {file}" + (f" --path {paths}" if paths else ""))
        print(f"why:          worldswitch explain {file.parent}")


def reproducer(campaign: "Campaign", signature: str) -> Path:
    """A finding's smallest scenario, or its first where it has not been reduced."""
    directory = campaign.store.finding_directory(signature)
    reduced = directory / "minimized.toml"
    return reduced if campaign.store.records[signature].minimized else directory / "scenario.toml"


def report_failure(result: "Result") -> None:
    """The fuzzing process itself failed: say how, and where its input is."""
    print(
        f"the fuzzing process ended with {result.outcome}: a defect of this program; please report it", file=sys.stderr
    )
    if result.failure:
        print(result.failure.summary, file=sys.stderr)
    if result.artifact:
        print(f"its input: {result.artifact}", file=sys.stderr)
