"""Entry code of exceptions, interrupts and NMIs (S8-70 to S8-80), and the exception table (S7-08 to S7-11, S7-15)."""

import pytest
from tests.helpers import exit_codes, handler_entry, linux, play, taken, warnings

from worldswitch.core.bits import RFLAGS_IF
from worldswitch.core.record import KIND_EXCEPTION, WORLD_HOST
from worldswitch.core.state import END, HOST_BUG
from worldswitch.kernel.entry import handler_program
from worldswitch.kernel.state import CONTEXT_GUEST, CONTEXT_KERNEL, NMI_NOT_RUNNING
from worldswitch.machine.run import Run

REBOOT = {"kvm_rebooting": True}
NO_SVM = {"svme": False}


def host_exceptions(run: Run) -> list[tuple[str, bool, int, int]]:
    """Each exception in the host: the instruction, IF, lockdep and context in which it happened."""
    texts = run.plan.host.code.texts
    return [
        (texts[h.rip].split()[0], bool(h.rflags & RFLAGS_IF), int(h.lockdep), h.context)
        for h in run.recorder.handlers
        if h.kind == KIND_EXCEPTION and h.world == WORLD_HOST
    ]


# --- irqentry (S8-74)


def test_interrupt_entry_and_exit() -> None:
    """S8-74: in the handler LD is off, as IF is; returning to IF=1 turns it on, and tracing with it."""
    path = linux("nop\nnop\nnop\n", interrupts=True, lockdep=True)
    run = play(path=path, events=["intr@start+1"], host_handlers={0x20: ["lock_acquire", "lock_release"]})
    assert [kind for _, kind, _, _ in taken(run)] == ["intr"]
    assert (warnings(run), run.kernel.hardirqs_enabled, run.kernel.hardirqs_traced_on) == ([], True, True)


def test_enabling_interrupts_in_a_hard_interrupt() -> None:
    """S8-60, S8-74: lockdep is in hardirq context between irq_enter_rcu and irq_exit_rcu, and not on the exit path."""
    path = linux("nop\nnop\nnop\n", interrupts=True, lockdep=True)
    run = play(path=path, events=["intr@start+1"], host_handlers={0x20: ["local_irq_enable", "local_irq_disable"]})
    assert warnings(run) == ["on-prepare-in-hardirq"]
    assert run.kernel.hardirq_context == 0


def test_exception_that_interrupted_irqs_off_leaves_lockdep_off() -> None:
    """S8-74, I-10: nothing restores LD when regs.IF=0, whatever it was before."""
    listing = "guest_state_enter_irqoff\nvmload vmcb01 [fixup]\nnop\n"
    run = play(path=linux(listing), cpu=NO_SVM, kernel=REBOOT)
    assert host_exceptions(run) == [("vmload", False, 1, CONTEXT_GUEST)]
    assert (run.kernel.hardirqs_enabled, warnings(run)) == (False, [])


def test_exception_that_interrupted_irqs_on_restores_lockdep() -> None:
    """S8-74, S8-71: IF=1, LD=on, CT=G before and after."""
    listing = "guest_state_enter_irqoff\nraw_local_irq_enable\nvmload vmcb01 [fixup]\nnop\n"
    run = play(path=linux(listing), cpu=NO_SVM, kernel=REBOOT)
    assert host_exceptions(run) == [("vmload", True, 1, CONTEXT_GUEST)]
    assert (run.kernel.hardirqs_enabled, run.kernel.context, warnings(run)) == (True, CONTEXT_GUEST, [])


def test_which_entry_code_a_vector_has() -> None:
    """S8-74, S8-76: #DB, #BP and #MC enter as NMIs do; other exceptions look at the exception table (S7-08)."""
    for vector in (1, 3, 18):
        assert handler_program(vector, []) == ["irqentry_nmi_enter", "irqentry_nmi_exit", "iret"]
    for vector in (6, 13, 14):
        assert handler_program(vector, []) == ["irqentry_enter", "fixup_exception", "irqentry_exit", "iret"]
    assert handler_program(0x20, ["x"]) == [
        "irqentry_enter",
        "irq_enter_rcu",
        "x",
        "irq_exit_rcu",
        "irqentry_exit",
        "iret",
    ]


def test_state_in_an_interrupt_handler() -> None:
    """S8-74: LD and tracing off, in hardirq context; the run stops in the body."""
    path = linux("nop\nnop\n", interrupts=True, lockdep=True)
    run = play(path=path, events=["intr@start+1"], host_handlers={0x20: ["spin"]})
    kernel = run.kernel
    assert (kernel.hardirqs_enabled, kernel.hardirqs_traced_on, kernel.hardirq_context) == (False, False, 1)


def test_nmi_over_irqs_off_code_keeps_tracing_off() -> None:
    """S8-76: neither lockdep nor tracing is turned on where it was off."""
    run = play(path=linux("nop\nnop\n"), events=["nmi@start+1"])
    assert (run.kernel.hardirqs_enabled, run.kernel.hardirqs_traced_on, warnings(run)) == (False, False, [])


# --- NMI (S8-76 to S8-80)


@pytest.mark.parametrize(("tail", "interrupts"), [("nop\nnop\n", False), ("raw_local_irq_enable\nnop\nnop\n", True)])
def test_nmi_restores_what_it_saved(tail: str, interrupts: bool) -> None:
    """S8-76, S8-80: LD, context and RCU come back as they were, with IF=0 (P3c to P4) and IF=1 (P4 to P7) alike."""
    place = 7 if not interrupts else 8
    run = play(path=linux("guest_state_enter_irqoff\n" + tail), events=[f"nmi@start+{place}"], shadow_blocks_nmi="none")
    (handler,) = run.recorder.handlers
    assert (bool(handler.rflags & RFLAGS_IF), handler.lockdep, handler.context) == (interrupts, 1, CONTEXT_GUEST)
    assert (run.kernel.hardirqs_enabled, run.kernel.context, run.kernel.rcu_watching) == (True, CONTEXT_GUEST, False)
    assert (warnings(run), run.kernel.in_nmi, run.kernel.hardirq_context, run.kernel.entry_stack) == ([], 0, 0, [])
    assert run.kernel.hardirqs_traced_on is True


def test_state_in_the_nmi_handler() -> None:
    """S8-76, S8-77: IF=0 by its gate, LD off, RCU watching, in NMI and hardirq context; the run stops in the body."""
    run = play(path=linux("guest_state_enter_irqoff\nnop\nnop\n"), events=["nmi@start+7"], host_handlers={2: ["spin"]})
    kernel = run.kernel
    assert kernel.hardirqs_traced_on is False
    assert (kernel.hardirqs_enabled, kernel.rcu_watching, kernel.in_nmi, kernel.hardirq_context) == (False, True, 1, 1)
    assert (run.cpu.regs.rflags & RFLAGS_IF, run.cpu.nmi_masked) == (0, True)


def test_locks_in_an_nmi_are_not_tracked() -> None:
    """S8-60, S8-61: a lock taken there and not released does not change the chain key."""
    listing = "lockdep_hardirqs_on_prepare\nnop\nlockdep_hardirqs_on\n"
    run = play(path=linux(listing), events=["nmi@start+1"], host_handlers={2: ["lock_acquire"]})
    assert (warnings(run), run.kernel.hardirqs_enabled) == ([], True)


def test_nested_nmi_is_latched_and_run_once_more() -> None:
    """S8-78, T-157: an inner IRET unmasked NMIs; the nested one latches and returns, the outer loop reruns."""
    run = play(
        path=linux("nop\nnop\nnop\n"),
        events=["nmi@start+1", "nmi@handler:0x02+3"],
        host_handlers={2: ["int 0x80", "nop"]},
    )
    kinds = [kind for _, kind, _, _ in taken(run)]
    assert (kinds.count("nmi"), kinds.count("soft")) == (2, 2)
    assert (run.kernel.nmi_reruns, run.kernel.nmi_state, run.cpu.stop) == (1, NMI_NOT_RUNNING, END)


def test_two_nested_nmis_are_one_more_run() -> None:
    """S8-78: LATCHED is one state, not a count."""
    run = play(
        path=linux("nop\nnop\nnop\n"),
        events=["nmi@start+1", "nmi@handler:0x02+3", "nmi@handler:0x02+4"],
        host_handlers={2: ["int 0x80", "nop", "nop"]},
    )
    assert (run.kernel.nmi_reruns, run.kernel.nmi_state) == (1, NMI_NOT_RUNNING)


def test_nmi_without_nesting_runs_once() -> None:
    """S8-78."""
    run = play(path=linux("nop\nnop\n"), events=["nmi@start+1"])
    assert (run.kernel.nmi_reruns, run.kernel.nmi_state, len(run.recorder.handlers)) == (0, NMI_NOT_RUNNING, 1)


@pytest.mark.parametrize("path", ["linux-6.1", "linux-6.14"])
def test_nmi_at_stgi_interrupts_a_consistent_context(path: str) -> None:
    """S8-70, S8-79, S4-04: the NMI of the exit is taken at P10's STGI, with IF=0, LD=off, CT=K."""
    run = play(path=path, intercept=["nmi", "intr"], events=["nmi@guest"])
    assert exit_codes(run) == ["nmi"]
    (handler,) = run.recorder.handlers
    assert run.where(False, handler.rip) == "stgi+1"
    assert (handler.rflags & RFLAGS_IF, handler.lockdep, handler.context) == (0, 0, CONTEXT_KERNEL)


@pytest.mark.parametrize("path", ["linux-6.1", "linux-6.14"])
@pytest.mark.parametrize("place", ["clgi+1", "enter", "sti", "sti+1", "vmrun", "vmexit", "cli", "exit", "stgi"])
@pytest.mark.parametrize("kind", ["nmi", "intr", "smi"])
def test_nothing_runs_between_clgi_and_stgi(path: str, place: str, kind: str) -> None:
    """S8-70, S8-05, T-147: whatever IF is; the guest exits at once where it arrived before VMRUN."""
    run = play(path=path, intercept=["nmi", "intr", "smi"], events=[f"{kind}@{place}"])
    stgi = run.plan.host.landmarks["stgi"][0]
    assert all(handler.rip > stgi for handler in run.recorder.handlers)
    assert exit_codes(run) == ([kind] if place in ("clgi+1", "enter", "sti", "sti+1", "vmrun") else ["vmmcall"])


# --- the exception table


def test_rebooting_after_the_fix() -> None:
    """S7-08, S7-15, S8-71, T-144: CLGI is skipped, so GIF stays 1; four more #UD, each with IF=1, LD=on, CT=G."""
    run = play(path="linux-6.14", cpu=NO_SVM, kernel=REBOOT)
    inside = (True, 1, CONTEXT_GUEST)
    assert host_exceptions(run) == [
        ("clgi", False, 0, CONTEXT_KERNEL),
        ("vmload", *inside), ("vmrun", *inside), ("vmsave", *inside), ("vmload", *inside),
    ]  # fmt: skip
    assert (run.cpu.stop, run.cpu.gif, warnings(run)) == (END, True, [])
    assert all(handler.gif for handler in run.recorder.handlers)


def test_rebooting_before_the_fix() -> None:
    """S7-10, S8-73: IF=1 at VMRUN alone; its fixup resumes at the CLI, so IF is clear again."""
    run = play(path="linux-6.1", cpu=NO_SVM, kernel=REBOOT)
    assert [(text, interrupts) for text, interrupts, _, _ in host_exceptions(run)] == [
        ("clgi", False), ("vmload", False), ("vmrun", True), ("vmsave", False), ("vmload", False),
    ]  # fmt: skip
    assert (run.cpu.stop, run.cpu.regs.rflags & RFLAGS_IF) == (END, 0)


def test_rebooting_opens_a_window_for_interrupts() -> None:
    """S7-15, T-144: with CLGI skipped an INTR is taken after the STI shadow, with LD=on and CT=G."""
    run = play(path="linux-6.14", cpu=NO_SVM, kernel=REBOOT, events=["intr@sti"])
    handler = next(h for h in run.recorder.handlers if h.kind != KIND_EXCEPTION)
    assert run.where(False, handler.rip) == "sti+2"
    assert (handler.gif, handler.lockdep, handler.context) == (True, 1, CONTEXT_GUEST)


def test_skipped_vmrun_changes_nothing() -> None:
    """S7-11: no entry, no exit, the VMCB as it was."""
    run = play(path="linux-6.14", cpu=NO_SVM, kernel=REBOOT, vmcb={"eventinj": "intr:0x68", "int_state": 1})
    assert (run.recorder.entries, run.recorder.exits) == ([], [])
    assert (run.cpu.vmcb.exit_code, run.cpu.vmcb.eventinj, run.cpu.vmcb.int_state) == (0, 0x8000_0068, 1)


@pytest.mark.parametrize("path", ["linux-6.1", "linux-6.14"])
def test_not_rebooting_is_a_bug(path: str) -> None:
    """S7-08, T-145."""
    run = play(path=path, cpu=NO_SVM)
    assert (run.cpu.stop, [text for text, *_ in host_exceptions(run)]) == (HOST_BUG, ["clgi"])


def test_stgi_does_not_fault_where_skinit_exists() -> None:
    """S7-08, S7-01: with neither, STGI is skipped as CLGI was."""
    run = play(path="linux-6.14", cpu={**NO_SVM, "skinit": False}, kernel=REBOOT)
    assert [text for text, *_ in host_exceptions(run)][-1] == "stgi"
    run = play(path="linux-6.14", cpu=NO_SVM, kernel=REBOOT)
    assert [text for text, *_ in host_exceptions(run)][-1] == "vmload"


@pytest.mark.parametrize("vector", ["gp", "pf", "np"])
def test_other_exceptions_are_fatal(vector: str) -> None:
    """S8-72: no table entry, rebooting or not."""
    run = play(path=linux(f"nop\nload {vector}\nnop\n"), kernel=REBOOT)
    assert run.cpu.stop == HOST_BUG


def test_double_fault_is_fatal() -> None:
    """S8-72: its handler does not look at the table."""
    run = play(path=linux("vmload x [fixup]\nnop\n"), cpu=NO_SVM, kernel=REBOOT, host_idt={6: "gp", 13: "gp"})
    assert ([h.vector for h in run.recorder.handlers], run.cpu.stop) == ([8], HOST_BUG)


def test_gp_on_vmrun_is_fixed_up_as_well() -> None:
    """S7-04, S7-08: the table goes by address, not by vector."""
    run = play(path=linux("vmrun [fixup]\nnop\n"), cpu={"rax": 0x123}, kernel=REBOOT)
    assert ([h.vector for h in run.recorder.handlers], run.cpu.stop) == ([13], END)


def test_single_step_over_vmrun_on_the_path() -> None:
    """S6-16, S8-71, T-158: the #DB comes after the exit, with GIF=0 and IF=1, through the NMI-like entry."""
    listing = (
        "clgi\nguest_state_enter_irqoff\npopf if,tf\nvmrun\nraw_local_irq_disable\nguest_state_exit_irqoff\nstgi\n"
    )
    run = play(path=linux(listing), host_handlers={1: ["set frame.tf=false"]})
    (handler,) = run.recorder.handlers
    assert (handler.vector, handler.gif, bool(handler.rflags & RFLAGS_IF)) == (1, False, True)
    assert (run.where(False, handler.rip), warnings(run)) == ("cli", [])


def test_entry_calls_outside_a_handler() -> None:
    """S7-08, S8-74: with no frame there is nothing to fix up or to return to."""
    assert play(["fixup_exception", "nop"]).cpu.stop == HOST_BUG
    run = play(["irqentry_nmi_exit", "irqentry_exit", "nop"])
    assert (run.cpu.stop, run.kernel.in_nmi, run.kernel.hardirq_context) == (END, 0, 0)


def test_entry_of_the_handler_itself() -> None:
    """S8-76: the NMI handler's first steps are the nesting check and irqentry_nmi_enter."""
    run = play(path=linux("nop\nnop\n"), events=["nmi@start+1"])
    entry = handler_entry(run, 2, WORLD_HOST) + 1
    assert run.plan.host.code.texts[entry : entry + 2] == ["exc_nmi_begin", "irqentry_nmi_enter"]
