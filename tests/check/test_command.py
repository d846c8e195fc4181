"""``worldswitch check``: verdicts in words and as JSON, exit codes, counterexamples on disk."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.commands.conftest import ROOT, Cli

from worldswitch.check import driver
from worldswitch.check.driver import Request, check_path
from worldswitch.check.explore import Progress
from worldswitch.check.report import verdict_of
from worldswitch.check.space import PARTS
from worldswitch.commands.check import DEFAULT_DEPTH, exit_code
from worldswitch.fuzzing.minimize import shows
from worldswitch.scenario.read import read_scenario, read_text

INJECTED = "shadow-bleed.unexplained-shadow.injection"
RELOADED = "shadow-bleed.unexplained-shadow.reloaded"


def test_both_implementations(cli: Cli, tmp_path: Path) -> None:
    shown = cli("check", "--part", "again", "--jobs", 1, "--out", tmp_path)
    assert shown.code == 1
    old, new = shown.out.split("linux-6.14\n")
    assert "2 findings in 1 closed state space" in old
    assert "no finding in 1 closed state space" in new
    assert f"  {RELOADED}\n" in old
    assert "size 1+3" in old
    assert "shadow-bleed" not in new
    assert "NMI handlers can run in the same places and states on linux-6.1 and linux-6.14" in new
    assert "NOT reached" not in shown.out  # nothing is expected of a single part
    for signature in (INJECTED, RELOADED):
        scenario = read_scenario(tmp_path / "findings" / signature / "scenario.toml")
        assert shows(scenario, signature, None)
    replayed = cli("minimize", INJECTED, "--out", tmp_path)
    assert replayed.code == 0
    assert 'eventinj = "bp"' in replayed.out


def test_a_clean_path(cli: Cli) -> None:
    shown = cli("check", "--path", "linux-6.14", "--part", "again,everything", "--depth", 1)
    assert shown.code == 0
    assert "closed: no choice leads to a state that is not known" in shown.out
    assert "bounded: every scenario of at most 1 choice" in shown.out
    assert "no finding in 1 closed state space and every scenario of at most 1 choice" in shown.out


def test_json(cli: Cli) -> None:
    shown = cli("check", "--path", "linux-fix-v1", "--part", "everything", "--depth", 1, "--json", "--compare-minimize")
    assert shown.code == 1
    document = json.loads(shown.out)
    (result,) = document["results"]
    assert (document["format"], document["depth"], result["path"], result["finished"]) == (1, 1, "linux-fix-v1", True)
    (part,) = result["parts"]
    assert (part["name"], part["verdict"], part["by_choices"][0]) == ("everything", "bounded", 1)
    assert part["scenarios"] == sum(part["by_choices"])
    assert part["visited"] >= part["unique"] > 0
    for finding in result["findings"]:
        assert finding["size"] == [0, 0]  # the path itself is the defect
        assert finding["choices"] == []
        assert shows(read_text(finding["scenario"]), finding["signature"], None)
    for comparison in document["minimize"]:
        assert comparison["reduced"]
        assert comparison["equal"] == len(comparison["reduced"])


def test_cut_short_there_is_no_verdict(cli: Cli) -> None:
    shown = cli("check", "--path", "linux-6.14", "--part", "everything", "--time", 0.2)
    assert shown.code == 3
    assert "no verdict: cut short" in shown.out
    assert "were still waiting" in shown.out


def test_a_check_that_reached_too_little_gives_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "PARTS", PARTS[-1:])
    result = check_path(Request("linux-6.14", 1, "amd", {}, (), None))
    assert result.finished
    assert not result.found
    assert "exit df" in result.missing
    assert exit_code([result]) == 3


def test_progress(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "LINE_EVERY", 0.01)
    shown = cli("check", "--path", "linux-6.14", "--part", "everything", "--depth", 1)
    line = shown.err.splitlines()[-1]
    for word in ("linux-6.14, everything:", "states", "unique", "depth 1", "states/s", "scenarios", "waiting"):
        assert word in line


def test_interrupted_it_reports_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: object, progress: Progress) -> None:
        if progress.runs > 1000:
            raise KeyboardInterrupt

    monkeypatch.setattr(driver._Display, "tick", interrupt)
    result = check_path(Request("linux-6.1", 3, "amd", {}, ("again",), None))
    assert INJECTED in result.found
    assert verdict_of(result).startswith("no verdict: cut short, with ")
    assert exit_code([result]) == 130


def test_a_path_file_of_ones_own(cli: Cli, tmp_path: Path) -> None:
    text = (ROOT / "src/worldswitch/paths/data/linux-6.14.toml").read_text().replace("clgi:   clgi ", "clgi:   nop ")
    own = tmp_path / "own.toml"
    own.write_text(text)
    shown = cli("check", "--path", own, "--part", "everything", "--depth", 0, "--out", tmp_path / "out")
    assert shown.code == 1
    signature = "nmi-exposure.undocumented.enter"
    own.unlink()  # the finding has a copy
    assert shows(read_scenario(tmp_path / "out" / "findings" / signature / "scenario.toml"), signature, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--depth", "-1"), "--depth"),
        (("--time", "-1"), "--time"),
        (("--jobs", "-1"), "--jobs"),
        (("--part", "nothing"), "unknown part 'nothing'; there are events"),
        (("--path", "nowhere"), "nowhere"),
        (("--set", "nothing=1"), "nothing"),
    ],
)
def test_bad_usage(cli: Cli, words: tuple[str, ...], message: str) -> None:
    shown = cli("check", *words)
    assert shown.code == 2
    assert message in shown.err
    assert "Traceback" not in shown.err


def test_two_paths_at_a_time_say_the_same() -> None:
    words = ["check", "--part", "everything", "--depth", "0", "--json"]
    command = [sys.executable, "-m", "worldswitch.cli", *words]
    runs = [subprocess.run([*command, "--jobs", jobs], capture_output=True, text=True, cwd=ROOT) for jobs in ("1", "2")]
    documents = [json.loads(run.stdout) for run in runs]
    for document in documents:
        for result in document["results"]:
            for part in result["parts"]:
                del part["seconds"]
    assert documents[0] == documents[1]


def test_the_default_depth_is_that_of_the_space() -> None:
    from worldswitch.check import space

    assert DEFAULT_DEPTH == space.DEFAULT_DEPTH
    assert space.EVERYTHING.depth == DEFAULT_DEPTH


def test_a_deadline_is_one_for_all_parts() -> None:
    started = time.monotonic()
    result = check_path(Request("linux-6.14", 3, "amd", {}, (), time.time() + 0.2))
    assert len(result.outcomes) == len(PARTS)
    assert time.monotonic() - started < 10
    assert not result.finished
