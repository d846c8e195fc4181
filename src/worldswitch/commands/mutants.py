"""Planted defects, and whether the fuzzer finds them.

Runs the in-process fuzzer against every mutant of the registry: small defects in entry paths, the kernel model and the
processor model. Prints for each whether it was caught, after how many executions and seconds (medians over the seeds),
and by which oracle. All but the seconds is the same in every run.

Mutants are planted by replacing functions of the model, which needs the pure Python core: with a compiled core only the
mutants of entry paths run.

Exit code 0: all were caught, but for those argued equivalent, which stayed silent. 1: some were missed.
"""

import argparse
import os
import sys

from worldswitch.commands import EXIT_CLEAN, EXIT_FINDINGS
from worldswitch.commands.common import add_json_argument, print_json

EXAMPLES = """
worldswitch mutants
worldswitch mutants --list
worldswitch mutants --only sti-missing,quirk-missing --seeds 5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``mutants``."""
    parser.add_argument("--list", action="store_true", help="name every mutant, and fuzz none")
    parser.add_argument(
        "--only", metavar="NAME", action="append", default=[], help="these mutants; repeated or comma-separated"
    )
    parser.add_argument("--cases", metavar="N", type=int, default=0, help="executions a seed (default: 20000)")
    parser.add_argument("--seeds", metavar="K", type=int, default=0, help="seeds a mutant (default: 3)")
    parser.add_argument("--jobs", metavar="N", type=int, default=0, help="processes (default: one a processor)")
    parser.add_argument("--write", metavar="FILE", default="", help="write the results as a document, docs/mutants.md")
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """List the mutants, or hunt them."""
    from worldswitch.errors import InputError
    from worldswitch.mutants import report
    from worldswitch.mutants.registry import select

    for name in ("cases", "seeds", "jobs"):
        if getattr(arguments, name) < 0:
            raise InputError("expected a number from 1", field=f"--{name}")
    mutants = select(name.strip() for text in arguments.only for name in text.split(","))
    if arguments.list:
        if arguments.json:
            print_json({"format": 1, "mutants": [report.as_json(mutant) for mutant in mutants]})
        else:
            print(*report.listing(mutants), sep="\n")
        return EXIT_CLEAN
    return _hunt(arguments, mutants)


def _hunt(arguments: argparse.Namespace, mutants: list) -> int:  # type: ignore[type-arg]
    from pathlib import Path

    from worldswitch.mutants import hunt, report

    seeds, cases = arguments.seeds or hunt.SEEDS, arguments.cases or hunt.CASES
    pairs = []
    results = hunt.hunt_all(mutants, seeds, cases, arguments.jobs or os.cpu_count() or 1)
    for mutant, result in zip(mutants, results, strict=True):
        pairs.append((mutant, result))
        if not arguments.json:
            print(report.line(mutant, result), flush=True)
        elif sys.stderr.isatty():
            print(f"\r{len(pairs)} of {len(mutants)} mutants", end="", file=sys.stderr)
    wrong = [mutant.name for mutant, result in pairs if not report.is_right(mutant, result)]
    if arguments.write:
        Path(arguments.write).write_text(report.document(pairs, seeds, cases), encoding="utf-8")
    if arguments.json:
        found = [report.as_json(mutant, result) for mutant, result in pairs]
        print_json({"format": 1, "seeds": seeds, "cases": cases, "mutants": found, "wrong": wrong})
    else:
        print(report.summary(pairs))
    return EXIT_FINDINGS if wrong else EXIT_CLEAN
