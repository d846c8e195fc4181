"""Sections 2, 6.8 and 7: what the instructions do, their faults and intercepts, and in which order."""

import pytest
from tests.helpers import exit_codes, exit_place, only_exit, play, taken

from worldswitch.core.record import KIND_SMI
from worldswitch.core.state import IDLE

SVM = ["vmrun", "vmload", "vmsave", "stgi", "clgi", "skinit", "invlpga"]
WITH_INTERCEPT = {name: name for name in SVM}


def test_sti_and_cli() -> None:
    """S1-01: IF is bit 9."""
    assert play(["sti"], cpu={"if": False}).cpu.regs.rflags & 1 << 9
    assert play(["cli"]).cpu.regs.rflags & 1 << 9 == 0


@pytest.mark.parametrize("instruction", ["sti", "cli"])
@pytest.mark.parametrize(("cpl", "iopl", "faults"), [(0, 0, False), (3, 0, True), (3, 3, False), (1, 2, False)])
def test_sti_and_cli_heed_iopl(instruction: str, cpl: int, iopl: int, faults: bool) -> None:
    """S1-01: IOPL is bits 13:12; with CPL above it #GP(0)."""
    run = play(guest=[instruction, "vmmcall"], state={"cpl": cpl, "iopl": iopl}, handlers={13: ["vmmcall"]})
    assert [h.vector for h in run.recorder.handlers] == ([13] if faults else [])


def test_popf_at_cpl_3_keeps_if_and_iopl() -> None:
    """S2-05: POPF sets IF only where CPL is not above IOPL."""
    run = play(guest=["popf if", "vmmcall"], state={"cpl": 3, "if": False, "iopl": 1})
    assert only_exit(run).rflags & (1 << 9 | 3 << 12) == 1 << 12


def test_popf_does_not_load_rf() -> None:
    """S6-18: only IRET sets RF, so the breakpoint on VMRUN fires."""
    run = play(["popf if,rf", "vmrun"], cpu={"dr7": ["l0"]}, host_handlers={1: ["spin"]})
    assert taken(run) == [("host", "exception", 1, 1)]


# --- 7 faults on the SVM instructions


@pytest.mark.parametrize("instruction", [*SVM, "vmmcall"])
def test_ud_without_svme(instruction: str) -> None:
    """S7-01, S7-02: before any other check; S3-07: STGI and SKINIT where there is no SKINIT feature either."""
    run = play([instruction], cpu={"svme": False, "skinit": False, "cpl": 3, "rax": 1}, host_handlers={6: ["spin"]})
    assert taken(run) == [("host", "exception", 6, 0)]


@pytest.mark.parametrize("instruction", ["stgi", "skinit"])
def test_stgi_and_skinit_with_the_skinit_feature(instruction: str) -> None:
    """S3-07, S7-01: SVME=0 does not matter then; the other instructions still fault."""
    assert taken(play([instruction], cpu={"svme": False, "skinit": True})) == []
    assert [h.vector for h in play(["clgi"], cpu={"svme": False}, host_handlers={6: ["spin"]}).recorder.handlers] == [6]


@pytest.mark.parametrize("instruction", ["vmrun", "vmload", "vmsave", "clgi", "vmmcall", "invlpga"])
def test_ud_in_real_mode(instruction: str) -> None:
    """S7-01."""
    run = play([instruction], cpu={"mode": "real"}, host_handlers={6: ["spin"]})
    assert [h.vector for h in run.recorder.handlers] == [6]


@pytest.mark.parametrize("instruction", SVM)
def test_gp_for_cpl(instruction: str) -> None:
    """S7-03: #GP(0), at the instruction (S7-05)."""
    run = play([instruction], cpu={"cpl": 3}, host_handlers={13: ["spin"]})
    assert (taken(run), run.recorder.handlers[0].error_code) == ([("host", "exception", 13, 0)], 0)


@pytest.mark.parametrize("instruction", ["vmrun", "vmload", "vmsave"])
@pytest.mark.parametrize("rax", [0x2001, 1 << 48])
def test_gp_for_rax(instruction: str, rax: int) -> None:
    """S7-04."""
    run = play([instruction], cpu={"rax": rax}, host_handlers={13: ["spin"]})
    assert (taken(run), run.recorder.handlers[0].error_code) == ([("host", "exception", 13, 0)], 0)


def test_vmmcall_that_nobody_intercepts() -> None:
    """S7-01, S7-03: #UD always, in host and guest, at any CPL."""
    assert [h.vector for h in play(["vmmcall"], host_handlers={6: ["spin"]}).recorder.handlers] == [6]
    run = play(guest=["vmmcall"], vmcb={"intercepts": ["vmrun", "hlt"]}, state={"cpl": 3}, handlers={6: ["hlt"]})
    assert (taken(run), exit_codes(run)) == ([("guest", "exception", 6, 0)], ["hlt"])


def test_vmmcall_exits_at_any_cpl() -> None:
    """S7-03: its intercept heeds no privilege."""
    assert exit_codes(play(guest=["vmmcall"], state={"cpl": 3})) == ["vmmcall"]


@pytest.mark.parametrize("instruction", ["vmload", "vmsave", "stgi", "clgi", "skinit", "invlpga", "vmmcall"])
def test_intercepts_in_a_guest(instruction: str) -> None:
    """S7-12, S3-32: ordinary instruction intercepts, RIP at the instruction."""
    run = play(guest=["nop", instruction], intercept=[instruction] if instruction != "vmmcall" else [])
    assert (exit_codes(run), exit_place(only_exit(run))) == ([instruction], 1)


@pytest.mark.parametrize("instruction", ["vmload", "vmsave", "stgi", "clgi", "skinit"])
def test_exceptions_before_the_intercept(instruction: str) -> None:
    """S6-110: #GP for CPL first; for VMLOAD and VMSAVE also #GP for rAX."""
    run = play(guest=[instruction], intercept=[instruction], state={"cpl": 3}, handlers={13: ["vmmcall"]})
    assert [h.vector for h in run.recorder.handlers] == [13]
    if instruction in ("vmload", "vmsave"):
        run = play(guest=[instruction], intercept=[instruction], state={"rax": 5}, handlers={13: ["vmmcall"]})
        assert [h.vector for h in run.recorder.handlers] == [13]


def test_skinit_clears_gif() -> None:
    """S3-06."""
    assert play(["skinit"]).cpu.gif is False


# --- 6.8 intercept priorities


def test_hlt_checks_exceptions_first() -> None:
    """S6-110."""
    run = play(guest=["hlt"], intercept=["hlt"], state={"cpl": 3}, handlers={13: ["vmmcall"]})
    assert [h.vector for h in run.recorder.handlers] == [13]


@pytest.mark.parametrize(("instruction", "state"), [
    ("pushf", {}), ("popf if", {}), ("iret", {}), ("rsm", {}), ("int 0x80", {"cpl": 3}),
])  # fmt: skip
def test_intercept_before_exceptions(instruction: str, state: dict[str, int]) -> None:
    """S6-110: PUSHF, POPF, IRET, RSM, INTn; the INT's gate would refuse CPL 3, RSM outside SMM is #UD."""
    name = {"int": "swint"}.get(instruction.split()[0], instruction.split()[0])
    run = play(guest=[instruction], intercept=[name], state=state)
    assert (exit_codes(run), run.recorder.handlers) == ([name], [])


def test_rsm_outside_smm() -> None:
    """S6-110: #UD where it is not intercepted."""
    assert taken(play(guest=["rsm"], handlers={6: ["vmmcall"]})) == [("guest", "exception", 6, 0)]


@pytest.mark.parametrize(("instruction", "name"), [
    ("cpuid", "cpuid"), ("rdtsc", "rdtsc"), ("pause", "pause"), ("invlpg", "invlpg"), ("wbinvd", "wbinvd"),
    ("rdmsr", "msr"), ("wrmsr", "msr"), ("in", "ioio"), ("out", "ioio"), ("out_smi", "ioio"), ("mov_cr0", "cr_write:0"),
    ("mov_cr8 3", "cr_write:8"), ("mov_dr", "dr_write:7"), ("lidt", "idtr_write"), ("str", "tr_read"),
])  # fmt: skip
def test_instruction_intercepts(instruction: str, name: str) -> None:
    """S1-54, S1-50, S1-51: with the intercept an exit, without it nothing special."""
    run = play(guest=["nop", instruction], intercept=[name])
    assert (exit_codes(run), exit_place(only_exit(run))) == ([name], 1)
    assert exit_codes(play(guest=[instruction, "vmmcall"])) == ["vmmcall"]


def test_intercepted_io_raises_no_smi() -> None:
    """S3-13: the I/O has not happened."""
    run = play(guest=["out_smi"], intercept=["ioio"])
    assert (run.cpu.pend_smi, [kind for _, kind in run.recorder.discarded if kind == KIND_SMI]) == (0, [])


@pytest.mark.parametrize("fault", ["ud", "gp", "pf", "ss", "np", "ac"])
def test_intercepted_exception_is_fault_like(fault: str) -> None:
    """S6-111: RIP at the instruction, nothing of it done, no handler."""
    instruction = "ud2" if fault == "ud" else f"load {fault}"
    run = play(guest=["nop", instruction], intercept=[f"exception:{fault}"])
    assert (exit_codes(run), exit_place(only_exit(run)), taken(run)) == ([fault], 1, [])


@pytest.mark.parametrize("meets", ["ok", "task-gate"])
def test_access_that_meets_nothing(meets: str) -> None:
    """S6-91: only what an access can meet makes it fault."""
    assert exit_codes(play(guest=[f"load {meets}", "vmmcall"])) == ["vmmcall"]


def test_access_without_nested_paging() -> None:
    """S6-91, S6-90: a #PF in the guest, also in the host."""
    run = play(guest=["load npf"], vmcb={"np_enable": False}, handlers={14: ["vmmcall"]})
    assert taken(run) == [("guest", "exception", 14, 0)]
    assert [h.vector for h in play(["load npf"], host_handlers={14: ["spin"]}).recorder.handlers] == [14]


# --- software interrupts


@pytest.mark.parametrize(("instruction", "vector", "kind"), [
    ("int 0x80", 0x80, 4), ("int3", 3, 3), ("into", 4, 3), ("icebp", 1, 3),
])  # fmt: skip
def test_types_of_software_interrupts(instruction: str, vector: int, kind: int) -> None:
    """S1-41, S1-42: INT3, INTO and ICEBP count as TYPE 3."""
    run = play(guest=[instruction], state={"mode": "compat"}, idt={vector: "npf"})
    assert only_exit(run).exitintinfo == 1 << 31 | kind << 8 | vector


def test_into_in_64bit_mode() -> None:
    """S6-32: there is no INTO there."""
    assert taken(play(guest=["into"], handlers={6: ["vmmcall"]})) == [("guest", "exception", 6, 0)]


@pytest.mark.parametrize("vector", [3, 4, 6, 13])
def test_int_n_does_not_check_exception_intercepts(vector: int) -> None:
    """S1-42: only INT3 and INTO raise exceptions; INT n with the same vector does not (APM2 15.12)."""
    run = play(guest=[f"int {vector}"], intercept=["exception:bp", "exception:of", "exception:ud", "exception:gp"],
               handlers={vector: ["vmmcall"]})  # fmt: skip
    assert exit_codes(run) == ["vmmcall"]


# --- HLT and the end of a run


def test_halted_guest_with_a_masked_interrupt_stays_halted() -> None:
    """S2-21, S5-01: nothing that is left could wake it."""
    run = play(guest=["cli", "hlt", "vmmcall"], vmcb={"v_intr_masking": False}, events=["intr@guest+2"])
    assert (run.cpu.stop, run.cpu.halted, taken(run)) == (IDLE, True, [])


@pytest.mark.parametrize(("event", "kind"), [("intr", "intr"), ("nmi", "nmi"), ("mce", "mce")])
def test_what_wakes_a_halted_host(event: str, kind: str) -> None:
    """S2-21, S4-06."""
    run = play(["nop", "hlt", "nop"], events=[f"{event}@start+2"])
    assert [(k, index) for _, k, _, index in taken(run)] == [(kind, 2)]


def test_virtual_events_wake_a_halted_guest() -> None:
    """S5-08, S4-31: V_IRQ at once; a virtual NMI too."""
    run = play(guest=["sti", "hlt", "vmmcall"], state={"if": False}, vmcb={"v_irq": True, "v_intr_prio": 15})
    assert taken(run) == [("guest", "virq", 0, 2)]
    run = play(guest=["hlt", "vmmcall"], intercept=["nmi"], vmcb={"v_nmi_enable": True, "v_nmi": True, "int_state": 1})
    assert taken(run) == [("guest", "vnmi", 2, 1)]


def test_smi_does_not_end_a_halt() -> None:
    """S5-25: the handler returns to the halt; the INTR that follows ends it."""
    run = play(["nop", "hlt", "nop"], cpu={"pending": []}, events=["smi@start+2"])
    assert (taken(run), run.cpu.stop, run.cpu.halted) == ([("smm", "smi", 0, 2)], IDLE, True)


def test_intercepted_event_in_a_halt_exits_after_hlt() -> None:
    """S6-61, S2-21: RIP is after HLT."""
    run = play(guest=["hlt", "nop"], intercept=["intr"], state={"if": False}, events=["intr@guest+2"])
    assert (exit_codes(run), exit_place(only_exit(run))) == (["intr"], 1)
