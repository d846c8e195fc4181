"""Every scenario of a bounded space, smallest first: what no fuzzing can promise.

A scenario differs from the plain world switch in choices: an event at a boundary, a field of the VMCB, an intercept,
what a delivery meets, a guest instruction, a further round. Each is asked for when the machine first needs it, and
states that are the same are explored once. Parts with few kinds of choices are explored until no new state is left, all
kinds together up to --depth choices. The counterexample printed is a smallest one. --compare-minimize reduces what a
short fuzzing run finds, and holds the results against the smallest ones.

Exit code 0: no finding. 1: findings. 3: cut short by --time, or something was not reached that the model can reach.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from worldswitch.commands import EXIT_CLEAN, EXIT_FINDINGS, EXIT_INTERRUPTED, EXIT_NO_VERDICT
from worldswitch.commands.common import add_json_argument, add_model_arguments, model_options, path_names, print_json
from worldswitch.sources import use_sources

if TYPE_CHECKING:
    from worldswitch.check.report import PathResult

EXAMPLES = """
worldswitch check
worldswitch check --path linux-6.14 --depth 4
worldswitch check --path my-path.toml --out campaign --json
"""

DEFAULT_DEPTH: Final = 3
"""That of ``check.space``, which is not imported before it is needed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``worldswitch check``."""
    add_model_arguments(parser)
    parser.add_argument(
        "--depth", metavar="N", type=int, default=DEFAULT_DEPTH,
        help="choices in one scenario where all kinds come together, from 0 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--part",
        metavar="NAME",
        action="append",
        default=[],
        help="a part of the check; repeated or comma-separated (default: all)",
    )
    parser.add_argument("--time", metavar="S", type=float, default=None, help="seconds after which to give up")
    parser.add_argument(
        "--jobs", metavar="N", type=int, default=0, help="paths explored at a time (default: one a processor)"
    )
    parser.add_argument(
        "--out", metavar="DIR", default="", help="where to write the counterexamples, as a campaign does"
    )
    parser.add_argument(
        "--compare-minimize", action="store_true", help="hold `minimize` against the smallest counterexamples"
    )
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check every path."""
    use_sources()  # the exploration puts values that are still open into the state
    from worldswitch.check.driver import Request, check_paths, part_names
    from worldswitch.check.report import as_json, lines_of
    from worldswitch.errors import InputError
    from worldswitch.paths.catalogue import IMPLEMENTATIONS
    from worldswitch.report.terminal import screen

    paths = path_names(arguments.path) or list(IMPLEMENTATIONS)
    profile, pairs = model_options(arguments)
    for name in ("depth", "jobs", "time"):
        value = getattr(arguments, name)
        if value is not None and value < 0:
            raise InputError(f"{value:g} is less than 0", field=f"--{name}")
    profile, options, parts = profile or "amd", dict(pairs), part_names(arguments.part)
    deadline = None if arguments.time is None else time.time() + arguments.time
    requests = [Request(path, arguments.depth, profile, options, parts, deadline) for path in paths]
    results = check_paths(requests, arguments.jobs or min(len(paths), os.cpu_count() or 1))
    comparisons = []
    if arguments.compare_minimize and all(result.finished for result in results):
        from worldswitch.check.compare import compare

        comparisons = [line for result in results for line in compare(result, profile, options)]
    if arguments.out:
        write(results, Path(arguments.out))
    if arguments.json:
        document = as_json(results, arguments.depth)
        if arguments.compare_minimize:
            document["minimize"] = [comparison.as_json() for comparison in comparisons]
        print_json(document)
    else:
        print(*lines_of(results, screen(sys.stdout)), sep="\n")
        if comparisons:
            print("", "what `minimize` makes of fuzzed cases, and the smallest scenario there is:", sep="\n")
            print(*comparisons, sep="\n")
    return exit_code(results)


def exit_code(results: list["PathResult"]) -> int:
    """The contract's exit code of a check."""
    if any(result.interrupted for result in results):
        return EXIT_INTERRUPTED
    if any(result.found for result in results):
        return EXIT_FINDINGS
    if any(not result.finished or result.missing for result in results):
        return EXIT_NO_VERDICT
    return EXIT_CLEAN


def write(results: list["PathResult"], directory: Path) -> None:
    """Write every counterexample as ``findings/SIGNATURE/scenario.toml``, the first path's; raises ``InputError``.

    A path of the user's own is copied beside it.
    """
    from dataclasses import replace

    from worldswitch.fuzzing.store import write_whole
    from worldswitch.scenario.write import scenario_text

    written = set()
    for result in results:
        for signature, example in result.found.items():
            if signature in written:
                continue
            written.add(signature)
            folder = directory / "findings" / signature
            scenario = replace(example.scenario, about=example.finding.message)
            if Path(scenario.path).is_file():
                own = Path(scenario.path)
                write_whole(folder / own.name, own.read_text(encoding="utf-8"))
                scenario.path = own.name
            write_whole(folder / "scenario.toml", scenario_text(scenario))
