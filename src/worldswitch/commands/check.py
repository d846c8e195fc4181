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

if TYPE_CHECKING:
    from worldswitch.check.explore import Progress
    from worldswitch.check.report import PathResult

EXAMPLES = """
worldswitch check
worldswitch check --path linux-6.14 --depth 4
worldswitch check --path my-path.toml --out campaign --json
"""

DEFAULT_DEPTH: Final = 3

LINE_EVERY: Final = 2.0
"""Seconds between two lines of progress of one path."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``worldswitch check``."""
    add_model_arguments(parser)
    parser.add_argument(
        "--depth", metavar="N", type=int, default=DEFAULT_DEPTH,
        help="choices in one scenario where all kinds come together, from 0 (default: %(default)s)",
    )  # fmt: skip
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
    from worldswitch.check.report import as_json, lines_of
    from worldswitch.errors import InputError
    from worldswitch.paths.catalogue import IMPLEMENTATIONS

    paths = path_names(arguments.path) or list(IMPLEMENTATIONS)
    profile, options = model_options(arguments)
    for name, least in (("depth", 0), ("jobs", 0), ("time", 0)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise InputError(f"{value} is less than {least}", field=f"--{name}")
    deadline = None if arguments.time is None else time.monotonic() + arguments.time
    jobs = arguments.jobs or min(len(paths), os.cpu_count() or 1)
    results = check(paths, arguments.depth, profile or "amd", dict(options), deadline, jobs)
    comparisons = []
    if arguments.compare_minimize and all(result.finished for result in results):
        from worldswitch.check.compare import compare

        comparisons = [line for result in results for line in compare(result, profile or "amd", dict(options))]
    if arguments.out:
        write(results, Path(arguments.out))
    if arguments.json:
        document = as_json(results, arguments.depth)
        if arguments.compare_minimize:
            document["minimize"] = [comparison.as_json() for comparison in comparisons]
        print_json(document)
    else:
        print(*lines_of(results), sep="\n")
        if comparisons:
            print(
                "", "what `minimize` makes of cases that a fuzzer found, and the smallest scenario there is:", sep="\n"
            )
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


def check(
    paths: list[str], depth: int, profile: str, options: dict[str, str], deadline: float | None, jobs: int
) -> list["PathResult"]:
    """The results of all paths, ``jobs`` at a time in processes of their own; a single one runs in this one."""
    if jobs < 2 or len(paths) < 2:
        return [check_path(path, depth, profile, options, deadline) for path in paths]
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    left = None if deadline is None else deadline - time.monotonic()
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(check_path_in, path, depth, profile, options, left) for path in paths]
        while True:
            try:
                return [future.result() for future in futures]
            except KeyboardInterrupt:  # the processes were interrupted too, and return what they have
                continue


def check_path_in(path: str, depth: int, profile: str, options: dict[str, str], seconds: float | None) -> "PathResult":
    """``check_path`` in another process, whose clock is its own."""
    return check_path(path, depth, profile, options, None if seconds is None else time.monotonic() + seconds)


def check_path(path: str, depth: int, profile: str, options: dict[str, str], deadline: float | None) -> "PathResult":
    """All parts on one path; what there is of them where ``deadline`` or an interruption cuts them short."""
    from worldswitch.check.explore import Explorer
    from worldswitch.check.report import PathResult
    from worldswitch.check.space import EVERYTHING, PARTS
    from worldswitch.paths.catalogue import find

    result = PathResult(path)
    try:
        for space in PARTS:
            bounded = space.bounded(depth) if space is EVERYTHING else space
            explorer = Explorer(bounded, find(path), profile, options)
            result.outcomes.append(explorer.outcome)
            explorer.run(deadline, Display(path, space.name).tick)
    except KeyboardInterrupt:
        result.interrupted = True
    return result


class Display:
    """A line of progress on standard error now and then."""

    def __init__(self, path: str, part: str) -> None:
        self.title = f"{path}, {part}"
        self.last = time.monotonic()
        self.states = 0

    def tick(self, progress: "Progress") -> None:
        """Show where the search is."""
        now = time.monotonic()
        if now - self.last < LINE_EVERY:
            return
        rate = (progress.states - self.states) / (now - self.last)
        self.last, self.states = now, progress.states
        print(
            f"{self.title}: {progress.states:,} states ({progress.unique:,} unique with a choice), "
            f"depth {progress.depth}, size {progress.cost.instructions}+{progress.cost.fields}, {rate:,.0f} states/s; "
            f"{progress.runs:,} scenarios, {progress.waiting:,} waiting",
            file=sys.stderr,
            flush=True,
        )


def write(results: list["PathResult"], directory: Path) -> None:
    """Write every counterexample as ``findings/SIGNATURE/scenario.toml``; raises ``InputError``."""
    from worldswitch.fuzzing.store import write_whole

    for result in results:
        for signature, example in result.found.items():
            write_whole(directory / "findings" / signature / "scenario.toml", example.text)
