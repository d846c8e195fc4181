"""Section 2: who creates an interrupt shadow, what ends it, what it blocks, and what int_state says of it."""

import pytest
from tests.helpers import exit_codes, exit_place, handler_entry, only_exit, play, taken

from worldswitch.core.record import WORLD_HOST
from worldswitch.core.state import INIT_RESET
from worldswitch.machine.run import Run

INTR = {"if": False, "pending": ["intr:0x20"]}
BLEED = ("clgi", "sti", "vmrun")  # VMRUN in the host's STI shadow, which needs IF=0 before
NO_BLEED = ("clgi", "sti", "nop", "vmrun")
IF_CLEAR = {"if": False}


def host_intr(index: int) -> list[tuple[str, str, int, int]]:
    return [("host", "intr", 0x20, index)]


# --- 2.1 creation


def test_sti_that_sets_if_creates_a_shadow() -> None:
    """S2-01, S2-10, S2-20: the INTR waits for one instruction after STI, and not for two."""
    assert taken(play(["sti", "nop", "nop"], cpu=INTR)) == host_intr(2)


def test_sti_with_if_set_creates_none() -> None:
    """S2-02: the INTR that arrives with STI is taken at the boundary after it."""
    assert taken(play(["sti", "nop"], events=["intr@start+1"])) == host_intr(1)


def test_sti_with_if_set_creates_one_in_qemu() -> None:
    """S2-02, S10-30."""
    run = play(["sti", "nop"], events=["intr@start+1"], sti_with_if_set_creates_shadow="yes")
    assert taken(run) == host_intr(2)


def test_qemu_does_not_extend_an_active_shadow() -> None:
    """S10-30: unless inhibit is already set."""
    run = play(["sti", "sti", "nop"], cpu=INTR, sti_with_if_set_creates_shadow="yes")
    assert taken(run) == host_intr(2)


@pytest.mark.parametrize("load", ["mov_ss", "pop_ss"])
def test_ss_load_creates_a_shadow_with_if_set(load: str) -> None:
    """S2-03."""
    assert taken(play([load, "nop", "nop"], events=["intr@start+1"])) == host_intr(2)


def test_ss_load_creates_a_shadow_with_if_clear() -> None:
    """S2-03: regardless of IF, so it holds an NMI as well (S2-33)."""
    run = play(["mov_ss", "nop", "nop"], cpu=IF_CLEAR, events=["nmi@start+1"])
    assert taken(run) == [("host", "nmi", 2, 2)]


def test_lss_creates_none() -> None:
    """S2-04."""
    assert taken(play(["lss", "nop"], events=["intr@start+1"])) == host_intr(1)


def test_popf_that_sets_if_creates_none() -> None:
    """S2-05."""
    assert taken(play(["popf if", "nop"], cpu=INTR)) == host_intr(1)


def test_iret_that_sets_if_creates_none() -> None:
    """S2-05."""
    run = play(["int 0x80", "nop"], cpu=INTR, host_handlers={0x80: ["set frame.if=true", "iret"]})
    assert taken(run) == [("host", "soft", 0x80, 1), ("host", "intr", 0x20, 1)]


def test_vmrun_that_sets_if_creates_none() -> None:
    """S2-05: host IF=0, guest IF=1; the INTR is delivered before the first guest instruction."""
    run = play(cpu=INTR, vmcb={"v_intr_masking": False})
    assert taken(run) == [("guest", "intr", 0x20, 0)]


def test_mov_ss_after_mov_ss_does_not_extend() -> None:
    """S2-06."""
    assert taken(play(["mov_ss", "mov_ss", "nop"], events=["intr@start+1"])) == host_intr(2)


def test_sti_after_sti_does_not_extend() -> None:
    """S2-07."""
    assert taken(play(["sti", "sti", "nop"], cpu=INTR)) == host_intr(2)


@pytest.mark.parametrize(("value", "index"), [("fresh-shadow", 3), ("cleared", 2)])
def test_sti_after_mov_ss(value: str, index: int) -> None:
    """S2-08."""
    assert taken(play(["mov_ss", "sti", "nop", "nop"], cpu=INTR, movss_then_sti=value)) == host_intr(index)


def test_cli_after_sti_cancels() -> None:
    """S2-09: nothing is taken, and the INTR is still pending."""
    run = play(["sti", "cli", "nop"], cpu=INTR)
    assert taken(run) == []
    assert run.cpu.irr == [0x20]


def test_sti_nop_cli_lets_one_in_after_the_nop() -> None:
    """S2-10."""
    assert taken(play(["sti", "nop", "cli", "nop"], cpu=INTR)) == host_intr(2)


# --- 2.2 duration and destruction


@pytest.mark.parametrize(("program", "int_state"), [(["sti", "vmmcall"], 1), (["sti", "nop", "vmmcall"], 0)])
def test_shadow_lasts_for_one_instruction(program: list[str], int_state: int) -> None:
    """S2-20, S2-52."""
    assert only_exit(play(guest=program, state={"if": False})).int_state == int_state


def test_sti_hlt_wakes_at_once() -> None:
    """S2-21: HLT starts, and the return RIP is after it."""
    assert taken(play(["sti", "hlt", "nop"], cpu=INTR)) == host_intr(2)


def test_fault_in_the_shadow_ends_it() -> None:
    """S2-22: a trap gate leaves IF=1; the INTR is taken at the handler's first instruction."""
    run = play(
        ["sti", "ud2", "nop"],
        cpu=INTR,
        host_idt={6: {"type": "trap"}},
        host_handlers={6: ["nop", "set frame.rip=next", "iret"]},
    )
    entry = handler_entry(run, 6, WORLD_HOST)
    assert taken(run) == [("host", "exception", 6, 1), ("host", "intr", 0x20, entry)]


def test_saved_flags_do_not_restore_the_shadow() -> None:
    """S2-22: after the handler of the fault has returned, nothing holds the INTR any longer."""
    run = play(["sti", "ud2", "nop"], cpu=INTR, host_handlers={6: ["set frame.rip=next", "iret"]})
    assert taken(run) == [("host", "exception", 6, 1), ("host", "intr", 0x20, 2)]


@pytest.mark.parametrize(
    ("instruction", "vector", "extra"),
    [
        ("ud2", 6, {}),
        ("int 0x80", 0x80, {}),
        ("nop", 2, {"events": ["nmi@guest+1"], "shadow_blocks_nmi": "none"}),
        ("int 0x80", 0x80, {"idt": {0x80: "task-gate"}, "mode": "protected"}),
    ],
)
def test_delivery_of_any_event_clears_it(instruction: str, vector: int, extra: dict[str, object]) -> None:
    """S2-23: exception, soft INT, NMI, hardware task switch; the handler exits at once."""
    extra = dict(extra)
    state: dict[str, object] = {"if": False}
    if "mode" in extra:
        state["mode"] = extra.pop("mode")
    run = play(guest=["sti", instruction], state=state, handlers={vector: ["vmmcall"]}, **extra)  # type: ignore[arg-type]
    assert [vector] == [h.vector for h in run.recorder.handlers]
    assert only_exit(run).int_state == 0


@pytest.mark.parametrize(("value", "index"), [("yes", 1), ("no", 2)])
def test_rep_iteration(value: str, index: int) -> None:
    """S2-24: index 1 is the REP instruction between two of its iterations."""
    run = play(["sti", "rep 3", "nop"], cpu=INTR, rep_iteration_ends_shadow=value)
    assert taken(run) == host_intr(index)


def test_software_interrupt_in_the_shadow_is_delivered() -> None:
    """S2-25: handler 21h first, then the pending 20h; each once."""
    run = play(["sti", "int 0x21", "nop"], cpu=INTR)
    assert taken(run) == [("host", "soft", 0x21, 2), *host_intr(2)]


# --- 2.3 what it blocks


def test_blocks_intr_of_both_kinds_of_shadow() -> None:
    """S2-30."""
    for first, cpu in (("sti", IF_CLEAR), ("mov_ss", {})):
        assert taken(play([first, "nop", "nop"], cpu=cpu, events=["intr@start+1"])) == host_intr(2)


def test_blocks_virtual_interrupt() -> None:
    """S2-31."""
    run = play(guest=["sti", "nop", "nop", "vmmcall"], state={"if": False}, vmcb={"v_irq": True, "v_intr_prio": 15})
    assert taken(run) == [("guest", "virq", 0, 2)]


@pytest.mark.parametrize(
    ("value", "creator", "blocked"),
    [
        ("none", "sti", False), ("none", "mov_ss", False),
        ("movss", "sti", False), ("movss", "mov_ss", True),
        ("both", "sti", True), ("both", "mov_ss", True),
    ],
)  # fmt: skip
def test_nmi_in_a_shadow(value: str, creator: str, blocked: bool) -> None:
    """S2-32, S2-33."""
    run = play([creator, "nop", "nop"], cpu=IF_CLEAR, events=["nmi@start+1"], shadow_blocks_nmi=value)
    assert taken(run) == [("host", "nmi", 2, 2 if blocked else 1)]


@pytest.mark.parametrize("creator", ["sti", "mov_ss"])
@pytest.mark.parametrize(("value", "index"), [("off", 1), ("on", 2)])
def test_smi_in_a_shadow(creator: str, value: str, index: int) -> None:
    """S2-34."""
    run = play([creator, "nop", "nop"], cpu=IF_CLEAR, events=["smi@start+1"], shadow_blocks_smi=value)
    assert taken(run) == [("smm", "smi", 0, index)]


@pytest.mark.parametrize("creator", ["sti", "mov_ss"])
def test_init_and_machine_check_are_not_blocked(creator: str) -> None:
    """S2-35."""
    run = play([creator, "nop"], cpu=IF_CLEAR, events=["init@start+1"])
    assert (run.cpu.stop, run.cpu.regs.rip - 1) == (INIT_RESET, 1)
    run = play([creator, "nop"], cpu=IF_CLEAR, events=["mce@start+1"])
    assert taken(run) == [("host", "mce", 18, 1)]


def test_sti_shadow_does_not_hold_the_single_step_trap() -> None:
    """S2-36, S2-40: the first trap comes right after STI."""
    run = play(["popf tf", "sti", "nop", "nop"], cpu=IF_CLEAR)
    assert [(h.vector, h.rip - 1) for h in run.recorder.handlers] == [(1, 2), (1, 3), (1, 4)]


def test_mov_ss_shadow_suppresses_the_single_step_trap() -> None:
    """S2-37: none after MOV SS, the first after the instruction that follows it."""
    run = play(["popf tf", "mov_ss", "nop", "nop"], cpu=IF_CLEAR)
    assert [(h.vector, h.rip - 1) for h in run.recorder.handlers] == [(1, 3), (1, 4)]


def test_icebp_in_a_mov_ss_shadow_is_delivered() -> None:
    """S2-38."""
    assert taken(play(["mov_ss", "icebp", "nop"])) == [("host", "soft", 1, 2)]


def test_general_detect_in_a_mov_ss_shadow_is_delivered() -> None:
    """S2-38: a fault, so RIP is that of the MOV DR; DR6.BD (bit 13)."""
    run = play(["mov_ss", "mov_dr"], cpu={"dr7": ["gd"]}, host_handlers={1: ["spin"]})
    assert taken(run) == [("host", "exception", 1, 1)]
    assert run.cpu.regs.dr6 & 1 << 13


def test_data_breakpoint_of_the_ss_load_waits_for_the_next_instruction() -> None:
    """S2-39: INT3 after MOV SS shows both, the #DB at the first instruction of the INT3 handler."""
    run = play(["mov_ss_watched", "int3", "nop"], cpu={"dr7": ["l1"]}, host_handlers={3: ["nop", "iret"]})
    assert taken(run) == [("host", "soft", 3, 2), ("host", "exception", 1, handler_entry(run, 3, WORLD_HOST))]
    assert run.cpu.regs.dr6 & 2


def test_data_breakpoint_of_the_ss_load_comes_after_a_plain_instruction() -> None:
    """S2-39."""
    run = play(["mov_ss_watched", "nop", "nop"], cpu={"dr7": ["l1"]})
    assert taken(run) == [("host", "exception", 1, 2)]


# --- 2.4 the guest's shadow and the VMCB


def test_both_kinds_are_one_bit() -> None:
    """S1-06: int_state cannot tell them apart."""
    for creator in ("sti", "mov_ss"):
        assert only_exit(play(guest=[creator, "vmmcall"], state={"if": False})).int_state == 1


def test_vmrun_loads_it_for_one_instruction() -> None:
    """S2-50, S2-51, T-075: the handler's saved RIP is one instruction on; int_state 0 and V_IRQ=0 at the exit."""
    run = play(guest=["nop", "nop", "vmmcall"], vmcb={"int_state": 1, "v_irq": True, "v_intr_prio": 15})
    assert taken(run) == [("guest", "virq", 0, 1)]
    assert (only_exit(run).int_state, only_exit(run).v_irq) == (0, False)


def test_only_bit_0_of_int_state_counts() -> None:
    """S1-26, S2-50; S1-32: bit 1 stays 0 for a guest without SEV-ES."""
    run = play(guest=["nop", "vmmcall"], vmcb={"int_state": 0xFFFF_FFFE, "v_irq": True, "v_intr_prio": 15})
    assert taken(run) == [("guest", "virq", 0, 0)]
    assert only_exit(run).int_state == 0


def test_intercepted_instruction_in_the_shadow() -> None:
    """S2-52, S2-53: int_state 1, RIP at the instruction."""
    record = only_exit(play(guest=["sti", "hlt"], intercept=["hlt"], state={"if": False}))
    assert (record.int_state, exit_place(record)) == (1, 1)


def test_npf_in_the_shadow_preserves_the_window() -> None:
    """S2-55: re-entry restores it, so the virtual interrupt still waits for that instruction."""
    run = play(
        ["sti", "nop", "vmrun"],
        ["sti", "load npf", "nop", "vmmcall"],
        state={"if": False},
        vmcb={"v_irq": True, "v_intr_prio": 15},
        rounds=2,
        between=["set guest.memory=ok"],
    )
    assert [record.int_state for record in run.recorder.exits] == [1, 0]
    assert taken(run) == [("guest", "virq", 0, 2)]


@pytest.mark.parametrize("event", ["intr:0x68", "nmi", "ud", "soft:0x80"])
def test_injection_does_not_heed_if_tpr_or_shadow(event: str) -> None:
    """S2-56, T-095; S2-57, T-096: delivered at once, and int_state is 0 in the handler."""
    run = play(
        vmcb={"eventinj": event, "int_state": 1, "v_tpr": 15},
        state={"if": False},
        handlers={0x68: ["vmmcall"], 2: ["vmmcall"], 6: ["vmmcall"], 0x80: ["vmmcall"]},
    )
    assert [(world, kind, index) for world, kind, _, index in taken(run)] == [("guest", "injected", 0)]
    assert only_exit(run).int_state == 0


@pytest.mark.parametrize(("value", "int_state"), [("keep", 1), ("clear", 0)])
def test_loaded_shadow_when_injected_delivery_exits(value: str, int_state: int) -> None:
    """S2-58."""
    run = play(
        vmcb={"eventinj": "intr:0x68", "int_state": 1},
        idt={0x68: "npf"},
        delivery_clears_loaded_shadow_on_exit=value,
    )
    assert (exit_codes(run), only_exit(run).int_state) == (["npf"], int_state)


@pytest.mark.parametrize(("masking", "value", "index"), [
    (True, "off", 1), (True, "on", 2), (True, "never", 1), (False, "off", 2), (False, "on", 2), (False, "never", 1),
])  # fmt: skip
def test_intercepted_intr_in_the_guest_shadow(masking: bool, value: str, index: int) -> None:
    """S2-59, S2-60, S8-91: where it exits inside the shadow, int_state is saved as 1."""
    run = play(
        guest=["sti", "nop", "nop"],
        intercept=["intr"],
        state={"if": False},
        vmcb={"v_intr_masking": masking},
        events=["intr@guest+1"],
        guest_shadow_blocks_intercepted_intr=value,
    )
    record = only_exit(run)
    assert (exit_codes(run), exit_place(record)) == (["intr"], index)
    assert record.int_state == (1 if index == 1 else 0)


@pytest.mark.parametrize(("value", "index"), [("off", 1), ("on", 2)])
def test_intercepted_nmi_in_the_guest_shadow(value: str, index: int) -> None:
    """S2-59, S2-60."""
    run = play(
        guest=["sti", "nop", "nop"],
        intercept=["nmi"],
        state={"if": False},
        events=["nmi@guest+1"],
        guest_shadow_blocks_intercepted_nmi=value,
    )
    record = only_exit(run)
    assert (exit_codes(run), exit_place(record), record.int_state) == (["nmi"], index, 1 if index == 1 else 0)


@pytest.mark.parametrize(("value", "index"), [("no", 2), ("yes", 1)])
def test_unintercepted_intr_in_the_guest_shadow(value: str, index: int) -> None:
    """S2-30; S10-31: QEMU heeds the shadow only with V_INTR_MASKING=0."""
    run = play(
        guest=["sti", "nop", "nop", "vmmcall"],
        state={"if": False},
        events=["intr@guest+1"],
        v_intr_masking_lifts_shadow=value,
    )
    assert taken(run) == [("guest", "intr", 0x20, index)]


def test_qemu_heeds_the_shadow_without_v_intr_masking() -> None:
    """S10-31."""
    run = play(
        guest=["sti", "nop", "nop", "vmmcall"],
        state={"if": False},
        vmcb={"v_intr_masking": False},
        events=["intr@guest+1"],
        v_intr_masking_lifts_shadow="yes",
    )
    assert taken(run) == [("guest", "intr", 0x20, 2)]


# --- 2.5 the host's shadow at VMRUN


def injected(host: tuple[str, ...], event: str, gate: str, intercept: tuple[str, ...] = ()) -> Run:
    """VMRUN from ``host`` with IF=0 at first; the gate of every event that is injected here leads to ``gate``."""
    gates = dict.fromkeys((2, 6, 12, 14, 0x68, 0x80), gate)
    return play(host, intercept=["shutdown", *intercept], cpu=IF_CLEAR, vmcb={"eventinj": event}, idt=gates)


EVENTS = ["intr:0x68", "nmi", "ud", "pf", "ss", "soft:0x80"]


@pytest.mark.parametrize("event", EVENTS)
def test_bleed_on_npf_during_injection(event: str) -> None:
    """S2-70, S2-71, T-120: int_state 1 though loaded with 0."""
    run = injected(BLEED, event, "npf")
    assert (exit_codes(run), only_exit(run).int_state) == (["npf"], 1)


def test_bleed_observed_case() -> None:
    """S2-72: EVENTINJ 8000_0068h; exit 400h, RIP unchanged, EXITINTINFO 8000_0068h, int_state 1."""
    record = only_exit(injected(BLEED, "0x80000068", "npf"))
    assert (record.code, exit_place(record), record.exitintinfo, record.int_state) == (0x400, 0, 0x8000_0068, 1)


def test_bleed_on_intercepted_exception_during_injection() -> None:
    """S2-73, T-124: #SS injected, its delivery takes an intercepted #GP; likewise the #DF they make."""
    run = injected(BLEED, "ss", "gp", ("exception:gp",))
    assert (exit_codes(run), only_exit(run).int_state) == (["gp"], 1)
    run = injected(BLEED, "ss", "gp", ("exception:df",))
    assert (exit_codes(run), only_exit(run).int_state) == (["df"], 1)


def test_bleed_while_a_fault_supersedes_the_injected_event() -> None:
    """S2-70: VMRUN is not complete until some handler has been entered."""
    run = play(BLEED, cpu=IF_CLEAR, vmcb={"eventinj": "intr:0x68"}, idt={0x68: "gp", 13: "npf"})
    assert (exit_codes(run), only_exit(run).int_state) == (["npf"], 1)


def test_no_bleed_once_the_fault_has_a_handler() -> None:
    """S2-70, S2-74."""
    run = play(BLEED, cpu=IF_CLEAR, vmcb={"eventinj": "intr:0x68"}, idt={0x68: "gp"}, handlers={13: ["vmmcall"]})
    assert (exit_codes(run), only_exit(run).int_state) == (["vmmcall"], 0)


@pytest.mark.parametrize("event", EVENTS)
def test_no_bleed_after_successful_delivery(event: str) -> None:
    """S2-74, T-126: whatever exits later, here the handler's first access."""
    run = play(
        BLEED,
        cpu=IF_CLEAR,
        vmcb={"eventinj": event},
        handlers={vector: ["load npf"] for vector in (2, 6, 12, 14, 0x68, 0x80)},
    )
    assert (exit_codes(run), only_exit(run).int_state) == (["npf"], 0)


@pytest.mark.parametrize("between", ["vmload", "mov", "pop", "nop"])
def test_no_bleed_with_an_instruction_between(between: str) -> None:
    """S2-75, T-122, T-123."""
    run = injected(("clgi", "sti", between, "vmrun"), "intr:0x68", "npf")
    assert (exit_codes(run), only_exit(run).int_state) == (["npf"], 0)


@pytest.mark.parametrize("intercept", ["intr", "nmi"])
def test_no_bleed_without_injection(intercept: str) -> None:
    """S2-76: a pending intercepted event exits before the first guest instruction."""
    pending = "intr:0x20" if intercept == "intr" else "nmi"
    run = play(BLEED, cpu={"if": False, "pending": [pending], "gif": False}, intercept=[intercept])
    assert (exit_codes(run), exit_place(only_exit(run)), only_exit(run).int_state) == ([intercept], 0, 0)


def test_no_bleed_when_the_first_guest_instruction_exits() -> None:
    """S2-76, T-127."""
    run = play(BLEED, ["load npf"], cpu=IF_CLEAR)
    assert (exit_codes(run), only_exit(run).int_state) == (["npf"], 0)


@pytest.mark.parametrize(("value", "int_state"), [("off", 0), ("on", 1)])
def test_mov_ss_shadow_at_vmrun(value: str, int_state: int) -> None:
    """S2-77."""
    run = play(["clgi", "mov_ss", "vmrun"], vmcb={"eventinj": "intr:0x68"}, idt={0x68: "npf"}, bleed_movss_shadow=value)
    assert (exit_codes(run), only_exit(run).int_state) == (["npf"], int_state)


def test_sti_with_if_set_before_vmrun_does_not_bleed() -> None:
    """S2-78, T-129."""
    run = play(BLEED, vmcb={"eventinj": "intr:0x68"}, idt={0x68: "npf"})
    assert (exit_codes(run), only_exit(run).int_state) == (["npf"], 0)


@pytest.mark.parametrize("loaded", [0, 1])
def test_invalid_exit_leaves_int_state_alone(loaded: int) -> None:
    """S2-79: the default."""
    run = play(BLEED, cpu=IF_CLEAR, vmcb={"eventinj": 0x8000_0302, "int_state": loaded})
    assert (exit_codes(run), only_exit(run).int_state) == (["invalid"], loaded)


@pytest.mark.parametrize(("host", "int_state"), [(BLEED, 1), (NO_BLEED, 0)])
def test_bleed_on_invalid_exit(host: tuple[str, ...], int_state: int) -> None:
    """S2-79: the option."""
    run = play(host, cpu=IF_CLEAR, vmcb={"eventinj": 0x8000_0302}, bleed_on_invalid_exit="yes")
    assert (exit_codes(run), only_exit(run).int_state) == (["invalid"], int_state)


def test_host_is_in_no_shadow_after_the_exit() -> None:
    """S2-80: seen where GIF cannot hide it, as a pending NMI right after STGI."""
    run = play([*BLEED, "stgi", "nop"], cpu=IF_CLEAR, events=["nmi@vmexit"])
    assert taken(run) == [("host", "nmi", 2, 4)]
    assert run.recorder.handlers[0].shadow == 0


def test_bleed_is_transient() -> None:
    """S2-81, S2-57: loaded again, the bit is gone after the re-injected event is delivered."""
    run = play(
        [*BLEED, "cli", "stgi"],
        cpu=IF_CLEAR,
        vmcb={"eventinj": "intr:0x68"},
        idt={0x68: "npf"},
        handlers={0x68: ["vmmcall"]},
        rounds=2,
        between=["set guest.idt.0x68=ok", "set vmcb.eventinj=exitintinfo"],
    )
    assert [record.int_state for record in run.recorder.exits] == [1, 0]
    assert run.recorder.entries[1].int_state == 1


def test_quirk_off() -> None:
    """S2-70: the profile without it."""
    run = play(BLEED, cpu=IF_CLEAR, vmcb={"eventinj": "intr:0x68"}, idt={0x68: "npf"}, profile="amd-noquirk")
    assert (exit_codes(run), only_exit(run).int_state) == (["npf"], 0)
