"""Every path of the catalogue: read, executed, and judged as its row of the expected verdicts says."""

import functools
from importlib import resources

import pytest

from worldswitch.fuzzing import matrix
from worldswitch.fuzzing.local import explore
from worldswitch.fuzzing.matrix import DOCUMENTED, FINDING, NOT_APPLICABLE, OK, check, document, row, shipped
from worldswitch.fuzzing.targets import Configuration, Target
from worldswitch.fuzzing.verdicts import Verdicts, read_verdicts
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import run_plan
from worldswitch.oracles.judge import NAMES, judge
from worldswitch.paths.catalogue import find, names
from worldswitch.paths.model import EntryPath
from worldswitch.paths.mutation_table import probes
from worldswitch.paths.write import format_path
from worldswitch.report.listing import gap, walk
from worldswitch.text.read import loads

CASES = 300

# The rows of the reference table of entry paths: whether anything stands between STI and VMRUN there.
ADJACENT = {
    "linux-5.11-sev-es", "linux-5.13", "linux-5.13-sev-es", "linux-6.1", "linux-6.1-sev-es", "linux-6.6-verw",
    "linux-6.6-verw-sev-es", "xen-4.12", "bareflank", "ramooflax", "bitvisor-nested-32",
}  # fmt: skip
SEPARATED = {
    "linux-pre-asm", "linux-5.9", "linux-6.14", "linux-6.14-sev-es", "linux-7.x", "linux-7.x-sev-es", "linux-fix-v1",
    "linux-fix-v1-sev-es", "xen-4.21", "vmware", "bitvisor-nested", "virtualbox", "nova", "arceos", "kvm-unit-tests",
}  # fmt: skip
NO_STI = {
    "xen-2008", "bitvisor", "bhyve", "illumos", "nvmm-2018", "openbsd", "managarm", "xvisor", "palacios", "jailhouse",
    "simplesvm", "noirvisor", "xmhf",
}  # fmt: skip


@functools.cache
def expected() -> Verdicts:
    text = (resources.files("worldswitch.fuzzing") / "verdicts-all.toml").read_text(encoding="utf-8")
    return read_verdicts(loads(text, "verdicts-all.toml"))


@functools.cache
def signatures(name: str) -> frozenset[str]:
    """Everything seen on the probing scenarios and on seeded cases."""
    found: set[str] = set()
    for _, scenario in probes():
        found.update(f.signature for f in judge(run_plan(compile_scenario(scenario, name))).findings)
    for _, judged in explore(Target(Configuration("world-switch", (name,))), CASES, 1, []):
        found.update(f.signature for f in judged[0].verdict.findings)
    return frozenset(found)


def test_every_row_of_the_table_is_in_the_catalogue() -> None:
    assert set(names()) == ADJACENT | SEPARATED | NO_STI
    assert set(expected().paths) == set(names())


@pytest.mark.parametrize("name", names())
def test_the_gap_is_that_of_the_table(name: str) -> None:
    between = gap(walk(find(name)))
    if name in NO_STI:
        assert between is None
    else:
        assert between is not None
        assert (between == 0) == (name in ADJACENT)


@pytest.mark.parametrize("name", names())
def test_a_path_shows_what_its_row_expects_and_nothing_else(name: str) -> None:
    assert signatures(name) <= expected().paths[name]


@pytest.mark.parametrize("name", names())
def test_a_path_bleeds_if_and_only_if_vmrun_follows_sti(name: str) -> None:
    assert any(s.startswith("shadow-bleed.") for s in signatures(name)) == (name in ADJACENT)


def test_the_bug_came_with_the_move_of_vmload_and_for_sev_es_guests_before_it() -> None:
    bleeding = {
        name: "shadow-bleed.unexplained-shadow.injection" in signatures(name)
        for name in ("linux-pre-asm", "linux-5.9", "linux-5.11-sev-es", "linux-5.13", "linux-6.1", "linux-6.14")
    }
    assert bleeding == {
        "linux-pre-asm": False, "linux-5.9": False, "linux-5.11-sev-es": True, "linux-5.13": True, "linux-6.1": True,
        "linux-6.14": False,
    }  # fmt: skip


@pytest.mark.parametrize("path", ["linux-5.9~remove@sti+1~remove@sti+1", "linux-5.9~move@sti+1:sti~remove@sti+1"])
def test_it_is_vmload_that_kept_linux_5_9_from_it(path: str) -> None:
    """Without VMLOAD and the jump, or with VMLOAD before STI as fb0c4a4fee5a has it, the same path bleeds."""
    scenario = next(s for name, s in probes() if name == "injection-npf")
    assert [f.oracle for f in judge(run_plan(compile_scenario(scenario, path))).findings] == ["shadow-bleed"]


@pytest.mark.parametrize("path", ["linux-5.9~remove@sti+1", "linux-5.9~remove@sti+2"])
def test_either_of_the_two_instructions_is_enough(path: str) -> None:
    assert not run_plan(compile_scenario(probes()[2][1], path)).recorder.exits[0].int_state


@pytest.mark.parametrize("name", names())
def test_a_path_runs_from_before_clgi_to_after_stgi(name: str) -> None:
    path = find(name)
    run = run_plan(compile_scenario(probes()[3][1], path))
    assert run.recorder.entries, "the guest ran"
    assert path.sources
    ops = [line.instruction.text.split()[0] for line in path.lines]
    assert ops.count("vmrun") == 1
    if path.entry_gif:
        assert ops.index("clgi") < ops.index("vmrun") < ops.index("stgi")


@pytest.mark.parametrize("name", names())
def test_the_files_are_canonical(name: str) -> None:
    file = resources.files("worldswitch.paths") / "data" / f"{name}.toml"
    text = file.read_text(encoding="utf-8")
    assert format_path(loads(text, name)) == text


@pytest.mark.parametrize("name", [n for n in names() if not n.startswith("linux-")])
def test_oracles_of_linux_do_not_apply_elsewhere(name: str) -> None:
    for oracle in ("lockdep-if-mismatch", "lockdep-order", "noinstr", "kernel-entry"):
        assert shipped()[name].cell(oracle) == NOT_APPLICABLE


def test_the_shipped_matrix_is_current() -> None:
    assert matrix.main(["--check"]) == 0


def test_the_matrix_survives_its_file() -> None:
    rows = shipped()
    assert document(rows) == (resources.files("worldswitch.fuzzing") / "matrix.toml").read_text(encoding="utf-8")


def path_of(*lines: str) -> EntryPath:
    listing = "\n".join(lines)
    return read(f'format = 1\nname = "mine"\nsystem = "none"\nlisting = """\n{listing}\n"""\n')


def read(text: str) -> EntryPath:
    from worldswitch.paths.model import read_path

    return read_path(loads(text))


def test_cells_tell_findings_from_documented_ones() -> None:
    bad = check(path_of("sti", "vmrun", "cli"), cases=0)
    assert bad.cell("shadow-bleed") == FINDING
    assert bad.cell("nmi-exposure") == FINDING
    assert bad.cell("lockdep-order") == NOT_APPLICABLE
    good = check(path_of("clgi", "sti", "nop", "vmrun", "cli", "stgi"), cases=0)
    assert [good.cell(name) for name in NAMES if good.cell(name) != NOT_APPLICABLE] == [OK] * 6
    assert shipped()["bareflank"].cell("end-state") == DOCUMENTED


def test_a_path_of_ones_own_is_checked_when_it_is_asked_for() -> None:
    own = path_of("clgi", "sti", "vmrun", "cli", "stgi")
    assert row(own).cell("shadow-bleed") == FINDING
    assert row(find("linux-6.14~move@sti:vmrun")).cell("shadow-bleed") == FINDING
    assert row(find("linux-6.14")).cell("shadow-bleed") == OK
