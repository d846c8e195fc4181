"""``worldswitch mutants``: what it prints and returns; a handful of mutants, so that it is quick."""

import json
import subprocess
import sys
from typing import Any

import pytest

from worldswitch.cli import main
from worldswitch.mutants import hunt
from worldswitch.mutants.model import NESTED, PROCESSOR, SEQUENCE, Mutant
from worldswitch.mutants.registry import MUTANTS, control, controls, find_mutant

QUICK = ("--seeds", "1", "--jobs", "1")
CAUGHT = ("sti-missing", "adjacent-sti", "lockdep-off-does-nothing", "delivery-keeps-shadow", "reinjection-forgotten")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["mutants", *words])
    return code, capsys.readouterr().out


def test_mutants_of_every_family_are_caught_by_their_oracles(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, *CAUGHT, "--runs", "400", *QUICK, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["wrong"] == []
    assert (found["seeds"], found["runs"]) == (1, 400)
    mutants: dict[str, Any] = {mutant["name"]: mutant for mutant in found["mutants"]}
    assert {mutants[name]["family"] for name in CAUGHT} == {"path", "kernel", "processor", "nested"}
    for name in CAUGHT:
        assert mutants[name]["caught"]
        assert 1 <= mutants[name]["executions"] <= mutants[name]["expected_executions"] <= 400
    assert [name for name in mutants if name not in CAUGHT] == ["control-linux-6.14", "control-nested-linux-6.14"]


def test_what_changes_nothing_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, "clgi-twice", "--runs", "500", *QUICK)
    assert code == 0
    assert out.splitlines()[0].split() == ["equivalent", "clgi-twice", "silent"]


def test_a_missed_mutant_is_named_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, "exit-keeps-halt", "sti-missing", "--runs", "3", *QUICK)
    assert code == 1
    assert "MISSED      exit-keeps-halt" in out
    assert "caught      sti-missing" in out
    assert "1 of 2 mutants caught" in out


def test_something_that_must_be_silent_and_is_not_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hunt, "expected", lambda subject, nested=False: frozenset())
    code, out = run(capsys, "cli-before-vmrun", "--runs", "400", *QUICK)
    assert code == 1
    assert "NOT SILENT  control-linux-6.1 " in out


def test_the_list_names_all_and_runs_none(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, "--list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if not line.startswith(" ")] == [m.name for m in MUTANTS]
    code, out = run(capsys, "nested", "v-tpr-*", "--list", "--json")
    names = {mutant["name"] for mutant in json.loads(out)["mutants"]}
    assert names == {m.name for m in MUTANTS if m.family == NESTED or m.name.startswith("v-tpr-")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sti-mising",), "did you mean sti-missing"),
        (("zzz-*",), "no mutant matches"),
        (("--runs", "0"), "--runs"),
        (("--seeds", "-1"), "--seeds"),
        (("--jobs", "0"), "--jobs"),
        (("sti-missing", "--write", "x.md"), "--write"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mutants", *words]) == 2
    text = capsys.readouterr().err
    assert message in text
    assert text.count("\n") == 1


def test_results_do_not_depend_on_the_number_of_processes() -> None:
    mutants = [find_mutant(name) for name in CAUGHT]
    one, two = (list(hunt.hunt_all(mutants, 1, 400, jobs)) for jobs in (1, 2))
    key = [(r.name, [(s.executions, s.signatures, s.expected) for s in r.sightings]) for r in one]
    assert key == [(r.name, [(s.executions, s.signatures, s.expected) for s in r.sightings]) for r in two]


def test_an_absence_counts_only_where_the_subject_shows_the_signature() -> None:
    quirk = find_mutant("quirk-missing")
    assert hunt.hunt(quirk, 1, 200).signatures == (f"{hunt.MISSING}.{quirk.missing}",)
    elsewhere = Mutant("none", PROCESSOR, "", (), "", "", "", "linux-6.14", quirk.replacements, missing=quirk.missing)
    assert hunt.hunt(control(elsewhere), 1, 100).executions == 0
    assert not hunt._hunt_missing(elsewhere, 1, 100).executions


def test_each_subject_has_one_control() -> None:
    found = controls(MUTANTS)
    assert len({mutant.name for mutant in found}) == len(found)
    assert {(m.subject, m.family == NESTED) for m in found} == {(m.subject, m.family == NESTED) for m in MUTANTS}
    assert any(mutant.subject == SEQUENCE for mutant in found)
    assert find_mutant(found[0].name).equivalent


def test_what_must_be_silent_gets_less() -> None:
    assert hunt.budget(find_mutant("clgi-twice"), 20_000) == 2000
    assert hunt.budget(find_mutant("sti-missing"), 20_000) == 20_000
    assert hunt.budget(control(find_mutant("sti-missing")), 20_000) == 5000


def test_the_command_starts_without_the_model() -> None:
    text = "import sys; import worldswitch.commands.mutants; print('worldswitch.core.execute' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
