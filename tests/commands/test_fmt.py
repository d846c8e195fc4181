"""``worldswitch fmt``: in place, --check, --stdout, --schema, for scenario and path files."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
from tests.commands.conftest import ROOT, Cli

from worldswitch.paths.model import read_path
from worldswitch.paths.write import format_path
from worldswitch.text.read import loads

MESSY = 'format=1\n[host]\npath="linux-6.1"  # before the fix\n[vmcb]\neventinj=0x80000068\n'
TIDY = 'format = 1\n\n[host]\npath = "linux-6.1"  # before the fix\n\n[vmcb]\neventinj = "intr:0x68"\n'
PATH = """\
listing = '''
# the whole path
clgi:CLGI [fixup]   # off
  vmrun
     stgi
'''
name = "short"
format = 1
"""
TIDY_PATH = """\
format = 1
name = "short"
listing = '''
# the whole path
clgi:   clgi                            [fixup] # off
        vmrun
        stgi
'''
"""


def test_files_are_rewritten_in_place(cli: Cli, tmp_path: Path) -> None:
    scenario, path = tmp_path / "s.toml", tmp_path / "p.toml"
    scenario.write_text(MESSY)
    path.write_text(PATH)
    scenario.chmod(0o640)
    shown = cli("fmt", tmp_path)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == f"{path}: rewritten\n{scenario}: rewritten\n"
    assert scenario.read_text() == TIDY
    assert path.read_text() == TIDY_PATH
    assert scenario.stat().st_mode & 0o777 == 0o640
    assert sorted(tmp_path.iterdir()) == [path, scenario], "nothing is left behind"
    assert cli("fmt", tmp_path) == (0, "", "")


def test_check_changes_nothing_and_tells(cli: Cli, tmp_path: Path) -> None:
    messy, tidy = tmp_path / "messy.toml", tmp_path / "tidy.toml"
    messy.write_text(MESSY)
    tidy.write_text(TIDY)
    assert cli("fmt", "--check", messy, tidy) == (1, f"{messy}: not in canonical form\n", "")
    assert messy.read_text() == MESSY
    assert cli("fmt", "--check", tidy) == (0, "", "")


def test_stdout_changes_nothing(cli: Cli, tmp_path: Path) -> None:
    messy = tmp_path / "messy.toml"
    messy.write_text(MESSY)
    assert cli("fmt", "--stdout", messy) == (0, TIDY, "")
    assert messy.read_text() == MESSY


def test_one_bad_file_keeps_all_as_they_are(cli: Cli, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "wrong.toml"
    good.write_text(MESSY)
    bad.write_text(MESSY + "asid = -1\n")
    shown = cli("fmt", good, bad)
    assert (shown.code, shown.out) == (2, "")
    assert shown.err.startswith(f"worldswitch: {bad}:6: vmcb.asid: ")
    assert good.read_text() == MESSY


def test_a_link_stays_a_link(cli: Cli, tmp_path: Path) -> None:
    file, link = tmp_path / "file.toml", tmp_path / "link.toml"
    file.write_text(MESSY)
    link.symlink_to(file)
    assert cli("fmt", link).code == 0
    assert link.is_symlink()
    assert file.read_text() == TIDY


def test_line_ends_of_windows_become_newlines(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_bytes(MESSY.replace("\n", "\r\n").encode())
    assert cli("fmt", file).code == 0
    assert file.read_bytes() == TIDY.encode()


def test_a_directory_without_write_permission_is_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s.toml"
    file.write_text(MESSY)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / ".x.tmp"))

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    assert cli("fmt", file) == (2, "", f"worldswitch: {tmp_path}/.x.tmp: Permission denied\n")
    assert file.read_text() == MESSY


def test_a_failing_write_leaves_the_old_file(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "s.toml"
    file.write_text(MESSY)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    assert cli("fmt", file).code == 2
    assert file.read_text() == MESSY
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("kind", ["scenario", "path"])
def test_the_schema_is_printed(cli: Cli, kind: str) -> None:
    shown = cli("fmt", "--schema", kind)
    assert shown.code == 0
    assert json.loads(shown.out) == json.loads((ROOT / f"docs/{kind}.schema.json").read_text())


@pytest.mark.parametrize(
    "file",
    sorted([*(ROOT / "src/worldswitch/paths/data").glob("*.toml"), *(ROOT / "tests/conformance/paths").glob("*.toml")]),
    ids=lambda file: file.name,
)
def test_formatting_a_path_keeps_its_meaning(file: Path) -> None:
    document = loads(file.read_text(encoding="utf-8"))
    again = loads(format_path(document))
    before, after = read_path(document), read_path(again)
    names = [field.name for field in fields(before)]
    assert [getattr(after, name) for name in names] == [getattr(before, name) for name in names]
    assert format_path(again) == again.text
    assert again.text.count("#") == document.text.count("#")
