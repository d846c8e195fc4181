"""Section 11.1 to 11.7 of the facts, row by row, as scenario files.

A file is named by its row; what it expects comes from the row and the rules, never from the model.
"""

import difflib
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.mutations import MUTATIONS, Mutation

from worldswitch.core.bits import EXIT_INVALID
from worldswitch.core.options import BY_NAME
from worldswitch.core.record import Exit
from worldswitch.paths.catalogue import find
from worldswitch.result import Variant, execute, variants
from worldswitch.rules.facts import rows
from worldswitch.scenario.expect import Expect
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.read import read_scenario

HERE = Path(__file__).parent
FILES = {file.stem: file for file in sorted(HERE.glob("T-*.toml")) if file.stem < "T-160"}  # the rest: tests/nested
SECTIONS = [f"11.{number}" for number in range(1, 8)]
ROWS = {name: row for name, row in rows().items() if row.section in SECTIONS}

# "exit 4Dh", "no exit 4Dh", "exit -1", "EXITINTINFO=8000_0068h" in the text of a row
NUMBER = re.compile("(no )?(exit |EXITINTINFO=)([0-9A-F_]+(?=h)|\N{MINUS SIGN}1)")

# What disputed rows must assert: every value of these options, and these profiles.
DISPUTED = {
    "T-013": ("shadow_blocks_nmi", ()),
    "T-014": ("shadow_blocks_smi", ()),
    "T-026": ("gif0_breakpoint_db", ("kvm",)),
    "T-076": ("guest_shadow_blocks_intercepted_intr", ("kvm", "qemu-10", "bochs-2.7")),
    "T-099": ("exitintinfo_on_df_exit", ("bochs-2.7",)),
    "T-143": ("vmrun_intercept_before_rax_gp", ("bochs-2.7",)),
}

MUTANT_PATHS = {
    "no-sti": ({"raw_local_irq_enable"}, set()),
    "early-sti": (set(), set()),
    "late-clgi": (set(), set()),
    "clgi-in-shadow": (set(), set()),
    "no-prepare": ({"lockdep_hardirqs_on_prepare"}, set()),
    "no-prepare-locked": ({"lockdep_hardirqs_on_prepare"}, {"lock_acquire", "lock_release"}),
    "lock-in-gap": (set(), {"instrumentation_begin", "lock_acquire", "lock_release", "instrumentation_end"}),
    "popf-tf": (set(), {"popf if,tf"}),
}
"""Path file to the steps of linux-6.14 that it lacks, and those it has in addition."""


@cache
def scenario(name: str) -> Scenario:
    return read_scenario(FILES[name])


def row_of(name: str) -> str:
    return name[: len("T-000")]


def runs() -> list[Any]:
    found = []
    for name in FILES:
        for variant in variants(scenario(name), []):
            words = [Path(variant.path).stem, variant.profile, *("=".join(pair) for pair in variant.options)]
            found.append(pytest.param(name, variant, id=" ".join([name, *filter(None, words)])))
    return found


def unmet(name: str) -> list[str]:
    """The assertions that fail, over all variants of a file."""
    found = scenario(name)
    return [str(failure) for variant in variants(found, []) for failure in execute(found, variant).unmet]


def tables(name: str) -> list[Expect]:
    found = [variant.expect for variant in variants(scenario(name), [])]
    return [expect for expect in found if expect]


@pytest.mark.parametrize(("name", "variant"), runs())
def test_row(name: str, variant: Variant) -> None:
    result = execute(scenario(name), variant)
    assert result.expect is not None
    assert not result.unmet, "\n".join(map(str, result.unmet))


def test_the_facts_have_the_rows() -> None:
    assert {row.section for row in ROWS.values()} == set(SECTIONS)
    assert len(ROWS) == 100
    assert "T-001" in ROWS
    assert "T-158" in ROWS


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_a_file(row: str) -> None:
    assert [name for name in FILES if row_of(name) == row]


@pytest.mark.parametrize("name", FILES)
def test_a_file_belongs_to_a_row_and_asserts_what_happens(name: str) -> None:
    assert row_of(name) in ROWS
    assert scenario(name).about.startswith(row_of(name))
    for expect in tables(name):
        assert expect.exits is not None or expect.handlers is not None


def test_certain_and_likely_rows_hold_for_the_default_profile() -> None:
    about_emulators = {"T-134", "T-135"}
    for row, facts in ROWS.items():
        if row not in about_emulators and facts.confidence != "uncertain":
            own = [scenario(name) for name in FILES if row_of(name) == row]
            assert any(
                found.profile == "amd" and not found.options and found.expect.base for found in own if found.expect
            )


def test_disputed_rows_assert_every_value() -> None:
    disputed = {row for row, facts in ROWS.items() if "disputed" in facts.confidence or "differs" in facts.confidence}
    assert disputed == set(DISPUTED)
    for row, (option, profiles) in DISPUTED.items():
        expect = scenario(row).expect
        assert expect is not None
        assert expect.base is not None
        asserted = {value for name, value in expect.options if name == option}
        default = BY_NAME[option].default
        # Two values of this option differ with V_INTR_MASKING=0 only (S8-91).
        expected = set(BY_NAME[option].values) - {default} - ({"never"} if row == "T-076" else set())
        assert asserted == expected
        assert set(expect.profile) >= set(profiles)


def test_uncertain_rows_leave_open_what_nobody_knows() -> None:
    uncertain = [name for name in FILES if "uncertain" in ROWS[row_of(name)].confidence]
    assert uncertain == ["T-130", "T-131"]
    for name in uncertain:
        for expect in tables(name):
            assert expect.exits
            assert all("int_state" not in record for record in expect.exits)
            assert expect.findings is None


@pytest.mark.parametrize("row", [name for name, row in ROWS.items() if NUMBER.search(row.expected)])
def test_the_numbers_in_a_row_are_those_of_its_runs(row: str) -> None:
    default: list[Exit] = []
    other: list[Exit] = []
    for name in FILES:
        if row_of(name) == row:
            for variant in variants(scenario(name), []):
                exits = execute(scenario(name), variant).run.recorder.exits
                (other if variant.profile or variant.options else default).extend(exits)
    for negation, what, digits in NUMBER.findall(ROWS[row].expected):
        number = EXIT_INVALID if digits == "\N{MINUS SIGN}1" else int(digits.replace("_", ""), 16)
        attribute = "code" if what == "exit " else "exitintinfo"
        if negation:
            assert number not in [getattr(record, attribute) for record in default]
        else:
            assert number in [getattr(record, attribute) for record in default + other]


@pytest.mark.parametrize("name", MUTANT_PATHS)
def test_a_mutant_path_is_linux_6_14_but_for_one_change(name: str) -> None:
    removed, added = MUTANT_PATHS[name]
    original = [line.instruction.text for line in find("linux-6.14").lines]
    mutant = [line.instruction.text for line in find(str(HERE / "paths" / f"{name}.toml")).lines]
    assert mutant != original
    assert set(original) - set(mutant) <= removed
    difference = list(difflib.ndiff(original, mutant))
    out = [line[2:] for line in difference if line.startswith("- ")]
    new = [line[2:] for line in difference if line.startswith("+ ")]
    moved = {step for step in out if step in new}
    assert (set(out) - moved, set(new) - moved) == (removed, added)
    assert bool(moved) == (not removed and not added)


def test_every_path_file_is_used() -> None:
    used = {Path(found.path).stem for found in map(scenario, FILES) if found.path.endswith(".toml")}
    assert used == set(MUTANT_PATHS) == {file.stem for file in (HERE / "paths").glob("*.toml")}


@pytest.mark.pure_core
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.about)
def test_rows_are_not_vacuous(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = getattr(mutation.module, mutation.name)
    monkeypatch.setattr(mutation.module, mutation.name, mutation.make(rule))
    survivors = [name for name in mutation.rows.split() if not unmet(name)]
    assert not survivors


def test_every_file_falls_to_some_mutation() -> None:
    assert {name for mutation in MUTATIONS for name in mutation.rows.split()} == set(FILES)
