"""What runs inside a fuzzing process: the harness, and the two ways to run it under libFuzzer.

A `Harness` is the function under test with its mutators and counters. `run_target_main` gives it to libFuzzer directly,
for a file that is run by hand or by OSS-Fuzz with libFuzzer's own flags. `serve` is the fuzzing process's side of
`worldswitch.fuzzing.engine.fuzz`.
"""

import gc
import importlib
import importlib.util
import json
import mmap
import operator
import os
import pickle
import shlex
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import NoReturn, cast

from worldswitch.fuzzing.counters import Features, load_libfuzzer, register_coverage

OneInput = Callable[[bytes], object]
"""Executes one input. What it returns is ignored; an exception ends the run as a crash, `Stop` as a success."""

Mutator = Callable[[bytes, int, int], bytes]
"""``mutator(data, max_size, seed)`` returns at most ``max_size`` bytes; ``b""`` declines and is asked again."""

Crossover = Callable[[bytes, bytes, int, int], bytes]
"""``crossover(data, other, max_size, seed)``, like `Mutator`. libFuzzer calls it as often as the mutator."""

Send = Callable[[object], None]
"""Sends one JSON value to the process that called ``fuzz()``; blocks while that one is busy."""

STOPPED = 130
"""Exit code of a fuzzing process whose target raised `Stop`: atheris's code for the KeyboardInterrupt behind it."""

FAILED = 1
"""Exit code of a fuzzing process whose harness could not be built or whose mutator raised."""

STATUS = struct.Struct("@Qdd")
"""Executions, time of the first one, time of this writing; ``time.monotonic()``, which all processes share."""

CURRENT = struct.Struct("@I")
"""After the status: the length of the input that is being executed; then the input, as far as there is room."""

REGION = STATUS.size + CURRENT.size + (1 << 16)
"""Bytes of the file that a fuzzing process shares with the one that started it."""

COLLECT_EVERY = 100_000
"""Objects between two collections of the youngest generation: runs leave no cycles, so there is little to find."""

_TICK_SECONDS = 0.1


class Stop(Exception):  # noqa: N818 - a request, not an error
    """Raised by a target that has seen enough: the run ends with the outcome "target"."""


@dataclass(frozen=True, slots=True)
class Harness:
    """A target for libFuzzer: ``features`` guide it where given, ``mutator`` and ``crossover`` replace its own.

    With ``coverage`` what a compiled core counts of itself guides it too, where it does.
    """

    one_input: OneInput
    mutator: Mutator | None = None
    crossover: Crossover | None = None
    features: Features | None = None
    coverage: bool = False


Build = Callable[..., Harness]
"""A module-level function called as ``build(send, *arguments)`` in the fuzzing process."""


@dataclass(frozen=True, slots=True)
class Job:
    """What ``fuzz()`` hands to the fuzzing process, pickled on its standard input."""

    module: str
    name: str
    file: str
    arguments: bytes  # pickled on their own: unpickling imports modules, which `instrument` must see first
    flags: tuple[str, ...]
    instrument: tuple[str, ...]
    status: str
    parent: int
    messages: int = -1  # the descriptor to send on, filled in when the process is started


def run_target_main(
    argv: Sequence[str],
    one_input: OneInput,
    *,
    mutator: Mutator | None = None,
    crossover: Crossover | None = None,
    features: Features | None = None,
) -> NoReturn:
    """Runs a target with libFuzzer's own flags (``-runs=1000 -seed=1 CORPUS``); ends the process.

    Exit codes are libFuzzer's: 0 done, 77 the target raised, 70 timeout, 71 memory, 72 terminated; besides them 130 on
    Ctrl-C, 1 where a mutator raised, 2 with a line on standard error where atheris is not installed. ``-merge=1``,
    ``-fork=N``, ``-jobs=N`` and ``-minimize_crash=1``, which start the target again, work however it was started.
    """
    try:
        harness = Harness(one_input, mutator, crossover, features)
        atheris = _setup([_command(argv[0]), *argv[1:]], harness, one_input)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "atheris":
            raise
        print(f"{argv[0]}: fuzzing needs atheris, which is not installed", file=sys.stderr)
        sys.exit(2)
    try:
        atheris.Fuzz()
    except SystemExit:
        raise  # atheris has reported why; libFuzzer saves the input while the process exits
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            _leave(130)
        traceback.print_exc()
        _leave(FAILED)
    sys.exit(0)


def serve() -> NoReturn:
    """The fuzzing process: reads its `Job` from standard input, runs it, ends the process."""
    job = cast(Job, pickle.load(sys.stdin.buffer))
    with open(job.status, "r+b") as file:
        status = mmap.mmap(file.fileno(), REGION)
    try:
        atheris = importlib.import_module("atheris")
        with atheris.instrument_imports(include=list(job.instrument)) if job.instrument else nullcontext():
            harness = _find(job)(_sender(job.messages, "message"), *pickle.loads(job.arguments))
        one_input, tick = _counted(harness.one_input, status, job)
        if job.instrument:
            # atheris 3.0.0 numbers these counters from 1 but registers them from 0: the last one needs one more.
            atheris._reserve_counter()
        _setup(["worldswitch", *job.flags], harness, one_input)
    except BaseException as error:
        _report(job.messages, "build", error)
        sys.exit(FAILED)
    gc.collect()
    gc.freeze()  # what start-up created lives as long as the process: the collector need not look at it again
    gc.set_threshold(COLLECT_EVERY)
    try:
        atheris.Fuzz()
    except SystemExit:  # the target raised, `Stop` or something else; libFuzzer finishes while the process exits
        tick()
        raise
    except BaseException as error:
        _report(job.messages, "mutator", error)
        _leave(FAILED)
    sys.exit(FAILED)


def _setup(argv: Sequence[str], harness: Harness, one_input: OneInput) -> ModuleType:
    mutator, crossover = harness.mutator is not None, harness.crossover is not None
    if harness.features is not None:
        harness.features.register(mutator=mutator, crossover=crossover)
    else:
        load_libfuzzer(mutator=mutator, crossover=crossover)
    if harness.coverage:
        register_coverage(mutator=mutator, crossover=crossover)
    atheris = importlib.import_module("atheris")
    atheris.Setup(list(argv), one_input, custom_mutator=harness.mutator, custom_crossover=harness.crossover)
    return atheris


def _command(program: str) -> str:
    """The first argument for libFuzzer, which to start the target again passes its arguments, unquoted, to a shell."""
    words = [os.path.abspath(program)]
    if not getattr(sys, "frozen", False):  # a frozen program is its own interpreter
        words.insert(0, sys.executable)
    return " ".join(map(shlex.quote, words))


def _leave(code: int) -> NoReturn:
    """Ends the process after a mutator raised: the exception went through libFuzzer's frames, and exit() would hang."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _find(job: Job) -> Build:
    try:
        module = _import_file(job) if job.module == "__main__" else importlib.import_module(job.module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{job.module}.".startswith(f"{error.name}."):
            raise
        module = _import_file(job)  # a module that only its own loader finds
    return cast(Build, operator.attrgetter(job.name)(module))


def _import_file(job: Job) -> ModuleType:
    name = "__fuzzed__" if job.module == "__main__" else job.module
    spec = importlib.util.spec_from_file_location(name, job.file)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no module {job.module}, and not a Python file: {job.file!r}", name=job.module)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _counted(one_input: OneInput, status: mmap.mmap, job: Job) -> tuple[OneInput, Callable[[], None]]:
    """The target with a countdown to the next writing of the status, about ten times a second."""
    interval = left = 1
    done = 0
    started = written = time.monotonic()

    def tick() -> None:
        nonlocal interval, left, done, started, written
        now = time.monotonic()
        if done == 0:
            started = now
        done += interval - left
        STATUS.pack_into(status, 0, done, started, now)
        if os.getppid() != job.parent:
            os._exit(FAILED)  # nobody waits for this run any more; the next one takes over its units
        elapsed = now - written
        written = now
        if elapsed < _TICK_SECONDS / 2:
            interval *= 2
        elif elapsed > _TICK_SECONDS * 2:
            interval = max(1, interval // 2)
        left = interval

    begin = STATUS.size + CURRENT.size
    room = REGION - begin
    pack_length = CURRENT.pack_into

    def counted(data: bytes) -> None:
        nonlocal left
        size = min(len(data), room)
        pack_length(status, STATUS.size, size)
        status[begin : begin + size] = data[:size]
        left -= 1
        if not left:
            tick()
        try:
            one_input(data)
        except Stop:
            raise KeyboardInterrupt from None  # the one exception that ends libFuzzer without a crash
        except BaseException as error:
            _report(job.messages, "target", error, data)
            raise

    return counted, tick


def _sender(descriptor: int, kind: str) -> Send:
    def send(value: object) -> None:
        line = memoryview(json.dumps({kind: value}).encode() + b"\n")
        try:
            while line:
                line = line[os.write(descriptor, line) :]
        except BrokenPipeError:
            os._exit(FAILED)  # the reader is gone

    return send


def _report(messages: int, what: str, error: BaseException, data: bytes | None = None) -> None:
    _sender(messages, "failure")(
        {
            "what": what,
            "summary": f"{type(error).__name__}: {error}".partition("\n")[0],
            "traceback": "".join(traceback.format_exception(error)),
            "data": None if data is None else data.hex(),
        }
    )
