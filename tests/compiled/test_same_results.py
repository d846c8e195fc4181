"""The compiled core gives what the pure one gives, on a large random corpus; and the build falls back."""

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORDS = Path(__file__).with_name("records.py")
BUILD_FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE")
CASES = 1500

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("WORLDSWITCH_TEST_COMPILED") != "1", reason="builds a core, which takes minutes: tox -e compiled"
    ),
    pytest.mark.skipif(find_spec("mypyc") is None, reason="mypy, which compiles the core, is not installed"),
    pytest.mark.skipif(
        shutil.which((os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]) is None,
        reason="there is no C compiler",
    ),
]


def copy_of_the_source(directory: Path) -> Path:
    for name in BUILD_FILES:
        shutil.copy(ROOT / name, directory / name)
    shutil.copytree(ROOT / "src", directory / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info"))
    return directory


def build(directory: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=directory,
        env={**os.environ, "WORLDSWITCH_COMPILE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def records(source: Path) -> list[str]:
    return run(source, str(RECORDS), "1", str(CASES)).splitlines()


def run(source: Path, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(source / "src"), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = copy_of_the_source(tmp_path_factory.mktemp("compiled"))
    build(directory)
    return directory


@pytest.fixture(scope="module")
def pure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_source(tmp_path_factory.mktemp("pure"))


def test_both_leave_the_same_records_and_findings(compiled: Path, pure: Path) -> None:
    ours, theirs = records(compiled), records(pure)
    assert (ours[0], theirs[0]) == ("compiled", "pure")
    assert len(ours) > CASES
    different = [(a, b) for a, b in zip(ours[1:], theirs[1:], strict=True) if a != b]
    assert different == []


def test_the_version_says_which_core_runs(compiled: Path, pure: Path) -> None:
    arguments = ("-m", "worldswitch.cli", "--version")
    assert run(compiled, *arguments).endswith("(compiled core)\n")
    assert run(pure, *arguments).endswith("(pure Python core)\n")


def test_smoke_gives_the_same_verdict(compiled: Path, pure: Path) -> None:
    arguments = ("-m", "worldswitch.cli", "smoke")
    assert run(compiled, *arguments) == run(pure, *arguments)


def test_without_a_compiler_the_build_is_pure_and_says_so(pure: Path) -> None:
    assert "a pure Python build" in build(pure, CC="no-such-compiler")
    assert not list(pure.rglob("*.so"))
