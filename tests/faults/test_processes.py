"""Processes of a campaign that are killed, hang, or grow too large; and two campaigns in one directory."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults import toys
from tests.faults.conftest import PLAN
from tests.faults.faulty import ROOT, Plan, coordinator, differences, kill_at_random, state

from worldswitch.errors import InputError
from worldswitch.fuzzing import campaign as campaign_module
from worldswitch.fuzzing import endings, fleet
from worldswitch.fuzzing.campaign import Campaign, Outcome
from worldswitch.fuzzing.fleet import Limits
from worldswitch.fuzzing.growth import Progress
from worldswitch.fuzzing.harness import Build
from worldswitch.fuzzing.lanes import make_lanes
from worldswitch.fuzzing.lock import is_held
from worldswitch.fuzzing.store import Store
from worldswitch.fuzzing.view import CampaignView, open_read

pytest.importorskip("atheris", reason="fuzzing needs atheris")


def test_a_campaign_that_was_killed_ends_as_one_that_was_not(undisturbed: Path, tmp_path: Path) -> None:
    every = open_read(undisturbed).totals.seconds / 3
    disturbed = kill_at_random(tmp_path / "killed", PLAN, random.Random(2), every, kills=4)
    assert sum(disturbed.kills.values()) >= 2
    assert disturbed.lost == set()
    assert differences(state(undisturbed), state(tmp_path / "killed")) == []


def test_the_comparison_sees_a_case_counted_twice(undisturbed: Path, tmp_path: Path) -> None:
    first, second = state(undisturbed), state(undisturbed)
    signature, target, path, cases = second["counts"][0]
    second["counts"][0] = (signature, target, path, cases + 1)
    assert differences(first, second) == ["counts"]


def test_a_campaign_that_was_interrupted_ends_as_one_that_was_not(undisturbed: Path, tmp_path: Path) -> None:
    process = coordinator(tmp_path / "stopped", PLAN)
    assert process.stdout is not None
    process.stdout.readline()  # the first finding
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    process.stdout.close()
    view = open_read(tmp_path / "stopped")
    assert view.runs[-1].outcome == "interrupted"
    assert 0 < view.totals.executions < PLAN.total
    again = coordinator(tmp_path / "stopped", PLAN)
    again.communicate(timeout=120)
    assert again.returncode == 0
    assert differences(state(undisturbed), state(tmp_path / "stopped")) == []


TOTAL = toys.AT + 60
"""The first slice goes wrong and is closed where it was last booked; the second has too few cases to."""


def run(
    directory: Path, build: Build | None, monkeypatch: pytest.MonkeyPatch, **limits: int
) -> tuple[Outcome, CampaignView]:
    """A campaign of a few slices whose processes go wrong."""
    if build is not None:
        monkeypatch.setattr(fleet, "BUILD", build)
    lanes = make_lanes(["sequence"], [("linux-6.1",)], "amd", ())
    with Campaign(lanes, directory, lambda _text: None, limits=Limits(**limits), slice_cases=300) as campaign:
        outcome = campaign.run(total=TOTAL)
    return outcome, open_read(directory)


@pytest.mark.parametrize(("build", "what"), [(toys.raising, "crash"), (toys.killed, "killed")])
def test_what_a_process_died_of_is_kept_and_the_campaign_goes_on(
    build: Build, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome, view = run(tmp_path / "out", build, monkeypatch)
    assert outcome.outcome == "runs"
    assert view.totals.executions == TOTAL
    failure = view.failures[0]
    assert (failure.outcome, failure.lane) == (what, "sequence")
    assert 0 < failure.execution <= toys.AT
    assert (tmp_path / "out" / failure.file).read_bytes().hex() == failure.input
    assert outcome.failures == 1
    if what == "killed":  # once it may have been anybody; twice by the same input, it was the input
        assert [one.outcome for one in view.failures[:2]] == ["killed", "died"]
        assert view.failures[0].input == view.failures[1].input
    else:
        assert failure.execution == toys.AT
        assert failure.summary == "ValueError: the target's own words"
        assert "in one_input" in failure.details


def test_a_process_that_does_not_move_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "SLACK_SECONDS", 0.2)
    outcome, view = run(tmp_path / "out", toys.stopped, monkeypatch, timeout=2)
    assert outcome.outcome == "runs"
    assert {failure.outcome for failure in view.failures} == {"hung"}
    assert all((tmp_path / "out" / failure.file).read_bytes() for failure in view.failures)


def test_a_case_that_takes_too_long_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, view = run(tmp_path / "out", toys.hanging, monkeypatch, timeout=1)
    assert outcome.outcome == "runs"
    assert {failure.outcome for failure in view.failures} == {"timeout"}


GROW = (
    "import sys; from tests.faults import toys; from worldswitch import cli; from worldswitch.fuzzing import fleet; "
    "fleet.BUILD = toys.growing; sys.exit(cli.main(sys.argv[1:]))"
)


@pytest.mark.parametrize(("memory", "code"), [(200, 3), (1500, 1)])
def test_a_worker_that_outgrows_the_memory_option_is_stopped_and_the_campaign_goes_on(
    memory: int, code: int, tmp_path: Path
) -> None:
    out, total = tmp_path / "out", toys.AT + 40
    words = ["fuzz", "--target", "sequence", "--total", str(total), "--memory", str(memory), "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-c", GROW, *words], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, done.stderr
    view = open_read(out)
    assert view.totals.executions == total
    if code == 1:  # it is the limit that stops it: with more there is none
        assert (view.failures, view.lanes[0].slices) == ([], 0)
        return
    [failure] = view.failures
    assert failure.outcome == "memory"
    assert failure.execution >= toys.AT
    [kept] = (out / "crashes").iterdir()
    assert kept == out / failure.file
    assert kept.name.startswith("oom-")
    assert kept.read_bytes().hex() == failure.input != ""
    assert f"memory: {failure.summary}; its input: {kept}" in done.stderr
    assert view.lanes[0].slices == 1  # the failed one, closed; the next one was cut short by --total


def test_what_was_booked_stays_though_a_later_attempt_gets_less_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "RETRIES", 2)
    monkeypatch.setattr(campaign_module, "BOOK_SECONDS", 0.0)
    lanes = make_lanes(["sequence"], [("linux-6.1",)], "amd", ())
    executions: list[int] = []
    with Campaign(lanes, tmp_path / "out", lambda _text: None, slice_cases=5000) as campaign:

        def kill(progress: Progress, _campaign: Campaign) -> bool:
            executions.append(progress.executions)
            for crew in campaign.crews:
                if crew.piece.number == 0 and crew.at >= (1024 if crew.piece.attempts == 1 else 128):
                    os.kill(crew.worker.pid, signal.SIGKILL)
            return campaign.ledger.lanes["sequence"].slices > 0

        campaign.run(on_tick=kill)
        number, cases, state = campaign.store.connection.execute(
            "SELECT attempts, executions, state FROM slices WHERE number = 0"
        ).fetchone()
    assert (number, state) == (2, "failed")
    assert cases >= 1024
    assert executions == sorted(executions)


def test_lanes_whose_processes_always_fail_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "REST_AFTER", 1)
    outcome, view = run(tmp_path / "out", toys.raising, monkeypatch)
    assert (outcome.outcome, outcome.failures) == ("failed", 1)
    assert "rests" in view.events[-1].text


def test_the_second_campaign_in_a_directory_is_told_who_is_there(tmp_path: Path) -> None:
    first, second = Store(tmp_path), Store(tmp_path)
    first.open({}, {})
    assert is_held(tmp_path)
    with pytest.raises(InputError) as caught:
        second.open({}, {})
    assert f"another campaign is running here: process {os.getpid()} on " in str(caught.value)
    first.close()
    assert not is_held(tmp_path)
    second.open({}, {})
    second.close()


def test_two_jobs_share_a_campaign(tmp_path: Path) -> None:
    plan = Plan(total=1000, cases=250, jobs=2)
    process = coordinator(tmp_path / "out", plan)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    view = open_read(tmp_path / "out")
    assert view.totals.executions == 1000
    assert sum(lane.slices for lane in view.lanes) == 4
    assert {len(sample.workers) for sample in view.samples} >= {2}
