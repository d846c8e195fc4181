"""Binaries that nobody here built: Debian's kernels and Xen, as ``scripts/fetch-binaries`` fetches them.

A binary that is not there is skipped, unless WORLDSWITCH_BINARIES_REQUIRED names it: then it is missed.
"""

import os
from functools import cache
from pathlib import Path

import pytest
from tests.importer.verdicts import BLEED, golden

from worldswitch.core.bits import EVENT_V
from worldswitch.fuzzing.local import explore
from worldswitch.fuzzing.targets import Configuration, Target
from worldswitch.importer.importing import Imported, Request, import_path
from worldswitch.program.layout import find_landmarks

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("WORLDSWITCH_BINARIES") or ROOT / ".cache" / "binaries")
REQUIRED = os.environ.get("WORLDSWITCH_BINARIES_REQUIRED", "").split()

KERNELS = ("linux-5.10", "linux-6.1", "linux-6.12", "linux-newest")
FIXED = KERNELS[1:]
XENS = ("xen-4.14", "xen-4.17", "xen-4.20")
CASES = 400
BLEED_AGAIN = "shadow-bleed.unexplained-shadow.reloaded"


def file_of(name: str) -> Path:
    files = [file for file in sorted((CACHE / name).glob("*")) if file.name != "package"]
    if not files:
        if name in REQUIRED:
            pytest.fail(f"{name} is not in {CACHE}: scripts/fetch-binaries {name}")
        pytest.skip(f"{name} is not in {CACHE}: scripts/fetch-binaries {name}")
    return files[0]


@cache
def _import(file: Path, sev_es: bool, cpu_features: str) -> Imported:
    return import_path(Request(str(file), sev_es=sev_es, cpu_features=cpu_features))


def imported(name: str, sev_es: bool = False, cpu_features: str = "zen5") -> Imported:
    return _import(file_of(name), sev_es, cpu_features)


@pytest.mark.parametrize("name", [*KERNELS, *XENS])
def test_everything_is_classified(name: str) -> None:
    assert imported(name).doubts == []


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_do_not_bleed(name: str) -> None:
    assert golden(imported(name).path) == ([0], [])
    assert imported(name).findings == ()
    assert imported(name).turns == []


def test_vmload_ate_the_shadow_in_5_10() -> None:
    result = imported("linux-5.10")
    texts = [row.text.split()[0] for row in result.rows]
    sti = texts.index("sti")
    assert texts[sti : sti + 4] == ["sti", "vmload", "jmp", "vmrun"]  # entry-paths.md, linux-5.9
    assert result.gap == 2
    assert texts.index("cli") > texts.index("vmsave")


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("sev_es", [False, True])
def test_fixed_kernels_set_if_in_c(name: str, sev_es: bool) -> None:
    """be45bc4eff33: clgi, enter, sti, the assembly with vmrun, cli, exit, stgi."""
    result = imported(name, sev_es)
    places = find_landmarks(result.path.lines)
    order = ["clgi", "enter", "sti", "vmrun", "cli", "exit", "stgi"]
    assert sorted(order, key=lambda mark: places[mark]) == order
    assert result.chain[:2] == ("svm_vcpu_run", "svm_vcpu_enter_exit")
    assert result.chain[-1] == ("__svm_sev_es_vcpu_run" if sev_es else "__svm_vcpu_run")
    by_row = {row.text: row.step.function.name for row in result.rows if row.step}
    assert by_row["sti"] == by_row["cli"] == "svm_vcpu_enter_exit"
    assert golden(result.path) == ([0], [])


@pytest.mark.parametrize("name", FIXED)
def test_buffers_are_cleared_right_before_vmrun(name: str) -> None:
    for cpu_features, clears in (("zen4", True), ("zen5", False)):
        texts = [row.text.split()[0] for row in imported(name, cpu_features=cpu_features).rows]
        assert (texts[texts.index("vmrun") - 1] == "verw") == clears


@pytest.mark.parametrize("name", KERNELS)
def test_every_svm_instruction_of_a_kernel_has_a_fixup(name: str) -> None:
    """S7-08."""
    rows = [row for row in imported(name).rows if row.text.startswith(("vm", "clgi", "stgi"))]
    assert len(rows) == 6 if name != "linux-5.10" else 5
    assert all(row.fixup for row in rows)


@pytest.mark.parametrize("name", KERNELS)
def test_distributions_have_no_lockdep(name: str) -> None:
    assert imported(name).path.system == "none"


def test_xen_4_14_bleeds() -> None:
    result = imported("xen-4.14")
    assert result.gap == 0
    assert golden(result.path) == ([1], [BLEED])


def test_verw_ends_the_shadow_in_xen_4_17() -> None:
    """Whether to clear buffers is tested between STI and VMRUN."""
    result = imported("xen-4.17")
    texts = [row.text.split()[0] for row in result.rows]
    assert texts[texts.index("vmrun") - 4 : texts.index("vmrun")] == ["sti", "test", "je", "verw"]
    assert golden(result.path) == ([0], [])
    assert result.turns == []


def test_early_sti_keeps_the_later_one_from_having_a_shadow_in_xen_4_20() -> None:
    result = imported("xen-4.20")
    assert result.gap == 0
    assert golden(result.path) == ([0], [])
    assert [turn.findings for turn in result.turns] == [(BLEED,)]


@pytest.mark.parametrize("name", [*KERNELS, *XENS])
def test_fuzzed_like_any_other_path(name: str, tmp_path: Path) -> None:
    """As the path file that the command writes; what is found is what the generation has, and nothing else."""
    file = tmp_path / f"{name}.toml"
    file.write_text(imported(name).text, encoding="utf-8")
    target = Target(Configuration("world-switch", (str(file),)))
    runs = [judged for _, case in explore(target, CASES, 1, []) for judged in case]
    found = {finding.signature for judged in runs for finding in judged.verdict.findings}
    assert found == ({BLEED, BLEED_AGAIN} if name == "xen-4.14" else set())
    exits = [record for judged in runs for record in judged.run.recorder.exits]
    during = [record for record in exits if record.exitintinfo & EVENT_V and not record.entry.retired]
    assert len(during) > CASES // 20  # exits at which a shadow would have bled
