"""A compiled core gives what the pure one gives: the records of a large random corpus, and what every command prints.

Both come from one installation with a compiled core; `WORLDSWITCH_CORE=pure` has it run from its sources.
"""

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from worldswitch.core import compiled
from worldswitch.fuzzing.counters import native_coverage
from worldswitch.fuzzing.targets import Configuration, Target

ROOT = Path(__file__).parents[2]
RECORDS = Path(__file__).with_name("records.py")
CASES = 1500
GOLDEN = "corpus/golden.toml"

pytestmark = pytest.mark.skipif(not compiled(), reason="the core is not compiled: tox -e compiled")

COMMANDS = {
    "run": f"run {GOLDEN} corpus/nested corpus/edits",
    "run a profile, as JSON": f"run {GOLDEN} --profile qemu-10 --json",
    "run, as SARIF": f"run {GOLDEN} --sarif out.sarif",
    "diff": "diff linux-6.1 linux-6.14",
    "paths": "paths",
    "path edits": "paths edits linux-6.14",
    "explain": "explain S2-70",
    "smoke": "smoke",
    "minimize": f"minimize {GOLDEN}",
    "check": "check --path linux-6.1 --depth 1",
    "mutants": "mutants sti-missing vnmi-exit-keeps-mask --seeds 1 --runs 3000",
    "fmt": f"fmt --check {GOLDEN}",
    "replay": f"replay {GOLDEN}",
    "export": f"export {GOLDEN} --to pytest --write out.py",
}
"""Each with what it leaves behind in ``out.*``."""


def run(core: str, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, "WORLDSWITCH_CORE": core, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def worldswitch(core: str, directory: Path, line: str) -> list[str]:
    """What a command answers and writes; what it says of time is cut out."""
    directory.mkdir()
    (directory / "corpus").symlink_to(ROOT / "corpus")
    done = run(core, directory, "-m", "worldswitch.cli", *line.split())
    assert "Traceback" not in done.stderr, done.stderr
    files = sorted(file for file in directory.glob("out*") if file.is_file())
    texts = [str(done.returncode), done.stdout, *(file.read_text(encoding="utf-8") for file in files)]
    return [re.sub(r"\b[\d.]+ s\b", "- s", text) for text in texts]


def records(core: str) -> list[str]:
    done = run(core, ROOT, str(RECORDS), "1", str(CASES))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_both_leave_the_same_records_and_findings() -> None:
    ours, theirs = records(""), records("pure")
    assert (ours[0], theirs[0]) == ("compiled", "pure")
    assert len(ours) > CASES
    different = [(a, b) for a, b in zip(ours[1:], theirs[1:], strict=True) if a != b]
    assert different == []


@pytest.mark.parametrize("line", COMMANDS.values(), ids=COMMANDS)
def test_a_command_gives_the_same(line: str, tmp_path: Path) -> None:
    answers = [worldswitch(core, tmp_path / (core or "compiled"), line) for core in ("", "pure")]
    assert answers[0] == answers[1]
    assert len(answers[0][1]) > 20 or line.startswith("fmt")


def test_a_campaign_finds_the_same(tmp_path: Path) -> None:
    """Every target, case by case: the same findings after as many executions, the same corpus."""
    pytest.importorskip("atheris")
    found = []
    for core in ("", "pure"):
        out = tmp_path / (core or "compiled")
        done = run(core, ROOT, "-m", "worldswitch.cli", "fuzz", "--target", "all", "--runs", "6000", "--seed", "3",
                   "--out", str(out))  # fmt: skip
        assert done.returncode == 1, done.stdout + done.stderr
        files = {
            file.relative_to(out).as_posix(): re.sub(rb'"\w+_(second|seen)": .*', b"", file.read_bytes())
            for part in ("corpus", "findings")
            for file in sorted((out / part).rglob("*"))
            if file.is_file()
        }
        found.append(files)
    assert found[0].keys() == found[1].keys()
    assert [name for name in found[0] if found[0][name] != found[1][name]] == []
    assert any(name.startswith("findings/") for name in found[0])


def test_the_version_says_which_core_runs(tmp_path: Path) -> None:
    arguments = ("-m", "worldswitch.cli", "--version")
    assert run("", tmp_path, *arguments).stdout.endswith("(compiled core)\n")
    assert run("pure", tmp_path, *arguments).stdout.endswith("(pure Python core)\n")


@pytest.mark.skipif(native_coverage() is None, reason="compiled without coverage: tox -e compiled-coverage")
def test_the_compiled_core_counts_what_it_executes() -> None:
    bounds = native_coverage()
    assert bounds is not None
    start, end, table, table_end = bounds
    assert table_end - table == 2 * ctypes.sizeof(ctypes.c_size_t) * (end - start)
    counters = (ctypes.c_uint8 * (end - start)).from_address(start)
    target = Target(Configuration())
    reached = []
    for case in (bytes(target.codec.length), bytes(range(target.codec.length))):
        ctypes.memset(start, 0, end - start)
        target.run(case)
        reached.append({number for number, count in enumerate(counters) if count})
    assert all(len(numbers) > 1000 for numbers in reached)
    assert min(len(reached[0] - reached[1]), len(reached[1] - reached[0])) > 20
