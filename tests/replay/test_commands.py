"""`worldswitch replay --on` and `worldswitch crosscheck` as commands: exit codes, complaints, files."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from tests.replay.marks import needs_bochs, needs_qemu
from tests.replay.test_encode import QEMU, log_of, record_of

from worldswitch.cli import main
from worldswitch.replay import batch, bochs, kvm, qemu, reduce
from worldswitch.scenario.read import read_scenario

GOLDEN = str(Path(__file__).parents[2] / "corpus" / "golden.toml")
PLAIN = 'format = 1\n[host]\nprogram = ["cli", "clgi", "vmrun", "stgi"]\n'
PURE = pytest.mark.pure_core
VNMI = 'format = 1\n[host]\nprogram = ["vmrun"]\n[vmcb]\nv_nmi_enable = true\n'


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def file_with(folder: Path, text: str) -> str:
    file = folder / "scenario.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def log_file(folder: Path, scenario: str, int_state: int) -> str:
    """The serial log of a processor whose VMMCALL exit stored that int_state."""
    record = record_of(read_scenario(scenario), QEMU.name)
    text = "\n".join([batch.HEADER, "C AuthenticAMD a20f10 1 1", "S 0", *log_of(record, int_state), "Z", ""])
    file = folder / "serial.log"
    file.write_text(text, encoding="ascii")
    return str(file)


@pytest.mark.parametrize(("int_state", "code", "verdict"), [(0, 0, "hardware agrees"), (1, 1, "hardware disagrees")])
def test_a_log_of_a_processor_is_evidence(
    int_state: int, code: int, verdict: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = file_with(tmp_path, PLAIN)
    assert main(["replay", scenario, "--from-log", log_file(tmp_path, scenario, int_state)]) == code
    out = capsys.readouterr().out
    assert "AuthenticAMD, CPUID 1.EAX 0xa20f10" in out
    assert verdict in out
    assert ("!!" in out) is bool(code)


def test_json_says_what_differs_and_what_is_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = file_with(tmp_path, PLAIN)
    assert main(["replay", scenario, "--json", "--from-log", log_file(tmp_path, scenario, 1)]) == 1
    document = json.loads(capsys.readouterr().out)
    (result,) = document["results"]
    assert document["format"] == 1
    assert result["disagreements"] == [{"field": "exits[0].int_state", "model": "0x0", "observed": "0x1"}]
    assert (result["verdict"], result["observed"]["exits"][0]["int_state"]) == ("disagrees", "0x1")
    assert "exits.gif" in result["not_compared"]


def test_nothing_comparable_is_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = file_with(tmp_path, VNMI)
    log = tmp_path / "serial.log"
    log.write_text(f"{batch.HEADER}\nZ\n", encoding="ascii")
    assert main(["replay", scenario, "--from-log", str(log)]) == 3
    assert "not comparable: hardware has no vNMI" in capsys.readouterr().out
    assert main(["replay", scenario, "--export", str(tmp_path / "image.iso")]) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["replay", GOLDEN, "--from-log", "absent.log"], "absent.log: cannot be read"),
        (["replay", GOLDEN, "--export", "a.iso", "--from-log", "b.log"], "--from-log: a log is read, or an image"),
        (["replay", "absent.toml", "--on", "bochs"], "absent.toml"),
        (["crosscheck", "--runs", "0"], "--runs: expected a number from 1"),
        (["crosscheck", "--set", "speed=high"], "--set: unknown model option 'speed'"),
        (["crosscheck", "--on", "xen"], "invalid choice"),
        pytest.param(["crosscheck", "--mutant", "no-such"], "no mutant 'no-such'", marks=PURE),
        pytest.param(["crosscheck", "--mutant", "sti-missing"],
                     "--mutant: sti-missing is not a defect of the processor model", marks=PURE),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize("command", [["replay", GOLDEN], ["crosscheck"]])
@pytest.mark.parametrize(("on", "package"), [("qemu", "qemu-system-x86"), ("bochs", "bochs")])
def test_a_missing_implementation_is_named_with_its_package(
    command: list[str],
    on: str,
    package: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    forget_versions()
    assert main([*command, "--on", on]) == 2
    forget_versions()
    shown = capsys.readouterr()
    assert shown.err.endswith(f"is not on PATH; Debian has it in the package {package}\n")
    assert (shown.err.count("\n"), shown.out) == (1, "")


def forget_versions() -> None:
    qemu.version.cache_clear()
    bochs.version.cache_clear()


@needs_bochs
def test_the_golden_scenario_on_bochs_which_never_bleeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", GOLDEN, "--on", "bochs", "--path", "linux-6.1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["implementation"].startswith("Bochs 2.")
    assert [x["int_state"] for x in document["results"][0]["observed"]["exits"]] == ["0x0"]


@pytest.mark.skipif(kvm.NESTED.exists(), reason="this host has kvm_amd")
@pytest.mark.parametrize("command", [["replay", GOLDEN], ["crosscheck"]])
def test_kvm_is_refused_with_the_reason(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--on", "kvm"]) == 2
    assert "kvm: " in capsys.readouterr().err


@needs_qemu
def test_the_golden_scenario_and_its_fixed_twin_on_qemu(capsys: pytest.CaptureFixture[str]) -> None:
    if qemu.profile() != "qemu-7.2":
        pytest.skip(f"QEMU {qemu.version()} clears the shadow at VMRUN")
    assert main(["replay", GOLDEN, "--on", "qemu", "--path", "linux-6.1,linux-6.14", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [result["observed"]["exits"][0]["int_state"] for result in results] == ["0x1", "0x0"]
    assert [result["observed"]["exits"][0]["name"] for result in results] == ["npf", "npf"]


@needs_qemu
def test_the_readme_shows_what_qemu_does(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """But for QEMU's version."""
    if qemu.profile() != "qemu-7.2":
        pytest.skip(f"QEMU {qemu.version()} clears the shadow at VMRUN")
    root = Path(__file__).parents[2]
    monkeypatch.chdir(root)
    block = (root / "README.md").read_text(encoding="utf-8").partition("$ worldswitch replay ")[2].partition("```")[0]
    words, _, shown = block.partition("\n")
    command, _, pattern = words.partition(" | grep -E ")
    assert main(["replay", *command.split()]) == 0
    wanted = re.compile(pattern.strip("'"))
    real = [line.rstrip() for line in capsys.readouterr().out.splitlines() if wanted.search(line)]
    assert real[1:] == [line.rstrip() for line in shown.splitlines()][1:]


@needs_qemu
@needs_bochs
def test_an_exported_image_boots_elsewhere_and_its_log_is_read_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a machine that knows nothing of this package: a PC with a CD drive and a serial port."""
    if qemu.profile() != "qemu-7.2":
        pytest.skip(f"QEMU {qemu.version()} clears the shadow at VMRUN")
    image, log = tmp_path / "image.iso", tmp_path / "serial.log"
    words = ["replay", GOLDEN, "--path", "linux-6.1,linux-6.14", "--on", "qemu"]
    assert main([*words, "--export", str(image)]) == 0
    assert "2 runs; its log is read with" in capsys.readouterr().out
    machine = [
        "-accel",
        "tcg",
        "-cpu",
        "max",
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
        "-cdrom",
        str(image),
        "-serial",
        f"file:{log}",
    ]
    machine += ["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]
    subprocess.run([qemu.PROGRAM, *qemu.accelerator(False), *machine], timeout=120, check=False)
    assert main([*words, "--from-log", str(log), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["implementation"].startswith("a log of qemu: AuthenticAMD")
    assert [result["observed"]["exits"][0]["int_state"] for result in document["results"]] == ["0x1", "0x0"]


@needs_qemu
@PURE
def test_a_planted_defect_makes_a_crosscheck_fail(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reduce, "MOST_STARTS", 1)
    assert main(["crosscheck", "--runs", "60"]) == 0
    shown = capsys.readouterr().out
    assert "60 compared" in shown
    assert "exits with a shadow in int_state" in shown
    assert "less than half is comparable" in shown
    assert main(["crosscheck", "--runs", "60", "--mutant", "exit-reports-no-shadow"]) == 1
    shown = capsys.readouterr().out
    assert "crosscheck.qemu.exits.int-state" in shown
    assert "the model says 0x0, observed 0x1" in shown
    assert main(["crosscheck", "--runs", "20"]) == 0, "the defect stayed planted"


@needs_qemu
def test_a_crosscheck_keeps_its_findings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the model's option wrong; the files are scenarios that ``replay`` takes."""
    monkeypatch.setattr(reduce, "MOST_STARTS", 3)
    out = str(tmp_path / "out")
    words = ["--runs", "40", "--set", "invalid_exit_code_width=64"]
    assert main(["crosscheck", *words, "--out", out, "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["signature"] == "crosscheck.qemu.exits.exit-code"
    assert finding["minimized"]
    assert main(["replay", finding["signature"], "--out", out, "--on", "qemu"]) == 0
    assert main(["replay", finding["signature"], "--out", out, "--on", "qemu", *words[2:]]) == 1
