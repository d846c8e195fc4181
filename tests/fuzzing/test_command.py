"""`worldswitch fuzz` as it is typed: limits, output for people and for CI, exit codes, bad input."""

import json
from pathlib import Path

import pytest

from worldswitch.cli import main
from worldswitch.core import compiled
from worldswitch.fuzzing.counters import native_coverage

pytest.importorskip("atheris", reason="fuzzing needs atheris")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_campaign_on_the_command_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fuzz", "--target", "sequence,sequence", "--seed", "1", "--total", "400", "--out", "out"]
    assert main([*words, "--json", "--sarif", "out.sarif", "--junit", "out.xml"]) == 1
    shown, progress = capsys.readouterr()
    data = json.loads(shown)
    assert (data["outcome"], data["executions"], data["failures"]) == ("runs", 400, 0)
    signatures = [finding["signature"] for finding in data["findings"]]
    assert signatures == data["new"]
    assert data["paths"] == {"program": 400}
    assert all(f"new finding {signature} on program after " in progress for signature in signatures)
    results = json.loads((here / "out.sarif").read_text())["runs"][0]["results"]
    assert len(results) == len(signatures) >= 1
    assert all(signature in (here / "out.xml").read_text() for signature in signatures)

    entries = [f'[[acknowledged]]\nsignature = "{one}"\npath = "program"\nreason = "known"\n' for one in signatures]
    (here / "known.toml").write_text("format = 1\n" + "".join(entries))
    assert main([*words, "--acknowledged", "known.toml"]) == 0  # nothing left to do, and nothing new
    shown = capsys.readouterr().out
    assert shown.startswith("400 cases on program (0 in this run, ")
    for finding in data["findings"]:
        assert f"{finding['signature']}  ({finding['paths']['program']} cases, first after " in shown


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--target", "world"), "unknown target 'world'"),
        (("--path", "linux-6.1", "--pair", "linux-6.1,linux-6.14"), "--pair: either --path"),
        (("--pair", "linux-6.1,linux-6.14", "--pair", "linux-6.1,linux-6.14"), "is given twice"),
        (("--memory", "0"), "--memory: must be more than 0, not 0"),
        (("--total", "0"), "total: must be more than 0, not 0"),
        (("--jobs", "0"), "jobs: must be more than 0, not 0"),
        (("--acknowledged", "none.toml"), "none.toml"),
        (("--seeds", "none"), "none"),
    ],
)
def test_bad_input_is_one_line(
    words: tuple[str, ...], line: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fuzz", "--out", "out", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert line in err
    assert err.count("\n") == 1


COUNTS = pytest.mark.skipif(
    compiled() and native_coverage() is None, reason="this core does not count what it executes"
)


def units(out: str, *words: str) -> int:
    """Inputs that a short campaign keeps."""
    assert main(["fuzz", "--path", "linux-6.14", "--runs", "1000", "--out", out, *words]) == 0
    return len(list(Path(out, "corpus", "world-switch").iterdir()))


@COUNTS
def test_coverage_of_the_core_keeps_inputs_besides_the_projection(here: Path) -> None:
    joint, coverage, both = units("a"), units("b", "--guidance", "coverage"), units("c", "--guidance", "both")
    assert min(joint, coverage) > 100
    assert both > 1.1 * max(joint, coverage)


@COUNTS
def test_a_campaign_keeps_its_guidance(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fuzz", "--path", "linux-6.14", "--runs", "100", "--out", "out"]
    assert main([*words, "--guidance", "coverage"]) == 0
    capsys.readouterr()
    assert main(words) == 2
    assert "holds a campaign with another target, paths, profile, options or guidance" in capsys.readouterr().err
    assert main([*words, "--guidance", "coverage"]) == 0


def test_a_core_that_does_not_count_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worldswitch.core.compiled", lambda: True)
    monkeypatch.setattr("worldswitch.fuzzing.counters.native_coverage", lambda: None)
    assert main(["fuzz", "--guidance", "both", "--runs", "10", "--out", "out"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "--guidance: the compiled core here does not count what it executes" in err
    assert not (here / "out").exists()
