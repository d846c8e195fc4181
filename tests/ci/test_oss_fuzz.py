"""What OSS-Fuzz and ClusterFuzzLite build: every target with its seeds and options, and targets that run on them."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.commands.conftest import ROOT

PROGRAMS = ("fuzz_world_switch", "fuzz_sequence", "fuzz_nested", "fuzz_path_edits")
LIBFUZZER = sorted(file.stem for file in (ROOT / "fuzz").glob("fuzz_*.py") if "libFuzzer's flags" in file.read_text())

# What the image base-builder-python has: it packs a target, and here only notes how it was called.
COMPILE = '#!/bin/sh\necho "$@" >>"$OUT/calls"\ntouch "$OUT/$(basename -s .py "$1")"\n'
PIP = '#!/bin/sh\ntest "$1" = install\n'


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the build fills, of a build with stand-ins for the image's own programs."""
    bin_, out = tmp_path_factory.mktemp("bin"), tmp_path_factory.mktemp("out")
    for name, text in (("compile_python_fuzzer", COMPILE), ("pip3", PIP)):
        (bin_ / name).write_text(text)
        (bin_ / name).chmod(0o755)
    (bin_ / "python3").symlink_to(sys.executable)
    environment = {
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "OUT": str(out),
        "SRC": str(ROOT.parent),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    subprocess.run([ROOT / "fuzz/build.sh"], env=environment, check=True, capture_output=True, timeout=120)
    return out


def test_every_libfuzzer_target_is_built(out: Path) -> None:
    assert sorted(PROGRAMS) == LIBFUZZER
    calls = (out / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == [f"fuzz/{program}.py" for program in PROGRAMS]
    assert all("--collect-data worldswitch" in call for call in calls)


@pytest.mark.parametrize("program", PROGRAMS)
def test_its_seeds_are_inputs_that_it_runs_on(out: Path, tmp_path: Path, program: str) -> None:
    pytest.importorskip("atheris", reason="fuzzing needs atheris")
    with zipfile.ZipFile(out / f"{program}_seed_corpus.zip") as archive:
        archive.extractall(tmp_path)
    sizes = {file.stat().st_size for file in tmp_path.iterdir()}
    assert len(sizes) == 1  # a case is a fixed row of bytes
    assert (out / f"{program}.options").read_text() == f"[libfuzzer]\nmax_len = {sizes.pop()}\n"
    seeds = len(list(tmp_path.iterdir()))
    done = subprocess.run(
        [sys.executable, ROOT / "fuzz" / f"{program}.py", "-runs=40", "-seed=1", "."],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert seeds >= 5


def test_the_same_seeds_give_the_same_bytes(out: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "fuzz/seeds.py", tmp_path], check=True, timeout=120)
    for program in PROGRAMS:
        name = f"{program}_seed_corpus.zip"
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def test_both_projects_build_with_the_same_script() -> None:
    script = (ROOT / ".clusterfuzzlite/build.sh").read_text()
    assert "worldswitch/fuzz/build.sh" in script
    assert (ROOT / "fuzz/oss-fuzz/build.sh").read_text() == script
    for folder in (".clusterfuzzlite", "fuzz/oss-fuzz"):
        assert "language: python" in (ROOT / folder / "project.yaml").read_text()
        assert "base-builder-python" in (ROOT / folder / "Dockerfile").read_text()
