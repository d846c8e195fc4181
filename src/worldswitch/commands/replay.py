"""Replays findings and scenarios in the model.

FINDING is a finding's directory, its scenario file, or a signature within --out. Each is executed again, and its findings
are listed. Exit codes are those of run.
"""

import argparse

from worldswitch.commands.common import (
    add_json_argument,
    add_model_arguments,
    add_out_argument,
    finding_file,
    model_options,
    path_names,
    print_json,
)

EXAMPLES = "worldswitch replay campaign/findings/shadow-bleed.unexplained-shadow.injection"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``replay``."""
    parser.add_argument("findings", metavar="FINDING", nargs="+", help="findings' directories, scenario files or signatures")
    add_model_arguments(parser)
    add_out_argument(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Execute each again; 1 where one shows a finding that it does not expect, or misses what it expects."""
    from worldswitch.result import as_json, execute, variants
    from worldswitch.scenario.read import read_scenario

    profile, options = model_options(arguments)
    paths = path_names(arguments.path)
    results = []
    for name in arguments.findings:
        scenario = read_scenario(finding_file(name, arguments.out))
        results += [execute(scenario, variant) for variant in variants(scenario, paths, profile, options)]
    if arguments.json:
        print_json({"format": 1, "results": [as_json(result) for result in results]})
    else:
        for result in results:
            found = ", ".join(finding.signature for finding in result.verdict.findings) or "no finding"
            print(f"{result.scenario.file} on {result.path}: {found}")
            for failure in result.unmet:
                print(f"    {failure}")
    return 1 if any(result.failed for result in results) else 0
