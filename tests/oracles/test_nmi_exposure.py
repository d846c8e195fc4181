from dataclasses import replace

import pytest
from tests.oracles.judging import (
    INTERCEPTS,
    NEW,
    OLD,
    PLAIN,
    REBOOTING,
    TRACED,
    mutant,
    run,
    signatures,
    variant,
    verdict,
)

from worldswitch.machine.run import Run
from worldswitch.oracles import nmi_exposure
from worldswitch.oracles.finding import State
from worldswitch.oracles.nmi_exposure import Difference, compare, exception_states, nmi_states, objections
from worldswitch.paths.model import EntryPath

NAME = nmi_exposure.NAME
KERNEL = State(interrupts=False, lockdep=False, context_guest=False)
IN_WINDOW = State(interrupts=True, lockdep=True, context_guest=True)
NMIS = "".join(
    f'[[event]]\nkind = "nmi"\nat = "{place}"\n'
    for place in ("start", "clgi", "clgi+1", "enter+1", "sti", "vmrun", "vmexit", "cli", "exit+1", "stgi", "end")
)


def said(path: str | EntryPath, text: str = PLAIN) -> list[str]:
    return signatures(text, path, oracle=NAME)


def runs(text: str, first: str | EntryPath = OLD, second: str | EntryPath = NEW) -> tuple[Run, Run]:
    return run(text, first), run(text, second)


def pair(text: str, first: str | EntryPath = OLD, second: str | EntryPath = NEW) -> list[Difference]:
    return compare(*runs(text, first, second))


def nmi_handlers(ended: Run) -> set[tuple[bool, bool, bool, bool]]:
    """IF, GIF, lockdep and context in which NMI handlers interrupted the host."""
    return {
        (bool(h.rflags & 0x200), h.gif, bool(h.lockdep), bool(h.context))
        for h in ended.recorder.handlers
        if h.vector == 2
    }


# --- one path against what is documented for it


@pytest.mark.parametrize("path", [OLD, NEW, TRACED])
@pytest.mark.parametrize("text", [PLAIN, PLAIN + NMIS, "[cpu]\ntf = true\n" + PLAIN, PLAIN.replace('"nmi", ', "")])
def test_clgi_holds_off_every_nmi(path: str, text: str) -> None:
    """S3-23, S8-70."""
    assert said(path, text) == []
    assert nmi_states(run(text, path)) == {"start": [KERNEL], "stgi": [KERNEL]}


@pytest.mark.parametrize("path", [OLD, NEW])
def test_the_handlers_that_ran_are_among_the_states(path: str) -> None:
    """T-147's NMI twin: whenever it arrives, it runs before CLGI or after STGI."""
    assert nmi_handlers(run(PLAIN + NMIS, path)) == {(False, True, False, False)}


@pytest.mark.parametrize("path", [OLD, NEW])
def test_a_removed_clgi_shows(path: str) -> None:
    """S8-80: GIF=1 until VMRUN, and again never until #VMEXIT clears it."""
    found = said(mutant(path, "remove clgi"))
    assert found == sorted(f"{NAME}.undocumented.{segment}" for segment in ("clgi", "enter", "sti"))


def test_an_nmi_then_really_runs_in_the_window() -> None:
    ended = run(PLAIN + '[[event]]\nkind = "nmi"\nat = "vmrun"\n', mutant(NEW, "remove clgi"))
    assert nmi_handlers(ended) == {(True, True, True, True)}
    assert nmi_states(ended)["sti"] == [IN_WINDOW]


def test_an_early_stgi_shows() -> None:
    early = variant(variant(NEW, "stgi", "inline nothing"), "pop svm", "stgi")
    assert set(said(early)) == {f"{NAME}.undocumented.{segment}" for segment in ("vmexit", "cli", "exit")}


def test_a_shadow_is_no_protection() -> None:
    """S2-32: whether it holds an NMI depends on the implementation, so the boundary counts."""
    path = variant(OLD, "sti", "stgi\nsti: sti")
    assert f"{NAME}.undocumented.sti" in said(path)


def test_nmis_that_are_masked_cannot_come() -> None:
    """S4-01."""
    assert said(mutant(NEW, "remove clgi"), "[cpu]\nnmi_masked = true\n" + PLAIN) == []


def test_other_segments_may_be_documented() -> None:
    open_until_vmrun = frozenset({"start", "clgi", "enter", "sti", "stgi", "end"})
    assert said(replace(mutant(NEW, "remove clgi"), nmi_segments=open_until_vmrun)) == []


def test_a_free_program_documents_nothing() -> None:
    text = f'[host]\nprogram = ["sti", "vmrun"]\n[vmcb]\n{INTERCEPTS}\n'
    assert nmi_exposure.applies(run(text, "")) == "a free host program documents no exposure"


# --- kvm_rebooting


@pytest.mark.parametrize("path", [OLD, NEW, TRACED])
def test_a_skipped_clgi_is_documented_and_no_finding(path: str) -> None:
    """S7-15, T-144."""
    judged = verdict(REBOOTING + PLAIN, path)
    known = [(finding, why) for finding, why in judged.documented if finding.oracle == NAME]
    assert [finding for finding in judged.findings if finding.oracle == NAME] == []
    assert {finding.cause for finding, _ in known} == {"clgi-skipped"}
    assert {"clgi", "enter", "sti", "exit"} <= {finding.place for finding, _ in known}
    assert all("S7-15" in why for _, why in known)


def test_while_rebooting_with_svm_still_on_a_missing_clgi_is_news() -> None:
    """CLGI would have taken effect: nothing excuses its absence."""
    text = "[kernel]\nkvm_rebooting = true\n" + PLAIN
    assert said(NEW, text) == []
    assert f"{NAME}.undocumented.enter" in said(mutant(NEW, "remove clgi"), text)


def test_a_trap_before_clgi_is_no_fault_of_clgi() -> None:
    """Single steps: the #DB before CLGI has the RIP of CLGI, which then takes effect."""
    text = "[kernel]\nkvm_rebooting = true\n[cpu]\ntf = true\n" + PLAIN
    assert verdict(text, NEW).documented == []
    assert said(NEW, text) == []


@pytest.mark.parametrize(
    ("more", "guest"),
    [
        ('[[event]]\nkind = "nmi"\nat = "clgi"\n', '["vmmcall"]'),  # an NMI interrupts the host at CLGI
        ("[cpu]\ntf = true\n", '["vmmcall"]'),  # a trap does
        ("", '["nop", "nop", "ud2"]\nhandlers = { 6 = ["vmmcall"] }'),  # a fault of the guest at CLGI's number
    ],
)
def test_what_happens_at_clgi_is_not_always_its_fault(more: str, guest: str) -> None:
    early = variant(variant(NEW, "stgi", "inline nothing"), "pop svm", "stgi")
    text = PLAIN.replace('["vmmcall"]', guest)
    found = said(early, text + more if more.startswith("[[") else more + text)
    assert set(found) == {f"{NAME}.undocumented.{segment}" for segment in ("vmexit", "cli", "exit")}


# --- two implementations


@pytest.mark.parametrize("text", [PLAIN, PLAIN + NMIS, "[kernel]\nkvm_rebooting = true\n" + PLAIN])
def test_where_clgi_takes_effect_nmi_exposure_is_equal(text: str) -> None:
    """What the commit claims."""
    assert [difference for difference in pair(text) if difference.handler == "nmi"] == []


def test_the_widened_exception_exposure_is_documented() -> None:
    """S8-71, S8-73: the same instructions trap with IF=1 on the new path, with IF=0 on the old."""
    stepped = "[cpu]\ntf = true\n" + PLAIN
    differences = pair(stepped)
    assert {difference.handler for difference in differences} == {"exception"}
    assert all(difference.documented for difference in differences)
    vmload = next(difference for difference in differences if difference.place == "vmload vmcb01")
    assert [state.interrupts for state in vmload.first] == [False]
    assert [state.interrupts for state in vmload.second] == [True]
    assert objections(*runs(stepped)) == []


def test_what_faults_on_one_path_faults_on_the_other() -> None:
    """T-144: VMLOAD, VMRUN, VMSAVE, VMLOAD fault with IF=1 on the new path; of these only VMRUN on the old."""
    old, new = exception_states(run(REBOOTING + PLAIN, OLD)), exception_states(run(REBOOTING + PLAIN, NEW))
    assert set(old) == set(new) == {"clgi", "vmload vmcb01", "vmrun", "vmsave vmcb01", "vmload hsave"}
    assert {text for text, states in old.items() if states[0].interrupts} == {"vmrun"}
    assert {text for text, states in new.items() if states[0].interrupts} == set(new) - {"clgi"}


def test_with_clgi_skipped_the_difference_is_documented() -> None:
    """S7-15: the stretch with IF=1 is longer on the new path."""
    nmi = [difference for difference in pair(REBOOTING + PLAIN) if difference.handler == "nmi"]
    assert nmi
    assert all("CLGI" in difference.documented for difference in nmi)
    assert objections(*runs(REBOOTING + PLAIN)) == []
    vmexit = next(difference for difference in nmi if difference.place == "vmexit")
    assert (vmexit.first, vmexit.second) == ((), (IN_WINDOW,))


def test_a_difference_of_one_path_alone_is_an_objection() -> None:
    findings = objections(*runs(PLAIN, OLD, mutant(NEW, "remove clgi")))
    assert {finding.signature for finding in findings} == {f"{NAME}.differs.{s}" for s in ("clgi", "enter", "sti")}


def test_clgi_that_is_skipped_on_one_path_only_documents_nothing() -> None:
    assert objections(*runs(REBOOTING + PLAIN, OLD, mutant(NEW, "remove clgi")))
    assert objections(*runs(REBOOTING + PLAIN, mutant(NEW, "remove clgi"), OLD))


def test_a_difference_in_words() -> None:
    told = str(pair(PLAIN, OLD, mutant(NEW, "remove clgi"))[0])
    assert told == "nmi handlers at clgi: none / IF=0 lockdep=off context=kernel"
    documented = next(d for d in pair(REBOOTING + PLAIN) if d.handler == "nmi")
    assert str(documented).endswith(f"({documented.documented})")


@pytest.mark.parametrize(
    "text",
    [PLAIN + NMIS, PLAIN.replace('["vmmcall"]', '["ud2"]\nhandlers = { 6 = ["vmmcall"] }')],
)
def test_nmis_and_the_guests_exceptions_are_no_exceptions_of_the_path(text: str) -> None:
    ended = run(text)
    assert ended.recorder.handlers
    assert exception_states(ended) == {}


def test_runs_of_different_length_are_compared_as_far_as_both_went() -> None:
    """The old path stops in front of VMRUN, the new one goes on: that alone is no difference in exposure."""
    stops = variant(OLD, "sti", "sti: ud2")
    for first, second in ((stops, NEW), (NEW, stops)):
        assert {difference.handler for difference in pair(PLAIN, first, second)} == {"exception"}
