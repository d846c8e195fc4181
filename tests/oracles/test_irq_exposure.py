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
    verdict,
)

from worldswitch.core.bits import EVENT_V
from worldswitch.machine.run import Run
from worldswitch.oracles import irq_exposure
from worldswitch.paths.catalogue import find
from worldswitch.paths.model import EntryPath

NAME = irq_exposure.NAME
INTR_EVERYWHERE = "".join(
    f'[[event]]\nkind = "intr"\nat = "{place}"\nvector = {0x20 + number}\n'
    for number, place in enumerate(("clgi+1", "enter+1", "sti", "vmrun", "vmexit", "cli", "exit+1", "stgi"))
)
SPINS = PLAIN.replace('program = ["vmmcall"]', 'program = ["spin"]') + '[[event]]\nkind = "intr"\nat = "guest+1"\n'


def said(path: str | EntryPath, text: str = PLAIN, profile: str | None = None) -> list[str]:
    found = signatures(text, path, profile, NAME)
    return [signature.removeprefix(f"{NAME}.") for signature in found]


def free(program: str, vmcb: str = "", guest: str = 'program = ["nop", "vmmcall"]', more: str = "") -> str:
    return f"""
[cpu]
if = false
[host]
program = [{program}]
[vmcb]
{INTERCEPTS}
{vmcb}
[guest]
{guest}
{more}
"""


def objections(ended: Run) -> list[str]:
    return [finding.signature.removeprefix(f"{NAME}.") for finding in irq_exposure.judge(ended)]


# --- a path against what is documented for it


@pytest.mark.parametrize("path", [OLD, NEW, TRACED])
@pytest.mark.parametrize("text", [PLAIN, PLAIN + INTR_EVERYWHERE, SPINS, "[cpu]\ntf = true\n" + PLAIN])
def test_no_interrupt_comes_into_the_shipped_paths(path: str, text: str) -> None:
    """S8-70, T-147: INTR waits, and takes the guest out (exit 60h)."""
    assert said(path, text) == []


@pytest.mark.parametrize("path", [OLD, NEW])
def test_without_sti_no_interrupt_gets_the_guest_out(path: str) -> None:
    """S5-03, S8-66, T-149: no lockdep warning, and a hang."""
    assert said(mutant(path, "remove sti"), SPINS) == ["host-if-clear.vmrun", "intr-cannot-exit.guest"]
    assert run(SPINS, mutant(path, "remove sti")).kernel.warnings == []


def test_without_sti_it_shows_even_if_no_interrupt_is_pending() -> None:
    """S5-15."""
    assert said(mutant(NEW, "remove sti")) == ["host-if-clear.vmrun"]


def test_a_path_documented_to_run_with_if_clear() -> None:
    """Other hypervisors leave IF as it is: there, STI is the surprise."""
    quiet = replace(mutant(NEW, "remove sti"), hif=False)
    assert said(quiet) == []
    assert said(replace(find(NEW), hif=False)) == ["host-if-set.vmrun"]


def test_without_clgi_interrupts_come_between_sti_and_cli() -> None:
    """T-154: on the new path at once, on the old one hardly (the STI shadow covers VMRUN, GIF=0 what follows)."""
    assert said(mutant(NEW, "remove clgi")) == ["undocumented.sti"]
    assert said(mutant(OLD, "remove clgi")) == []


def test_the_finding_names_the_state() -> None:
    (finding,) = irq_exposure.judge(run(PLAIN, mutant(NEW, "remove clgi"), traced=True))
    assert finding.message.endswith("IF=1 lockdep=on context=guest")
    assert len(finding.steps) == 1


def test_a_segment_may_be_documented() -> None:
    path = replace(mutant(NEW, "remove clgi"), intr_segments=frozenset({"sti"}))
    assert said(path) == []


# --- kvm_rebooting


@pytest.mark.parametrize(
    ("path", "segments"),
    [(OLD, {"vmrun"}), (NEW, {"sti", "vmrun", "vmexit"}), (TRACED, {"sti", "vmrun", "vmexit", "cli"})],
)
def test_the_window_while_rebooting_is_documented(path: str, segments: set[str]) -> None:
    """S7-15, T-144: a real interrupt window with lockdep on and context guest."""
    judged = verdict(REBOOTING + PLAIN, path)
    known = [(finding, why) for finding, why in judged.documented if finding.oracle == NAME]
    assert said(path, REBOOTING + PLAIN) == []
    assert {finding.place for finding, _ in known} == segments
    assert {finding.cause for finding, _ in known} == {"clgi-skipped"}
    assert all("IF=1 lockdep=on context=guest" in finding.message for finding, _ in known)
    assert all("S7-15" in why and "T-144" in why for _, why in known)


def test_a_wider_window_than_documented_is_news() -> None:
    """CLI one line later on the old path."""
    assert said(mutant(OLD, "exchange cli"), REBOOTING + PLAIN) == ["clgi-skipped.vmexit"]


# --- the processor


def test_host_if_clear_masks_interrupts_in_the_guest() -> None:
    """I-08, T-063; Bochs lets them through where the guest's IF is 1 (S5-22)."""
    arrives = '[[event]]\nkind = "intr"\nat = "guest+1"\n'
    text = free('"clgi", "vmrun"', guest='program = ["nop", "nop", "vmmcall"]', more=arrives)
    assert said("", text) == []
    assert said("", text, "bochs-2.7") == ["exit-despite-hif-clear.guest"]
    unintercepted = text.replace('"intr", ', "")
    assert said("", unintercepted) == []
    assert said("", unintercepted, "bochs-2.7") == ["delivery-despite-hif-clear.guest"]


def test_without_v_intr_masking_host_if_means_nothing() -> None:
    """S5-01, T-065."""
    arrives = '[[event]]\nkind = "intr"\nat = "guest+1"\n'
    text = free('"clgi", "vmrun"', "v_intr_masking = false", 'program = ["nop", "nop", "vmmcall"]', arrives)
    assert [record.code for record in run(text, "").recorder.exits] == [0x60]
    assert said("", text) == []


def test_host_if_set_lets_interrupts_through() -> None:
    """S5-02, S5-07: not intercepted, so the guest takes it."""
    arrives = '[[event]]\nkind = "intr"\nat = "guest+1"\n'
    text = free('"clgi", "sti", "nop", "vmrun"', guest='program = ["nop", "nop", "vmmcall"]', more=arrives)
    text = text.replace('"intr", ', "")
    assert len(run(text, "").recorder.handlers) == 1
    assert said("", text) == []


def test_without_v_intr_masking_the_guest_takes_it_itself() -> None:
    """S5-01, T-065."""
    arrives = '[[event]]\nkind = "intr"\nat = "guest+1"\n'
    text = free('"clgi", "vmrun"', "v_intr_masking = false", 'program = ["nop", "nop", "vmmcall"]', arrives)
    text = text.replace('"intr", ', "")
    assert len(run(text, "").recorder.handlers) == 1
    assert said("", text) == []


@pytest.mark.parametrize(
    ("guest", "vmcb"),
    [
        ('program = ["nop", "vmmcall"]', "v_irq = true\nv_intr_prio = 15\nv_intr_vector = 0x30"),  # S5-14
        ('program = ["nop", "ud2"]\nhandlers = { 6 = ["vmmcall"] }', ""),
    ],
)
def test_other_handlers_of_the_guest_need_no_host_if(guest: str, vmcb: str) -> None:
    text = free('"clgi", "vmrun"', vmcb, guest)
    assert len(run(text, "").recorder.handlers) == 1
    assert said("", text) == []


def test_what_the_host_takes_after_the_exit_is_no_delivery_to_the_guest() -> None:
    text = free('"clgi", "vmrun", "stgi", "sti", "nop", "nop"', more='[[event]]\nkind = "intr"\nat = "vmexit"\n')
    assert [handler.world for handler in run(text, "").recorder.handlers] == [0]
    assert said("", text) == []


@pytest.mark.parametrize(
    ("program", "vmcb", "guest"),
    [
        ('"clgi", "vmrun", "stgi", "spin"', "", 'program = ["vmmcall"]'),  # the host idles, not the guest
        ('"clgi", "vmrun"', "v_intr_masking = false", 'program = ["spin"]\nif = false'),  # the guest's own IF
        ('"clgi", "vmrun"', "", 'program = ["clgi", "spin"]'),  # the guest holds GIF (S3-34)
        ('"clgi", "vmrun"', "", 'program = ["ud2"]\nidt = { 6 = "gp", 8 = "gp", 13 = "gp" }'),  # shutdown
    ],
)
def test_an_interrupt_that_something_else_keeps_pending(program: str, vmcb: str, guest: str) -> None:
    text = free(program, vmcb, guest, '[[event]]\nkind = "intr"\nat = "guest"\n').replace('"shutdown", ', "")
    ended = run(text, "")
    assert ended.cpu.irr == [0x20]
    assert not ended.cpu.hif
    assert said("", text) == []


def test_a_path_that_documents_no_host_if() -> None:
    assert said(replace(mutant(NEW, "remove sti"), hif=None)) == []


def test_handlers_are_no_segment_of_the_path() -> None:
    """A handler of the scenario's own that sets IF."""
    text = PLAIN.replace("[vmcb]", 'handlers = { 2 = ["sti", "nop", "cli"] }\n[vmcb]')
    ended = run(text + '[[event]]\nkind = "nmi"\nat = "start+1"\n')
    assert len(ended.recorder.handlers) == 1
    assert objections(ended) == []


def test_an_interrupt_that_the_tpr_masks_is_not_stuck_for_want_of_host_if() -> None:
    text = free('"clgi", "vmrun"', guest='program = ["spin"]', more='[[event]]\nkind = "intr"\nat = "guest"\n')
    assert said("", text) == ["intr-cannot-exit.guest"]
    assert said("", text.replace("if = false", "if = false\ntpr = 1")) == ["intr-cannot-exit.guest"]
    assert said("", text.replace("if = false", "if = false\ntpr = 2")) == []


def test_an_asynchronous_handler_with_gif_clear() -> None:
    """I-07: on records that say so, in every world."""
    text = PLAIN + '[[event]]\nkind = "nmi"\nat = "stgi"\n'
    ended = run(text)
    (handler,) = ended.recorder.handlers
    assert objections(ended) == []
    handler.gif = False
    assert objections(ended) == ["handler-with-gif-clear.stgi"]
    handler.world = 1
    assert objections(ended) == ["handler-with-gif-clear.guest"]


def test_an_exception_with_gif_clear_is_none_of_its_business() -> None:
    """S3-19, T-031."""
    text = free('"clgi", "ud2"').replace("[vmcb]", 'handlers = { 6 = ["set frame.rip=next"] }\n[vmcb]')
    (handler,) = run(text, "").recorder.handlers
    assert not handler.gif
    assert said("", text) == []


@pytest.mark.parametrize(
    ("field", "value", "cause"),
    [
        ("gif", True, "gif-set-by-exit"),
        ("eventinj", EVENT_V, "eventinj-kept-by-exit"),
        ("host_if", False, "host-if-changed-by-exit"),
    ],
)
def test_what_must_hold_after_every_exit(field: str, value: int, cause: str) -> None:
    """I-01: on records that say otherwise."""
    ended = run(PLAIN)
    assert objections(ended) == []
    setattr(ended.recorder.exits[0], field, value)
    assert objections(ended) == [f"{cause}.vmexit"]


def test_v_only_clearing_of_eventinj_is_fine() -> None:
    """S6-54, S6-57: only V counts."""
    ended = run(PLAIN.replace("[guest]", 'eventinj = "intr:0x68"\n[guest]'), NEW, "bochs-2.7")
    assert ended.recorder.exits[0].eventinj == 0x68
    assert objections(ended) == []
