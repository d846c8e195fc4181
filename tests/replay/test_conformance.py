"""The conformance rows on real implementations: the table of the documents is current, and every row in it was put."""

from pathlib import Path

import pytest
from tests.replay.marks import needs_bochs, needs_qemu

from worldswitch.core import shadow
from worldswitch.errors import InputError
from worldswitch.replay import conformance, qemu
from worldswitch.replay.answer import AGREE, DISAGREE, Answer, put
from worldswitch.replay.target import TARGETS

ROOT = Path(__file__).parents[2]
ROWS = ROOT / "tests" / "conformance"
COLUMNS = [TARGETS[on] for on in conformance.IMPLEMENTATIONS]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def test_the_document_is_current() -> None:
    """As far as the model decides it: which rows are comparable, and why the others are not."""
    document = (ROOT / "docs" / "replay.md").read_text(encoding="utf-8")
    columns = {target.profile: conformance.answers(ROWS, target) for target in COLUMNS}
    assert conformance.with_table(document, conformance.table(columns)) == document


def test_a_document_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(InputError, match="no place for the table"):
        conformance.with_table("# Replay", "| |")


def test_a_folder_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no scenario files of conformance rows"):
        conformance.answers(tmp_path, COLUMNS[0])


def replayed(on: str) -> list[Answer]:
    found = conformance.answers(ROWS, TARGETS[on])
    put(found, TARGETS[on], timeout=120)
    return found


def disagreeing(answers: list[Answer]) -> dict[str, list[str]]:
    return {a.scenario.file: [str(found) for found in a.disagreements] for a in answers if a.disagreements}


@needs_qemu
def test_qemu_agrees_in_every_row_that_is_comparable() -> None:
    if qemu.profile() != TARGETS["qemu"].profile:
        pytest.skip(f"QEMU {qemu.version()} has another profile")
    answers = replayed("qemu")
    assert disagreeing(answers) == {}
    assert sum(answer.verdict == AGREE for answer in answers) > len(answers) / 2


@needs_bochs
def test_bochs_agrees_in_every_row_that_is_comparable() -> None:
    answers = replayed("bochs")
    assert disagreeing(answers) == {}
    assert sum(answer.verdict == AGREE for answer in answers) > len(answers) / 2


@needs_qemu
def test_a_wrong_rule_shows_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "after_sti", lambda cpu, rflags: 0)
    answers = replayed("qemu")
    assert DISAGREE in {answer.verdict for answer in answers}
    assert "**disagrees:**" in conformance.table({"qemu": answers})
