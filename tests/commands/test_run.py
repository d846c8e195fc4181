"""``worldswitch run``: the JSON document, the text, the exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.commands.conftest import Cli

GOLDEN = "corpus/golden.toml"
BLEED = "shadow-bleed.unexplained-shadow.injection"

WITHOUT_EXPECT = """\
format = 1
about = "the golden trace without what it expects"
host.path = "linux-6.1"
vmcb.intercepts = ["intr", "vmrun", "vmmcall"]
vmcb.eventinj = "intr:0x68"
guest.idt = { 0x68 = "npf" }
"""
CLEAN = 'format = 1\nhost.path = "linux-6.14"\n'
LONG = CLEAN + 'guest.program = ["rep 64", "rep 64", "vmmcall"]\n'


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_file(text: str, name: str = "scenario.toml") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    return write_file


def results(cli: Cli, *words: object) -> list[dict[str, Any]]:
    shown = cli("run", "--json", *words)
    document = json.loads(shown.out)
    assert document["format"] == 1
    assert list(document) == ["format", "results"]
    entries: list[dict[str, Any]] = document["results"]
    return entries


def test_the_golden_trace(cli: Cli) -> None:
    """EVENTINJ 80000068h, exit 400h, EXITINTINFO 80000068h, int_state 1; and 0 on linux-6.14 (S2-72, T-120)."""
    before, after = results(cli, GOLDEN)
    for entry, path, int_state in ((before, "linux-6.1", "0x1"), (after, "linux-6.14", "0x0")):
        assert entry["path"] == path
        (only,) = entry["exits"]
        assert only["exit_code"] == "0x400"
        assert only["name"] == "npf"
        assert only["exitintinfo"] == "0x80000068"
        assert only["int_state"] == int_state
    assert [finding["signature"] for finding in before["findings"]] == [BLEED]
    assert before["findings"][0]["rules"]
    assert after["findings"] == []


def test_every_entry_has_what_the_document_promises(cli: Cli) -> None:
    promised = {
        "scenario", "path", "profile", "exits", "handlers", "final", "warnings", "findings", "unreached", "expect",
    }  # fmt: skip
    for entry in results(cli, GOLDEN, "tests/conformance/T-144.toml"):
        assert promised <= entry.keys()
        assert {"if", "gif", "shadow", "nmi_masked", "pending", "lockdep", "context"} <= entry["final"].keys()


def test_exit_code_minus_one_is_written_in_full(cli: Cli) -> None:
    (entry,) = results(cli, "tests/conformance/T-109-asid.toml")
    assert entry["exits"][0]["exit_code"] == "0xffffffffffffffff"


def test_the_same_bytes_every_time(cli: Cli) -> None:
    for words in (("--json", GOLDEN), (GOLDEN,), ("tests/conformance", "--json")):
        assert cli("run", *words) == cli("run", *words)


def test_exit_codes(cli: Cli, write: Any) -> None:
    assert cli("run", GOLDEN).code == 0, "every expectation is met, the finding among them"
    assert cli("run", write(CLEAN)).code == 0
    assert cli("run", write(WITHOUT_EXPECT)).code == 1, "a finding that nothing expects"
    assert cli("run", write(CLEAN + "[expect]\nexits = []\n")).code == 1, "an expectation that is not met"
    assert cli("run", write("format = 1")).code == 2
    assert cli("run", GOLDEN, "--set", "bleed_sti_shadow=off", "--path", "linux-6.14").code == 0
    assert cli("run", write(WITHOUT_EXPECT), "--profile", "amd-noquirk").code == 0


def test_what_the_command_line_says_wins(cli: Cli, write: Any) -> None:
    file = write(WITHOUT_EXPECT + 'options.bleed_sti_shadow = "off"\n')
    assert cli("run", file).code == 0
    assert cli("run", file, "--set", "bleed_sti_shadow=on-injection-exit").code == 1
    assert cli("run", file, "--profile", "amd").code == 1
    assert [entry["path"] for entry in results(cli, file, "--path", "linux-6.14,linux-6.1", "--path", "linux-6.1")] == [
        "linux-6.14",
        "linux-6.1",
    ]


def test_nothing_runs_before_every_file_is_read(cli: Cli, write: Any) -> None:
    shown = cli("run", GOLDEN, write("format = 1\n"))
    assert (shown.code, shown.out) == (2, "")
    assert shown.err.startswith(f"worldswitch: {write('format = 1')}: host: ")


def test_a_directory_stands_for_its_scenarios(cli: Cli, write: Any, tmp_path: Path) -> None:
    write(CLEAN, "a.toml")
    write(CLEAN, "deeper/b.toml")
    write("no scenario", "c.txt")
    write('format = 1\nname = "x"\nlisting = "vmrun"\n', "paths/p.toml")
    entries = results(cli, tmp_path)
    assert [Path(entry["scenario"]).name for entry in entries] == ["a.toml", "b.toml"]
    assert cli("run", tmp_path / "paths/p.toml").code == 2, "a path file that is named itself is no scenario"
    (tmp_path / "empty").mkdir()
    shown = cli("run", tmp_path / "empty")
    assert (shown.code, shown.err) == (2, f"worldswitch: {tmp_path}/empty: holds no *.toml file\n")


def test_of_several_scenarios_only_failures_are_shown_in_full(cli: Cli, write: Any, tmp_path: Path) -> None:
    write(CLEAN, "clean.toml")
    write(WITHOUT_EXPECT, "finding.toml")
    shown = cli("run", tmp_path)
    assert shown.code == 1
    assert f"ok  {tmp_path}/clean.toml" in shown.out
    assert shown.out.count("raw_local_irq_enable") == 0
    assert shown.out.count("  vmrun\n") == 1
    assert shown.out.endswith("2 scenarios, 2 runs: 1 ok, 1 with findings or unmet expectations\n")
    assert "raw_local_irq_enable" in cli("run", tmp_path, "--all").out


def test_the_text_says_what_an_oracle_objects_to_and_where(cli: Cli, write: Any) -> None:
    shown = cli("run", write(WITHOUT_EXPECT)).out
    lines = shown.splitlines()
    (step,) = (number for number, line in enumerate(lines) if line.startswith("!!"))
    assert lines[step].split()[-2:] == ["vmrun", "vmrun"]
    assert "!! shadow-bleed" in "\n".join(lines[step : step + 4])
    assert f"  finding: {BLEED}" in lines
    assert "rules S2-70, I-04; step 22 (vmrun)" in shown
    assert "exit 1: npf (0x400) at guest, int_state 1, EXITINTINFO intr:0x68 (0x80000068)" in shown
    assert "One line a step" in shown
    assert "\x1b" not in shown


def test_two_paths_stand_side_by_side(cli: Cli) -> None:
    lines = cli("run", GOLDEN).out.splitlines()
    (titles,) = (line for line in lines if "linux-6.1, profile amd" in line and "linux-6.14, profile amd" in line)
    assert titles.count("|") == 2
    (vmrun,) = (line for line in lines if line.startswith("vmrun "))
    _, left, right = vmrun.split("|")
    assert left.split() == ["1", "sti", "0", "-", "on", "G", "vmrun"]
    assert right.split() == ["1", "-", "0", "-", "on", "G", "vmrun"]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_no_line_is_wider_than_the_screen(cli: Cli, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = cli("run", GOLDEN).out
    assert max(map(len, shown.splitlines())) <= width
    assert ("linux-6.1, profile amd    " in shown) == (width >= 120), "narrower screens have one after the other"


def test_expectations_that_are_not_met_are_listed(cli: Cli, write: Any) -> None:
    shown = cli(
        "run", write(CLEAN + '[expect]\nexits = [{ code = "npf", int_state = 1 }]\nfindings = ["noinstr"]\n')
    ).out
    assert "expect: not met: exits[0].exit_code: expected '0x400', got '0x81'" in shown
    assert "expect: not met: exits[0].int_state: expected '0x1', got '0x0'" in shown
    assert "expect: not met: findings: expected ['noinstr'], got []" in shown


def test_events_that_never_arrive_are_reported(cli: Cli, write: Any) -> None:
    file = write(CLEAN + '[[event]]\nkind = "nmi"\nat = "guest+50"\n')
    shown = cli("run", file)
    assert "never reached: event[0], nmi at guest+50" in shown.out
    (entry,) = results(cli, file)
    assert entry["unreached"] == [{"event": 0, "kind": "nmi", "at": "guest+50"}]


def test_oracles_that_do_not_apply_say_why(cli: Cli, write: Any) -> None:
    shown = cli("run", write('format = 1\nhost.program = ["clgi", "vmrun", "stgi"]\n')).out
    assert "not applicable: lockdep-if-mismatch: this host has no lockdep" in shown


def test_two_implementations_are_compared(cli: Cli, write: Any) -> None:
    """Equal for NMIs where CLGI takes effect; an exception now sees IF=1 where it saw IF=0 (S8-71, S8-73, T-144)."""
    assert "nmi handlers: exposed to the same states" in cli("run", GOLDEN).out
    rebooting = write('format = 1\ncpu.svme = false\nkernel.kvm_rebooting = true\nhost.path = "linux-6.1"\n')
    shown = " ".join(cli("run", rebooting, "--path", "linux-6.1,linux-6.14").out.split())
    assert (
        "exception handlers from vmload vmcb01: [IF=0 lockdep=on context=guest] on linux-6.1, "
        "[IF=1 lockdep=on context=guest] on linux-6.14 (documented: "
    ) in shown
    first, second = results(cli, rebooting, "--path", "linux-6.1,linux-6.14")
    assert first["differences"] == []
    (vmload,) = (each for each in second["differences"] if each["place"] == "vmload vmcb01")
    assert vmload["compared_with"] == "linux-6.1"
    assert vmload["there"] == ["IF=0 lockdep=on context=guest"]
    assert vmload["here"] == ["IF=1 lockdep=on context=guest"]


def test_a_long_run_is_folded(cli: Cli, write: Any) -> None:
    file = write(LONG)
    shown = cli("run", file).out
    assert shown.count("... the step above repeats") == 2
    assert shown.count("rep 64\n") == 2
    assert cli("run", file, "--all").out.count("rep 64\n") == 128


def test_pending_events_show_until_they_are_taken(cli: Cli) -> None:
    """An NMI that comes while GIF=0 waits until STGI (S4-04)."""
    lines = cli("run", "corpus/world-switch/nmi-before-stgi.toml").out.splitlines()
    waiting = [line.split() for line in lines if line[:7].strip().isdecimal() and " nmi " in line]
    assert waiting
    assert all(columns[3] == "0" for columns in waiting[:-1]), "GIF"
