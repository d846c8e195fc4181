"""``docs/format.md`` describes every name of the format, and nothing that does not exist."""

from pathlib import Path

import pytest

from worldswitch.core.isa import VOCABULARY
from worldswitch.core.options import PROFILES, TABLE
from worldswitch.kernel.calls import CALLS, EXPANSIONS
from worldswitch.machine import observe
from worldswitch.program.instruction import FAULTS
from worldswitch.program.layout import LANDMARKS
from worldswitch.report import words
from worldswitch.report.reference import documents, format_page, main
from worldswitch.scenario.fields import FIELDS, Field
from worldswitch.scenario.model import EVENT_KINDS, MAX_EVENTS
from worldswitch.scenario.places import MAX_ROUNDS, parse_place

PAGE = format_page()


def rows_starting(cell: str) -> list[str]:
    return [line for line in PAGE.splitlines() if line.startswith(f"| `{cell}` |")]


@pytest.mark.parametrize("name", [*VOCABULARY, *CALLS, *EXPANSIONS])
def test_every_instruction_and_call_is_there(name: str) -> None:
    assert f"`{name}`" in PAGE.partition("## 1. ")[2].partition("### 1.3")[0]


def test_the_vocabulary_is_section_1() -> None:
    assert PAGE.index("## 1. Programs") < PAGE.index("## 2. ")


@pytest.mark.parametrize("name", [*LANDMARKS, *EVENT_KINDS, *FAULTS, *(option.name for option in TABLE), *PROFILES])
def test_every_name_has_a_row(name: str) -> None:
    assert rows_starting(name)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_field_has_a_row_with_its_rule(field: Field) -> None:
    section = PAGE.partition(f"### [{field.table}]")[2].partition("\n### ")[0]
    (row,) = (line for line in section.splitlines() if line.startswith(f"| `{field.key}` |"))
    assert field.rules in row


@pytest.mark.parametrize(
    ("described", "observables"),
    list(zip(words.OBSERVABLES.values(), (observe.EXIT, observe.HANDLER, observe.FINAL, observe.WARNING), strict=True)),
)
def test_the_observables_are_those_that_expect_takes(described: dict[str, str], observables: dict[str, object]) -> None:
    assert {"exit_code" if key == "code" else key for key in described} == set(observables)


def test_the_words_for_names_are_of_names_that_exist() -> None:
    assert set(words.FAULT_WORDS) == set(FAULTS)
    assert set(words.LANDMARK_WORDS) == set(LANDMARKS)
    assert set(words.EVENT_WORDS) == set(EVENT_KINDS)
    assert set(words.OPERANDS) >= {mnemonic.operand for mnemonic in VOCABULARY.values()}


def test_the_arrival_points_that_it_shows_can_be_written() -> None:
    table = PAGE.partition("## 2. Arrival points")[2].partition("| landmark |")[0]
    shown = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert len(shown) > 4
    for cell in shown:
        for place in cell.replace("`", "").split(", "):
            assert str(parse_place(place.strip())).lower() == place.strip().lower()


def test_the_limits_that_it_states_are_those_of_the_reader() -> None:
    assert f"at most {MAX_EVENTS}" in PAGE
    assert f"1 to {MAX_ROUNDS}: how often" in PAGE


def test_check_compares_and_writing_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(tmp_path)]) == 1
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == documents()
    (tmp_path / "format.md").write_text("edited")
    capsys.readouterr()
    assert main(["--check", str(tmp_path)]) == 1
    assert capsys.readouterr().out == f"{tmp_path}/format.md is not current\n"
