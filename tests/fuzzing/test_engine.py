import contextlib
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fuzzing import toys

from worldswitch.errors import InputError
from worldswitch.fuzzing import units
from worldswitch.fuzzing.engine import Progress, Result, fuzz

pytestmark = pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")

ROOT = Path(__file__).resolve().parents[2]
BUDGET = 200_000
"""Executions in which the counters lead to the planted conjunction with every seed tried."""


def run(build: Any, *arguments: object, directory: Path, **options: Any) -> Result:
    options = {"max_len": 64, "corpus": directory / "corpus", **options}
    return fuzz(build, arguments, artifacts=directory / "artifacts", **options)


def contents(corpus: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in corpus.iterdir()}


# Guidance.


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_counters_lead_to_the_planted_conjunction(seed: int, tmp_path: Path) -> None:
    messages: list[Any] = []
    result = run(
        toys.staircase, True, directory=tmp_path, seed=seed, runs=BUDGET, on_message=lambda m: messages.append(m)
    )
    assert result.outcome == "target"
    assert result.executions < BUDGET
    assert result.features == len(toys.STEPS) + 1  # the last step ends the run before libFuzzer looks at it
    [message] = messages
    assert toys.steps_done(bytes.fromhex(message["found"])) == len(toys.STEPS)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_blind_runs_of_the_same_budget_do_not_get_there(seed: int, tmp_path: Path) -> None:
    messages: list[Any] = []
    result = run(
        toys.staircase, False, directory=tmp_path, seed=seed, runs=BUDGET, on_message=lambda m: messages.append(m)
    )
    assert (result.outcome, result.executions, result.features, messages) == ("runs", BUDGET, 0, [])


def test_mutator_and_crossover_are_called(tmp_path: Path) -> None:
    messages: list[Any] = []
    run(toys.hook_calls, directory=tmp_path, runs=2000, on_message=lambda m: messages.append(m))
    [calls] = messages
    # Two executions load the empty corpus; each of the others was made by one of the two, chosen evenly.
    assert calls["mutator"] + calls["crossover"] == 1998
    assert calls["mutator"] > 500
    assert calls["crossover"] > 500


def test_atheris_instrumentation_guides_where_asked_for(tmp_path: Path) -> None:
    messages: list[Any] = []
    result = run(
        toys.branches,
        directory=tmp_path,
        runs=200_000,
        instrument=["tests.fuzzing.toys"],
        on_message=lambda m: messages.append(m),
    )
    assert (result.outcome, messages) == ("target", ["reached"])


# The same run twice.


def test_same_seed_leaves_the_same_corpus(tmp_path: Path) -> None:
    seeds = [bytes([number]) * 16 for number in range(40)]
    corpora = []
    for number, order in enumerate((seeds, seeds[::-1])):
        directory = tmp_path / f"copy {number}, with a comma"
        run(toys.wanderer, directory=directory, seed=7, runs=20_000, seeds=order)
        run(toys.wanderer, directory=directory, seed=8, runs=5_000)  # resumed
        corpora.append(contents(directory / "corpus"))
    assert len(corpora[0]) > len(seeds) + 50
    assert corpora[0] == corpora[1]


def test_another_seed_leaves_another_corpus(tmp_path: Path) -> None:
    for seed in (7, 8):
        run(toys.wanderer, directory=tmp_path / str(seed), seed=seed, runs=20_000)
    assert contents(tmp_path / "7" / "corpus") != contents(tmp_path / "8" / "corpus")


def test_files_are_named_by_their_content(tmp_path: Path) -> None:
    result = run(toys.native_mutations, directory=tmp_path, runs=20_000, seeds=[b"seed", b""])
    corpus = contents(tmp_path / "corpus")
    assert all(hashlib.sha1(data).hexdigest() == name for name, data in corpus.items())
    assert b"seed" in corpus.values()
    assert result.corpus == len(corpus) == result.added + 1
    assert result.features > 100


def test_resuming_goes_on_from_the_corpus(tmp_path: Path) -> None:
    # One run of this length gets nowhere near the end; runs in a row do, because each starts where the last one was.
    slice_of_budget = BUDGET // 20
    climbed = []
    for seed in range(1, 31):
        result = run(toys.staircase, True, directory=tmp_path / "kept", seed=seed, runs=slice_of_budget)
        climbed.append(result.features)
        if result.outcome == "target":
            break
    assert result.outcome == "target"
    assert climbed == sorted(climbed)
    assert len(climbed) > 1
    assert {
        run(toys.staircase, True, directory=tmp_path / f"fresh {seed}", seed=seed, runs=slice_of_budget).outcome
        for seed in range(1, 6)
    } == {"runs"}


# Ends.


def test_runs_are_counted_exactly(tmp_path: Path) -> None:
    result = run(toys.native_mutations, directory=tmp_path, runs=12_345)
    assert (result.outcome, result.executions) == ("runs", 12_345)
    assert 0 < result.seconds < 30
    assert result.rate == result.executions / result.seconds


def test_time_ends_a_run(tmp_path: Path) -> None:
    start = time.monotonic()
    result = run(toys.wanderer, directory=tmp_path, seconds=1.5)
    assert 1.5 <= time.monotonic() - start < 6.0
    assert result.outcome == "time"
    assert result.corpus == len(contents(tmp_path / "corpus")) >= 10


def test_progress_is_reported_and_can_end_the_run(tmp_path: Path) -> None:
    seen: list[Progress] = []

    def on_tick(progress: Progress) -> bool:
        seen.append(progress)
        return progress.executions > 20_000

    result = run(toys.wanderer, directory=tmp_path, on_tick=on_tick, tick_seconds=0.1)
    assert result.outcome == "requested"
    assert [progress.executions for progress in seen] == sorted(progress.executions for progress in seen)
    last = seen[-1]
    assert last.executions <= result.executions
    assert 0 < last.rate < 10_000_000
    assert 0 < last.features <= result.features
    assert 0 < last.units <= last.features + 1  # libFuzzer keeps one without features where it starts from none
    assert 0 <= last.since_new < last.seconds + 1
    assert 10 < last.rss_mb < 500


def test_a_message_can_end_the_run(tmp_path: Path) -> None:
    result = run(toys.talker, 1_000_000, directory=tmp_path, on_message=lambda message: message[0] == 100)
    assert result.outcome == "requested"


def test_messages_arrive_whole_and_in_order(tmp_path: Path) -> None:
    messages: list[Any] = []
    result = run(toys.talker, 500, directory=tmp_path, on_message=lambda m: messages.append(m))
    assert result.outcome == "target"
    assert messages == [[number, "x" * 1000] for number in range(500)]


def test_a_busy_receiver_does_not_make_the_target_hang(tmp_path: Path) -> None:
    messages: list[Any] = []

    def on_message(message: Any) -> None:
        if not messages:
            time.sleep(3)
        messages.append(message)

    result = run(toys.talker, 500, directory=tmp_path, timeout=1, on_message=on_message)
    assert (result.outcome, len(messages)) == ("target", 500)


PARENT = """
import json, sys
from pathlib import Path
from tests.fuzzing import toys
from worldswitch.fuzzing.engine import fuzz
directory = Path(sys.argv[1])
def on_tick(progress):
    print(progress.units, flush=True)
options = {"max_len": 64, "on_tick": on_tick, "tick_seconds": 0.1}
result = fuzz(toys.wanderer, corpus=directory / "corpus", artifacts=directory, **options)
print(json.dumps([result.outcome, result.signal, result.corpus]))
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of its own group that calls `fuzz`, once it has found fifty inputs."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 50:
            break
    with process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("to_group", [True, False], ids=["group", "process"])
def test_signals_end_a_run_with_everything_saved(
    number: signal.Signals, to_group: bool, parent: subprocess.Popen[str], tmp_path: Path
) -> None:
    # A terminal sends Ctrl-C to the fuzzing process too; `kill` does not.
    (os.killpg if to_group else os.kill)(parent.pid, number)
    output, _ = parent.communicate(timeout=30)
    assert parent.returncode == 0
    corpus = contents(tmp_path / "corpus")
    assert json.loads(output.splitlines()[-1]) == ["interrupted", number, len(corpus)]
    assert len(corpus) >= 45
    assert all(hashlib.sha1(data).hexdigest() == name for name, data in corpus.items())


def test_what_a_killed_run_found_is_taken_over(parent: subprocess.Popen[str], tmp_path: Path) -> None:
    parent.kill()
    corpus = tmp_path / "corpus"
    assert units.list_units(corpus) == []
    end = time.monotonic() + 30
    while list(corpus.glob(".*")) and time.monotonic() < end:  # the fuzzing process notices at its next status
        time.sleep(0.1)
        units.open_corpus(corpus)
    assert not list(corpus.glob(".*"))
    assert len(units.list_units(corpus)) >= 45


# Going wrong.


@pytest.mark.parametrize(
    ("how", "outcome", "prefix"),
    [
        ("raise", "crash", "crash"),
        ("exit", "crash", "crash"),
        ("segfault", "crash", "crash"),
        ("hang", "timeout", "timeout"),
        ("grow", "memory", "oom"),
    ],
)
def test_a_target_that_fails_is_reported_and_the_corpus_kept(
    how: str, outcome: str, prefix: str, tmp_path: Path
) -> None:
    # On a busy machine a case that grows may take a second too; the only one to be stopped for that is "hang".
    result = run(toys.misfit, how, directory=tmp_path, timeout=1 if how == "hang" else 60, memory_mb=256)
    assert result.outcome == outcome
    assert result.corpus == len(contents(tmp_path / "corpus")) >= 6
    assert result.artifact is not None
    assert result.artifact.parent == tmp_path / "artifacts"
    assert result.artifact.name.startswith(f"{prefix}-")
    if how == "raise":
        assert result.executions == 400
        assert result.failure is not None
        assert (result.failure.what, result.failure.summary) == ("target", "ValueError: the target's own words")
        assert "in one_input" in result.failure.traceback
        assert result.failure.data == result.artifact.read_bytes()


@pytest.mark.parametrize(
    ("how", "what", "words"),
    [
        ("mutator", "mutator", "ValueError: the mutator's own words"),
        ("too long", "mutator", "RuntimeError: The mutated data cannot be larger than max_size."),
        ("build", "build", "LookupError: no such path"),
    ],
)
def test_a_harness_that_fails_is_reported(how: str, what: str, words: str, tmp_path: Path) -> None:
    result = run(toys.misfit, how, directory=tmp_path, runs=10_000)
    assert result.outcome == "failed"
    assert result.failure is not None
    assert (result.failure.what, result.failure.summary) == (what, words)
    assert result.corpus >= (0 if how == "build" else 6)


def test_libfuzzers_complaint_is_in_the_log(tmp_path: Path) -> None:
    result = run(toys.native_mutations, directory=tmp_path, runs=10, flags=["-dict=/does/not/exist/\0"[:-1], "-seed=x"])
    assert result.outcome == "failed"
    assert result.log


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"seed": 0}, "seed: must be 1 to 4294967295, not 0"),
        ({"seed": 1 << 32}, "seed: must be 1 to 4294967295, not 4294967296"),
        ({"runs": 0}, "runs: must be more than 0, not 0"),
        ({"seconds": -1.0}, "seconds: must be more than 0, not -1.0"),
        ({"jobs": 0}, "jobs: must be more than 0, not 0"),
        ({"corpus": Path(__file__)}, f"{__file__}: not usable as a corpus: File exists"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        run(toys.wanderer, directory=tmp_path, **options)
    assert str(error.value) == complaint


def test_without_atheris_there_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    with pytest.raises(InputError, match=r"pip install 'worldswitch\[fuzz\]'"):
        run(toys.wanderer, directory=tmp_path)


# Several jobs.


def test_jobs_share_the_runs_and_the_corpus(tmp_path: Path) -> None:
    result = run(toys.wanderer, directory=tmp_path, runs=20_001, jobs=2)
    run(toys.wanderer, directory=tmp_path / "alone", runs=10_001)
    assert (result.outcome, result.executions) == ("runs", 20_001)
    corpus = contents(tmp_path / "corpus")
    assert set(contents(tmp_path / "alone" / "corpus")) < set(corpus)
    assert result.corpus == len(corpus)


def test_one_jobs_crash_ends_all(tmp_path: Path) -> None:
    result = run(toys.misfit, "raise", directory=tmp_path, jobs=2)
    assert result.outcome == "crash"
    assert result.artifact is not None


def test_jobs_see_each_others_inputs(tmp_path: Path) -> None:
    one, two = units.Incoming(tmp_path), units.Incoming(tmp_path)
    unit = units.write(one.path, b"found by one")
    os.utime(unit, (0, 0))
    one.exchange([one, two])
    seen = two.path / unit.name
    assert seen.read_bytes() == b"found by one"
    assert seen.stat().st_mtime > time.time() - 60  # libFuzzer looks at files newer than its last look
    assert (one.adopt(), two.adopt()) == (1, 0)
    assert list(tmp_path.iterdir()) == [tmp_path / unit.name]


def test_inputs_are_listed_by_name_whatever_the_file_system_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = [units.write(tmp_path, bytes([number])) for number in range(20)]
    (tmp_path / ".hidden").write_bytes(b"not an input")
    scandir = os.scandir
    for order in (False, True):
        entries = sorted(scandir(tmp_path), key=lambda entry: entry.name, reverse=order)
        monkeypatch.setattr(os, "scandir", lambda _, entries=entries: contextlib.nullcontext(entries))
        assert units.list_units(tmp_path) == sorted(written)


def test_half_written_inputs_are_not_taken_over(tmp_path: Path) -> None:
    incoming = units.Incoming(tmp_path)
    units.write(incoming.path, b"whole")
    units.write(incoming.path, b"this will be cut").write_bytes(b"this will")
    assert incoming.adopt() == 1
    assert list(contents(tmp_path).values()) == [b"whole"]


# Run directly.

TARGET = """
import sys
from tests.fuzzing import toys
from worldswitch.fuzzing.counters import Features
from worldswitch.fuzzing.engine import run_target_main
features = Features(len(toys.STEPS) + 1)
def one_input(data):
    done = toys.steps_done(data)
    features.buffer[done] = 1
    assert done < len(toys.STEPS), "planted"
def mutator(data, max_size, seed):
    if "--bad-mutator" in sys.argv:
        raise ValueError("the mutator's own words")
    return toys.change_byte(data, max_size, seed)
if "--without-atheris" in sys.argv:
    sys.modules["atheris"] = None
run_target_main(sys.argv, one_input, mutator=mutator, crossover=toys.halves, features=features)
"""


def run_target(directory: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    target = directory / "a target.py"
    target.write_text(TARGET)
    return subprocess.run(
        [sys.executable, str(target), *flags],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "src")))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_target_runs_with_libfuzzers_flags(tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    process = run_target(tmp_path, "-seed=1", f"-runs={BUDGET}", "-max_len=64", "found")
    assert process.returncode == 77
    assert "AssertionError: planted" in process.stdout
    [crash] = tmp_path.glob("crash-*")
    assert toys.steps_done(crash.read_bytes()) == len(toys.STEPS)
    assert run_target(tmp_path, crash.name).returncode == 77  # and reproduces
    assert run_target(tmp_path, *(f"found/{path.name}" for path in (tmp_path / "found").iterdir())).returncode == 0
    # -merge starts the target again, by way of a shell.
    (tmp_path / "merged").mkdir()
    merge = run_target(tmp_path, "-merge=1", "merged", "found")
    assert merge.returncode == 0, merge.stderr
    assert 1 <= len(list((tmp_path / "merged").iterdir())) <= len(list((tmp_path / "found").iterdir()))


def test_a_targets_mutator_may_fail_without_hanging(tmp_path: Path) -> None:
    process = run_target(tmp_path, "-runs=1000", "--bad-mutator")
    assert process.returncode == 1
    assert process.stderr.rstrip().endswith("ValueError: the mutator's own words")


def test_a_target_without_atheris_says_so(tmp_path: Path) -> None:
    process = run_target(tmp_path, "-runs=1000", "--without-atheris")
    assert process.returncode == 2
    assert process.stderr == f"{tmp_path / 'a target.py'}: fuzzing needs atheris, which is not installed\n"
