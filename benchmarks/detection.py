"""Detection: how long each method takes to catch each planted defect of ``worldswitch mutants``.

    python benchmarks/detection.py [--seconds 10] [--seeds 3] [--every 1] [--methods campaign,uniform]
                                   [--mutants NAME,FAMILY] [--log FILE] [--write docs/detection.md]

Every method executes the same scenarios on the same mutated model, judged by the same oracles, until a finding that the
subject does not show without the mutant, or until its time is up. They take turns: one seed after the other, for each
mutant one method after the other. Time is processor time of the process that executes the cases, from its first
execution; starting a process and importing the package is left out.
"""

import argparse
import contextlib
import json
import multiprocessing
import platform
import random
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent))

from detection_report import document

from worldswitch.fuzzing.counters import Features
from worldswitch.fuzzing.engine import fuzz
from worldswitch.fuzzing.harness import Harness, Send, Stop
from worldswitch.fuzzing.mutate import Mutator
from worldswitch.fuzzing.projection import SIZE
from worldswitch.fuzzing.targets import Target, features
from worldswitch.mutants.hunt import expected, target_of
from worldswitch.mutants.model import NESTED, Mutant
from worldswitch.mutants.planting import planted
from worldswitch.mutants.registry import find_mutant, select

GUIDED: Final = ("campaign", "atheris")
BLIND: Final = ("hypothesis", "uniform")
METHODS: Final = (*GUIDED, *BLIND)
INSTRUMENTED: Final = (
    "worldswitch.core", "worldswitch.kernel", "worldswitch.machine", "worldswitch.nested",
)  # fmt: skip
LOOK_EVERY: Final = 16
"""Executions between two looks at the clock."""

Found = dict[str, Any]
"""``executions`` and ``seconds`` until the finding, or until the time was up; ``caught``: the signature or ""."""


class Hunt:
    """Judges one case after the other, up to the first finding that is news."""

    def __init__(self, mutant: Mutant, seconds: float) -> None:
        self.target: Target = target_of(mutant)
        self.usual = expected(mutant.subject, mutant.family == NESTED)
        self.seconds = seconds
        self.executions = 0
        self.found: Found = {}
        self.start = 0.0

    def done(self, data: bytes) -> bool:
        """Executes a case; whether the hunt is over."""
        if not self.executions:
            self.start = time.process_time()
        self.executions += 1
        try:
            judged, hits = self.target.execute(data)
        except Exception as error:  # the model does not survive its defect
            return self._over(f"crash.{type(error).__name__.lower()}.model")
        self.judged = judged
        news = next((hit.finding.signature for hit in hits if hit.finding.signature not in self.usual), "")
        if news:
            return self._over(news)
        if self.executions % LOOK_EVERY == 0 and time.process_time() - self.start > self.seconds:
            return self._over("")
        return False

    def _over(self, signature: str) -> bool:
        seconds = time.process_time() - self.start
        self.found = {"executions": self.executions, "seconds": round(seconds, 4), "caught": signature}
        return True


def build(send: Send, name: str, method: str, seconds: float) -> Harness:
    """The harness of a guided method, in the fuzzing process, which ends with the hunt."""
    mutant = find_mutant(name)
    context = planted(mutant)
    context.__enter__()
    hunt = Hunt(mutant, seconds)
    mutator = Mutator(hunt.target.codec) if method == "campaign" else None
    points = Features(SIZE) if method == "campaign" else None
    buffer = points.buffer if points else bytearray()

    def one_input(data: bytes, planted: object = context) -> None:  # planted as long as this function lives
        over = hunt.done(data)
        if points and not over:
            for point in features(hunt.judged):
                buffer[point] = 1
        if over:
            send(hunt.found)
            raise Stop

    return Harness(one_input, mutator and mutator.mutate_or_draw, mutator and mutator.cross_or_draw, points)


def guided(name: str, method: str, seconds: float, seed: int) -> Found:
    """One run of libFuzzer, from a corpus that holds the plainest case."""
    found: Found = {}
    length = target_of(find_mutant(name)).codec.length
    with tempfile.TemporaryDirectory() as directory:
        result = fuzz(
            build, (name, method, seconds), corpus=Path(directory, "corpus"), artifacts=Path(directory, "artifacts"),
            seeds=[bytes(length)], seed=seed, max_len=length, on_message=found.update, seconds=60 + 10 * seconds,
            instrument=INSTRUMENTED if method == "atheris" else (),
        )  # fmt: skip
    if result.failure:
        raise RuntimeError(result.failure.traceback)
    if "executions" not in found:
        raise RuntimeError(f"{method} was ended: {result.outcome}")
    return found


def hypothesis_cases(counts: tuple[int, ...], seed: int, done: Callable[[bytes], bool]) -> None:
    """Hypothesis draws each slot as an integer."""
    from hypothesis import HealthCheck, Phase, given, settings, strategies
    from hypothesis import seed as seeded

    picks = strategies.tuples(*(strategies.integers(0, count - 1) for count in counts)).map(bytes)

    @seeded(seed)
    @settings(max_examples=10**9, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(picks)
    def test(data: bytes) -> None:
        if done(data):
            raise KeyboardInterrupt  # any other exception is a failure to Hypothesis, and tried again

    with contextlib.suppress(KeyboardInterrupt):
        test()


def _blind(name: str, method: str, seconds: float, seed: int, answer: Any) -> None:
    mutant = find_mutant(name)
    with planted(mutant):
        hunt = Hunt(mutant, seconds)
        codec = hunt.target.codec
        if method == "hypothesis":
            hypothesis_cases(codec.counts, seed, hunt.done)
        else:
            rng = random.Random(seed)
            while not hunt.done(rng.randbytes(codec.length)):
                pass
    answer.send(hunt.found)


def blind(name: str, method: str, seconds: float, seed: int) -> Found:
    """Random cases without feedback, in a process of their own."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_blind, args=(name, method, seconds, seed, there))
    process.start()
    there.close()
    found: Found = here.recv()
    process.join()
    return found


def measure(mutants: Iterable[Mutant], methods: list[str], seconds: float, seeds: int, log: Path) -> list[Found]:
    """Every mutant with every method and seed; what the log holds already is not run again."""
    names = [mutant.name for mutant in mutants]
    done: dict[tuple[str, str, int], Found] = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        found = json.loads(line)
        if found["budget"] == seconds:
            done[found["mutant"], found["method"], found["seed"]] = found
    results = []
    for seed in range(1, seeds + 1):
        for name in names:
            for method in methods:
                key = (name, method, seed)
                if key not in done:
                    run = guided if method in GUIDED else blind
                    own = zlib.crc32(f"{name} {seed}".encode()) or 1  # else every mutant meets the same cases
                    done[key] = {"mutant": name, "method": method, "seed": seed, "budget": seconds,
                                 **run(name, method, seconds, own)}  # fmt: skip
                    with log.open("a", encoding="utf-8") as file:
                        print(json.dumps(done[key]), file=file)
                results.append(done[key])
    return results


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="of processor time for each mutant, method and seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--every", type=int, default=1, help="take every so-manieth mutant of the registry")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--mutants", default="", help="names, families, patterns (default: all)")
    parser.add_argument(
        "--log", type=Path, default=Path("detection.jsonl"), help="finished runs; where it stops it goes on"
    )
    parser.add_argument("--write", type=Path, help="write the document, and its plot beside it")
    arguments = parser.parse_args()
    chosen = [m for m in select(filter(None, arguments.mutants.split(","))) if not m.equivalent and not m.missing]
    chosen = chosen[:: arguments.every]
    methods = arguments.methods.split(",")
    results = measure(chosen, methods, arguments.seconds, arguments.seeds, arguments.log)
    machine = f"Python {platform.python_version()}, {platform.machine()}"
    text, plot = document(results, chosen, methods, arguments.seconds, arguments.seeds, arguments.every, machine)
    if arguments.write:
        arguments.write.write_text(text, encoding="utf-8")
        arguments.write.with_suffix(".svg").write_text(plot, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
