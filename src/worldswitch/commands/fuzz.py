"""A coverage-guided campaign with atheris; what it finds is recorded, reduced and replayed.

Runs until stopped, unless --time, --runs or --total is given. Stopping or killing it loses nothing; the same command
again goes on. `worldswitch status DIR` shows a campaign at a glance, also while it runs.
Exit code 0: no finding, or acknowledged ones alone. 1: findings. 2: bad input. 3: a fuzzing process failed. 130:
interrupted, with everything found so far saved.
"""

import argparse
import sys
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
from worldswitch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worldswitch.fuzzing.campaign import Campaign, Outcome
    from worldswitch.fuzzing.lanes import Lane

EXAMPLES = """\
worldswitch fuzz --path linux-6.1,linux-6.14 --time 60 --out campaign
worldswitch fuzz --target all --pair linux-6.1,linux-6.14 --pair xen-4.12,xen-4.21 --jobs 4 --out weeks
"""

PRINTED: Final = 3
"""Findings whose scenario is printed; the rest are in the campaign's directory."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fuzz``."""
    add_model_arguments(parser)
    parser.add_argument(
        "--pair",
        metavar="A,B",
        action="append",
        default=[],
        help="paths that are compared with each other, each --pair on its own; instead of --path",
    )
    parser.add_argument(
        "--target",
        metavar="NAME",
        action="append",
        default=[],
        help="world-switch (default), sequence, nested, edits or all; repeated or comma-separated",
    )
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--time", metavar="S", type=float, default=None, help="seconds to fuzz")
    limit.add_argument("--runs", metavar="N", type=int, default=None, help="cases to execute")
    limit.add_argument(
        "--total",
        metavar="N",
        type=int,
        default=None,
        help="cases the campaign is to have, those of earlier runs included",
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=1, help="of libFuzzer's random numbers (default: %(default)s)"
    )
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="processes at work (default: %(default)s)")
    parser.add_argument(
        "--memory",
        metavar="MB",
        type=int,
        default=2048,
        help="resident memory a process may take (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout", metavar="S", type=int, default=60, help="seconds one case may take (default: %(default)s)"
    )
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
    parser.add_argument(
        "--guidance",
        choices=("joint", "coverage", "both"),
        default="joint",
        help="what is interesting: a new point of the joint projection, new code of the core, or either "
        "(default: %(default)s)",
    )
    add_acknowledged_argument(parser)
    add_ci_arguments(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run a campaign, then say what it found."""
    from worldswitch.ci.results import of_campaign, of_records, write
    from worldswitch.core import compiled
    from worldswitch.fuzzing.acknowledged import read_acknowledged, sort
    from worldswitch.fuzzing.campaign import Campaign
    from worldswitch.fuzzing.counters import native_coverage
    from worldswitch.fuzzing.fleet import Limits
    from worldswitch.fuzzing.lanes import make_lanes
    from worldswitch.fuzzing.live import Display
    from worldswitch.fuzzing.targets import JOINT, NAMES
    from worldswitch.paths.catalogue import IMPLEMENTATIONS

    profile, options = model_options(arguments)
    if arguments.pair and arguments.path:
        raise InputError("either --path, one group of paths, or --pair, several", field="--pair")
    pairs = [tuple(path_names([pair])) for pair in arguments.pair]
    targets = [word.strip() for given in arguments.target for word in given.split(",")] or [NAMES[0]]
    lanes = make_lanes(
        targets, pairs or [tuple(path_names(arguments.path)) or IMPLEMENTATIONS], profile or "amd", options,
        arguments.guidance,
    )  # fmt: skip
    if arguments.guidance != JOINT and compiled() and native_coverage() is None:
        raise InputError(
            "the compiled core here does not count what it executes: build it with WORLDSWITCH_COMPILE=coverage, or "
            "set WORLDSWITCH_CORE=pure",
            field="--guidance",
        )
    for name in ("memory", "timeout"):
        if getattr(arguments, name) <= 0:
            raise InputError(f"must be more than 0, not {getattr(arguments, name)}", field=f"--{name}")
    known = read_acknowledged(arguments.acknowledged)
    seeds = read_seeds(arguments.seeds, lanes)
    display = Display(sys.stderr)
    campaign = Campaign(
        lanes, Path(arguments.out), display.say, profile or "amd", options,
        Limits(timeout=arguments.timeout, memory_mb=arguments.memory),
    )  # fmt: skip
    with campaign:
        result = campaign.run(
            runs=arguments.runs,
            total=arguments.total,
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
        reported, cases = of_campaign(campaign.directory, campaign.path_names, records, sorting)
        write("worldswitch fuzz", reported, cases, sarif_file=arguments.sarif, junit_file=arguments.junit)
        if arguments.json:
            print_json({**as_json(campaign, result), "acknowledged": sorting.as_json()})
        else:
            print_summary(campaign, result)
            print(*(f"{line}\n" for line in sorting.lines()), sep="", end="")
        if result.outcome == "interrupted":
            return 130
        if result.failures:
            report_failures(campaign, result)
            return 3
        return 1 if sorting.new else 0


def read_seeds(places: list[str], lanes: "Sequence[Lane]") -> dict[str, list[bytes]]:
    """The cases of the scenario files in ``places``, by target; raises ``InputError`` for one that has none."""
    if not places:
        return {}
    from worldswitch.commands.common import toml_files
    from worldswitch.scenario.read import read_scenario

    seeds: dict[str, list[bytes]] = {}
    for file in toml_files(places):
        scenario = read_scenario(file)
        refused: InputError | None = None
        taken = False
        for lane in lanes:
            try:
                data = lane.target.codec.encode(scenario)
            except InputError as error:
                refused = refused or error
                continue
            taken = True
            seeds.setdefault(lane.configuration.target, []).append(data)
        if not taken and refused is not None:
            raise refused
    return seeds


def as_json(campaign: "Campaign", result: "Outcome") -> dict[str, object]:
    """The campaign for ``--json``."""
    return {
        "format": 1,
        "outcome": result.outcome,
        "executions": campaign.ledger.executions,
        "executions_this_run": result.executions,
        "rate": round(result.rate, 1),
        "points": result.features,
        "corpus": result.corpus,
        "paths": campaign.by_path(),
        "findings": [record.as_json() for record in campaign.store.records.values()],
        "new": campaign.new,
        "failures": result.failures,
        "directory": str(campaign.directory),
    }


def print_summary(campaign: "Campaign", result: "Outcome") -> None:
    """What was done and found, path by path."""
    store = campaign.store
    print(
        f"{campaign.ledger.executions} cases on {', '.join(campaign.path_names)}"
        f" ({result.executions} in this run, {result.rate:.0f}/s); ended: {result.outcome}"
    )
    for name in campaign.path_names:
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
        lane = campaign.ledger.lanes.get(shown[0].lane)
        paths = ",".join(lane.configuration.paths) if lane is not None and lane.target.paths else ""
        print(f"\nstep by step: worldswitch run {file}" + (f" --path {paths}" if paths else ""))
        print(f"why:          worldswitch explain {file.parent}")


def reproducer(campaign: "Campaign", signature: str) -> Path:
    """A finding's smallest scenario, or its first where it has not been reduced."""
    directory = campaign.store.finding_directory(signature)
    reduced = directory / "minimized.toml"
    return reduced if campaign.store.records[signature].minimized else directory / "scenario.toml"


def report_failures(campaign: "Campaign", result: "Outcome") -> None:
    """Fuzzing processes failed: say how, and where their inputs are."""
    print(f"{result.failures} fuzzing processes failed: defects of this program; please report them", file=sys.stderr)
    rows = campaign.store.connection.execute(
        "SELECT outcome, summary, file FROM failures WHERE outcome != 'killed' ORDER BY id DESC LIMIT ?",
        (min(result.failures, PRINTED),),
    )
    for outcome, summary, file in rows:
        print(
            f"  {outcome}: {summary}" + (f"; its input: {campaign.directory / file}" if file else ""), file=sys.stderr
        )
