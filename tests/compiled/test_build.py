"""The build: what it compiles can be used, and it falls back to pure Python; the core that runs can be chosen."""

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/worldswitch"
BUILD_FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE")
ALWAYS_PURE = ("check", "mutants")
"""Packages whose commands run from the sources (``worldswitch.sources``)."""


def compiled_modules() -> list[Path]:
    """The sources of the modules that ``setup.py`` lists."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    (listed,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "MODULES"
    ]
    files = [file for pattern in ast.literal_eval(listed) for file in PACKAGE.glob(f"{pattern}.py")]
    return [file for file in files if file.stem != "__init__"]


def classes(files: list[Path]) -> dict[str, set[str]]:
    """Every class of these files, with the last words of its bases' names."""
    return {
        node.name: {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        for file in files
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    }


def test_no_interpreted_class_derives_from_a_compiled_one() -> None:
    """Python would refuse the class when its module is imported, on a compiled core alone."""
    inside = compiled_modules()
    assert len(inside) > 40
    outside = [
        file
        for file in PACKAGE.rglob("*.py")
        if file not in inside and file.relative_to(PACKAGE).parts[0] not in ALWAYS_PURE
    ]
    compiled, interpreted = classes(inside), classes(outside)
    assert {name for name, bases in interpreted.items() if bases & compiled.keys()} == set()
    assert any(bases & compiled.keys() for bases in compiled.values())


def can_build() -> bool:
    """Whether what the build itself requires is installed."""
    try:
        return find_spec("mypyc") is not None and int(version("setuptools").partition(".")[0]) >= 77
    except PackageNotFoundError:
        return False


@pytest.mark.skipif(
    not can_build(),
    reason="the build's own requirements, mypy and setuptools 77, are not installed: tox -e compiled",
)
def test_without_a_compiler_the_build_is_pure_and_says_so(tmp_path: Path) -> None:
    for name in BUILD_FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info"))
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=tmp_path,
        env={**os.environ, "WORLDSWITCH_COMPILE": "1", "CC": "no-such-compiler"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"for want of a C compiler \(no-such-compiler\): a pure Python build", done.stderr)
    assert not list(tmp_path.rglob("*.so"))


def version_of(core: str) -> subprocess.CompletedProcess[str]:
    """`worldswitch --version` with that core asked for."""
    return subprocess.run(
        [sys.executable, "-m", "worldswitch.cli", "--version"],
        env={**os.environ, "WORLDSWITCH_CORE": core},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_pure_core_can_be_asked_for_and_nothing_else() -> None:
    assert version_of("pure").stdout.endswith("(pure Python core)\n")
    other = version_of("fast")
    assert (other.returncode, other.stdout) == (2, "")
    assert other.stderr == "worldswitch: WORLDSWITCH_CORE is 'fast'; it is 'pure' or not set\n"
