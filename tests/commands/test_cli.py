"""The command line as such: help, usage errors, exit codes, streams, and how quickly it starts."""

import os
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.commands.conftest import Cli

import worldswitch
from worldswitch import cli as cli_module
from worldswitch.cli import COMMANDS, command_parser, load_command
from worldswitch.errors import InputError

ROOT = Path(__file__).parents[2]
GOLDEN = "corpus/golden.toml"
START = (sys.executable, "-m", "worldswitch.cli")

HEAVY = ("atheris", "hypothesis", "jsonschema", "tomlkit", "pytest")
"""What no command imports to start."""


def start(*words: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*START, *words], cwd=ROOT, text=True, check=False, timeout=60, stdout=stdout, stderr=subprocess.PIPE
    )


def test_help_names_every_command(cli: Cli) -> None:
    shown = cli("--help")
    assert shown.code == 0
    for name, about in COMMANDS.items():
        assert f"  {name.ljust(12)}{about}\n" in shown.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(cli: Cli, name: str) -> None:
    shown = cli(name, "--help")
    assert shown.code == 0
    assert f"worldswitch {name}" in shown.out.partition("examples:\n")[2]
    assert shown.err == ""


@pytest.mark.parametrize(
    "line", [line for name in COMMANDS for line in load_command(name).EXAMPLES.strip().splitlines()]
)
def test_every_example_is_a_valid_command_line(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0])
    assert words[0] == "worldswitch"
    command_parser(words[1]).parse_args(words[2:])


def test_the_version_is_printed(cli: Cli) -> None:
    code, out, err = cli("--version")
    assert (code, err) == (0, "")
    assert out.startswith(f"worldswitch {worldswitch.__version__} (")
    assert out.removesuffix(" core)\n").rpartition("(")[2] in ("pure Python", "compiled")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ((), "a command is missing"),
        (("rnu",), "unknown command 'rnu'; did you mean run?"),
        (("xyz",), "unknown command 'xyz'; there are paths"),
        (("--json",), "unrecognized argument: --json"),
        (("run",), "required: SCENARIO"),
        (("run", GOLDEN, "--speed", "3"), "unrecognized arguments: --speed 3"),
        (("run", GOLDEN, "--js"), "unrecognized arguments: --js"),
        (("run", GOLDEN, "--path"), "--path: expected one argument"),
        (("run", GOLDEN, "--path", "no-such"), "unknown path 'no-such'"),
        (("run", GOLDEN, "--path", "linux-6.1,"), "--path: 'linux-6.1,' names nothing"),
        (("run", GOLDEN, "--profile", "intel"), "--profile: unknown profile 'intel'"),
        (("run", GOLDEN, "--set", "bleed"), "--set: 'bleed' is not OPTION=VALUE"),
        (("run", GOLDEN, "--set", "bleed=on"), "--set: unknown model option 'bleed'"),
        (("run", GOLDEN, "--set", "bleed_sti_shadow=x"), "--set: option bleed_sti_shadow is one of off"),
        (
            ("run", GOLDEN, "--set", "bleed_sti_shadow=off,bleed_sti_shadow=qemu-old"),
            "--set: bleed_sti_shadow is given as off and as qemu-old",
        ),
        (("run", ""), "the name of a file is empty"),
        (("run", "no-such.toml"), "no-such.toml: cannot be read: No such file or directory"),
        (("fmt",), "give files, or --schema"),
        (("fmt", "--schema", "path", GOLDEN), "give files, or --schema"),
        (("paths", "show"), "show which path?"),
        (("paths", "shows", "linux-6.1"), "unknown path 'shows'"),
        (("explain", "S2-999"), "no rule, conformance row or invariant 'S2-999'"),
        (("explain", "no-such"), "'no-such' is no scenario file"),
    ],
)
def test_bad_usage_is_one_clear_line_and_exit_code_2(cli: Cli, words: Sequence[str], what: str) -> None:
    shown = cli(*words)
    assert shown.code == 2
    assert shown.out == ""
    assert what in shown.err
    assert shown.err.startswith("worldswitch")
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("too big", "f.toml", 3, "cpu.tpr"), 2, "worldswitch: f.toml:3: cpu.tpr: too big\n"),
        (InputError("two\nlines"), 2, "worldswitch: two lines\n"),
        (OSError(28, "No space left on device"), 2, "worldswitch: No space left on device\n"),
        (PermissionError(13, "Permission denied", "out/x"), 2, "worldswitch: out/x: Permission denied\n"),
        (BrokenPipeError(), 141, ""),
        (KeyboardInterrupt(), 130, "worldswitch: interrupted\n"),
    ],
)
def test_failures_become_exit_codes(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    def fail(_words: Sequence[str]) -> int:
        raise error

    monkeypatch.setattr(cli_module, "_dispatch", fail)
    monkeypatch.setattr(cli_module, "_abandon_stdout", lambda: None)
    assert cli("run") == (code, "", line)


def test_a_long_complaint_is_cut_in_the_middle(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_words: Sequence[str]) -> int:
        raise InputError("9" * 5000 + " is no vector", "f.toml", 3)

    monkeypatch.setattr(cli_module, "_dispatch", fail)
    shown = cli("run")
    assert len(shown.err) < 1100
    assert shown.err.startswith("worldswitch: f.toml:3: 999")
    assert shown.err.endswith("999 is no vector\n")


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = subprocess.Popen([*START, "run", GOLDEN, "--all"], cwd=ROOT, stdout=-1, stderr=-1)
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) in (0, 141)  # 0: it was quicker than the pipe was closed


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("words", [("run", GOLDEN), ("run", GOLDEN, "--json"), ("paths",)])
def test_a_full_disk_is_one_line(words: Sequence[str]) -> None:
    with open("/dev/full", "w") as full:
        shown = start(*words, stdout=full.fileno())
    assert (shown.returncode, shown.stderr) == (2, "worldswitch: No space left on device\n")


def test_closed_streams_are_no_error() -> None:
    command = shlex.join([*START, "run", GOLDEN])
    closed = subprocess.run(["sh", "-c", f"exec {command} >&- 2>&-"], cwd=ROOT, check=False, timeout=60)
    assert closed.returncode == 0


def test_an_encoding_without_the_characters_is_no_error() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    shown = subprocess.run([*START, "explain", "S2-70"], cwd=ROOT, capture_output=True, check=False, env=environment)
    assert shown.returncode == 0
    assert b"IF 0\\u21921" in shown.stdout


def test_interrupting_ends_with_130() -> None:
    process = subprocess.Popen([*START, "run", "/dev/stdin"], cwd=ROOT, stdin=-1, stdout=-1, stderr=-1, text=True)
    assert process.stdin
    process.stdin.write("format = 1\n")
    process.stdin.flush()  # the rest never comes: it waits in read()
    deadline = 100
    while deadline and not _sleeps(process.pid):
        deadline -= 1
        signal.sigtimedwait([], 0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "worldswitch: interrupted\n")


def _sleeps(pid: int) -> bool:
    """Whether a process waits for its standard input."""
    try:
        return (
            "pipe_read" in Path(f"/proc/{pid}/wchan").read_text()
            or Path(f"/proc/{pid}/syscall").read_text()[:2] == "0 "
        )
    except OSError:
        return False


@pytest.mark.parametrize("name", COMMANDS)
def test_starting_a_command_imports_little(name: str) -> None:
    code = (
        f"import sys; from worldswitch.cli import main; main([{name!r}, '--help']); "
        "print(*sys.modules, file=sys.stderr)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = shown.stderr.split()
    assert not [module for module in loaded if module.partition(".")[0] in HEAVY]
    assert [module for module in loaded if module.startswith("worldswitch.commands.")]
    others = {f"worldswitch.commands.{other}" for other in COMMANDS if other != name}
    assert not others & set(loaded)


@pytest.mark.skipif(
    any(name.startswith("COVERAGE_PROCESS") for name in os.environ), reason="measuring coverage takes time of its own"
)
@pytest.mark.parametrize(
    "words",
    [("--help",), ("run", GOLDEN), ("paths",), ("explain", "S2-70"), ("fmt", "--check", GOLDEN)],
    ids=lambda words: words[0],
)
def test_every_command_is_done_in_a_fraction_of_a_second(words: Sequence[str]) -> None:
    """Processor time, as other processes share the machine."""

    def used() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert start(*words).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(used() for _ in range(3)) < 3  # imports nothing that takes seconds; benchmarks measure the rest
