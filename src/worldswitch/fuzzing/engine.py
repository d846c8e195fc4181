"""Coverage-guided fuzzing as a call that returns: libFuzzer, through atheris, in processes of its own.

``atheris.Fuzz()`` does not return: libFuzzer ends the process, and a process fuzzes once. `fuzz` therefore starts an
interpreter for each job, watches it, and returns a `Result` when it has ended, whatever ended it. A new interpreter
rather than a fork, because only there can hash randomisation be switched off, modules be instrumented before they are
imported, and libFuzzer be loaded in the order that its hooks need.

**Reproducible**: with one job, the same ``seed``, ``runs``, harness and corpus leave the same corpus, in any directory
and on any machine, as long as the harness itself is deterministic and ``instrument`` is not used (atheris numbers its
probes in an order that differs from process to process). A run ended by time or by the user is a prefix of that run.

**Nothing is lost**: libFuzzer writes an input when it finds it, and `worldswitch.fuzzing.units` moves whole files into
the corpus at the end, or at the start of the next run if this one was killed. Resuming is calling `fuzz` again.
"""

import contextlib
import importlib.util
import math
import os
import pickle
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from worldswitch.errors import InputError
from worldswitch.fuzzing import units
from worldswitch.fuzzing.harness import Build, Crossover, Harness, Job, Mutator, OneInput, Send, Stop, run_target_main
from worldswitch.fuzzing.watch import Progress, Watch
from worldswitch.fuzzing.worker import Failure, Worker

__all__ = [
    "Crossover",
    "Failure",
    "Harness",
    "Mutator",
    "OneInput",
    "Progress",
    "Result",
    "Send",
    "Stop",
    "fuzz",
    "run_target_main",
]

_LARGEST_SEED = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended, and what it did.

    ``outcome`` is one of:

    - ``runs``, ``time``: the limit was reached;
    - ``requested``: ``on_tick`` or ``on_message`` returned true;
    - ``interrupted``: SIGINT, SIGTERM or SIGHUP, see ``signal``;
    - ``target``: the target raised `Stop`;
    - ``crash``, ``timeout``, ``memory``: the target raised or died, ran or grew beyond its limit;
    - ``failed``: the harness could not be built, a mutator raised, or the process was killed.

    The corpus is complete in every case.
    """

    outcome: str
    executions: int
    seconds: float  # from the first execution to the end
    features: int
    corpus: int  # files in the corpus
    added: int  # of these, new in this run
    rss_mb: int
    signal: int = 0
    artifact: Path | None = None  # the input of a crash, timeout or memory outcome
    failure: Failure | None = None
    log: str = ""  # the last lines that the process printed, for a crash, timeout, memory or failed outcome

    @property
    def rate(self) -> float:
        """Executions a second over the whole run."""
        return self.executions / self.seconds if self.seconds > 0 else 0.0


def fuzz(
    build: Build,
    arguments: tuple[object, ...] = (),
    *,
    corpus: Path,
    artifacts: Path,
    seeds: Sequence[bytes] = (),
    seed: int = 1,
    runs: int | None = None,
    seconds: float | None = None,
    max_len: int = 4096,
    jobs: int = 1,
    timeout: int = 60,
    memory_mb: int = 2048,
    instrument: Sequence[str] = (),
    flags: Sequence[str] = (),
    on_message: Callable[[object], bool | None] | None = None,
    on_tick: Callable[[Progress], bool | None] | None = None,
    tick_seconds: float = 0.5,
) -> Result:
    """Fuzzes the harness that ``build(send, *arguments)`` returns in a process of its own; returns when that has ended.

    ``build`` is a module-level function, ``arguments`` can be pickled. What the target passes to ``send`` arrives here,
    in order and nothing lost, as the argument of ``on_message``. ``on_tick`` is called every ``tick_seconds``. Both run
    in the calling process; a true return value ends the run.

    Args:
        build: makes the `Harness`.
        arguments: for ``build``, after ``send``.
        corpus: the directory of inputs to start from and to add to; created if missing. One job's order of loading
            is by name, then libFuzzer's own.
        artifacts: the directory for the input of a crash, a timeout or a memory overrun; created if missing.
        seeds: inputs to add to the corpus first.
        seed: of libFuzzer's random numbers, 1 to 2**32 - 1; several jobs take successive ones.
        runs: executions to stop after, all jobs together, 1 or more; includes those that load the corpus, which are
            made in any case.
        seconds: to stop after, from the call. Without ``runs`` and ``seconds``: until stopped.
        max_len: longest input, in bytes; longer files are cut when they are loaded.
        jobs: processes at work at the same time. More than one exchange what they find, and are not reproducible.
        timeout: seconds one execution may take.
        memory_mb: resident memory a process may take.
        instrument: packages or modules that atheris instruments as the process imports them.
        flags: further flags for libFuzzer, after this function's own.
        on_message: gets what the target sent.
        on_tick: gets the `Progress`.
        tick_seconds: between two calls of ``on_tick``.

    Raises InputError for a bad argument, an unusable directory, or when atheris is not installed. Called in the main
    thread, it handles SIGINT, SIGTERM and SIGHUP by ending the run in order; a second SIGINT raises KeyboardInterrupt.
    """
    check_numbers(
        seed=seed, runs=runs, seconds=seconds, max_len=max_len, jobs=jobs, timeout=timeout, memory_mb=memory_mb
    )
    require_atheris()
    corpus, artifacts = corpus.absolute(), artifacts.absolute()
    units.open_corpus(corpus, seeds)
    try:
        artifacts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"not usable as a directory: {error.strerror}", file=str(artifacts)) from error
    common = common_flags(artifacts, max_len, timeout, memory_mb, reload=5 if jobs > 1 else 0)
    watch = Watch(on_message, on_tick, tick_seconds)
    deadline = None if seconds is None else time.monotonic() + seconds
    with scratch_directory(units.list_units(corpus)) as (scratch, seed_flags), watch:
        try:
            for index in range(jobs):
                share = () if runs is None else (f"-runs={runs // jobs + (index < runs % jobs)}",)
                random = f"-seed={(seed + index - 1) % _LARGEST_SEED + 1}"
                job = Job(
                    module=build.__module__,
                    name=build.__qualname__,
                    file=os.path.abspath(getattr(sys.modules[build.__module__], "__file__", None) or ""),
                    arguments=pickle.dumps(arguments),
                    flags=(*common, *seed_flags, random, *share, *flags),
                    instrument=tuple(instrument),
                    status=str(scratch / f"status-{index}"),
                    parent=os.getpid(),
                )
                watch.workers.append(Worker(job, units.Incoming(corpus), watch.inbox))
            watch.run(deadline)
        finally:
            added = sum(worker.close() for worker in watch.workers)
    return _result(watch, corpus, added)


def require_atheris() -> None:
    """Raises InputError where atheris is not installed."""
    if importlib.util.find_spec("atheris") is None:
        raise InputError("fuzzing needs atheris, which is not installed: pip install 'worldswitch[fuzz]'")


def common_flags(artifacts: Path, max_len: int, timeout: int, memory_mb: int, reload: int) -> tuple[str, ...]:
    """The flags of every fuzzing process; ``reload`` is seconds between looks for others' inputs."""
    return (
        f"-max_len={max_len}",
        f"-timeout={timeout}",
        f"-report_slow_units={timeout}",
        f"-rss_limit_mb={memory_mb}",
        f"-artifact_prefix={artifacts}/",
        f"-reload={reload}",
        "-use_value_profile=0",
        "-mutate_depth=1",  # else most edits are of what the mutator made just before, and few of what was kept
        "-print_funcs=0",
        "-print_final_stats=1",
        "-verbosity=1",  # the progress comes from these lines
        "-detect_leaks=0",
    )


def _result(watch: Watch, corpus: Path, added: int) -> Result:
    bad = next((worker for worker in watch.workers if worker.outcome), None)
    outcome = (bad.outcome if bad else None) or watch.reason or "runs"
    ended = max(worker.ended for worker in watch.workers)
    failed = bad if outcome in ("crash", "timeout", "memory", "failed") else None
    return Result(
        outcome=outcome,
        executions=sum(worker.executions for worker in watch.workers),
        seconds=max(0.0, ended - watch.started(ended)),
        features=max(worker.features for worker in watch.workers),
        corpus=len(units.list_units(corpus)),
        added=added,
        rss_mb=max(worker.rss_mb for worker in watch.workers),
        # Without a signal of its own: the fuzzing process was terminated, not this one.
        signal=(watch.signal or signal.SIGTERM) if outcome == "interrupted" else 0,
        artifact=failed.artifact if failed else None,
        failure=failed.failure if failed else None,
        log="\n".join([*failed.log, failed.how]) if failed else "",
    )


@contextlib.contextmanager
def scratch_directory(corpus: list[Path], parent: Path | None = None) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A temporary directory, and the flags that make libFuzzer load the corpus in the order given."""
    with tempfile.TemporaryDirectory(prefix="worldswitch-", dir=parent, ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        if "," in name:
            raise InputError(
                "libFuzzer can't use a temporary directory with a comma in its name: set TMPDIR", file=name
            )
        if not corpus:
            yield scratch, ()
            return
        # By way of links, because the list separates its paths by commas, and a path may contain some.
        (scratch / "corpus").symlink_to(corpus[0].parent)
        paths = []
        for number, unit in enumerate(corpus):
            paths.append(scratch / "corpus" / unit.name)
            if "," in unit.name:
                paths[-1] = scratch / str(number)
                paths[-1].symlink_to(unit)
        (scratch / "list").write_bytes(b",".join(map(os.fsencode, paths)))
        yield scratch, (f"-seed_inputs=@{scratch / 'list'}",)


def check_numbers(**values: float | None) -> None:
    """Raises InputError for a number outside its range."""
    highest = {"seed": _LARGEST_SEED}
    for name, value in values.items():
        if value is not None and not 0 < value <= highest.get(name, math.inf):
            limit = f"1 to {highest[name]}" if name in highest else "more than 0"
            raise InputError(f"must be {limit}, not {value}", field=name)
