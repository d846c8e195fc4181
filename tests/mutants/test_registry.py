"""The registry: what it says of each mutant, and that each mutant really changes something."""

import re
from collections import Counter
from pathlib import Path

import pytest
from tests.mutants.comparing import SHOWN_BY, differs, family_of, shown, unchanged

from worldswitch.errors import InputError
from worldswitch.machine.run import run_plan
from worldswitch.mutants.hunt import PLANTED_FINDINGS, PROGRAM_FINDINGS, expected, target_of
from worldswitch.mutants.model import FAMILIES, GROUNDS, NESTED, SAME, SEQUENCE, Mutant, Replacement
from worldswitch.mutants.planting import module_of, planted
from worldswitch.mutants.registry import BY_NAME, MUTANTS, find_mutant, path_of, select
from worldswitch.mutants.report import static
from worldswitch.nested.oracles.judge import NAMES as NESTED_NAMES
from worldswitch.oracles.judge import NAMES
from worldswitch.paths.catalogue import find
from worldswitch.rules.facts import known_ids

DOCUMENT = Path(__file__).parents[2] / "docs" / "mutants.md"
MODEL = [mutant for mutant in MUTANTS if mutant.replacements]
PATHS = [mutant for mutant in MUTANTS if mutant.path]


def named(mutants: list[Mutant]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("mutant", mutants, ids=[mutant.name for mutant in mutants])


def test_there_are_enough_of_every_family() -> None:
    real = Counter(mutant.family for mutant in MUTANTS if not mutant.equivalent)
    assert set(real) == set(FAMILIES)
    assert sum(real.values()) >= 60
    assert min(real.values()) >= 20
    assert len(BY_NAME) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_mutant_says_all_there_is_to_say(mutant: Mutant) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", mutant.name)
    assert mutant.about
    assert mutant.rules
    assert set(mutant.rules) <= set(known_ids())
    assert mutant.oracle in (NESTED_NAMES if mutant.family == NESTED else NAMES)
    assert mutant.grounds in (GROUNDS if mutant.equivalent else (SAME,))
    assert bool(mutant.why) != bool(mutant.equivalent)
    assert bool(mutant.replacements) != bool(mutant.path)
    assert mutant.subject == SEQUENCE or path_of(mutant.subject).lines
    assert not mutant.missing or mutant.missing in expected(mutant.subject)


def test_an_unknown_name_is_refused_and_a_near_one_named() -> None:
    with pytest.raises(InputError, match="did you mean sti-missing"):
        find_mutant("sti-mising")
    assert [mutant.name for mutant in select(["stgi-missing", "clgi-missing"])] == ["clgi-missing", "stgi-missing"]
    assert select([]) == list(MUTANTS)
    assert {mutant.family for mutant in select(["kernel"])} == {"kernel"}
    assert [mutant.name for mutant in select(["v-tpr-i*"])] == ["v-tpr-ignored"]
    with pytest.raises(InputError, match="no mutant matches"):
        select(["no-*-such"])


def test_the_document_is_of_these_mutants() -> None:
    """All but the measurements, which are those of whoever wrote it last: `worldswitch mutants --write`."""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert len(rows) == len(MUTANTS)
    for mutant in MUTANTS:
        assert [row for row in rows if row.startswith(static(mutant))], mutant.name
    assert not [row for row in rows if "| missed |" in row]
    assert not [line for line in lines if "NOT SILENT" in line]


@named(MODEL)
def test_a_replacement_names_something_that_is_there(mutant: Mutant) -> None:
    for replacement in mutant.replacements:
        module = module_of(replacement)
        right = getattr(module, replacement.name)
        with planted(mutant):
            assert getattr(module, replacement.name) is not right
        assert getattr(module, replacement.name) is right


@named(MODEL)
def test_a_mutant_changes_what_a_run_shows(mutant: Mutant) -> None:
    """But for those argued equivalent, of which some change nothing and others something that is disputed."""
    unchanged(mutant.subject, family_of(mutant))
    with planted(mutant):
        changed = differs(mutant)
    assert changed or mutant.equivalent


@pytest.mark.parametrize("name", SHOWN_BY)
def test_a_rare_mutant_is_shown_by_its_scenario(name: str) -> None:
    mutant = find_mutant(name)
    before = run_plan(shown(name))
    with planted(mutant):
        after = run_plan(shown(name))
    exits = [[(record.code, record.step) for record in run.recorder.exits] for run in (before, after)]
    handlers = [[(h.kind, h.vector, h.rip) for h in run.recorder.handlers] for run in (before, after)]
    ends = [(run.cpu.stop, run.cpu.tpr) for run in (before, after)]
    assert exits[0] != exits[1] or handlers[0] != handlers[1] or ends[0] != ends[1]


@named(PATHS)
def test_a_path_mutant_is_another_path(mutant: Mutant) -> None:
    assert mutant.path is not None
    path, base = mutant.path(), find(mutant.subject)
    assert path.name == mutant.name
    assert path.lines != base.lines
    assert (path.nmi_segments, path.intr_segments, path.hif, path.known) == (
        base.nmi_segments, base.intr_segments, base.hif, base.known,
    )  # fmt: skip


def test_what_is_replaced_is_restored_when_something_fails() -> None:
    mutant = find_mutant("sti-makes-no-shadow")
    (replacement,) = mutant.replacements
    right = getattr(module_of(replacement), replacement.name)
    with pytest.raises(RuntimeError), planted(mutant):
        raise RuntimeError
    assert getattr(module_of(replacement), replacement.name) is right


def test_a_second_replacement_that_fails_takes_the_first_back() -> None:
    (first,) = find_mutant("sti-makes-no-shadow").replacements
    right = getattr(module_of(first), first.name)
    broken = Replacement(first.module, "no_such_rule", lambda rule: rule)
    mutant = Mutant("broken", "processor", "", (), "", "", "", "linux-6.14", (first, broken))
    with pytest.raises(AttributeError), planted(mutant):
        pass
    assert getattr(module_of(first), first.name) is right


def test_a_compiled_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    (replacement,) = find_mutant("sti-makes-no-shadow").replacements
    monkeypatch.setattr(module_of(replacement), "__file__", "shadow.cpython-311-x86_64-linux-gnu.so")
    with pytest.raises(InputError, match="pure Python"), planted(find_mutant("sti-makes-no-shadow")):
        pass


@pytest.mark.parametrize("subject", [*PLANTED_FINDINGS, SEQUENCE])
def test_a_subject_shows_no_more_than_is_expected_of_it(subject: str) -> None:
    from worldswitch.fuzzing.local import explore

    base = BY_NAME.get(subject) or Mutant("none", "path", "", (), "", "", "", subject)
    target = target_of(base)
    found = {hit.finding.signature for _, judged in explore(target, 2500, 9, []) for hit in target.hits(judged)}
    assert found
    assert found <= (PLANTED_FINDINGS.get(subject) or PROGRAM_FINDINGS)
