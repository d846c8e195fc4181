"""Planted defects, and whether the fuzzer finds them.

Runs the in-process fuzzer against every mutant of the registry: small defects in entry paths, the kernel model, the
processor model and L0's side of nested virtualisation. Prints for each whether it was caught, after how many executions
and seconds of processor time (medians over the seeds), and by which oracle. All but the seconds is the same in every
run. The mutants' subjects are fuzzed without any defect, too, and must stay silent, as must mutants that are argued to
change nothing.

Mutants are planted by replacing functions of the model: always in the pure Python core, also where a compiled one is
installed.

Exit code 0: all were caught, and what must be silent was. 1: one was missed, or something was not silent.
"""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from worldswitch.commands import EXIT_CLEAN, EXIT_FINDINGS
from worldswitch.commands.common import add_json_argument, print_json
from worldswitch.sources import use_sources

if TYPE_CHECKING:
    from worldswitch.mutants.model import Mutant

EXAMPLES = """
worldswitch mutants
worldswitch mutants --list
worldswitch mutants nested 'vnmi-*' sti-missing --seeds 5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``mutants``."""
    parser.add_argument(
        "mutants", metavar="MUTANT", nargs="*",
        help="a name, a family (path, kernel, processor, nested), or a pattern such as 'vnmi-*' (default: all)",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="name every mutant, and fuzz none")
    parser.add_argument("--runs", metavar="N", type=int, help="executions a seed, at most (default: 20000)")
    parser.add_argument("--seeds", metavar="K", type=int, help="seeds a mutant (default: 3)")
    parser.add_argument("--jobs", metavar="N", type=int, help="processes (default: one a processor)")
    parser.add_argument(
        "--write", metavar="FILE", help="write the results of all mutants as a document, docs/mutants.md"
    )
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """List the mutants, or hunt them."""
    use_sources()  # they are planted by replacing functions
    from worldswitch.errors import InputError
    from worldswitch.mutants import report
    from worldswitch.mutants.registry import select

    for name in ("runs", "seeds", "jobs"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InputError("expected a number from 1", field=f"--{name}")
    if arguments.write and arguments.mutants:
        raise InputError("the document is of all mutants: name none", field="--write")
    mutants = select(arguments.mutants)
    if not arguments.list:
        return _hunt(arguments, mutants)
    if arguments.json:
        print_json({"format": 1, "mutants": [report.as_json(mutant) for mutant in mutants]})
    else:
        print(*report.listing(mutants), sep="\n")
    return EXIT_CLEAN


def _hunt(arguments: argparse.Namespace, mutants: "list[Mutant]") -> int:
    from pathlib import Path

    from worldswitch.mutants import hunt, report
    from worldswitch.mutants.registry import controls

    seeds, runs = arguments.seeds or hunt.SEEDS, arguments.runs or hunt.CASES
    tried = [*mutants, *controls(mutant for mutant in mutants if not mutant.equivalent)]
    pairs = []
    results = hunt.hunt_all(tried, seeds, runs, arguments.jobs or os.cpu_count() or 1)
    for mutant, result in zip(tried, results, strict=True):
        pairs.append((mutant, result))
        if not arguments.json:
            print(report.line(mutant, result), flush=True)
        elif sys.stderr.isatty():
            print(f"\r{len(pairs)} of {len(tried)} mutants", end="", file=sys.stderr)
    wrong = [mutant.name for mutant, result in pairs if not report.is_right(mutant, result)]
    if arguments.write:
        Path(arguments.write).write_text(report.document(pairs, seeds, runs), encoding="utf-8")
    if arguments.json:
        found = [report.as_json(mutant, result) for mutant, result in pairs]
        print_json({"format": 1, "seeds": seeds, "runs": runs, "mutants": found, "wrong": wrong})
    else:
        print(report.summary(pairs))
    return EXIT_FINDINGS if wrong else EXIT_CLEAN
