"""A full disk, a read-only one, damaged files, formats of other versions, a clock that is set."""

import contextlib
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.faults.conftest import PLAN
from tests.faults.faulty import differences, finish, state

from worldswitch.errors import InputError
from worldswitch.fuzzing import database
from worldswitch.fuzzing.campaign import Campaign
from worldswitch.fuzzing.clock import Clock
from worldswitch.fuzzing.lanes import make_lanes
from worldswitch.fuzzing.view import open_read
from worldswitch.paths.catalogue import IMPLEMENTATIONS

pytest.importorskip("atheris", reason="fuzzing needs atheris")

Copied = Callable[[], Path]


@contextlib.contextmanager
def mounted(directory: Path, *options: str) -> Iterator[None]:
    """A file system of its own at a directory; skips the test where that is not allowed."""
    directory.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(directory)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def reopened(directory: Path, targets: tuple[str, ...] = PLAN.targets) -> tuple[list[str], Campaign]:
    """Open a campaign and close it again; what it said."""
    said: list[str] = []
    lanes = make_lanes(targets, [IMPLEMENTATIONS], "amd", ())
    campaign = Campaign(lanes, directory, said.append)
    campaign.open()
    campaign.close()
    return said, campaign


def test_a_full_disk_ends_the_run_with_one_line_and_loses_nothing(undisturbed: Path, tmp_path: Path) -> None:
    directory = tmp_path / "small"
    with mounted(directory, "-t", "tmpfs", "-o", "size=360k", "none"):
        code, output = finish(directory / "out", PLAN)
        assert code == 2, output
        last = output.strip().splitlines()[-1]
        assert last.startswith("worldswitch: ")
        assert "full" in last or "No space left" in last
        reported = {line.split()[2] for line in output.splitlines() if line.startswith("new finding ")}
        subprocess.run(["mount", "-o", "remount,size=64m", str(directory)], check=True)
        assert reported <= {record.signature for record in open_read(directory / "out").records}
        code, output = finish(directory / "out", PLAN)
        assert code == 0, output
        assert differences(state(undisturbed), state(directory / "out")) == []


def test_a_file_that_may_not_grow_is_one_line(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    code, output = finish(tmp_path / "out", PLAN, preexec_fn=limit)
    assert code == 2, output
    assert output.strip().splitlines()[-1].startswith("worldswitch: ")


def test_a_read_only_disk_is_one_line(copied: Copied) -> None:
    directory = copied()
    with mounted(directory, "--bind", str(directory)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(directory)], check=True)
        code, output = finish(directory, PLAN)
        assert (code, len(output.splitlines())) == (2, 1)
        assert "Read-only file system" in output
        assert open_read(directory).totals.executions == PLAN.total  # and can be read all the same
    with pytest.raises(InputError, match="not usable as a directory"):
        reopened(directory / "campaign.json" / "below")


@pytest.mark.parametrize("how", ["garbage", "cut", "empty", "gone", "page"])
def test_a_damaged_database_is_rebuilt_from_the_files(how: str, undisturbed: Path, copied: Copied) -> None:
    directory = copied()
    path = directory / database.NAME
    content = path.read_bytes()
    if how == "garbage":
        path.write_bytes(b"x" * 5000)
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:4096] + b"\xff" * 4096 + content[8192:])
    said, _ = reopened(directory)
    if how not in ("empty", "gone"):
        assert any("was damaged" in text and "rebuilt" in text for text in said)
        assert list((directory / "damaged").glob("campaign.db.*"))
    before, after = state(undisturbed), state(directory)
    assert after["counts"] == before["counts"]
    assert after["files"] == before["files"]
    assert [finding[0]["signature"] for finding in after["findings"]] == [f[0]["signature"] for f in before["findings"]]
    assert [lane[:3] for lane in after["lanes"]] == [lane[:3] for lane in before["lanes"]]
    if how == "garbage":
        code, output = finish(directory, PLAN)  # nothing is left to do
        assert code == 0, output
        assert state(directory)["counts"] == before["counts"]


def test_a_reader_makes_do_with_the_files(copied: Copied) -> None:
    directory = copied()
    whole = open_read(directory)
    (directory / database.NAME).write_bytes(b"x" * 5000)
    view = open_read(directory)
    assert "damaged" in view.notes[0]
    assert view.totals.executions == whole.totals.executions
    assert [(one.signature, one.paths) for one in view.records] == [(one.signature, one.paths) for one in whole.records]


def test_damaged_inputs_are_set_aside_and_written_again(undisturbed: Path, copied: Copied) -> None:
    directory = copied()
    files = sorted((directory / "corpus" / "sequence").iterdir())
    files[0].write_bytes(files[0].read_bytes()[:-1])
    files[1].write_bytes(b"")
    files[2].unlink()
    (directory / "corpus" / "sequence" / "mine").write_bytes(b"\1\2\3")
    said, _ = reopened(directory)
    assert any("2 damaged inputs set aside" in text for text in said)
    assert any("3 inputs were missing or damaged" in text for text in said)
    again = state(directory)
    assert set(state(undisturbed)["files"]) < set(again["files"])
    assert all(
        files[number].read_bytes() == (undisturbed / "corpus/sequence" / files[number].name).read_bytes()
        for number in range(3)
    )
    assert len(again["inputs"]) == len(state(undisturbed)["inputs"]) + 1  # the one that somebody put there


@pytest.mark.parametrize("name", ["finding.json", "scenario.toml", "minimized.toml"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe"])
def test_a_findings_damaged_file_is_written_again(
    name: str, content: bytes | None, undisturbed: Path, copied: Copied
) -> None:
    directory = copied()
    path = next((directory / "findings").iterdir()) / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    said, _ = reopened(directory)
    assert any("written again" in text and name in text for text in said)
    assert path.read_bytes() == (undisturbed / "findings" / path.parent.name / name).read_bytes()


def test_database_and_state_damaged_leave_the_findings(copied: Copied) -> None:
    directory = copied()
    signatures = [record.signature for record in open_read(directory).records]
    (directory / database.NAME).write_bytes(b"x" * 5000)
    (directory / "campaign.json").write_text("{")
    said, campaign = reopened(directory)
    assert any("findings are kept" in text for text in said)
    assert list(campaign.store.records) == signatures
    assert all(record.cases for record in campaign.store.records.values())


def test_a_newer_format_is_not_touched(copied: Copied) -> None:
    directory = copied()
    with contextlib.closing(sqlite3.connect(directory / database.NAME)) as connection:
        connection.execute("PRAGMA user_version=3")
    content = (directory / database.NAME).read_bytes()
    with pytest.raises(InputError, match="this version reads formats 1 and 2, not 3: use a newer one"):
        reopened(directory)
    with pytest.raises(InputError, match="use a newer one"):
        open_read(directory)
    assert (directory / database.NAME).read_bytes() == content


OLD_RECORD = {
    "format": 1, "signature": "shadow-bleed.unexplained-shadow.injection", "oracle": "shadow-bleed", "message": "m",
    "rules": ["S2-70"], "target": "sequence", "profile": "amd", "options": {}, "case": "00" * 40,
    "first_path": "program", "first_execution": 7, "first_second": 0.1, "paths": {"program": 12}, "minimized": True,
    "replayed": True, "stands_only_on": {}, "disputed": [],
}  # fmt: skip


def test_a_campaign_of_format_1_is_taken_over(tmp_path: Path) -> None:
    description = {"target": "sequence", "paths": ["program"], "profile": "amd", "options": {}}
    totals = {"executions": 5000, "seconds": 7.5, "by_path": {"program": 5000}}
    (tmp_path / "campaign.json").write_text(json.dumps({"format": 1, "description": description, "totals": totals}))
    folder = tmp_path / "findings" / str(OLD_RECORD["signature"])
    folder.mkdir(parents=True)
    (folder / "finding.json").write_text(json.dumps(OLD_RECORD))
    (folder / "scenario.toml").write_text("format = 1\n")
    (tmp_path / "corpus" / "sequence").mkdir(parents=True)
    (tmp_path / "corpus" / "sequence" / "356a192b7913b04c54574d18c28d46e6395428ab").write_bytes(b"1")
    assert open_read(tmp_path).totals.executions == 5000
    said, _ = reopened(tmp_path)
    assert said == [f"{tmp_path} was of format 1, and is of format 2 now"]
    view = open_read(tmp_path)
    assert (view.totals.executions, view.totals.seconds, view.totals.corpus) == (5000, 7.5, 1)
    [record] = view.records
    assert (record.cases, record.first_execution, record.minimized) == (12, 7, True)
    assert json.loads((tmp_path / "campaign.json").read_text())["format"] == 2


def test_format_1_did_not_say_which_paths_were_edited(tmp_path: Path) -> None:
    description = {"target": "edits", "paths": ["edited"], "profile": "amd", "options": {}}
    totals = {"executions": 3000, "seconds": 7.5, "by_path": {"edited": 3000}}
    (tmp_path / "campaign.json").write_text(json.dumps({"format": 1, "description": description, "totals": totals}))
    with pytest.raises(InputError, match="holds a campaign with another target"):
        reopened(tmp_path, ("sequence",))
    reopened(tmp_path, ("edits",))
    assert open_read(tmp_path).totals.executions == 3000


def test_a_clock_that_is_set_changes_dates_alone(tmp_path: Path) -> None:
    jumps = iter([0.0] * 3 + [-90_000.0] * 3 + [3600.0] * 1000)
    clock = Clock(wall=lambda: time.time() + next(jumps, 3600.0))
    said: list[str] = []
    lanes = make_lanes(["sequence"], [IMPLEMENTATIONS], "amd", ())
    with Campaign(lanes, tmp_path / "out", said.append, clock=clock, slice_cases=400) as campaign:
        outcome = campaign.run(total=800, seed=PLAN.seed)
    assert outcome.outcome == "runs"
    assert any("clock was set back by" in text or "clock was set on by" in text for text in said)
    view = open_read(tmp_path / "out")
    seconds = [sample.second for sample in view.samples]
    assert seconds == sorted(seconds)
    assert 0 <= view.totals.seconds < 60
    assert all(record.first_execution <= record.last_execution for record in view.records)


def test_metrics_are_the_samples_a_line_each(undisturbed: Path) -> None:
    lines = [json.loads(line) for line in (undisturbed / "metrics.jsonl").read_text().splitlines()]
    samples = open_read(undisturbed).samples
    assert [line["executions"] for line in lines] == [sample.executions for sample in samples]
    assert lines[-1]["executions"] == PLAN.total


def test_a_campaign_can_be_moved(undisturbed: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(undisturbed, tmp_path / "else where, with a comma")
    assert reopened(moved)[0] == []
    assert os.listdir(moved / "findings") == os.listdir(undisturbed / "findings")
