"""`status` of campaigns that were left in all sorts of states; and what was written for other programs."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.faults.conftest import PLAN

from worldswitch.cli import main
from worldswitch.fuzzing.lock import DirectoryLock
from worldswitch.fuzzing.view import open_read

pytest.importorskip("atheris", reason="fuzzing needs atheris")


def test_one_campaign(undisturbed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(undisturbed)]) == 1  # there are findings
    shown = capsys.readouterr().out
    view = open_read(undisturbed)
    assert shown.startswith(f"{undisturbed}: runs\n{PLAN.total} cases in ")
    for record in view.records:
        assert f"{record.signature}  {record.cases} cases on program, first after {record.first_execution}" in shown
        assert 0 < record.first_execution <= record.last_execution <= PLAN.total
        assert record.first_seen <= record.last_seen
        assert record.shown_on["amd"] == []  # a program of its own, on no path
        assert record.replayed


def test_many_campaigns_a_line_each(undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    killed = Path(shutil.copytree(undisturbed, tmp_path / "killed"))
    with closing(sqlite3.connect(killed / "campaign.db")) as connection:
        connection.execute("UPDATE runs SET outcome = '', ended = ''")
        connection.commit()
    running = Path(shutil.copytree(undisturbed, tmp_path / "running"))
    lock = DirectoryLock(running)
    assert main(["status", str(undisturbed), str(killed), str(running)]) == 1
    lock.release()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["state", "runs", "killed", "running"]
    assert all(str(PLAN.total) in line.split() for line in lines[1:])


def test_json_has_what_the_view_has(undisturbed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json", str(undisturbed)]) == 1
    [one] = json.loads(capsys.readouterr().out)["campaigns"]
    view = open_read(undisturbed)
    assert one["totals"]["executions"] == view.totals.executions == PLAN.total
    assert len(one["samples"]) == len(view.samples) >= 2
    assert [finding["signature"] for finding in one["findings"]] == [record.signature for record in view.records]
    assert one["runs"][-1]["outcome"] == "runs"
    assert one["by_path"] == {"program": PLAN.total}


def test_where_there_is_no_campaign(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path)]) == 2
    assert "holds no campaign" in capsys.readouterr().err
    assert main(["status", str(tmp_path / "none")]) == 2
    assert "no such directory" in capsys.readouterr().err


def test_reading_leaves_no_trace(undisturbed: Path) -> None:
    before = {name: os.stat(undisturbed / name).st_mtime_ns for name in os.listdir(undisturbed)}
    open_read(undisturbed)
    assert {name: os.stat(undisturbed / name).st_mtime_ns for name in os.listdir(undisturbed)} == before
