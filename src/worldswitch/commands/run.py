"""Execute scenarios, print what happened step by step, and what the oracles object to.

A scenario runs on its own path, and in every other way that it states an [expect] for; --path, --profile and --set say
otherwise. Of several scenarios only those that fail are shown in full.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from worldswitch.commands import EXIT_CLEAN, EXIT_FINDINGS
from worldswitch.commands.common import (
    add_ci_arguments,
    add_json_argument,
    add_model_arguments,
    model_options,
    path_names,
    print_json,
    read_scenarios,
)

if TYPE_CHECKING:
    from worldswitch.ci.junit import Case
    from worldswitch.ci.sarif import Reported
    from worldswitch.report.terminal import Screen
    from worldswitch.result import Result

EXAMPLES = """
worldswitch run corpus/golden.toml
worldswitch run corpus/golden.toml --path linux-6.1,linux-6.14,my-path.toml
worldswitch run corpus/golden.toml --set bleed_sti_shadow=off
worldswitch run corpus --json
worldswitch run corpus/regressions --junit results.xml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``worldswitch run``."""
    parser.add_argument("scenarios", metavar="SCENARIO", nargs="+", help="a scenario file, or a directory of them")
    add_model_arguments(parser)
    add_json_argument(parser)
    add_ci_arguments(parser)
    parser.add_argument("--all", action="store_true", help="show every scenario and every step; fold nothing")


def run(arguments: argparse.Namespace) -> int:
    """Run every scenario. Nothing runs before all files have been read."""
    from worldswitch.report.terminal import screen
    from worldswitch.result import execute, variants

    if arguments.sarif or arguments.junit:
        from worldswitch.ci.results import of_runs, write

    paths = path_names(arguments.path)
    profile, overrides = model_options(arguments)
    scenarios = read_scenarios(arguments.scenarios)
    show = screen(sys.stdout)
    entries: list[dict[str, Any]] = []
    runs = failed = 0
    reported: list[Reported] = []
    cases: list[Case] = []
    for scenario in scenarios:
        chosen = list(variants(scenario, paths, profile, overrides))
        shorten = len(scenarios) > 1 and not arguments.all
        results = [execute(scenario, variant, not (arguments.json or shorten)) for variant in chosen]
        failures = [result for result in results if result.failed]
        runs += len(results)
        failed += len(failures)
        if arguments.sarif or arguments.junit:
            more = of_runs(results)
            reported += more[0]
            cases += more[1]
        if arguments.json:
            entries += _entries(results)
            continue
        if failures and shorten:
            results = [execute(scenario, variant, True) for variant in chosen]
        if failures or not shorten:
            print(*_text(results, show, arguments.all), sep="\n")
        else:
            print(*_summary(results, show), sep="\n")
    if arguments.sarif or arguments.junit:
        write("worldswitch run", reported, cases, sarif_file=arguments.sarif, junit_file=arguments.junit)
    if arguments.json:
        print_json({"format": 1, "results": entries})
    elif len(scenarios) > 1:
        print(
            f"{len(scenarios)} scenarios, {runs} runs: {runs - failed} ok, {failed} with findings or unmet expectations"
        )
    return EXIT_FINDINGS if failed else EXIT_CLEAN


def _text(results: list["Result"], show: "Screen", full: bool) -> Iterator[str]:
    """One scenario in full."""
    from worldswitch.report.outcome import difference_lines, outcome
    from worldswitch.report.timeline import timelines, title

    scenario = results[0].scenario
    yield from show.wrapped(f"{scenario.file}: {scenario.about}" if scenario.about else scenario.file)
    yield ""
    if scenario.nested is not None:
        from worldswitch.nested.report import nested_lines

        yield from nested_lines(results, show, full)
        return
    yield from timelines(results, show, full)
    for result in results:
        yield ""
        if len(results) > 1:
            yield show.bold(title(result))
        yield from outcome(result, show)
    compared = list(difference_lines(results, show))
    if compared:
        yield ""
        yield from compared


def _summary(results: list["Result"], show: "Screen") -> Iterator[str]:
    """One line a run that did not fail."""
    from worldswitch.report.timeline import title

    for result in results:
        yield f"{show.good('ok')}  {result.scenario.file}  ({title(result)})"


def _entries(results: list["Result"]) -> list[dict[str, Any]]:
    """The runs of one scenario as ``--json`` prints them."""
    from worldswitch.report.outcome import difference_as_json, differences
    from worldswitch.result import as_json

    entries = [as_json(result) for result in results]
    for entry in entries:
        entry["differences"] = []
    for first, other, found in differences(results):
        entry = next(entry for entry, result in zip(entries, results, strict=True) if result is other)
        entry["differences"] = [difference_as_json(first.path, difference) for difference in found]
    return entries
