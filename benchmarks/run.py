"""Speed: every configuration in interleaved rounds, as rates and as ratios, and how cost grows.

    python benchmarks/run.py [--quick] [--rounds N] [--seconds S] [--compiled DIR] [--write docs/performance.md]

Each figure is the median over the rounds; a ratio is taken within a round. Time is processor time of the process that
executes the cases, so that others on the machine disturb less. ``--compiled`` names a copy of the source that is built
in place; without it one is built in a temporary directory.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from document import replace

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent
BEGIN: Final = "<!-- benchmarks/run.py: speed -->"
END: Final = "<!-- end -->"

# Name: what to run, whether compiled, mode, driver (fuzz: libFuzzer with our feedback; blind: libFuzzer without any;
# stock: libFuzzer with atheris's instrumentation; loop: a plain loop).
CONFIGURATIONS: Final[dict[str, tuple[bool, str, str]]] = {
    "empty target": (False, "empty", "blind"),
    "decode only": (False, "decode", "blind"),
    "core only, pure": (False, "core", "blind"),
    "core only, compiled": (True, "core", "blind"),
    "full target, default": (False, "default", "fuzz"),
    "full target, compiled": (True, "default", "fuzz"),
    "full target without twins": (False, "no-twins", "fuzz"),
    "full target without stretches": (False, "no-stretches", "fuzz"),
    "full target, stock instrument_imports": (False, "naive", "stock"),
    "the same loop as default, stock instrument_imports": (False, "stock-same-loop", "stock"),
    "full target, uniform random": (False, "default", "loop"),
    "full target, Hypothesis @given": (False, "default", "given"),
    "full target, Hypothesis RuleBasedStateMachine": (False, "default", "machine"),
}
C: Final = "C rendering of the hot path"
STOCK: Final = "full target, stock instrument_imports"
EMPTY: Final = "empty target"


def child(mode: str, driver: str, seconds: float) -> tuple[float, float]:
    """In a process of its own: executions a second, and resident megabytes."""
    if driver == "given":
        return hypothesis_given(mode, seconds)
    if driver == "machine":
        return hypothesis_machine(mode, seconds)
    if driver == "loop":
        return loop(mode, seconds)
    from targets import INSTRUMENTED, build, corpus, one_case

    from worldswitch.fuzzing.engine import fuzz

    got: list[Any] = []
    with tempfile.TemporaryDirectory() as directory:
        result = fuzz(
            build, (mode, seconds, driver == "fuzz"), corpus=Path(directory, "corpus"), seeds=corpus(),
            artifacts=Path(directory, "artifacts"), max_len=one_case(mode)[0].codec.length, seconds=60 + 20 * seconds,
            on_message=got.append, instrument=INSTRUMENTED if driver == "stock" else (),
        )  # fmt: skip
    if not got:
        raise RuntimeError(f"{mode}: {result.outcome}: {result.failure or result.log}")
    executions, spent, resident = got[-1]
    return executions / spent, resident


def timed(one: Callable[[], object], seconds: float) -> float:
    """Executions a second of processor time."""
    count, begin = 0, time.process_time()
    while True:
        one()
        count += 1
        if count % 16 == 0 and time.process_time() > begin + seconds:
            return count / (time.process_time() - begin)


def loop(mode: str, seconds: float) -> tuple[float, float]:
    """Uniform random cases, without libFuzzer."""
    from targets import one_case, resident_mb

    target, execute, _ = one_case(mode)
    rng, length = random.Random(1), target.codec.length
    return timed(lambda: execute(rng.randbytes(length)), seconds), resident_mb()


def hypothesis_given(mode: str, seconds: float) -> tuple[float, float]:
    """``@given`` over the choices of the slots."""
    from hypothesis import HealthCheck, Phase, given, settings, strategies
    from targets import one_case, resident_mb

    target, execute, _ = one_case(mode)
    picks = strategies.tuples(*(strategies.integers(0, count - 1) for count in target.codec.counts)).map(bytes)
    count = 0

    @settings(max_examples=200, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(picks)
    def test(data: bytes) -> None:
        nonlocal count
        count += 1
        execute(data)

    begin = time.process_time()
    while time.process_time() < begin + seconds:
        test()
    return count / (time.process_time() - begin), resident_mb()


def hypothesis_machine(mode: str, seconds: float) -> tuple[float, float]:
    """A state machine whose rules each set one slot; the case is executed at the end."""
    from hypothesis import HealthCheck, Phase, settings, strategies
    from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
    from targets import one_case, resident_mb

    target, execute, _ = one_case(mode)
    counts = target.codec.counts
    done = 0

    class Case(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.row = bytearray(len(counts))

        @rule(slot=strategies.integers(0, len(counts) - 1), value=strategies.integers(0, 255))
        def choose(self, slot: int, value: int) -> None:
            self.row[slot] = value % counts[slot]

        def teardown(self) -> None:
            nonlocal done
            done += 1
            execute(bytes(self.row))

    chosen = settings(max_examples=50, stateful_step_count=20, database=None, deadline=None, phases=[Phase.generate],
                      suppress_health_check=list(HealthCheck))  # fmt: skip
    begin = time.process_time()
    while time.process_time() < begin + seconds:
        run_state_machine_as_test(Case, settings=chosen)
    return done / (time.process_time() - begin), resident_mb()


def growth(seconds: float) -> list[tuple[str, str, float]]:
    """Microseconds a case against what may grow: (what, how much, cost)."""
    from targets import corpus

    from worldswitch.fuzzing.targets import Configuration, Target
    from worldswitch.paths.catalogue import names

    rows = []
    target = Target(Configuration())
    codec = target.codec
    position = {slot.name: number for number, slot in enumerate(codec.slots)}

    def cost(what: str, much: str, of: Target, data: Iterable[bytes]) -> None:
        cases = list(data)
        for case in cases:
            of.execute(case)
        number = iter(range(10**9))
        rate = timed(lambda: of.execute(cases[next(number) % len(cases)]), seconds)
        rows.append((what, much, 1e6 / rate))

    def variations(fixed: dict[str, int]) -> list[bytes]:
        found = []
        for pick in range(1, 17):
            row = bytearray(codec.length)
            row[position["vmcb.eventinj"]] = pick
            for name, value in fixed.items():
                row[position[name]] = value
            found.append(bytes(row))
        return found

    for length in (1, 3, 6):  # instructions before the guest's exit
        cost("guest instructions", str(length), target, variations({f"guest{n}": 1 for n in range(length)}))
    for rounds, pick in (("1", 0), ("2", 2), ("3", 7)):
        cost("rounds", rounds, target, variations({"rounds": pick}))
    mixed = corpus(300)
    every = [name for name in names() if name != target.paths[0].name]
    for count in (1, 2, 4, 8):
        if count <= len(every) + 1:
            paths = (target.paths[0].name, *every[: count - 1])
            cost("paths", str(count), Target(Configuration(paths=paths)), mixed)
    cost("levels", "L0 and guest", target, mixed)
    nested = Target(Configuration("nested"))
    rng = random.Random(1)
    cost("levels", "L0, L1 and L2", nested, [rng.randbytes(nested.codec.length) for _ in range(200)])
    for size in (30, 300, 3000):
        cost("corpus", f"{size} cases", target, corpus(size))
    return rows


def start(arguments: list[str], source: Path) -> Any:
    """A child's result."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(source), str(HERE))), "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [sys.executable, str(HERE / "run.py"), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compiled_copy(directory: Path) -> Path | None:
    """The source built in place; None where it cannot be compiled."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, directory / name)
    shutil.copytree(ROOT / "src", directory / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"], cwd=directory, check=True, capture_output=True,
        env={**os.environ, "WORLDSWITCH_COMPILE": "1"},
    )  # fmt: skip
    return directory / "src" if list((directory / "src").glob("worldswitch/core/*.so")) else None


def hotpath(directory: Path) -> Path | None:
    """The compiled C rendering; None without a compiler."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return None
    subprocess.run([compiler, "-O2", "-o", str(directory / "hotpath"), str(HERE / "hotpath.c")], check=True)
    return directory / "hotpath"


def measure(rounds: int, seconds: float, compiled: Path | None, c: Path | None) -> tuple[dict[str, list[float]], float]:
    """Rates of every configuration in every round, and the resident memory of the default one."""
    rates: dict[str, list[float]] = {}
    resident = 0.0
    for number in range(rounds):
        for name, (wants_compiled, mode, driver) in CONFIGURATIONS.items():
            if wants_compiled and compiled is None:
                continue
            source = compiled if wants_compiled and compiled else ROOT / "src"
            rate, memory = start(["--child", mode, driver, "--seconds", str(seconds)], source)
            rates.setdefault(name, []).append(rate)
            resident = max(resident, memory if name == "full target, default" else 0.0)
            print(f"round {number + 1}: {name}: {rate:.0f}/s", file=sys.stderr)
        if c:
            words = subprocess.run([str(c), str(seconds)], capture_output=True, text=True, check=True).stdout.split()
            rates.setdefault(C, []).append(int(words[0]) / float(words[1]))
    return rates, resident


def table(rates: dict[str, list[float]]) -> str:
    """Medians, and medians of the ratios within a round."""
    lines = [
        "| configuration | cases/s | to the empty target | to stock | to the C rendering |",
        "|---|---|---|---|---|",
    ]

    def ratio(name: str, other: str) -> str:
        if other not in rates:
            return "-"
        value = statistics.median(a / b for a, b in zip(rates[name], rates[other], strict=True))
        return f"{value:.3g}"

    for name in rates:
        rate = statistics.median(rates[name])
        lines.append(f"| {name} | {rate:.0f} | {ratio(name, EMPTY)} | {ratio(name, STOCK)} | {ratio(name, C)} |")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of processor time for each configuration and round")
    parser.add_argument("--compiled", type=Path, help="a src directory whose core is built in place")
    parser.add_argument("--write", type=Path, help="the document to write the tables into")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--growth", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.compiled and not list(arguments.compiled.glob("worldswitch/core/*.so")):
        parser.error(f"--compiled: no compiled core in {arguments.compiled}")
    if arguments.child:
        print(json.dumps(child(*arguments.child, arguments.seconds)))
        return
    if arguments.growth:
        print(json.dumps(growth(arguments.seconds)))
        return
    rounds, seconds = (1, 0.5) if arguments.quick else (arguments.rounds, arguments.seconds)
    with tempfile.TemporaryDirectory() as name:
        compiled = arguments.compiled or compiled_copy(Path(name))
        rates, resident = measure(rounds, seconds, compiled, hotpath(Path(name)))
        costs = start(["--growth", "--seconds", str(seconds / 4)], ROOT / "src")
    text = (
        f"Medians of {rounds} interleaved rounds of {seconds:g} s each, Python {sys.version.split()[0]}.\n\n"
        f"{table(rates)}\n\n"
        f"Resident memory of the default target at the end of a round: {resident:.0f} MB.\n\n"
        "| what grows | to | us a case, default target |\n|---|---|---|\n"
        + "\n".join(f"| {what} | {much} | {cost:.0f} |" for what, much, cost in costs)
    )
    print(text)
    if arguments.write:
        replace(arguments.write, BEGIN, END, text)


if __name__ == "__main__":
    main()
