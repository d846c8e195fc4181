"""The comparison that the endurance run rests on: that it finds what differs."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.faults.faulty import ROOT

CUT = "UPDATE slices SET state = 'open', executions = 100 WHERE number = (SELECT max(number) FROM slices)"
"""As a campaign that got less far; the findings of its last slice may stay, for nothing is said of them."""

FIRST = "signature = (SELECT min(signature) FROM findings)"


def compare(*words: str | Path) -> tuple[int, str]:
    command = [sys.executable, "benchmarks/endurance.py", "compare", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def change(directory: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(directory / "campaign.db")) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement
        connection.commit()
    return directory


def test_the_one_that_got_less_far_equals_the_beginning_of_the_other(
    undisturbed: Path, copied: Callable[[], Path]
) -> None:
    shorter = change(copied(), CUT)
    (shorter / "endurance-kills.jsonl").write_text('{"second": 1.0, "killed": "coordinator"}\n')
    for pair in ((undisturbed, shorter), (shorter, undisturbed)):
        code, said = compare(*pair, "--prefix")
        assert code == 0, said
        assert "3 slices with 900 cases, of which 0 differ" in said
        assert f"{shorter}: killed: its coordinator 1 time" in said
        assert f"{undisturbed}: never killed" in said
    assert compare(undisturbed, shorter)[0] == 1


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE slices SET features = features + 1 WHERE number = 1", "900 cases, of which 1 differ"),
        (
            "DELETE FROM units WHERE id = (SELECT min(id) FROM units WHERE slice = 0)",
            "inputs kept by them, of which 1 differ; ",
        ),
        (f"UPDATE findings SET minimized = minimized || ' ' WHERE {FIRST}", "1 differ in their first case"),
        (f"DELETE FROM findings WHERE {FIRST}", "1 differ in their first case"),
        ("UPDATE slices SET state = 'open'", "0 slices with 0 cases"),
    ],
)
def test_what_differs_is_found(statement: str, words: str, undisturbed: Path, copied: Callable[[], Path]) -> None:
    code, said = compare(undisturbed, change(copied(), CUT, statement), "--prefix")
    assert code == 1
    assert words in said


def test_campaigns_with_other_settings_are_not_compared(undisturbed: Path, copied: Callable[[], Path]) -> None:
    other = copied()
    (other / "endurance.json").write_text(json.dumps({"target": "all", "seed": 1, "cases": None}))
    code, said = compare(undisturbed, other, "--prefix")
    assert code == 2
    assert len(said.splitlines()) == 1
    shutil.rmtree(other)
    assert compare(undisturbed, other)[0] == 2
