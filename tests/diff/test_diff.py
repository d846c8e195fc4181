"""``worldswitch diff``: every claim holds for the commit, and each fails for a pair that it is not true of."""

import functools
import json
from pathlib import Path

import pytest
from tests.commands.conftest import Cli

from worldswitch.diff.aspects import ASPECTS, Aspect, compare
from worldswitch.diff.claims import CLAIMS, HOLDS, NOT_APPLICABLE, REFUTED, Claim
from worldswitch.diff.side import Side
from worldswitch.paths.catalogue import find
from worldswitch.paths.model import read_path
from worldswitch.text.read import loads

BEFORE, AFTER = "linux-6.1", "linux-6.14"
NO_SVM = "no-svm"
LONG = f"{AFTER}~insert@vmrun:nop~insert@clgi+1:nop~insert@enter:nop~insert@stgi+1:nop"

# For each claim a pair of paths of which it is not true.
MUTANTS = {
    "out-of-shadow": [(BEFORE, f"{AFTER}~move@sti:vmrun"), (AFTER, AFTER)],
    "bleeds": [(BEFORE, f"{AFTER}~move@sti:vmrun"), (f"{BEFORE}~insert@vmrun:nop", AFTER)],
    "only-injection": [(f"{BEFORE}~insert@vmrun:nop", AFTER)],
    "transient": [(f"{BEFORE}~insert@vmrun:nop", AFTER)],
    "not-in-hlt": [(f"{BEFORE}~insert@vmrun:nop", AFTER)],
    "forces-exit": [(f"{BEFORE}~insert@vmrun:nop", AFTER)],
    "visible-to-l1": [(BEFORE, BEFORE), (BEFORE, f"{AFTER}~move@sti:vmrun"), (AFTER, AFTER)],
    "around-guest-state": [
        (BEFORE, f"{AFTER}~move@sti:enter"),
        (BEFORE, f"{AFTER}~exchange@sti"),
        (BEFORE, f"{AFTER}~move@cli:exit+1"),
        (BEFORE, BEFORE),
    ],
    "lockdep-informed": [(BEFORE, f"{AFTER}~move@sti:enter"), (BEFORE, f"{AFTER}~remove@cli")],
    "fault-with-if": [(BEFORE, f"{AFTER}~remove@sti"), (f"{BEFORE}~remove@sti", AFTER)],
    "nmis-blocked": [(BEFORE, f"{AFTER}~remove@clgi"), (f"{BEFORE}~remove@clgi", f"{AFTER}~remove@clgi")],
    "irqs-blocked": [
        (BEFORE, f"{AFTER}~remove@clgi"),
        (AFTER, BEFORE),
        (f"{BEFORE}~remove@clgi", f"{AFTER}~remove@clgi"),
    ],
    "only-exceptions": [(BEFORE, f"{AFTER}~remove@clgi"), (AFTER, AFTER)],
    "exceptions-fatal": [(BEFORE, NO_SVM)],
    "kvm-rebooting": [(BEFORE, f"{AFTER}~insert@vmrun:vmload"), (BEFORE, f"{AFTER}~remove@cli")],
    "raw-variants": [(BEFORE, "linux-fix-v1"), (BEFORE, f"{AFTER}~trace@cli")],
    "helpers-trace": [
        (BEFORE, f"{AFTER}~remove@enter+1"),
        (BEFORE, f"{AFTER}~remove@exit+3"),
        (BEFORE, "linux-fix-v1"),
    ],
    "why-sti": [(BEFORE, f"{AFTER}~remove@sti"), (f"{BEFORE}~remove@sti", AFTER)],
}


@functools.cache
def side(name: str) -> Side:
    if name == NO_SVM:
        listing = "clgi\nsti\nmov\ncli\nstgi"
        return Side(read_path(loads(f'format = 1\nname = "{NO_SVM}"\nlisting = """\n{listing}\n"""\n')))
    return Side(find(name))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_every_claim_holds_for_the_commit(claim: Claim) -> None:
    outcome = claim.check(side(BEFORE), side(AFTER))
    assert outcome.result == HOLDS, outcome.evidence


def test_every_claim_has_a_pair_that_refutes_it() -> None:
    assert set(MUTANTS) == {claim.name for claim in CLAIMS}


@pytest.mark.parametrize(
    ("name", "first", "second"), [(name, *pair) for name, pairs in MUTANTS.items() for pair in pairs]
)
def test_a_claim_that_is_not_true_does_not_hold(name: str, first: str, second: str) -> None:
    claim = next(claim for claim in CLAIMS if claim.name == name)
    outcome = claim.check(side(first), side(second))
    assert outcome.result == REFUTED, outcome.evidence


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_every_claim_holds_for_encrypted_guests(claim: Claim) -> None:
    """The commit moves STI and CLI in the one C function that both entries share."""
    outcome = claim.check(side(f"{BEFORE}-sev-es"), side(f"{AFTER}-sev-es"))
    assert outcome.result == HOLDS, outcome.evidence


@pytest.mark.parametrize("name", ["only-injection", "not-in-hlt", "forces-exit"])
def test_what_is_benign_is_so_because_of_the_injection(name: str) -> None:
    """QEMU 7.2 leaks the shadow whatever is injected (10.1): there it meets HLT, and L0 holds an interrupt back."""
    claim = next(claim for claim in CLAIMS if claim.name == name)
    before, after = (Side(find(path), "qemu-7.2") for path in (BEFORE, AFTER))
    outcome = claim.check(before, after)
    assert outcome.result == REFUTED
    evidence = {"only-injection": "3 otherwise", "not-in-hlt": "1 with the bit", "forces-exit": "changed 1 decision"}
    assert evidence[name] in outcome.evidence


def aspects(first: str, second: str) -> dict[str, Aspect]:
    return {aspect.name: aspect for aspect in compare(side(first), side(second))}


def test_what_the_fix_changes_and_what_not() -> None:
    changed = {name for name, aspect in aspects(BEFORE, AFTER).items() if not aspect.same}
    assert changed == {
        "gap", "VMRUN in an STI shadow", "result: exit during injection", "executed with IF=1 and GIF=0",
        "exception handlers see", "a fault on the path", "kvm_rebooting: faults, GIF=0", "kvm_rebooting: CLGI skipped",
    }  # fmt: skip


def test_the_stretch_with_if_set_is_what_stands_between() -> None:
    found = aspects(BEFORE, AFTER)["executed with IF=1 and GIF=0"]
    assert found.first == "2 instructions (vmrun to cli)"
    lines = find(AFTER).lines
    texts = [line.instruction.text for line in lines]
    length = texts.index("raw_local_irq_disable") - texts.index("raw_local_irq_enable")
    assert found.second == f"{length} instructions (inline amd_clear_divider to raw_local_irq_disable)"


def test_kvm_rebooting_has_its_own_line() -> None:
    found = aspects(BEFORE, AFTER)["kvm_rebooting: CLGI skipped"]
    assert found.first.startswith("INTR after vmrun: IF=1 lockdep=on context=guest;")
    assert found.second.startswith("INTR after sti, vmrun, vmexit: IF=1 lockdep=on context=guest;")


def test_a_path_differs_from_itself_in_nothing() -> None:
    for name in ("linux-6.1", "xen-4.12", "jailhouse", "linux-pre-asm"):
        assert all(aspect.same for aspect in compare(side(name), Side(find(name))))


def test_oracles_that_do_not_apply_say_so() -> None:
    found = aspects("xen-4.12", "xen-4.21")
    assert "no lockdep" in found["lockdep's view"].first
    assert "not applicable" in found["noinstr"].first
    assert "not applicable" in found["kvm_rebooting: CLGI skipped"].first
    assert found["result: exit during injection"].first != found["result: exit during injection"].second
    claim = next(claim for claim in CLAIMS if claim.name == "lockdep-informed")
    assert claim.check(side("xen-4.12"), side("xen-4.21")).result == NOT_APPLICABLE


def test_lockdep_and_noinstr_show_what_is_wrong() -> None:
    assert "warns: " in aspects(BEFORE, f"{AFTER}~move@sti:enter")["lockdep's view"].second
    assert "noinstr.call-to-trace-hardirqs-on.sti" in aspects(BEFORE, "linux-fix-v1")["noinstr"].second
    assert aspects(BEFORE, f"{AFTER}~remove@sti")["result: idle guest"].second == "an INTR never gets out of the guest"


def test_the_command_prints_both(cli: Cli) -> None:
    shown = cli("diff", BEFORE, AFTER)
    assert shown.code == 0
    for name, _, _ in ASPECTS:
        assert name.split()[0] in shown.out
    assert shown.out.count("    holds: ") == len(CLAIMS)


@pytest.mark.parametrize("pair", [(BEFORE, AFTER), ("xen-4.12", "xen-4.21"), (BEFORE, LONG)])
def test_the_text_fits_a_cover_letter(cli: Cli, pair: tuple[str, str]) -> None:
    shown = cli("diff", *pair, "--claims")
    assert max(len(line) for line in shown.out.splitlines()) <= 75


def test_another_processor(cli: Cli) -> None:
    shown = cli("diff", BEFORE, AFTER, "--profile", "amd-noquirk")
    assert shown.code == 1
    assert shown.out.startswith("on the processor with profile amd-noquirk\n")
    assert "DOES NOT HOLD: int_state of the exit: 0 before, 0 after" in shown.out
    parsed = json.loads(cli("diff", BEFORE, AFTER, "--set", "bleed_sti_shadow=off", "--json").out)
    assert parsed["options"] == {"bleed_sti_shadow": "off"}
    assert "unknown" in cli("diff", BEFORE, AFTER, "--profile", "i486").err


def test_the_command_as_json_and_markdown(cli: Cli) -> None:
    parsed = json.loads(cli("diff", BEFORE, AFTER, "--json").out)
    assert parsed["paths"] == [BEFORE, AFTER]
    assert [claim["result"] for claim in parsed["claims"]] == [HOLDS] * len(CLAIMS)
    lines = cli("diff", BEFORE, AFTER, "--markdown").out.splitlines()
    columns = {line.count("|") - line.count("\\|") for line in lines if line}
    assert columns == {5}
    assert len(lines) == 2 + len(ASPECTS) + 1 + 2 + len(CLAIMS)


def test_claims_are_checked_where_asked_for_and_fail_the_command(cli: Cli) -> None:
    assert "be45bc4eff33" not in cli("diff", "xen-4.12", "xen-4.21").out
    shown = cli("diff", BEFORE, f"{AFTER}~move@sti:vmrun", "--claims")
    assert shown.code == 1
    assert (
        "VMRUN is no longer executed in an STI shadow.\n    DOES NOT HOLD: VMRUN in a shadow: yes before, yes"
        in shown.out
    )


def test_bad_input_is_one_line(cli: Cli, tmp_path: Path) -> None:
    shown = cli("diff", BEFORE, "linux-7")
    assert (shown.code, shown.out) == (2, "")
    assert "unknown path 'linux-7'" in shown.err
    assert cli("diff", BEFORE, str(tmp_path / "missing.toml")).code == 2
