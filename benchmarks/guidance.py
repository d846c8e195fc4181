"""Which guidance finds things: seconds of processor time to each of the goals of ``goals.py``.

    python benchmarks/guidance.py --goals chosen-on --methods campaign,campaign:transitions,uniform
    python benchmarks/guidance.py --goals held-out --seconds 180 --write docs/performance.md

Every method runs the same core on the same path, without oracles, until it has met every goal or its time is up. A goal
that was not met counts with the whole time, which flatters a method that meets few. Methods are

    campaign, edits     the mutator of campaigns, or only its edits of what was kept; ``:NAME`` is a projection of
                        ``projections.py``, or ``coverage`` of the core's code, or ``both``, that and ``joint``
    raw-bytes, stock    libFuzzer's own mutator, with our projection, or with the instrumentation of atheris
    new-cases           what a campaign draws without looking at feedback
    one-density, rounds-thinned, programs-thinned
                        the same without one of its rules: one density for all slots of a case, instead of one for each
                        group of them; the number of rounds returns to one as often as any slot to its default; a
                        guest's program is shortened at random
    uniform, hypothesis random cases, every slot by chance, and drawn by Hypothesis

The core is the one that is installed. ``stock`` needs the pure one, and so does whatever is compared with it; coverage
needs it as well, or one compiled with WORLDSWITCH_COMPILE=coverage.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))

from document import replace
from goals import Core, Goal, chosen_on, held_out
from projections import PROJECTIONS

from worldswitch.core import compiled
from worldswitch.fuzzing.counters import Features
from worldswitch.fuzzing.engine import fuzz
from worldswitch.fuzzing.fleet import CORE_PACKAGES
from worldswitch.fuzzing.harness import Harness, Send, Stop
from worldswitch.fuzzing.mutate import THINNING, Mutator, slot_groups, thinned
from worldswitch.fuzzing.targets import COVERAGE, GUIDANCE
from worldswitch.machine.run import Run

Groups = list[tuple[list[int], tuple[int, ...]]]
SETS: Final[dict[str, Callable[[], tuple[Goal, ...]]]] = {"chosen-on": chosen_on, "held-out": held_out}
WITHOUT: Final[dict[str, Callable[[list[str]], Groups]]] = {
    "one-density": lambda names: [(list(range(len(names))), THINNING)],
    "rounds-thinned": lambda names: [*thinned(slot_groups(names), names), ([names.index("rounds")], THINNING)],
    "programs-thinned": lambda names: [(group, THINNING) for group, _ in thinned(slot_groups(names), names)],
}
"""The groups of slots that new cases have without one of their rules."""

BLIND: Final = ("new-cases", *WITHOUT, "uniform", "hypothesis")
METHODS: Final = ("campaign", "edits", "raw-bytes", "stock", *BLIND)
LOOK_EVERY: Final = 64
LEAST: Final = 0.1
"""Seconds: what a shorter time counts as in a mean, being one of start-up."""

Found = dict[str, tuple[int, float]]
"""Goal to executions and seconds; ``executions`` to those of the whole run."""


class Hunt:
    """Counts executions and notes each goal when it is first met."""

    def __init__(self, goals: str, seconds: float, note: Callable[[str, int, float], None]) -> None:
        self.note = note
        self.left: dict[int, list[Goal]] = {}
        for goal in SETS[goals]():
            self.left.setdefault(goal.second, []).append(goal)
        self.executions = 0
        self.start = time.process_time()
        self.end = self.start + seconds

    def look(self, run: Run) -> bool:
        """Notes what ``run`` meets; True when there is nothing more to do."""
        self.executions += 1
        exits = run.recorder.exits
        if len(exits) > 1:
            for code in {record.code for record in exits[1:]} & self.left.keys():
                for goal in [goal for goal in self.left[code] if goal.met(run)]:
                    self.note(str(goal), self.executions, time.process_time() - self.start)
                    self.left[code].remove(goal)
                if not self.left[code]:
                    del self.left[code]
        return not self.left or (self.executions % LOOK_EVERY == 0 and time.process_time() > self.end)


def covered(method: str) -> bool:
    """Whether the coverage of the core's code guides a method."""
    kind, _, name = method.partition(":")
    return kind == "stock" or name in GUIDANCE[1:]


def build(send: Send, method: str, goals: str, seconds: float) -> Harness:
    """The harness of a guided method, in the fuzzing process."""
    kind, _, name = method.partition(":")
    core = Core()
    codec, execute = core.codec, core.run
    hunt = Hunt(goals, seconds, lambda *found: send(list(found)))
    project, size = PROJECTIONS["joint" if covered(method) or not name else name]
    features = None if kind == "stock" or name == COVERAGE else Features(size)

    def one_input(data: bytes) -> None:
        run = execute(data)
        if features:
            for point in project(run):
                features.buffer[point] = 1
        if hunt.look(run):
            send(["executions", hunt.executions, time.process_time() - hunt.start])
            raise Stop

    mutator = Mutator(codec)
    if kind == "campaign":
        return Harness(one_input, mutator.mutate_or_draw, mutator.cross_or_draw, features, coverage=covered(method))
    if kind == "edits":
        return Harness(one_input, mutator.mutate, mutator.crossover, features, coverage=covered(method))
    return Harness(one_input, None, None, features, coverage=covered(method))


def guided(method: str, goals: str, seconds: float, seed: int, flags: tuple[str, ...]) -> Found:
    """One run of libFuzzer."""
    found: Found = {}

    def message(value: Any) -> None:
        found[value[0]] = (value[1], value[2])

    with tempfile.TemporaryDirectory() as directory:
        length = Core().codec.length
        result = fuzz(
            build, (method, goals, seconds), corpus=Path(directory, "corpus"), artifacts=Path(directory, "artifacts"),
            seeds=[bytes(length)], seed=seed, max_len=length, on_message=message, seconds=10 * seconds, flags=flags,
            instrument=CORE_PACKAGES if covered(method) and not compiled() else (),
        )  # fmt: skip
    if result.failure:
        raise RuntimeError(result.failure.traceback)
    if "executions" not in found:
        raise RuntimeError(f"{method} was ended: {result.outcome}")
    return found


def blind(method: str, goals: str, seconds: float, seed: int) -> Found:
    """Random cases without feedback, in this process."""
    found: Found = {}
    core = Core()
    codec, execute = core.codec, core.run
    hunt = Hunt(goals, seconds, lambda name, executions, second: found.__setitem__(name, (executions, second)))
    if method == "hypothesis":
        from hypothesis import HealthCheck, Phase, given, settings, strategies
        from hypothesis import seed as seeded

        picks = strategies.tuples(*(strategies.integers(0, count - 1) for count in codec.counts)).map(bytes)

        @seeded(seed)
        @settings(max_examples=10**9, database=None, deadline=None, phases=[Phase.generate],
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(picks)
        def test(data: bytes) -> None:
            if hunt.look(execute(data)):
                raise KeyboardInterrupt  # any other exception is a failure to Hypothesis, and tried again

        with contextlib.suppress(KeyboardInterrupt):
            test()
    else:
        rng, mutator = random.Random(seed), Mutator(codec)
        if method in WITHOUT:
            mutator._groups = WITHOUT[method]([slot.name for slot in codec.slots])
        while not hunt.look(
            execute(rng.randbytes(codec.length) if method == "uniform" else mutator.draw(rng.getrandbits(32)))
        ):
            pass
    found["executions"] = (hunt.executions, time.process_time() - hunt.start)
    return found


def blind_in_a_process(method: str, goals: str, seconds: float, seed: int) -> Found:
    """:func:`blind`, so that two run at the same time."""
    done = subprocess.run(
        [sys.executable, __file__, "--blind", method, "--goals", goals, "--seconds", str(seconds), "--seed", str(seed)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    return {name: (value[0], value[1]) for name, value in json.loads(done.stdout).items()}


def table(results: dict[str, list[Found]], goals: str, seconds: float) -> str:
    """A row a goal: median seconds of each method, and in how many of its runs it met the goal where not in all."""
    methods = list(results)
    lines = [f"| goal | {' | '.join(methods)} |", "|---|" + "---|" * len(methods)]
    medians: dict[str, list[float]] = {method: [] for method in methods}
    times: dict[str, list[float]] = {method: [] for method in methods}
    for goal in map(str, SETS[goals]()):
        row = []
        for method in methods:
            seen = [found.get(goal, (0, seconds))[1] for found in results[method]]
            met = sum(goal in found for found in results[method])
            medians[method].append(statistics.median(seen))
            times[method] += seen
            cell = f"{medians[method][-1]:.1f}" if medians[method][-1] < seconds else "never"
            row.append(cell + (f" ({met}/{len(seen)})" if met < len(seen) else ""))
        lines.append(f"| {goal} | {' | '.join(row)} |")
    middle = {method: statistics.median(medians[method]) for method in methods}
    totals = {
        "median": [f"{middle[method]:.1f}" for method in methods],
        "geometric mean": [
            f"{statistics.geometric_mean(max(LEAST, time) for time in times[method]):.1f}" for method in methods
        ],
        f"goals on which {methods[0]} is behind": [
            str(sum(theirs < ours for ours, theirs in zip(medians[methods[0]], medians[method], strict=True)))
            for method in methods
        ],
        f"to the median of {methods[0]}": [f"{middle[method] / middle[methods[0]]:.1f}" for method in methods],
        "met, of all runs": [
            f"{sum(len(found) - 1 for found in results[method])}/{len(results[method]) * len(SETS[goals]())}"
            for method in methods
        ],
        "executions a second": [
            f"{statistics.median(n / max(s, 0.01) for n, s in (found['executions'] for found in results[method])):.0f}"
            for method in methods
        ],
    }
    return "\n".join([*lines, *(f"| **{name}** | {' | '.join(row)} |" for name, row in totals.items())])


def measure(
    methods: Iterable[str],
    goals: str,
    seconds: float,
    seeds: int,
    jobs: int,
    log: Path | None,
    flags: tuple[str, ...],
    logged: bool,
) -> dict[str, list[Found]]:
    """Every method with every seed, the seeds as rounds; what ``log`` holds already is not run again.

    With ``logged`` nothing is run at all.
    """
    results: dict[str, list[Found]] = {method: [] for method in methods}
    done: set[tuple[str, int]] = set()
    for line in log.read_text(encoding="utf-8").splitlines() if log and log.exists() else ():
        method, seed, found = json.loads(line)
        if method in results and seed <= seeds:
            done.add((method, seed))
            results[method].append({name: (value[0], value[1]) for name, value in found.items()})

    def run(method: str, seed: int) -> Found:
        if method in BLIND:
            return blind_in_a_process(method, goals, seconds, seed)
        return guided(method, goals, seconds, seed, flags)

    with ThreadPoolExecutor(jobs) as pool:
        started = {
            pool.submit(run, method, seed): (method, seed)
            for seed in range(1, seeds + 1)
            for method in results
            if (method, seed) not in done and not logged
        }
        for future in as_completed(started):
            method, seed = started[future]
            results[method].append(future.result())
            if log:
                with log.open("a", encoding="utf-8") as file:
                    print(json.dumps([method, seed, future.result()]), file=file)
    return {method: founds for method, founds in results.items() if founds}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--goals", choices=tuple(SETS), default="chosen-on")
    parser.add_argument("--seconds", type=float, default=60, help="of processor time for each method and seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--flags", default="", help="more flags for libFuzzer")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--log", type=Path, help="a file of finished runs, to go on where a run was stopped")
    parser.add_argument("--logged", action="store_true", help="run nothing: the table of what the log holds")
    parser.add_argument("--write", type=Path, help="the document whose table of these goals and this core to replace")
    parser.add_argument("--blind", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.blind:
        print(json.dumps(blind(arguments.blind, arguments.goals, arguments.seconds, arguments.seed)))
        return
    results = measure(
        arguments.methods.split(","), arguments.goals, arguments.seconds, arguments.seeds, arguments.jobs,
        arguments.log, tuple(arguments.flags.split()), arguments.logged,
    )  # fmt: skip
    core = "compiled" if compiled() else "pure"
    rounds = sorted({len(founds) for founds in results.values()})
    seeds = f"medians of {' or '.join(map(str, rounds))} seeds" if rounds != [1] else "1 seed"
    text = (
        f"Seconds to each goal, {seeds}, {arguments.seconds:.0f} s each, {core} core. In brackets: "
        f"in how many runs it was met, where not in all.\n\n{table(results, arguments.goals, arguments.seconds)}"
    )
    if arguments.write:
        about = f"{arguments.goals}, {core}"
        replace(arguments.write, f"<!-- guidance: {about} -->", f"<!-- end of {about} -->", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
