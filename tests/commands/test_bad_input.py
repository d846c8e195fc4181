"""Whatever stands in a file, the command line prints results, or one clear line that names it; never a traceback."""

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.commands.conftest import ROOT, Cli

from worldswitch.cli import main

SCENARIOS = [
    (ROOT / "tests/conformance" / f"{name}.toml").read_text(encoding="utf-8")
    for name in ("T-120-linux", "T-144", "T-157", "T-098", "T-073", "T-116", "T-064")
]
PATHS = [(ROOT / "src/worldswitch/paths/data" / f"{name}.toml").read_text() for name in ("linux-6.1", "linux-fix-v1")]

VALUES = [
    "-1", "0", "1", "17", "0xffffffffffffffff", "0x10000000000000000", "9" * 5000, "1.5", "nan", "true", '""', '"x"',
    "[]", "{}", "[[]]", "[{}]", "[true]", "1979-05-27", '["nop"]', '["nup"]', '["set x=1"]', '["end: nop"]',
    '"vmrun@17"',
    '"guest-1"', '"handler:0x100"', '"vmrun@99999999999999999999"', '"L2.sti"', '"intr:0x100"', '"gp(0x100000000)"',
    '"soft:"', '{ 0x68 = "npf", 104 = "ok" }', '{ 0x100 = "ok" }', '{ 3 = { dpl = 4 } }', '[{ code = "nothing" }]',
    '"²"', '"guest+²"', '["int ²"]', '{ "²" = "ok" }', "'''\nclgi\nvmrun\n'''", '"linux-6.1"', '"no-such"',
    '"../x.toml"',
]  # fmt: skip
FRAGMENTS = [*"\"'[]{}=#\\\n\t.,-+_", "\x00", "\r", "\ufeff", "²", "é", "'''", '"""', "[[", "]]", "[[event]]\n", "0x"]


@st.composite
def mutated(draw: st.DrawFn, texts: list[str]) -> str:
    """A good file with a few of its values, lines or characters changed."""
    lines = draw(st.sampled_from(texts)).split("\n")
    for _ in range(draw(st.integers(1, 3))):
        number = draw(st.integers(0, len(lines) - 1))
        line = lines[number]
        change = draw(st.sampled_from(["value", "value", "value", "drop", "copy", "swap", "insert", "cut", "key"]))
        if change == "value" and "=" in line:
            lines[number] = f"{line.partition('=')[0]}= {draw(st.sampled_from(VALUES))}"
        elif change == "key" and "=" in line:
            lines[number] = (
                f"{draw(st.sampled_from(['speed', 'format', 'kind', 'idt', 'x.y', '']))} = {line.partition('=')[2]}"
            )
        elif change == "drop" and len(lines) > 1:
            del lines[number]
        elif change == "copy":
            lines.insert(draw(st.integers(0, len(lines))), line)
        elif change == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[number], lines[other] = lines[other], line
        elif change == "insert":
            at = draw(st.integers(0, len(line)))
            lines[number] = line[:at] + draw(st.sampled_from(FRAGMENTS)) + line[at:]
        elif change == "cut":
            lines[number] = line[: draw(st.integers(0, len(line)))]
    return "\n".join(lines)


def run(*words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(words)
    return code, out.getvalue(), err.getvalue()


def check(file: Path, *words: str) -> bool:
    """Run a command on ``file``; whether it took the file."""
    code, out, err = run(*words)
    if code in (0, 1):
        assert err == ""
        return True
    assert (code, out) == (2, "")
    assert err.startswith(f"worldswitch: {file}")
    assert err.count("\n") == 1
    return False


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad") / "file.toml"


@settings(max_examples=250)
@given(text=mutated(SCENARIOS))
def test_any_change_of_a_scenario_runs_or_is_one_line(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", newline="")
    if check(file, "run", "--json", str(file)):
        assert check(file, "fmt", "--stdout", str(file)), "what runs can be formatted"


@settings(max_examples=100)
@given(text=mutated(PATHS))
def test_any_change_of_a_path_is_shown_or_is_one_line(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", newline="")
    check(file, "paths", "show", str(file))


@settings(max_examples=100)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_one_line(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert not check(file, "run", str(file))


@given(cut=st.integers(0, len(SCENARIOS[0])))
def test_truncated_files_run_or_are_one_line(file: Path, cut: int) -> None:
    file.write_text(SCENARIOS[0][:cut], encoding="utf-8")
    check(file, "run", "--json", str(file))


def test_an_oversized_file_is_refused_by_its_size(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "big.toml"
    file.write_text(SCENARIOS[0] + "#" * (1 << 20))
    shown = cli("run", file)
    assert (shown.code, shown.out) == (2, "")
    assert shown.err == f"worldswitch: {file}: larger than the 1048576 bytes that are read\n"


@pytest.mark.parametrize("target", ["directory.toml", "missing/x.toml", "loop.toml", "a\nb.toml"])
def test_what_cannot_be_read_is_one_line(cli: Cli, tmp_path: Path, target: str) -> None:
    (tmp_path / "loop.toml").symlink_to(tmp_path / "loop.toml")
    (tmp_path / "directory.toml").mkdir()
    shown = cli("run", tmp_path / target)
    assert (shown.code, shown.out) == (2, "")
    assert shown.err.startswith("worldswitch: ")
    assert shown.err.count("\n") == 1


def test_windows_line_ends_are_fine(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "windows.toml"
    file.write_bytes(SCENARIOS[0].replace("\n", "\r\n").encode())
    assert cli("run", file).code == cli("run", "tests/conformance/T-120-linux.toml").code == 0
