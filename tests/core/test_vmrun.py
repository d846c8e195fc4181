"""Sections 6.1 to 6.3: the checks of VMRUN in their order, what it loads, what it refuses, and the first boundary."""

import pytest
from tests.helpers import exit_codes, exit_place, handler_entry, last_handler, only_exit, play, taken

from worldswitch.core.bits import RFLAGS_RF
from worldswitch.core.record import WORLD_HOST
from worldswitch.core.state import CR0_PAGED, EFER_LONG, Vmcb
from worldswitch.core.vmrun import legal_injection

LIMIT = 1 << 48  # the first physical address that the modelled processor does not have
CR0 = 0x8001_0033
CR4 = 0x60
EFER = 0x1D01


# --- (a) to (d): faults, in order


@pytest.mark.parametrize("cpu", [{"svme": False}, {"mode": "real"}])
def test_ud_without_svm_or_protected_mode(cpu: dict[str, object]) -> None:
    """S6-01, S7-01, T-140; S7-05: the faulting RIP is VMRUN itself. No entry was made (S7-07)."""
    run = play(["nop", "vmrun"], cpu=cpu, host_handlers={6: ["spin"]})
    assert taken(run) == [("host", "exception", 6, 1)]
    assert run.recorder.entries == []


def test_ud_precedes_gp() -> None:
    """S6-02, S7-02: with SVME=0, CPL 3 and a bad rAX."""
    run = play(cpu={"svme": False, "cpl": 3, "rax": 0x123}, host_handlers={6: ["spin"]})
    assert taken(run) == [("host", "exception", 6, 0)]


@pytest.mark.parametrize("cpu", [{"cpl": 3}, {"rax": 0x2123}, {"rax": LIMIT}])
def test_gp_for_cpl_and_rax(cpu: dict[str, int]) -> None:
    """S6-02, S6-03, S7-03, S7-04, T-142: #GP(0); nothing saved, GIF as it was (S7-07)."""
    run = play(cpu={**cpu, "gif": False}, host_handlers={13: ["spin"]})
    assert (taken(run), last_handler(run).error_code) == ([("host", "exception", 13, 0)], 0)
    assert (run.recorder.entries, run.cpu.gif) == ([], False)


@pytest.mark.parametrize("rax", [0x2000, LIMIT - 0x1000])
def test_good_rax(rax: int) -> None:
    """S6-03."""
    assert exit_codes(play(cpu={"rax": rax})) == ["vmmcall"]


@pytest.mark.parametrize(("value", "vector"), [("no", None), ("yes", 6)])
def test_paging_off(value: str, vector: int | None) -> None:
    """S6-01: #UD in KVM's emulation only."""
    run = play(
        cpu={"paging": False}, vmcb={"np_enable": False}, host_handlers={6: ["spin"]}, vmrun_requires_paging=value
    )
    assert [h.vector for h in run.recorder.handlers] == ([] if vector is None else [vector])
    assert exit_codes(run) == (["vmmcall"] if vector is None else [])


@pytest.mark.parametrize("state", [{"cpl": 3}, {"rax": 0x2123}])
def test_guest_vmrun_checks_before_its_intercept(state: dict[str, int]) -> None:
    """S6-04, S6-110, T-143: #GP in the guest."""
    run = play(guest=["vmrun"], state=state, handlers={13: ["vmmcall"]})
    assert taken(run) == [("guest", "exception", 13, 0)]


def test_guest_vmrun_intercept_before_rax() -> None:
    """S6-04: exit 80h; CPL is checked before it all the same."""
    run = play(guest=["vmrun"], state={"rax": 0x2123}, vmrun_intercept_before_rax_gp="yes")
    assert exit_codes(run) == ["vmrun"]
    run = play(guest=["vmrun"], state={"cpl": 3}, handlers={13: ["vmmcall"]}, vmrun_intercept_before_rax_gp="yes")
    assert taken(run) == [("guest", "exception", 13, 0)]


def test_guest_vmrun_is_intercepted() -> None:
    """S6-04, S7-12: with RIP at it, nRIP after it (S1-71)."""
    record = only_exit(play(guest=["nop", "vmrun"]))
    assert (record.code, exit_place(record), record.nrip - 1) == (0x80, 1, 2)


# --- (e) to (l): what is saved and loaded


def test_host_state_is_saved_and_reloaded() -> None:
    """S6-05, S6-56: the instruction after VMRUN is next, with the host's RFLAGS, CR0, CR3, CR4 and EFER."""
    run = play(["nop", "vmrun", "nop"], state={"cr3": 0x9000, "cr4": 0x20, "if": False, "mode": "compat"})
    regs = run.cpu.regs
    assert (regs.cr0, regs.cr3, regs.cr4, regs.efer, bool(regs.rflags & 0x200)) == (CR0, 0x1000, CR4, EFER, True)
    assert exit_codes(run) == ["vmmcall"]


def test_guest_state_is_loaded() -> None:
    """S6-07: RIP, RFLAGS, CPL, CR2 and the rest of the save area."""
    run = play(guest=["nop", "nop", "int 0x80"], state={"rip": "guest+2", "cpl": 3, "if": False, "cr2": 0x77},
               idt={0x80: {"dpl": 3}}, handlers={0x80: ["spin"]})  # fmt: skip
    frame = run.cpu.guest_world.frames[0]
    assert (frame.rip - 1, frame.cpl, bool(frame.rflags & 0x200), run.cpu.regs.cr2) == (3, 3, False, 0x77)


def test_controls_are_loaded_by_every_vmrun() -> None:
    """S6-06: intercepts, V_* and EVENTINJ as software left them for that round."""
    run = play(
        ["vmrun", "stgi"],
        guest=["pause", "vmmcall"],
        intercept=["pause"],
        rounds=3,
        between=["set vmcb.intercepts=vmrun,vmmcall", "set vmcb.v_irq=true", "set vmcb.v_intr_prio=15"],
    )
    assert exit_codes(run) == ["pause", "vmmcall", "vmmcall"]
    assert [kind for _, kind, _, _ in taken(run)] == ["virq", "virq"]


def test_real_mode_guest_runs_at_cpl_0() -> None:
    """S6-07: the CPL field does not count there (APM2 15.5.1)."""
    run = play(guest=["int 0x80"], state={"mode": "real", "cpl": 3}, handlers={0x80: ["spin"]})
    assert run.cpu.guest_world.frames[0].cpl == 0


def test_active_state() -> None:
    """S6-15: a guest that exited from HLT is not halted again."""
    run = play(["vmrun", "stgi"], guest=["hlt", "vmmcall"], intercept=["nmi"], events=["nmi@guest+2"], rounds=2)
    assert exit_codes(run) == ["nmi", "vmmcall"]


def test_noncanonical_rip_is_a_gp_in_the_guest() -> None:
    """S6-21, T-110: not VMEXIT_INVALID."""
    run = play(state={"rip": "noncanonical"}, handlers={13: ["vmmcall"]})
    assert (taken(run), exit_codes(run)) == ([("guest", "exception", 13, -1)], ["vmmcall"])


def test_pending_intercepted_intr_runs_no_instruction() -> None:
    """S6-12, S6-13, T-060: RIP unchanged."""
    run = play(intercept=["intr"], cpu={"gif": False, "pending": ["intr:0x20"]})
    assert (exit_codes(run), exit_place(only_exit(run)), run.recorder.entries[0].retired) == (["intr"], 0, 0)


def test_injection_precedes_the_first_instruction() -> None:
    """S6-11."""
    run = play(guest=["vmmcall"], vmcb={"eventinj": "intr:0x68"})
    assert taken(run) == [("guest", "injected", 0x68, 0)]


# --- 6.2 VMEXIT_INVALID


def invalid(**scenario: object) -> None:
    run = play(**scenario)  # type: ignore[arg-type]
    assert exit_codes(run) == ["invalid"]
    record = only_exit(run)
    assert (record.code, record.exitintinfo, record.eventinj & 1 << 31, record.gif) == ((1 << 64) - 1, 0, 0, False)
    assert (run.recorder.handlers, run.recorder.entries[0].retired) == ([], 0)


@pytest.mark.parametrize("state", [
    {"svme": False},
    {"efer": EFER | 1 << 16},
    {"efer": EFER | 1 << 63},
    {"cr0": CR0 | 1 << 29},  # NW without CD
    {"cr0": CR0 | 1 << 32},
    {"cr3": LIMIT},
    *({"cr4": CR4 | 1 << bit} for bit in (13, 14, 15, 19, *range(24, 64))),
    {"dr6": 1 << 32}, {"dr7": 1 << 32 | 0x400},
    {"cr4": 0x40},  # LME, PG, no PAE
    {"cr0": CR0 & ~1},  # LME, PG, no PE
    {"cs_big": True},  # LME, PG, PAE, CS.L, CS.D
    {"cr4": CR4 | 1 << 23, "cr0": CR0 & ~(1 << 16)},  # CET without WP
])  # fmt: skip
def test_illegal_save_area(state: dict[str, object]) -> None:
    """S6-08, S6-30, S6-34 (CET), T-109."""
    invalid(state=state)


@pytest.mark.parametrize("state", [
    {"cr0": CR0 | 3 << 29},  # NW with CD
    {"cr0": CR0 | 1 << 30},  # CD alone
    *({"cr4": CR4 | 1 << bit} for bit in (*range(13), 16, 17, 18, 20, 21, 22)),
    {"cr4": CR4 | 1 << 23},  # CET with WP
    {"mode": "compat", "cs_big": True},
    {"mode": "protected"},
    {"mode": "protected", "cr4": 0},  # PAE is a matter of long mode
    {"efer": 0x1900, "cr0": 0x11, "cr4": 0},  # LME without PG
    {"mode": "real"},
    {"cr3": LIMIT - 0x1000},
])  # fmt: skip
def test_legal_save_area(state: dict[str, object]) -> None:
    """S6-30: the neighbours of the illegal values."""
    assert exit_codes(play(state=state)) == ["vmmcall"]


@pytest.mark.parametrize("vmcb", [
    {"intercepts": ["vmmcall"]},
    {"asid": 0},
    {"msrpm_base_pa": LIMIT - 0x1000}, {"msrpm_base_pa": LIMIT},
    {"iopm_base_pa": LIMIT - 0x2000}, {"iopm_base_pa": LIMIT - 0x1000},
    {"v_nmi_enable": True},
])  # fmt: skip
def test_illegal_control_area(vmcb: dict[str, object]) -> None:
    """S6-31, S6-33, S4-30, T-046, T-109."""
    invalid(vmcb=vmcb)


@pytest.mark.parametrize("vmcb", [
    {"msrpm_base_pa": LIMIT - 0x2000}, {"msrpm_base_pa": LIMIT - 0x1001},
    {"iopm_base_pa": LIMIT - 0x3000}, {"iopm_base_pa": LIMIT - 0x2001},
    {"v_nmi_enable": True, "intercepts": ["vmrun", "vmmcall", "nmi"]},
])  # fmt: skip
def test_legal_control_area(vmcb: dict[str, object]) -> None:
    """S6-31: a map of two, or three, pages may end at the limit; VMRUN ignores bits 11:0 of its base."""
    assert exit_codes(play(vmcb=vmcb)) == ["vmmcall"]


def test_nested_paging_needs_host_paging() -> None:
    """S6-35."""
    invalid(cpu={"paging": False})
    assert exit_codes(play(cpu={"paging": False}, vmcb={"np_enable": False})) == ["vmmcall"]


def test_invalid_exit_leaves_the_save_area() -> None:
    """S6-37, S6-57: RIP, RFLAGS and nRIP tell nothing new; EVENTINJ is cleared all the same."""
    run = play(vmcb={"asid": 0, "eventinj": "intr:0x68"}, state={"rip": "guest+1", "if": False, "cr2": 0x99})
    record = only_exit(run)
    assert (exit_place(record), record.rflags & 0x200, record.cr2, record.eventinj) == (1, 0, 0x99, 0)


@pytest.mark.parametrize(("value", "int_state"), [("no", 0xF0), ("yes", 0)])
def test_invalid_exit_and_int_state(value: str, int_state: int) -> None:
    """S6-37: what it may write is int_state, whose other bits then read 0."""
    run = play(vmcb={"asid": 0, "int_state": 0xF0}, invalid_writes_guest_state=value)
    assert only_exit(run).int_state == int_state


# S6-32, written independently: the exceptions that AMD64 defines, without those of 64-bit mode's impossible two.
DEFINED = {0, 1, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 19, 21, 28, 29, 30}
NOT_IN_64BIT = {4, 5}  # INTO and BOUND


@pytest.mark.parametrize("mode", ["64bit", "compat", "protected"])
@pytest.mark.parametrize("reserved", ["invalid", "deliver"])
@pytest.mark.parametrize("sev_es", [False, True])
def test_eventinj_legality(mode: str, reserved: str, sev_es: bool) -> None:
    """S6-32, S6-34, S10-35, T-045, T-108: all types and vectors."""
    vmcb = Vmcb()
    vmcb.sev_es = sev_es
    vmcb.save.cr0, vmcb.save.efer = CR0_PAGED, EFER_LONG if mode != "protected" else 0x1000
    vmcb.save.cs_long = mode == "64bit"
    for kind in range(8):
        for vector in range(256):
            vmcb.eventinj = 1 << 31 | kind << 8 | vector
            if kind in (0, 2):
                legal = True
            elif kind == 4:
                legal = not sev_es
            elif kind != 3 or vector == 2 or vector > 31:
                legal = False
            else:
                impossible = mode == "64bit" and vector in NOT_IN_64BIT
                refused = sev_es and vector in (3, 4)
                legal = not impossible and not refused and (vector in DEFINED or reserved == "deliver")
            assert legal_injection(vmcb, reserved == "deliver") is legal, (kind, vector)
            vmcb.eventinj &= ~(1 << 31)
            assert legal_injection(vmcb, False), "V=0 is no injection"


def test_injected_deliveries_are_counted() -> None:
    """I-09: the record tells the event of EVENTINJ from native ones."""
    run = play(vmcb={"eventinj": "intr:0x68"}, handlers={0x68: ["int 0x80", "iret"]})
    assert (run.recorder.entries[0].injected_deliveries, run.recorder.entries[0].delivered) == (1, 2)
    run = play(vmcb={"eventinj": "intr:0x68"}, idt={0x68: "gp"}, handlers={13: ["vmmcall"]})
    assert (run.recorder.entries[0].injected_deliveries, run.recorder.entries[0].delivered) == (0, 1)


def test_illegal_injection_runs_no_handler() -> None:
    """S6-32, S2-79."""
    for word in (0x8000_0302, 0x8000_0177, 0x8000_0320, 0x8000_0305, 0x8000_031F):
        invalid(vmcb={"eventinj": word})


# --- 6.3 injection in detail


def test_injected_events_are_not_intercepted() -> None:
    """S6-40, T-097: an injected #GP while #GP is intercepted."""
    run = play(intercept=["exception:gp", "intr", "nmi", "swint"], vmcb={"eventinj": "gp"}, handlers={13: ["vmmcall"]})
    assert (taken(run), exit_codes(run)) == ([("guest", "injected", 13, 0)], ["vmmcall"])


def test_injected_db_leaves_the_debug_registers() -> None:
    """S6-45: DR6 and DR7 are those of the VMCB."""
    run = play(vmcb={"eventinj": "db"}, state={"dr7": ["gd"]}, handlers={1: ["spin"]})
    assert (run.cpu.regs.dr6, run.cpu.regs.dr7) == (0xFFFF_0FF0, 0x2400)


def test_injected_pf_leaves_cr2() -> None:
    """S6-45, T-115: the handler sees what software put into VMCB.CR2."""
    run = play(vmcb={"eventinj": "pf(0x4)"}, state={"cr2": 0xABC000}, handlers={14: ["vmmcall"]})
    assert (only_exit(run).cr2, run.recorder.handlers[0].error_code) == (0xABC000, 4)


@pytest.mark.parametrize("event", ["intr:0x68", "nmi", "gp", "ud"])
def test_pushed_rip_of_a_fault_or_interrupt(event: str) -> None:
    """S6-48: VMCB.RIP, also with an nRIP in the VMCB."""
    run = play(guest=["nop", "nop", "vmmcall"], vmcb={"eventinj": event, "nrip": "guest+2"}, state={"rip": "guest+1"})
    assert [h.rip - 1 for h in run.recorder.handlers] == [1]


@pytest.mark.parametrize("event", ["soft:0x80", "bp"])
def test_pushed_rip_of_a_soft_event(event: str) -> None:
    """S1-73, S6-48: VMCB.nRIP; where software gave none, VMCB.RIP."""
    run = play(guest=["nop", "nop", "vmmcall"], vmcb={"eventinj": event, "nrip": "guest+2"})
    assert [h.rip - 1 for h in run.recorder.handlers] == [2]
    run = play(guest=["nop", "nop", "vmmcall"], vmcb={"eventinj": event})
    assert [h.rip - 1 for h in run.recorder.handlers] == [0]


def test_saved_rip_when_delivery_of_a_soft_event_exits() -> None:
    """S6-61: VMCB.RIP, not nRIP; S1-72: and nRIP is 0 then."""
    run = play(guest=["nop", "nop", "vmmcall"], vmcb={"eventinj": "soft:0x80", "nrip": "guest+1"}, idt={0x80: "npf"})
    assert (exit_place(only_exit(run)), only_exit(run).nrip) == (0, 0)


# --- TF and RF across VMRUN


def test_host_trap_for_vmrun_comes_after_the_exit() -> None:
    """S6-16, I-11, T-112: TF set by the instruction before; RIP after VMRUN, GIF=0, none in the guest."""
    run = play(["clgi", "popf if,tf", "vmrun", "nop"], host_handlers={1: ["set frame.tf=false", "iret"]})
    assert taken(run) == [("host", "exception", 1, 3)]
    assert (run.recorder.handlers[0].gif, exit_codes(run)) == (False, ["vmmcall"])
    assert run.cpu.regs.dr6 & 1 << 14


def test_host_tf_set_earlier_traps_before_vmrun() -> None:
    """S6-17, T-025: an ordinary #DB after each instruction, also with GIF=0 (S3-17)."""
    run = play(["clgi", "popf tf", "nop", "vmrun"], host_handlers={1: ["set frame.tf=false", "iret"]})
    assert taken(run) == [("host", "exception", 1, 3)]
    assert run.recorder.entries[0].step > run.recorder.handlers[0].step


def test_host_tf_and_an_invalid_exit() -> None:
    """S6-16: VMRUN completes with that exit as well."""
    run = play(["clgi", "popf tf", "vmrun"], vmcb={"asid": 0}, host_handlers={1: ["set frame.tf=false", "iret"]})
    assert taken(run) == [("host", "exception", 1, 3)]


@pytest.mark.parametrize(("value", "handlers"), [("deliver", [("host", "exception", 1, 2)]), ("discard", [])])
def test_host_data_breakpoint_held_over_vmrun(value: str, handlers: list[tuple[str, str, int, int]]) -> None:
    """S2-39, S6-16, S3-16: to the host VMRUN is the one instruction after MOV SS; GIF=0 drops the match then."""
    run = play(["mov_ss_watched", "vmrun", "nop"], cpu={"dr7": ["l1"]}, gif0_breakpoint_db=value)
    assert (taken(run), exit_codes(run)) == (handlers, ["vmmcall"])


def test_host_rf_suppresses_the_breakpoint_on_vmrun() -> None:
    """S6-18, T-113: exactly one #DB, then the guest runs; RF is 0 afterwards."""
    run = play(["nop", "vmrun"], cpu={"dr7": ["l0"]}, host_handlers={1: ["set frame.rf=true", "iret"]})
    assert (taken(run), exit_codes(run)) == ([("host", "exception", 1, 1)], ["vmmcall"])
    assert run.cpu.regs.rflags & RFLAGS_RF == 0


def test_guest_tf_traps_after_the_first_instruction() -> None:
    """S6-19, T-111."""
    run = play(guest=["nop", "vmmcall"], state={"tf": True}, handlers={1: ["set frame.tf=false", "iret"]})
    assert taken(run) == [("guest", "exception", 1, 1)]


def test_guest_tf_and_injection() -> None:
    """S6-20: no trap before the handler; the saved image has TF=1."""
    run = play(guest=["nop", "vmmcall"], state={"tf": True}, vmcb={"eventinj": "intr:0x68"},
               handlers={0x68: ["nop", "vmmcall"]})  # fmt: skip
    assert taken(run) == [("guest", "injected", 0x68, 0)]
    assert (run.cpu.guest_world.frames[0].rflags & 1 << 8, exit_place(only_exit(run))) == (
        1 << 8,
        handler_entry(run, 0x68) + 1,
    )


def test_host_exception_handler_sees_the_hosts_if() -> None:
    """S7-05: VMRUN that faults right after STI pushes IF=1."""
    run = play(["sti", "vmrun"], cpu={"if": False, "svme": False}, host_handlers={6: ["spin"]})
    handler = run.recorder.handlers[0]
    assert (handler.world, bool(handler.rflags & 0x200)) == (WORLD_HOST, True)
