"""How much of what is reachable a campaign visits, over time.

The truth is the exhaustive exploration of `worldswitch check`; states and transitions are those of
``worldswitch.check.truth``. Prints a table as Markdown, medians over the seeds:

    python benchmarks/coverage_of_truth.py --target world-switch --runs 30000
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worldswitch.check.measure import Share, at_random, campaign, reachable
from worldswitch.check.truth import SINGLE_STEPPING, Seen, Transition
from worldswitch.fuzzing.targets import Configuration


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="world-switch", choices=("world-switch", "sequence"))
    parser.add_argument("--path", default="linux-6.1", help="the path of world-switch (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=30_000, help="cases of each fuzzer (default: %(default)s)")
    parser.add_argument("--depth", type=int, default=3, help="choices of the exploration (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each fuzzer (default: %(default)s)")
    arguments = parser.parse_args()
    paths = (arguments.path,) if arguments.target == "world-switch" else ()
    configuration = Configuration(arguments.target, paths)
    started = time.monotonic()
    truth = reachable(configuration, arguments.depth, lambda line: print(line, file=sys.stderr, flush=True))
    seconds = time.monotonic() - started
    marks = [n for k in range(2, 9) for n in (10**k, 3 * 10**k) if n <= arguments.runs]
    where = f" on {arguments.path}" if paths else ""
    print(
        f"target `{arguments.target}`{where}: {len(truth.states):,} states and {len(truth.transitions):,} transitions "
        f"are reachable (explored to {arguments.depth} choices in {seconds:.0f} s)\n"
    )
    print("| cases |" + "".join(f" {n:,} |" for n in marks) + " beyond the bound |")
    print("|---|" + "---|" * (len(marks) + 1))
    unseen: Counter[Transition] = Counter()
    for name in ("campaign", "random"):
        rows = [
            _measure(name, configuration, truth, arguments.runs, seed, marks) for seed in range(1, arguments.seeds + 1)
        ]
        for what, column in (("states", 0), ("transitions", 1)):
            cells = [statistics.median(row[0][mark][column] for row in rows) for mark in marks]
            beyond = f"{statistics.median(row[1].beyond for row in rows):,.0f}" if column else ""
            print(f"| {name}: {what} |" + "".join(f" {cell:.1%} |" for cell in cells) + f" {beyond} |")
        if name == "campaign":
            for _, share in rows:
                unseen.update(truth.transitions - share.transitions)
    never = [transition for transition, count in unseen.items() if count == arguments.seeds]
    print(f"\nNo seed of the campaign took {len(never):,} of the transitions. Most of them start")
    for kind, count in Counter(map(_kind, never)).most_common(12):
        print(f"- {kind}: {count:,}")


def _measure(
    name: str, configuration: Configuration, truth: Seen, runs: int, seed: int, marks: list[int]
) -> tuple[dict[int, tuple[float, float]], Share]:
    """The shares of states and transitions when each mark was passed, and what was visited in the end."""
    share = Share(truth)
    shares: dict[int, tuple[float, float]] = {}
    waiting = list(marks)
    with tempfile.TemporaryDirectory() as directory:
        for executions, states, transitions in _reports(name, configuration, runs, seed, Path(directory)):
            while waiting and executions > waiting[0]:
                shares[waiting.pop(0)] = (share.of_states, share.of_transitions)
            share.add(states, transitions)
    for mark in waiting:
        shares[mark] = (share.of_states, share.of_transitions)
    return shares, share


def _reports(
    name: str, configuration: Configuration, runs: int, seed: int, directory: Path
) -> Iterator[tuple[int, Any, Any]]:
    if name == "campaign":
        return campaign(configuration, runs, seed, directory)
    return at_random(configuration, runs, seed)


def _kind(transition: Transition) -> str:
    """Where a transition starts, and what it does, in words."""
    state, did, after = transition
    in_guest = state[0] == "guest"
    where = "guest" if in_guest else "host, in a handler" if "handler" in str(state[1]) else "host, on the path"
    flags = state[1 if in_guest else 2]
    assert isinstance(flags, int)
    traits = [where]
    if flags & SINGLE_STEPPING:
        traits.append("single-stepping")
    if state[-1]:
        traits.append("something pending")
    what = ("an instruction", "a #VMEXIT", "a handler is entered")[did[0] if did else 0]
    return f"{', '.join(traits)}: {what}{' and the run ends' if after[0] == 'end' else ''}"


if __name__ == "__main__":
    main()
