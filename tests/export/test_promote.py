"""``promote``: the smallest scenario, with what it does on each path, replayed from then on."""

from pathlib import Path

import pytest
from tests.commands.conftest import ROOT, Cli, cli
from tests.page.campaigns import BLEED, SCENARIO, write_campaign, write_finding

from worldswitch.scenario.read import read_scenario

__all__ = ["cli"]  # the fixture

RELOADED = "shadow-bleed.unexplained-shadow.reloaded"


@pytest.fixture
def finding(tmp_path: Path) -> Path:
    return write_finding(write_campaign(tmp_path / "campaign"))


def test_a_promoted_finding_expects_what_both_implementations_do(cli: Cli, finding: Path, tmp_path: Path) -> None:
    into = tmp_path / "regressions"
    assert cli("promote", finding, "--into", into).code == 0
    expect = read_scenario(str(into / f"{BLEED}.toml")).expect
    assert expect
    assert expect.base
    assert expect.base.findings == [BLEED]
    assert [one["int_state"] for one in expect.base.exits or ()] == [1]
    assert list(expect.path) == ["linux-6.14"]
    assert expect.path["linux-6.14"].findings == []
    assert [one["int_state"] for one in expect.path["linux-6.14"].exits or ()] == [0]
    assert cli("run", into).code == 0


def test_by_signature_and_twice(cli: Cli, finding: Path, tmp_path: Path) -> None:
    words = ("promote", BLEED, "--out", finding.parents[1], "--into", tmp_path / "regressions")
    assert cli(*words).code == 0
    again = cli(*words)
    assert again.code == 0
    assert "there already" in again.out
    target = tmp_path / "regressions" / f"{BLEED}.toml"
    target.write_text(target.read_text().replace("int_state = 1", "int_state = 0"))
    assert cli("run", tmp_path / "regressions").code == 1
    assert cli(*words).code == 2
    assert cli(*words, "--force").code == 0
    assert cli("run", tmp_path / "regressions").code == 0


def test_a_scenario_that_is_not_reduced_is_reduced(cli: Cli, tmp_path: Path) -> None:
    large = tmp_path / "large.toml"
    large.write_text(SCENARIO + 'guest.program = ["nop", "nop", "cpuid", "vmmcall"]\nhost.rounds = 3\n')
    assert cli("promote", large, "--into", tmp_path / "r").code == 0
    small = read_scenario(str(tmp_path / "r" / f"{BLEED}.toml"))
    assert small.rounds == 1
    assert len(small.guest.program) <= 2


def test_of_several_findings_the_directory_names_the_one(cli: Cli, tmp_path: Path) -> None:
    text = (ROOT / f"corpus/regressions/{RELOADED}.toml").read_text()
    folder = write_finding(write_campaign(tmp_path / "campaign"), RELOADED, text)
    assert cli("promote", folder, "--into", tmp_path / "r").code == 0
    assert (tmp_path / "r" / f"{RELOADED}.toml").exists()


def test_a_users_path_file_is_found_from_there(cli: Cli, tmp_path: Path) -> None:
    from worldswitch.paths import catalogue

    data = Path(catalogue.__file__).parent / "data" / "linux-6.1.toml"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my.toml").write_text(data.read_text().replace('name = "linux-6.1"', 'name = "my"'))
    scenario = tmp_path / "mine" / "scenario.toml"
    scenario.write_text(SCENARIO.replace('"linux-6.1"', '"my.toml"'))
    assert cli("promote", scenario, "--into", tmp_path / "r", "--path", "linux-6.14").code == 0
    promoted = read_scenario(str(tmp_path / "r" / f"{BLEED}.toml"))
    assert promoted.path == "../mine/my.toml"
    assert cli("run", tmp_path / "r").code == 0


def test_a_mended_path_is_recorded_anew(cli: Cli, finding: Path, tmp_path: Path) -> None:
    into = tmp_path / "r"
    assert cli("promote", finding, "--into", into).code == 0
    target = into / f"{BLEED}.toml"
    target.write_text(target.read_text().replace('path = "linux-6.1"', 'path = "linux-6.14"').replace(
        '[expect.path."linux-6.14"]', '[expect.path."linux-6.1"]'))  # fmt: skip
    assert cli("run", into).code == 1
    assert cli("promote", target, "--into", into, "--force").code == 0
    expect = read_scenario(str(target)).expect
    assert expect
    assert expect.base
    assert expect.base.findings == []
    assert expect.path["linux-6.1"].findings == [BLEED]


def test_without_a_finding_there_is_nothing_to_promote(cli: Cli, tmp_path: Path) -> None:
    clean = tmp_path / "clean.toml"
    clean.write_text('format = 1\nhost.path = "linux-6.14"\n')
    shown = cli("promote", clean, "--into", tmp_path / "r")
    assert shown.code == 2
    assert "does not show any finding" in shown.err
    assert not (tmp_path / "r").exists()
    assert cli("promote", clean, "--signature", BLEED, "--into", tmp_path / "r").code == 2
