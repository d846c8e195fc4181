from dataclasses import replace

import pytest
from tests.oracles.judging import INTERCEPTS, NEW, OLD, PLAIN, REBOOTING, TRACED, mutant, run, signatures, variant

from worldswitch.kernel.calls import ORDERED
from worldswitch.oracles import lockdep_order
from worldswitch.paths.catalogue import find
from worldswitch.paths.model import EntryPath
from worldswitch.paths.mutate import mutants

NAME = lockdep_order.NAME
SPINS = PLAIN.replace('program = ["vmmcall"]', 'program = ["spin"]')
ENTER = [
    "trace-hardirqs-on-prepare",
    "lockdep-hardirqs-on-prepare",
    "guest-context-enter-irqoff",
    "lockdep-hardirqs-on",
]
EXIT = ["lockdep-hardirqs-off", "guest-context-exit-irqoff", "trace-hardirqs-off-finish"]
CALLS = [
    *((edit, call, "enter") for edit, call in zip(["enter+1", "enter+2", "enter+4", "enter+5"], ENTER, strict=True)),
    *((edit, call, "exit") for edit, call in zip(["exit", "exit+1", "exit+3"], EXIT, strict=True)),
]


def order(text: str, path: str | EntryPath) -> list[str]:
    return signatures(text, path, oracle=NAME)


@pytest.mark.parametrize("path", [OLD, NEW, TRACED])
@pytest.mark.parametrize("rounds", [1, 3])
def test_the_shipped_paths_keep_the_order(path: str, rounds: int) -> None:
    """S8-42."""
    text = PLAIN.replace("[vmcb]", f"rounds = {rounds}\n[vmcb]")
    assert order(text, path) == []
    assert order(REBOOTING + text, path) == []


@pytest.mark.parametrize(("edit", "call", "place"), CALLS)
@pytest.mark.parametrize("path", [OLD, NEW])
def test_a_missing_call(path: str, edit: str, call: str, place: str) -> None:
    assert order(PLAIN, mutant(path, f"remove {edit}")) == [f"{NAME}.no-{call}.{place}"]


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_the_number_of_rounds_changes_nothing(rounds: int) -> None:
    """Whatever the edit: a signature names the defect."""
    text = PLAIN.replace("[vmcb]", f"rounds = {rounds}\n[vmcb]")
    for edited in mutants(find(NEW)):
        if edited.name != "repeat vmrun":  # which makes two world switches a round
            assert order(text, edited.path) == order(PLAIN, edited.path), edited.name


def test_a_guest_that_hangs_in_a_later_round() -> None:
    """The exit of the first round is judged all the same."""
    hangs = PLAIN.replace('program = ["vmmcall"]', 'program = ["vmmcall", "spin"]')
    text = hangs.replace("[vmcb]", 'rounds = 2\nbetween = ["set guest.rip=next"]\n[vmcb]')
    assert order(text, NEW) == []
    assert order(text, mutant(NEW, "remove exit")) == [f"{NAME}.no-lockdep-hardirqs-off.exit"]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ("exchange enter+1", "lockdep-hardirqs-on-prepare-before-trace-hardirqs-on-prepare.enter"),
        ("exchange enter+4", "lockdep-hardirqs-on-before-guest-context-enter-irqoff.enter"),
        ("exchange exit", "guest-context-exit-irqoff-before-lockdep-hardirqs-off.exit"),
    ],
)
def test_two_calls_in_the_wrong_order(edit: str, said: str) -> None:
    assert order(PLAIN, mutant(NEW, edit)) == [f"{NAME}.{said}"]


def test_a_call_that_is_moved_past_two_others() -> None:
    """Only neighbours in the prescribed order are compared, so that one move is one finding."""
    moved = variant(NEW, "trace_hardirqs_on_prepare", "")
    moved = variant(moved, "guest_context_enter_irqoff", "guest_context_enter_irqoff\ntrace_hardirqs_on_prepare")
    assert order(PLAIN, moved) == [f"{NAME}.lockdep-hardirqs-on-prepare-before-trace-hardirqs-on-prepare.enter"]


@pytest.mark.parametrize(("edit", "call", "place"), CALLS)
def test_a_call_made_twice(edit: str, call: str, place: str) -> None:
    for rounds in (1, 2):
        text = PLAIN.replace("[vmcb]", f"rounds = {rounds}\n[vmcb]")
        assert order(text, mutant(NEW, f"repeat {edit}")) == [f"{NAME}.{call}-too-often.{place}"]


def test_the_messages_name_the_call() -> None:
    def message(path: EntryPath) -> str:
        return lockdep_order.judge(run(PLAIN, path))[0].message

    assert message(mutant(NEW, "remove enter+2")) == "lockdep_hardirqs_on_prepare() is missing"
    assert message(mutant(NEW, "repeat exit")) == "lockdep_hardirqs_off() is called once too often"
    early = variant(variant(NEW, "lockdep_hardirqs_off", ""), "inline amd_clear_divider", "lockdep_hardirqs_off")
    assert message(early) == "lockdep_hardirqs_off() is called before VMRUN"


def test_calls_in_the_wrong_half() -> None:
    """They are there, once each and in order, but on the wrong side of VMRUN."""
    early = variant(variant(NEW, "lockdep_hardirqs_off", ""), "inline amd_clear_divider", "lockdep_hardirqs_off")
    assert order(PLAIN, early) == [f"{NAME}.lockdep-hardirqs-off-before-vmrun.exit"]
    late = variant(variant(NEW, "lockdep_hardirqs_on", "enter: inline nothing"), "pop svm", "lockdep_hardirqs_on")
    assert order(PLAIN, late) == [f"{NAME}.no-lockdep-hardirqs-on.enter"]


def test_what_must_come_before_vmrun_is_known_while_the_guest_still_runs() -> None:
    """A guest that never exits: nothing can be said of the exit calls."""
    assert order(SPINS, NEW) == []
    assert order(SPINS, mutant(NEW, "remove enter+4")) == [f"{NAME}.no-guest-context-enter-irqoff.enter"]
    assert order(SPINS, mutant(NEW, "remove exit")) == []


def test_a_path_that_stops_halfway_is_not_blamed_for_the_rest() -> None:
    """CLGI faults, nobody is rebooting: BUG (S7-08)."""
    assert order("[cpu]\nsvme = false\n" + PLAIN, NEW) == []


def test_it_does_not_apply_without_the_calls() -> None:
    program = f'[host]\nprogram = ["clgi", "sti", "vmrun", "cli", "stgi"]\n[vmcb]\n{INTERCEPTS}\n'
    assert lockdep_order.applies(run(program, "")) == "this host has no lockdep"
    bare = replace(find(NEW), lines=tuple(line for line in find(NEW).lines if line.instruction.op not in ORDERED))
    assert lockdep_order.applies(run(PLAIN, bare)) == "this path makes none of the calls whose order is prescribed"


SKIPPED_ONCE = """
[[event]]
kind = "init"
at = "clgi"
[[event]]
kind = "init"
at = "vmrun"
"""


@pytest.mark.parametrize("path", [OLD, NEW])
def test_a_vmrun_that_is_skipped_in_one_round_only(path: str) -> None:
    """S7-08: INIT as #SX at CLGI, so that GIF stays 1, then at VMRUN: the round goes on without a guest."""
    text = REBOOTING.replace("svme = false", "r_init = true") + PLAIN.replace("[vmcb]", "rounds = 2\n[vmcb]")
    found = run(text + SKIPPED_ONCE, path)
    assert len(found.recorder.entries) == 1
    assert order(text + SKIPPED_ONCE, path) == []
    edited = mutant(path, "remove exit")
    assert order(text + SKIPPED_ONCE, edited) == [f"{NAME}.no-lockdep-hardirqs-off.exit"]
