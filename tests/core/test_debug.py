"""Debug exceptions: single-step, breakpoints, general detect (S2-36 to S2-40, S3-16, S3-17, S6-16 to S6-20)."""

import pytest
from tests.helpers import exit_codes, exit_place, handler_entry, only_exit, play, taken

from worldswitch.core.record import KIND_EXCEPTION, WORLD_HOST

BS, BD, B1, B0 = 1 << 14, 1 << 13, 1 << 1, 1 << 0
STOP = {1: ["spin"]}


def test_single_step_trap() -> None:
    """S6-17, S1-04: after each instruction that began with TF=1, so not after the POPF; DR6.BS."""
    run = play(["popf tf", "nop", "nop"], cpu={"if": False})
    assert [h.rip - 1 for h in run.recorder.handlers] == [2, 3]
    assert run.cpu.regs.dr6 & BS


def test_single_step_goes_on_with_gif_clear() -> None:
    """S3-17, T-025."""
    run = play(["popf tf", "nop", "nop"], cpu={"gif": False, "if": False})
    assert [h.rip - 1 for h in run.recorder.handlers] == [2, 3]


def test_faulting_instruction_makes_no_trap() -> None:
    """S6-111: it has not completed; the #UD handler runs with TF=0 (S6-20)."""
    run = play(["popf tf", "ud2"], cpu={"if": False}, host_handlers={6: ["nop", "spin"]})
    assert [h.vector for h in run.recorder.handlers] == [6]


def test_software_interrupt_makes_no_trap() -> None:
    """S6-20: delivery clears TF; after the IRET stepping goes on with the next instruction."""
    run = play(["popf tf", "int 0x80", "nop"], cpu={"if": False}, host_handlers={0x80: ["nop", "iret"]})
    assert [(h.vector, h.rip - 1) for h in run.recorder.handlers] == [(0x80, 2), (1, 3)]


def test_data_breakpoint() -> None:
    """S1-04: a trap, RIP after the store, DR6.B1; the #DB clears DR7.GD."""
    run = play(["store_watched", "nop"], cpu={"dr7": ["l1", "gd"]}, host_handlers=STOP)
    assert taken(run) == [("host", "exception", 1, 1)]
    assert (run.cpu.regs.dr6 & (B1 | BS), run.cpu.regs.dr7) == (B1, 0x404)


def test_disabled_data_breakpoint() -> None:
    """S1-04."""
    assert taken(play(["store_watched", "nop"], cpu={"dr7": ["l0"]})) == []


def test_single_step_and_data_breakpoint_are_one_exception() -> None:
    """S1-04: both bits."""
    run = play(["popf tf", "store_watched", "nop"], cpu={"if": False, "dr7": ["l1"]}, host_handlers=STOP)
    assert (len(run.recorder.handlers), run.cpu.regs.dr6 & (B1 | BS)) == (1, B1 | BS)


@pytest.mark.parametrize(("value", "count"), [("discard", 0), ("deliver", 1)])
def test_data_breakpoint_with_gif_clear(value: str, count: int) -> None:
    """S3-16, T-026: discarded, not even taken after STGI."""
    run = play(["store_watched", "nop", "stgi", "nop"], cpu={"gif": False, "dr7": ["l1"]}, gif0_breakpoint_db=value)
    assert len(run.recorder.handlers) == count
    assert [kind for _, kind in run.recorder.discarded] == [KIND_EXCEPTION] * (1 - count)


def test_only_the_breakpoint_part_is_discarded() -> None:
    """S3-16, S3-17: the single-step trap of the same instruction is delivered, with BS alone."""
    run = play(["popf tf", "store_watched"], cpu={"gif": False, "if": False, "dr7": ["l1"]}, host_handlers=STOP)
    assert (taken(run), run.cpu.regs.dr6 & (B1 | BS)) == ([("host", "exception", 1, 2)], BS)


@pytest.mark.parametrize(("program", "gif", "count"), [
    (["mov_ss_watched", "clgi", "nop"], True, 0), (["mov_ss_watched", "stgi", "nop"], False, 0),
    (["mov_ss_watched", "nop", "nop"], True, 1),
])  # fmt: skip
def test_held_data_breakpoint_and_gif(program: list[str], gif: bool, count: int) -> None:
    """S3-16, S2-39: GIF=0 at any boundary up to the delivery drops it."""
    run = play(program, cpu={"gif": gif, "dr7": ["l1"]})
    assert len(run.recorder.handlers) == count


def test_instruction_breakpoint() -> None:
    """S6-18, S1-04: a fault before VMRUN, DR6.B0."""
    run = play(["nop", "vmrun"], cpu={"dr7": ["l0"]}, host_handlers=STOP)
    assert taken(run) == [("host", "exception", 1, 1)]
    assert (run.cpu.regs.dr6 & B0, run.recorder.entries) == (B0, [])


@pytest.mark.parametrize(("value", "count"), [("discard", 0), ("deliver", 1)])
def test_instruction_breakpoint_with_gif_clear(value: str, count: int) -> None:
    """S3-16: dropped, it does not keep VMRUN from executing."""
    run = play(["clgi", "vmrun"], cpu={"dr7": ["l0"]}, host_handlers=STOP, gif0_breakpoint_db=value)
    assert len(run.recorder.handlers) == count
    assert exit_codes(run) == (["vmmcall"] if count == 0 else [])


def test_interrupt_precedes_the_instruction_breakpoint() -> None:
    """S4-40: the breakpoint is met when the handler has returned."""
    run = play(["nop", "vmrun"], cpu={"dr7": ["l0"]}, host_handlers=STOP, events=["intr@vmrun"])
    assert [h.vector for h in run.recorder.handlers] == [0x20, 1]


def test_general_detect() -> None:
    """S1-04, S2-38: MOV DR with GD: a fault with BD, and GD is cleared."""
    run = play(["nop", "mov_dr"], cpu={"dr7": ["gd"]}, host_handlers=STOP)
    assert taken(run) == [("host", "exception", 1, 1)]
    assert (run.cpu.regs.dr6 & BD, run.cpu.regs.dr7) == (BD, 0x400)
    assert run.cpu.regs.rip - 1 == handler_entry(run, 1, WORLD_HOST)  # the MOV did nothing


def test_general_detect_checks_cpl_first() -> None:
    """S6-110: all normal exceptions precede the DR intercept, #GP for CPL precedes #DB."""
    run = play(guest=["mov_dr"], intercept=["dr_write:7"], state={"cpl": 3, "dr7": ["gd"]}, handlers={13: ["vmmcall"]})
    assert [h.vector for h in run.recorder.handlers] == [13]
    run = play(guest=["mov_dr"], intercept=["dr_write:7"], state={"dr7": ["gd"]}, handlers={1: ["vmmcall"]})
    assert [h.vector for h in run.recorder.handlers] == [1]


@pytest.mark.parametrize(("guest", "state", "index", "bit"), [
    (["nop", "nop"], {"tf": True}, 1, BS),
    (["store_watched", "nop"], {"dr7": ["l1", "gd"]}, 1, B1),
    (["nop", "mov_dr"], {"dr7": ["gd"]}, 1, BD),
])  # fmt: skip
def test_intercepted_debug_exception(guest: list[str], state: dict[str, object], index: int, bit: int) -> None:
    """S6-61: RIP of a trap is the next instruction; DR6 and DR7 in the VMCB are a handler's (APM2 15.12.2)."""
    run = play(guest=guest, intercept=["exception:db"], state=state)
    save = run.cpu.vmcb.save
    assert (exit_codes(run), exit_place(only_exit(run))) == (["db"], index)
    assert (save.dr6 & (B0 | B1 | BS | BD), save.dr7 & 1 << 13) == (bit, 0)


def test_trap_in_the_guest_does_not_reach_the_host() -> None:
    """S6-16, I-11: the guest's pending trap ends with the exit that overtakes it."""
    run = play(["vmrun", "nop", "stgi", "nop"], guest=["nop", "nop"], intercept=["smi"], state={"tf": True},
               events=["smi@guest+1"])  # fmt: skip
    assert exit_codes(run) == ["smi"]
    assert [kind for _, kind, _, _ in taken(run)] == ["smi"]


def test_fault_sets_rf_in_the_saved_image() -> None:
    """S6-18: an exception handler returns past a breakpoint on the instruction; #DB's handler sets RF itself."""
    run = play(["ud2"], host_handlers={6: ["spin"]})
    assert run.cpu.host_world.frames[0].rflags & 1 << 16
    run = play(["vmrun"], cpu={"dr7": ["l0"]}, host_handlers=STOP)
    assert run.cpu.host_world.frames[0].rflags & 1 << 16 == 0


def test_trap_and_interrupt_at_one_boundary() -> None:
    """S6-112."""
    run = play(["popf if,tf", "nop", "nop"], host_handlers={1: ["set frame.tf=false", "iret"]}, events=["nmi@start+2"])
    assert taken(run) == [("host", "exception", 1, 2), ("host", "nmi", 2, handler_entry(run, 1, 0))]
