"""``worldswitch import`` as it is called."""

import json
import sys
from pathlib import Path

import pytest
from tests.importer.objects import kvm, needs_gcc

from worldswitch.cli import command_parser
from worldswitch.errors import InputError
from worldswitch.paths.model import read_path
from worldswitch.paths.write import format_path
from worldswitch.text.read import load, loads

pytestmark = needs_gcc


@pytest.fixture
def module(tmp_path: Path) -> Path:
    return kvm("6.1").assemble(tmp_path / "kvm-amd.ko")


def run(*words: object) -> int:
    arguments = command_parser("import").parse_args([str(word) for word in words])
    return int(arguments.run(arguments))


def test_path_file_on_stdout(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(module) == 0
    printed = capsys.readouterr()
    path = read_path(loads(printed.out, "stdout"))
    assert path.name == "linux-6.12.1-test"
    assert "gap 0" in printed.err
    assert "findings: shadow-bleed.unexplained-shadow.injection" in printed.err


def test_path_file_that_other_commands_read(module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "mine.toml"
    assert run(module, "-o", target, "--name", "mine") == 0
    assert capsys.readouterr().out == ""
    path = read_path(load(target))
    assert format_path(load(target)) == target.read_text()
    assert (path.name, path.system, path.entry_if, path.hif) == ("mine", "none", False, True)
    assert path.sources[0].startswith("kvm-amd.ko sha256:")


def test_json_alone_on_stdout(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(module, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["format"] == 1
    assert document["functions"] == ["svm_vcpu_run", "svm_vcpu_enter_exit", "__svm_vcpu_run"]
    assert (document["gap"], document["unclassified"], document["choices"]) == (0, [], [])
    vmrun = next(line for line in document["lines"] if line["text"] == "vmrun")
    assert (vmrun["bytes"], vmrun["fixup"], vmrun["noinstr"], vmrun["function"]) == (
        "0f01d8",
        True,
        True,
        "__svm_vcpu_run",
    )
    assert read_path(loads(document["path"], "json")).name == "linux-6.12.1-test"


def test_same_file_same_text(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(module)
    first = capsys.readouterr().out
    run(module)
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--static-key", "context_tracking_key"), "is not NAME=on or NAME=off"),
        (("--static-key", "context_tracking_key=maybe"), "is not NAME=on or NAME=off"),
        (("--cpu-features", "pentium"), "unknown CPU feature set 'pentium'"),
        (("--cpufeatures-h", "/nonexistent"), "cannot be read"),
        (("--function", "nothing"), "has no function nothing"),
        (("--turn", "zz"), "zz is no branch"),
        (("--sev-es",), "has no SEV-ES variant"),
        (("-o", "/nonexistent/out.toml"), "cannot be written"),
    ],
)
def test_bad_arguments(words: tuple[str, ...], message: str, module: Path) -> None:
    with pytest.raises(InputError, match=message):
        run(module, *words)


@pytest.mark.parametrize("library", ["capstone", "elftools"])
def test_library_that_is_not_installed(library: str, module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=f"importing needs {library}: pip install"):
        run(module)


def test_header_that_is_none(module: Path, tmp_path: Path) -> None:
    (tmp_path / "other.h").write_text("#define ANSWER 42\n")
    with pytest.raises(InputError, match=r"not a kernel's asm/cpufeatures\.h"):
        run(module, "--cpufeatures-h", tmp_path / "other.h")
