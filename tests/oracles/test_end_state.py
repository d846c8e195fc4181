from dataclasses import replace

import pytest
from tests.oracles.judging import INTERCEPTS, NEW, OLD, PLAIN, REBOOTING, TRACED, mutant, run, signatures, variant

from worldswitch.oracles import end_state
from worldswitch.paths.model import EntryPath

NAME = end_state.NAME


def said(path: str | EntryPath, text: str = PLAIN) -> list[str]:
    return [signature.removeprefix(f"{NAME}.") for signature in signatures(text, path, oracle=NAME)]


@pytest.mark.parametrize("path", [OLD, NEW, TRACED])
@pytest.mark.parametrize("more", ["", REBOOTING, "[cpu]\ntf = true\n", '[cpu]\npending = ["nmi", "intr:0x20"]\n'])
def test_the_shipped_paths_end_as_they_began(path: str, more: str) -> None:
    """I-06."""
    assert said(path, more + PLAIN) == []


def test_a_path_that_leaves_gif_clear() -> None:
    """S3-03: #VMEXIT cleared it, and there is no STGI."""
    assert said(mutant(NEW, "remove stgi")) == ["gif-clear.end"]


def test_a_path_that_leaves_if_set() -> None:
    """Lockdep warned before (S8-62), so its frozen view is not compared."""
    assert said(mutant(NEW, "remove cli")) == ["if-changed.end"]


def test_a_path_that_leaves_lockdep_on() -> None:
    """Without locks or traced code after it nothing warns."""
    quiet = mutant(NEW, "remove exit")
    for call in ("kvm_load_host_xsave_state", "sync_cr8_to_lapic", "svm_complete_interrupts"):
        quiet = variant(quiet, f"traceable {call}", "inline nothing")
    assert run(PLAIN, quiet).kernel.warnings == []
    assert said(quiet) == ["lockdep-changed.end"]


def test_the_messages_say_what_it_was() -> None:
    def message(edit: str) -> str:
        return next(f.message for f in end_state.judge(run(PLAIN, mutant(NEW, edit))) if f.cause != "if-changed")

    assert message("remove exit+1") == "the context was kernel at the start and is guest at the end"
    assert message("remove exit+3") == "the irq tracepoints last said that interrupts are on"


def test_a_path_that_leaves_the_context_in_the_guest() -> None:
    assert said(mutant(NEW, "remove exit+1")) == ["context-changed.end"]


def test_a_path_that_leaves_the_tracepoints_wrong() -> None:
    """S8-53."""
    assert said(mutant(NEW, "remove exit+3")) == ["tracing-changed.end"]


def test_several_rounds_end_like_one() -> None:
    text = PLAIN.replace("[vmcb]", "rounds = 3\n[vmcb]")
    assert said(NEW, text) == []
    assert said(mutant(NEW, "remove exit+1"), text) == ["context-changed.end"]


def test_a_path_may_begin_with_if_set() -> None:
    """What counts is the path's own beginning: here IF=1 and lockdep on, before and after."""
    begins_on = variant(NEW, "traceable pre_svm_run", "local_irq_disable\ntraceable pre_svm_run")
    path = replace(begins_on, entry_if=True, entry_lockdep=True)
    assert said(path) == ["if-changed.end", "lockdep-changed.end", "tracing-changed.end"]
    restored = variant(path, "traceable svm_complete_interrupts", "traceable svm_complete_interrupts\nlocal_irq_enable")
    assert said(restored) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[cpu]\nsvme = false\n" + PLAIN, "the path did not come to its end"),
        (PLAIN.replace('program = ["vmmcall"]', 'program = ["spin"]'), "the path did not come to its end"),
    ],
)
def test_only_what_came_to_its_end_is_judged(text: str, reason: str) -> None:
    assert end_state.applies(run(text, mutant(NEW, "remove stgi"))) == reason


def test_a_free_program_may_end_as_it_likes() -> None:
    text = f'[host]\nprogram = ["clgi", "sti"]\n[vmcb]\n{INTERCEPTS}\n'
    assert end_state.applies(run(text, "")) == "a free host program may end as it likes"
