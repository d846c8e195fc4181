"""The targets of ``run.py``: one function a configuration, each for a process of its own.

Importing this module imports the package's modules, so that atheris instruments them where that is asked for.
"""

import os
import time
from collections.abc import Callable
from typing import Any, Final

from worldswitch.fuzzing.counters import Features
from worldswitch.fuzzing.harness import Harness, Send, Stop
from worldswitch.fuzzing.local import explore
from worldswitch.fuzzing.mutate import Mutator
from worldswitch.fuzzing.projection import SIZE
from worldswitch.fuzzing.targets import Configuration, Target, features
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import run_plan

INSTRUMENTED: Final = ("worldswitch", "targets")
WARM_UP: Final = 0.5
"""Part of the time that is not counted: caches fill, libFuzzer loads the corpus."""


def corpus(size: int = 400, seed: int = 1) -> list[bytes]:
    """The cases that every configuration starts from: what a seeded feedback loop keeps, and some that it does not."""
    return [data for data, _ in explore(Target(Configuration()), size, seed, [])]


def one_case(mode: str) -> tuple[Target, Callable[[bytes], Any], bool]:
    """The target, what it does with a case, and whether that marks points of guidance."""
    target = Target(Configuration())
    if mode == "empty":
        return target, lambda data: None, False
    if mode == "decode":
        return target, target.codec.decode, False
    if mode == "core":
        path, options = target.paths[0], target._model
        decode = target.codec.decode
        return target, lambda data: run_plan(compile_scenario(decode(data), path, options=options)), False
    if mode == "naive":
        return target, lambda data: target.hits(target.run(data)), False
    if mode == "no-twins":
        target.leave_out(twins=False)
    elif mode == "no-stretches":
        target.leave_out(stretches=False)
    return target, lambda data: target.execute(data)[0], mode not in ("stock-same-loop",)


def build(send: Send, mode: str, seconds: float, guided: bool) -> Harness:
    """A harness that sends executions and processor seconds, and stops."""
    target, execute, marks = one_case(mode)
    points = Features(SIZE) if guided else None
    buffer = points.buffer if points else bytearray()
    mutator = Mutator(target.codec) if guided else None
    executions, begin = 0, 0.0
    warm = time.process_time() + WARM_UP * seconds

    def one_input(data: bytes) -> None:
        nonlocal executions, begin
        result = execute(data)
        if guided and marks:
            for point in features(result):
                buffer[point] = 1
        elif guided:
            buffer[0] = 1
        executions += 1
        if executions % 32 == 0:
            now = time.process_time()
            if not begin:
                if now > warm:
                    begin, executions = now, 0
            elif now > begin + seconds:
                send([executions, now - begin, resident_mb()])
                raise Stop

    return Harness(one_input, mutator and mutator.mutate_or_draw, mutator and mutator.cross_or_draw, points)


def resident_mb() -> float:
    """Resident memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
