"""``worldswitch explain``: rules, rows, invariants, and what a finding stands on."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.commands.conftest import ROOT, Cli

from worldswitch.core.options import TABLE
from worldswitch.report.stance import examine
from worldswitch.result import Variant
from worldswitch.rules.citations import checkout
from worldswitch.rules.explain import explain_rule, rule_as_json
from worldswitch.scenario.read import read_text

GOLDEN = "corpus/golden.toml"
BLEED = "shadow-bleed.unexplained-shadow.injection"
OWN = Variant("", "", (), None)


@pytest.mark.parametrize("name", ["S2-70", "s2-70", "T-120", "I-04"])
def test_rules_rows_and_invariants(cli: Cli, name: str) -> None:
    root = checkout()  # None where the package under test is an installed one, which has no tests to name
    assert cli("explain", name) == (0, explain_rule(name, root) + "\n", "")
    assert json.loads(cli("explain", name, "--json").out) == rule_as_json(name, root)


def test_the_bleed_stands_only_on_the_quirk(cli: Cli) -> None:
    """S2-70, S2-71: with bleed_sti_shadow off there is no bleed; QEMU's over-broad one shows here as well."""
    shown = cli("explain", GOLDEN)
    assert shown.code == 0
    assert f"\n{BLEED}\n" in shown.out
    assert "  stands only on: bleed_sti_shadow\n" in shown.out
    assert "bleed_sti_shadow = on-injection-exit; gone with off\n" in shown.out
    assert f"the other {len(TABLE) - 1} model options make no difference" in shown.out
    words = " ".join(shown.out.split())
    assert "S2-70 (certain): (the quirk) Let `hs` = host is in an STI shadow when VMRUN executes" in words
    assert "S2-71 (certain): Model formula" in words


def test_the_same_as_json(cli: Cli) -> None:
    document = json.loads(cli("explain", GOLDEN, "--json", "--path", "linux-6.1,linux-6.14").out)
    before, after = document["results"]
    (finding,) = before["findings"]
    (option,) = finding["stands_only_on"]
    assert finding["signature"] == BLEED
    assert {"S2-70"} <= {rule["id"] for rule in finding["rules"]}
    assert (option["option"], option["value"], option["gone_with"]) == (
        "bleed_sti_shadow",
        "on-injection-exit",
        ["off"],
    )
    assert [rule["id"] for rule in option["rules"]] == ["S2-70", "S2-71"]
    assert (after["path"], after["findings"]) == ("linux-6.14", [])


def test_a_finding_that_no_option_changes(cli: Cli, tmp_path: Path) -> None:
    """STI before guest_state_enter_irqoff: lockdep's WARN rests on the kernel alone (T-150)."""
    shown = cli("explain", "tests/conformance/T-150.toml").out
    assert f"stands under every value of all {len(TABLE)} model options" in shown


def test_what_other_options_would_show(cli: Cli) -> None:
    shown = cli("explain", GOLDEN, "--profile", "amd-noquirk").out
    assert "\nno finding\n" in shown
    assert f"not here, but under other options: {BLEED}" in shown
    assert "bleed_sti_shadow = off; there with on-injection-exit or qemu-old" in shown


def test_every_other_value_of_every_option_is_tried() -> None:
    stance = examine(read_text((ROOT / GOLDEN).read_text()), OWN)
    assert [(flip.option, flip.value) for flip in stance.flips] == [
        (option.name, value) for option in TABLE for value in option.values if value != option.default
    ]


def test_an_option_that_the_scenario_sets_is_flipped_too() -> None:
    scenario = read_text((ROOT / GOLDEN).read_text())
    scenario.options = {"bleed_sti_shadow": "qemu-old"}
    stance = examine(scenario, OWN)
    assert stance.value("bleed_sti_shadow") == "qemu-old"
    assert stance.needed(BLEED)["bleed_sti_shadow"] == ["off"], "it bleeds with on-injection-exit as well"


@pytest.fixture
def campaign(tmp_path: Path) -> Any:
    directory = tmp_path / "campaign" / "findings" / BLEED
    directory.mkdir(parents=True)
    (directory / "scenario.toml").write_text((ROOT / GOLDEN).read_text())
    return tmp_path / "campaign"


def test_a_finding_by_directory_and_by_signature(cli: Cli, campaign: Path) -> None:
    directory = campaign / "findings" / BLEED
    for words in ((directory,), (directory / "scenario.toml",), (BLEED, "--out", campaign)):
        shown = cli("explain", *words)
        assert shown.code == 0
        assert shown.out.startswith(f"{directory}/scenario.toml on linux-6.1")
    (directory / "minimized.toml").write_text((ROOT / GOLDEN).read_text())
    assert cli("explain", directory).out.startswith(f"{directory}/minimized.toml on"), "the smaller one first"


def test_what_is_no_finding_is_one_line(cli: Cli, campaign: Path) -> None:
    (campaign / "findings" / "empty").mkdir()
    for words, what in (
        (
            ("x.y.z", "--out", campaign),
            f"'x.y.z' is no scenario file, no finding's directory, and no signature within {campaign}",
        ),
        (("empty", "--out", campaign), f"{campaign}/findings/empty: holds neither minimized.toml nor scenario.toml"),
        ((campaign / "x.toml",), f"{campaign}/x.toml: cannot be read: No such file or directory"),
    ):
        assert cli("explain", *words) == (2, "", f"worldswitch: {what}\n")
