"""Which guidance finds things: executions and seconds of processor time to each of the planted goals of ``goals.py``.

    python benchmarks/guidance.py [--seconds 30] [--seeds 3] [--methods joint,stock] [--jobs 2]

Every method runs the same core on the same path, without oracles, until it has met every goal or its time is up. A goal
that was not met counts with the whole time. Medians are over the seeds.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))

from goals import CHOSEN_ON, GOALS, HELD_OUT, Goal
from projections import PROJECTIONS

from worldswitch.fuzzing.codec import Codec
from worldswitch.fuzzing.counters import Features
from worldswitch.fuzzing.engine import fuzz
from worldswitch.fuzzing.harness import Harness, Send, Stop
from worldswitch.fuzzing.mutate import Mutator
from worldswitch.machine.compile import compile_scenario, make_options
from worldswitch.machine.run import Run, run_plan
from worldswitch.machine.stretch import Stretches
from worldswitch.paths.catalogue import find

PATH: Final = "linux-6.1"
BLIND: Final = ("uniform", "sparse", "hypothesis")
METHODS: Final = (*PROJECTIONS, "mixed", "raw-bytes", "stock", *BLIND)
SPARSE_ONE_IN: Final = 4
INSTRUMENTED: Final = ("worldswitch.core", "worldswitch.kernel", "worldswitch.machine")

Found = dict[str, tuple[int, float]]
"""Goal to executions and seconds."""


def executor() -> tuple[Codec, Callable[[bytes], Run]]:
    """The core on one path: a case to its run."""
    path, codec, options, stretches = (
        find(PATH),
        Codec("world-switch", PATH),
        make_options("amd", {}, None),
        Stretches(),
    )
    return codec, lambda data: run_plan(
        compile_scenario(codec.decode(data), path, options=options), stretches=stretches
    )


class Hunt:
    """Counts executions and notes each goal when it is first met."""

    def __init__(self, seconds: float, note: Callable[[str, int, float], None]) -> None:
        self.note = note
        self.left: list[Goal] = list(GOALS)
        self.executions = 0
        self.start = time.process_time()
        self.end = self.start + seconds

    def look(self, run: Run) -> bool:
        """Notes what ``run`` meets; True when there is nothing more to do."""
        self.executions += 1
        for goal in self.left:
            if goal(run):
                self.left = [other for other in self.left if other is not goal]
                self.note(goal.__name__, self.executions, time.process_time() - self.start)
        return not self.left or (self.executions % 64 == 0 and time.process_time() > self.end)


def build(send: Send, method: str, seconds: float) -> Harness:
    """The harness of a guided method, in the fuzzing process."""
    codec, execute = executor()
    hunt = Hunt(seconds, lambda *found: send(list(found)))
    mutator = Mutator(codec) if method == "mixed" or method in PROJECTIONS else None
    features = None
    project, size = (
        PROJECTIONS["joint" if method in ("raw-bytes", "mixed") else method] if method != "stock" else (None, 0)
    )
    if project:
        features = Features(size)
    buffer = features.buffer if features else bytearray()

    def one_input(data: bytes) -> None:
        run = execute(data)
        if project:
            for point in project(run):
                buffer[point] = 1
        if hunt.look(run):
            send(["executions", hunt.executions, time.process_time() - hunt.start])
            raise Stop

    mutate = mutator and (mutator.mutate_or_draw if method == "mixed" else mutator.mutate)
    cross = mutator and (mutator.cross_or_draw if method == "mixed" else mutator.crossover)
    return Harness(one_input, mutate, cross, features)


def guided(method: str, seconds: float, seed: int) -> Found:
    """One run of libFuzzer."""
    found: Found = {}

    def message(value: Any) -> None:
        found[value[0]] = (value[1], value[2])

    with tempfile.TemporaryDirectory() as directory:
        length = Codec("world-switch", PATH).length
        result = fuzz(
            build, (method, seconds), corpus=Path(directory, "corpus"), artifacts=Path(directory, "artifacts"),
            seeds=[bytes(length)], seed=seed, max_len=length, on_message=message, seconds=10 * seconds,
            instrument=INSTRUMENTED if method == "stock" else (),
        )  # fmt: skip
    if result.failure:
        raise RuntimeError(result.failure.traceback)
    return found


def cases(method: str, codec: Codec, seed: int) -> Iterable[bytes]:
    """Endless random cases."""
    rng = random.Random(seed)
    while True:
        data = rng.randbytes(codec.length)
        if method == "sparse":
            keep = rng.randbytes(codec.length)
            data = bytes(value if k % SPARSE_ONE_IN == 0 else 0 for value, k in zip(data, keep, strict=True))
        yield data


def blind(method: str, seconds: float, seed: int) -> Found:
    """Random cases without feedback, in a process of their own."""
    found: Found = {}
    codec, execute = executor()
    hunt = Hunt(seconds, lambda name, executions, second: found.__setitem__(name, (executions, second)))
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
        for data in cases(method, codec, seed):
            if hunt.look(execute(data)):
                break
    found["executions"] = (hunt.executions, time.process_time() - hunt.start)
    return found


def blind_in_a_process(method: str, seconds: float, seed: int) -> Found:
    """:func:`blind`, so that two run at the same time."""
    import subprocess

    done = subprocess.run(
        [sys.executable, __file__, "--blind", method, "--seconds", str(seconds), "--seed", str(seed)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    return {name: (value[0], value[1]) for name, value in json.loads(done.stdout).items()}


def table(results: dict[str, list[Found]], seconds: float) -> str:
    """A row a goal: median seconds and executions of each method, the goals chosen on before those held out."""
    methods = list(results)
    lines = [f"| goal | {' | '.join(methods)} |", "|---|" + "---|" * len(methods)]
    for title, goals in (("chosen on", CHOSEN_ON), ("held out", HELD_OUT)):
        medians: dict[str, list[float]] = {method: [] for method in methods}
        for goal in goals:
            row = []
            for method in methods:
                seen = [found[goal.__name__] for found in results[method] if goal.__name__ in found]
                times = [found.get(goal.__name__, (0, seconds))[1] for found in results[method]]
                median = statistics.median(times)
                medians[method].append(median)
                met = f"{median:.2f} s, {statistics.median(e for e, _ in seen):.0f}" if median < seconds else "never"
                row.append(met + (f" ({len(seen)}/{len(times)})" if len(seen) < len(times) else ""))
            lines.append(f"| {goal.__name__} | {' | '.join(row)} |")
        for name, value in (("median", statistics.median), ("mean", statistics.mean)):
            row = [f"{value(medians[method]):.2f} s" for method in methods]
            lines.append(f"| **{title}: {name}** | {' | '.join(row)} |")
    rates = []
    for method in methods:
        totals = [found.get("executions", (0, seconds)) for found in results[method]]
        rates.append(f"{statistics.median(n / max(s, 0.01) for n, s in totals):.0f}")
    lines.append(f"| executions a second of processor time | {' | '.join(rates)} |")
    return "\n".join(lines)


def measure(methods: Iterable[str], seconds: float, seeds: int, jobs: int, log: Path | None) -> dict[str, list[Found]]:
    """Every method with every seed, the seeds as rounds; what ``log`` holds already is not run again."""
    results: dict[str, list[Found]] = {method: [] for method in methods}
    done: set[tuple[str, int]] = set()
    for line in log.read_text(encoding="utf-8").splitlines() if log and log.exists() else ():
        method, seed, found = json.loads(line)
        if method in results and seed <= seeds:
            done.add((method, seed))
            results[method].append({name: (value[0], value[1]) for name, value in found.items()})
    with ThreadPoolExecutor(jobs) as pool:
        started = {
            pool.submit(blind_in_a_process if method in BLIND else guided, method, seconds, seed): (method, seed)
            for seed in range(1, seeds + 1)
            for method in results
            if (method, seed) not in done
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
    parser.add_argument("--seconds", type=float, default=30, help="of processor time for each method and seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--log", type=Path, help="a file of finished runs, to go on where a run was stopped")
    parser.add_argument("--blind", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.blind:
        print(json.dumps(blind(arguments.blind, arguments.seconds, arguments.seed)))
        return
    methods = arguments.methods.split(",")
    results = measure(methods, arguments.seconds, arguments.seeds, arguments.jobs, arguments.log)
    print(table(results, arguments.seconds))


if __name__ == "__main__":
    main()
