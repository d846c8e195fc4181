from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.oracles.judging import NEW, OLD, TRACED

from worldswitch.core.isa import OP_CLGI, OP_CLI, OP_STGI, OP_STI
from worldswitch.kernel.calls import CALLS
from worldswitch.paths import mutation_table
from worldswitch.paths.catalogue import find
from worldswitch.paths.model import EntryPath
from worldswitch.paths.mutate import Mutant, duplicates, exchanges, mutants, removals, traced_helpers
from worldswitch.paths.mutation_table import Row, probes, problems, rows
from worldswitch.program.layout import find_landmarks
from worldswitch.result import execute, variants
from worldswitch.scenario.model import Scenario

ROOT = Path(__file__).parents[2]
BOTH = [OLD, NEW]
CALLS_THAT_COUNT = (
    "instrumentation_begin", "instrumentation_end", "trace_hardirqs_on_prepare", "lockdep_hardirqs_on_prepare",
    "guest_context_enter_irqoff", "lockdep_hardirqs_on", "lockdep_hardirqs_off", "guest_context_exit_irqoff",
    "trace_hardirqs_off_finish",
)  # fmt: skip


def texts(path: EntryPath) -> list[str]:
    return [line.instruction.text for line in path.lines]


def by_name(made: Iterator[Mutant], name: str) -> EntryPath:
    return next(mutant.path for mutant in made if mutant.name == name)


def labels(path: EntryPath) -> dict[str, str]:
    """Landmark to the text of its line."""
    return {name: texts(path)[number] for name, number in find_landmarks(path.lines).items()}


# --- the edits


@pytest.mark.parametrize("name", [*BOTH, TRACED])
def test_every_line_is_left_out_once(name: str) -> None:
    path = find(name)
    made = list(removals(path))
    assert [mutant.line for mutant in made] == list(range(len(path.lines)))
    for number, mutant in enumerate(made):
        assert texts(mutant.path) == [*texts(path)[:number], *texts(path)[number + 1 :]]


@pytest.mark.parametrize("name", [*BOTH, TRACED])
def test_names_are_unique_and_paths_are_left_as_they_are(name: str) -> None:
    before = find(name)
    made = list(mutants(before))
    assert len({mutant.name for mutant in made}) == len(made)
    assert len({mutant.path.name for mutant in made}) == len(made)
    assert find(name) == before
    assert all(mutant.path.lines != before.lines for mutant in made)
    assert all(mutant.path.known == before.known for mutant in made)


@pytest.mark.parametrize("name", BOTH)
def test_landmarks_survive(name: str) -> None:
    path = find(name)
    for mutant in mutants(path):
        missing = set(find_landmarks(path.lines)) - set(find_landmarks(mutant.path.lines))
        assert not missing or mutant.name == "remove vmrun", mutant.name


@pytest.mark.parametrize(
    ("name", "edit", "landmark", "text"),
    [
        (NEW, "remove clgi", "clgi", "traceable kvm_load_guest_xsave_state"),
        (NEW, "remove sti", "sti", "inline amd_clear_divider"),
        (NEW, "remove cli", "cli", "ret"),  # the next line is a landmark itself
        (NEW, "remove enter", "enter", "trace_hardirqs_on_prepare"),
        (NEW, "remove exit", "exit", "guest_context_exit_irqoff"),
        (NEW, "remove stgi", "stgi", "traceable sync_cr8_to_lapic"),
        (OLD, "remove sti", "sti", "mov guest GPRs"),  # before VMRUN: the next line is VMRUN
        (OLD, "remove cli", "cli", "pop svm"),
        (NEW, "exchange clgi", "clgi", "clgi"),  # named after its instruction: moves with it
        (NEW, "exchange enter", "enter", "trace_hardirqs_on_prepare"),  # a place: stays
        (NEW, "repeat sti", "sti", "raw_local_irq_enable"),
        (NEW, "trace cli", "cli", "irqs_disabled"),
    ],
)
def test_where_a_landmark_is_afterwards(name: str, edit: str, landmark: str, text: str) -> None:
    assert labels(by_name(mutants(find(name)), edit))[landmark] == text


def test_the_fixup_moves_with_its_instruction_and_noinstr_does_not() -> None:
    made = {mutant.name: mutant for mutant in exchanges(find(NEW))}

    def pair(name: str) -> list[tuple[str, bool, bool]]:
        lines = made[name].path.lines[made[name].line : made[name].line + 2]
        return [(line.instruction.text, line.fixup, line.noinstr) for line in lines]

    assert pair("exchange clgi+3") == [
        ("instrumentation_begin", False, False),
        ("inline x86_spec_ctrl_set_guest", False, True),
    ]
    assert pair("exchange clgi") == [
        ("traceable kvm_load_guest_xsave_state", False, False),
        ("clgi", True, False),
    ]


def test_the_traced_helpers() -> None:
    """S8-51, S8-52: taken apart into their steps, in .noinstr.text; the old path calls no helper."""
    enable, disable = traced_helpers(find(NEW))
    for mutant, steps in (
        (enable, ["trace_hardirqs_on", "sti"]),
        (disable, ["irqs_disabled", "cli", "trace_hardirqs_off_if_was_on"]),
    ):
        lines = mutant.path.lines[mutant.line : mutant.line + len(steps)]
        assert [line.instruction.text for line in lines] == steps
        assert all(line.noinstr for line in lines)
    assert list(traced_helpers(find(OLD))) == []


def test_both_traced_helpers_make_the_first_version_of_the_fix() -> None:
    enable, _ = traced_helpers(find(NEW))
    (both,) = traced_helpers(enable.path)
    assert texts(both.path) == texts(find(TRACED))


def test_duplicates_and_exchanges() -> None:
    path = find(NEW)
    assert len(list(duplicates(path))) == len(path.lines)
    assert texts(by_name(duplicates(path), "repeat stgi")).count("stgi") == 2
    assert len(list(exchanges(path))) == len(path.lines) - 1
    swapped = texts(by_name(exchanges(path), "exchange cli"))
    assert swapped.index("lockdep_hardirqs_off") + 1 == swapped.index("raw_local_irq_disable")


# --- the probing scenarios


@pytest.mark.parametrize(("name", "scenario"), probes())
def test_the_probes_do_what_they_say(name: str, scenario: Scenario) -> None:
    results = [execute(scenario, variant) for variant in variants(scenario, [])]
    assert {result.path for result in results} == set(BOTH)
    assert [str(failure) for result in results for failure in result.unmet] == [], name


# --- the table


def flat(path: str) -> list[Row]:
    return [row for group in rows(find(path)).values() for row in group]


def test_the_document_is_current() -> None:
    assert (ROOT / mutation_table.DOCUMENT).read_text(encoding="utf-8") == mutation_table.document()


def test_every_edit_is_caught_or_explained() -> None:
    assert problems() == []


@pytest.mark.parametrize("name", BOTH)
def test_every_instruction_and_call_that_matters_is_missed(name: str) -> None:
    """Leaving out any one of STI, CLI, CLGI, STGI, or a lockdep, tracing, context or instrumentation call is caught."""
    counted = {OP_STI, OP_CLI, OP_CLGI, OP_STGI, *(CALLS[call].op for call in CALLS_THAT_COUNT)}
    wanted = [number for number, line in enumerate(find(name).lines) if line.instruction.op in counted]
    left_out = rows(find(name))["One line left out"]
    assert [row.mutant.line for row in left_out] == wanted
    assert len(wanted) == 15
    assert [row.mutant.name for row in left_out if not row.signatures] == []


def test_the_traced_helpers_are_caught_by_noinstr() -> None:
    """S8-03."""
    swapped = rows(find(NEW))["The traced helper in place of the raw one"]
    assert [row.signatures for row in swapped] == [
        ("noinstr.call-to-trace-hardirqs-on.sti",),
        ("noinstr.call-to-trace-hardirqs-off.cli",),
    ]
    assert [row.warnings for row in swapped] == [(), ()]  # LD is on already: counted as redundant (T-152)


@pytest.mark.parametrize("name", BOTH)
def test_lockdep_alone_misses_most_of_it(name: str) -> None:
    """S8-61, S8-66: what lockdep warns of is what the facts say it does."""
    warned = {row.mutant.about.removesuffix(" left out"): row.warnings for row in rows(find(name))["One line left out"]}
    cli = "cli" if name == OLD else "raw_local_irq_disable"
    assert {call: causes for call, causes in warned.items() if causes} == {
        "lockdep_hardirqs_on_prepare": ("on-chain-key",),
        cli: ("off-with-irqs-enabled",),
        "lockdep_hardirqs_off": ("unannotated-irqs-off",),
    }


def test_what_nobody_explains_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    real = mutation_table.harmless()
    monkeypatch.setattr(mutation_table, "harmless", lambda: {**real, "no such edit": "none", "clgi left out": "fine"})
    found = problems()
    assert "harmless.toml: 'no such edit' is an edit of no path" in found
    assert any("clgi left out" in line and "is caught, and explained" in line for line in found)
    monkeypatch.setattr(mutation_table, "harmless", dict)
    assert all("neither caught nor explained" in line for line in problems())
    assert len(problems()) == len([row for name in BOTH for row in flat(name) if not row.signatures])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(tmp_path)]
    assert mutation_table.main(root) == 2
    assert "no checkout here" in capsys.readouterr().err
    (tmp_path / "pyproject.toml").touch()
    assert mutation_table.main(["--check", *root]) == 1
    assert "is not current" in capsys.readouterr().err
    assert mutation_table.main(root) == 0
    assert mutation_table.main(["--check", *root]) == 0
    document = tmp_path / mutation_table.DOCUMENT
    document.write_text(document.read_text(encoding="utf-8").replace("caught", "missed", 1), encoding="utf-8")
    assert mutation_table.main(["--check", *root]) == 1
