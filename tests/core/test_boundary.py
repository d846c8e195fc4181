"""Sections 3 to 5: GIF, NMI, physical and virtual interrupts, at the boundary where they are recognised."""

from typing import Any

import pytest
from tests.helpers import exit_codes, exit_place, handler_entry, only_exit, play, taken

from worldswitch.core.record import KIND_SMI, WORLD_HOST
from worldswitch.core.state import INIT_RESET, RUNNING, SHUTDOWN

IF_CLEAR = {"if": False}
VIRQ = {"v_irq": True, "v_intr_prio": 15, "v_intr_vector": 0xF1}


# --- 3 GIF


def test_stgi_and_clgi() -> None:
    """S3-01."""
    assert play(["clgi"]).cpu.gif is False
    assert play(["stgi"], cpu={"gif": False}).cpu.gif is True


def test_vmrun_sets_gif_and_does_not_check_it() -> None:
    """S3-02, S3-04, S6-10: from GIF=0 and from GIF=1; the guest can be interrupted."""
    for cpu in ({"gif": False}, {"gif": True}):
        run = play(guest=["nop", "vmmcall"], cpu=cpu, events=["intr@guest+1"])
        assert [(h.world, h.gif) for h in run.recorder.handlers] == [(1, True)]


@pytest.mark.parametrize("vmcb", [{}, {"asid": 0}])
def test_exit_clears_gif(vmcb: dict[str, int]) -> None:
    """S3-03, S3-05: VMEXIT_INVALID too."""
    run = play(vmcb=vmcb)
    assert (only_exit(run).gif, run.cpu.gif) == (False, False)


@pytest.mark.parametrize("kind", ["intr", "nmi", "smi"])
def test_gif_clear_holds_it_until_stgi(kind: str) -> None:
    """S3-10, S3-12, S3-13 (external), S3-21, T-020, T-022: taken before the instruction that follows STGI."""
    run = play(["clgi", "nop", "stgi", "nop"], events=[f"{kind}@clgi+1"])
    assert [index for _, _, _, index in taken(run)] == [3]


def test_gif_clear_holds_init() -> None:
    """S3-14, T-023."""
    run = play(["clgi", "nop", "stgi", "nop"], events=["init@clgi+1"])
    assert (run.cpu.stop, run.cpu.regs.rip - 1) == (INIT_RESET, 3)


def test_gif_clear_holds_the_redirection_of_init() -> None:
    """S3-14, T-024: with R_INIT #SX (vector 30, error code 1) comes after STGI."""
    run = play(["clgi", "nop", "stgi", "nop"], cpu={"r_init": True}, events=["init@clgi+1"])
    assert taken(run) == [("host", "exception", 30, 3)]
    assert run.recorder.handlers[0].error_code == 1


@pytest.mark.parametrize("before", [False, True])
def test_nothing_interrupts_between_clgi_and_stgi(before: bool) -> None:
    """S3-23: whatever IF is; all of them are still pending."""
    pending = ["intr:0x20", "nmi", "smi", "init"]
    run = play(["nop", "sti", "nop", "cli", "nop"], cpu={"if": before, "gif": False, "pending": pending})
    assert taken(run) == []
    assert (run.cpu.irr, run.cpu.pend_nmi, run.cpu.pend_smi, run.cpu.pend_init) == ([0x20], True, 1, True)


def test_nothing_interrupts_between_exit_and_stgi() -> None:
    """S3-23, T-117."""
    run = play(["vmrun", "nop", "stgi", "nop"], guest=["vmmcall"], events=["nmi@vmexit", "intr@vmexit"])
    assert [(kind, index) for _, kind, _, index in taken(run)] == [("nmi", 3), ("intr", 3)]


def test_gif_clear_holds_virtual_interrupts() -> None:
    """S3-11: physical GIF cleared by a guest without vGIF."""
    run = play(guest=["clgi", "sti", "nop", "stgi", "nop", "vmmcall"], state={"if": False}, vmcb=VIRQ)
    assert taken(run) == [("guest", "virq", 0xF1, 4)]


@pytest.mark.parametrize(("value", "int_state"), [("no", 1), ("yes", 0)])
def test_a_shadow_after_the_handler_of_an_smi(value: str, int_state: int) -> None:
    """S10-54: QEMU's is gone; the exit of the instruction after it tells."""
    run = play(guest=["mov_ss", "vmmcall"], events=["smi@guest+1"], smi_ends_shadow=value)
    assert taken(run) == [("smm", "smi", 0, 1)]
    assert only_exit(run).int_state == int_state


def test_internal_smi_with_gif_clear_is_discarded() -> None:
    """S3-13, T-030: by an I/O instruction, and as an arrival."""
    for program, events in ((["out_smi", "stgi", "nop"], []), (["nop", "stgi", "nop"], ["smi-internal@start"])):
        run = play(program, cpu={"gif": False}, events=events)
        assert taken(run) == []
        assert [kind for _, kind in run.recorder.discarded] == [KIND_SMI]


def test_internal_smi_with_gif_set() -> None:
    """S3-13: taken at the boundary after the I/O instruction."""
    assert taken(play(["out_smi", "nop"])) == [("smm", "smi", 0, 1)]


def test_internal_smi_does_not_take_the_place_of_an_external_one() -> None:
    """S5-25: the external SMI that a shadow holds is still the one that stays pending after its exit."""
    run = play(
        guest=["sti", "out_smi", "nop"],
        intercept=["smi"],
        state={"if": False},
        events=["smi@guest+1"],
        shadow_blocks_smi="on",
    )
    assert exit_codes(run) == ["smi"]
    assert run.cpu.pend_smi == 1


@pytest.mark.parametrize(("value", "stop"), [("pend", RUNNING), ("shutdown", SHUTDOWN)])
def test_machine_check_with_gif_clear(value: str, stop: int) -> None:
    """S3-15."""
    run = play(["nop", "stgi", "nop"], cpu={"gif": False, "pending": ["mce"]}, mce_gif0=value)
    if stop == SHUTDOWN:
        assert (run.cpu.stop, run.cpu.regs.rip - 1) == (SHUTDOWN, 0)
    else:
        assert taken(run) == [("host", "mce", 18, 2)]


def test_machine_check_with_gif_clear_in_a_guest_exits_for_shutdown() -> None:
    """S3-15, S6-95: and the event has left its latch."""
    run = play(guest=["clgi", "nop"], intercept=["shutdown"], events=["mce@guest+1"], mce_gif0="shutdown")
    assert exit_codes(run) == ["shutdown"]
    assert [vector for _, _, vector in run.recorder.acknowledged] == [18]
    assert run.cpu.pend_mce is False


def test_faults_and_software_interrupts_ignore_gif() -> None:
    """S3-19, S7-06, T-031."""
    run = play(["ud2", "int 0x80"], cpu={"gif": False}, host_handlers={6: ["set frame.rip=next", "iret"]})
    assert [(vector, index) for _, _, vector, index in taken(run)] == [(6, 0), (0x80, 2)]


def test_two_nmis_with_gif_clear_make_one() -> None:
    """S3-20, S1-11."""
    run = play(["clgi", "nop", "nop", "stgi", "nop"], events=["nmi@clgi+1", "nmi@clgi+2"])
    assert taken(run) == [("host", "nmi", 2, 4)]


def test_events_held_at_vmrun_come_after_the_injection() -> None:
    """S3-22, S6-41: at the first boundary of the handler."""
    run = play(
        cpu={"gif": False, "pending": ["nmi"]}, vmcb={"eventinj": "intr:0x68"}, handlers={0x68: ["nop", "vmmcall"]}
    )
    assert taken(run) == [("guest", "injected", 0x68, 0), ("guest", "nmi", 2, handler_entry(run, 0x68))]


def test_sti_clgi_lets_nothing_in() -> None:
    """S3-24, T-029: the shadow covers the only boundary."""
    run = play(["sti", "clgi", "nop", "cli", "stgi", "nop"], cpu={"if": False, "pending": ["intr:0x20"]})
    assert taken(run) == []
    assert run.cpu.irr == [0x20]


# --- 3.2 vGIF


def test_guest_stgi_with_vgif_sets_bit_9_only() -> None:
    """S3-30, S3-31, T-032; and the physical GIF is 1 throughout, or the NMI would wait."""
    run = play(guest=["clgi", "nop", "vmmcall"], vmcb={"vgif_enable": True, "vgif": True}, events=["nmi@guest+1"])
    assert taken(run) == [("guest", "nmi", 2, 1)]
    assert only_exit(run).vgif is False
    assert only_exit(play(guest=["stgi", "vmmcall"], vmcb={"vgif_enable": True})).vgif is True


@pytest.mark.parametrize("instruction", ["stgi", "clgi"])
def test_intercept_precedes_vgif(instruction: str) -> None:
    """S3-32."""
    before = instruction == "clgi"
    run = play(guest=[instruction], intercept=[instruction], vmcb={"vgif_enable": True, "vgif": before})
    assert (exit_codes(run), only_exit(run).vgif) == ([instruction], before)


def test_virtual_gif_clear_holds_virtual_interrupts() -> None:
    """S3-33, T-034: taken after STGI, before the next instruction."""
    run = play(guest=["nop", "stgi", "nop", "vmmcall"], vmcb={**VIRQ, "vgif_enable": True})
    assert taken(run) == [("guest", "virq", 0xF1, 2)]


def test_virtual_gif_clear_holds_virtual_nmis() -> None:
    """S3-33, S4-31."""
    run = play(
        guest=["nop", "stgi", "nop", "vmmcall"],
        intercept=["nmi"],
        vmcb={"v_nmi_enable": True, "v_nmi": True, "vgif_enable": True},
    )
    assert taken(run) == [("guest", "vnmi", 2, 2)]


def test_virtual_gif_does_not_hold_physical_events() -> None:
    """S3-33, T-035."""
    run = play(guest=["nop", "nop"], intercept=["intr"], vmcb={"vgif_enable": True}, events=["intr@guest+1"])
    assert (exit_codes(run), exit_place(only_exit(run))) == (["intr"], 1)


@pytest.mark.parametrize("kind", ["intr", "nmi", "smi"])
def test_guest_without_vgif_holds_off_physical_events(kind: str) -> None:
    """S3-34, T-036, T-038, T-039."""
    run = play(guest=["clgi", "nop", "nop", "stgi", "nop"], intercept=[kind], events=[f"{kind}@guest+1"])
    assert (exit_codes(run), exit_place(only_exit(run))) == ([kind], 4)


# --- 4 NMI


def test_nmi_masks_further_ones_until_iret() -> None:
    """S4-01, S1-11, T-040: two more during the handler are one more run."""
    run = play(
        ["nop", "nop"],
        cpu={"pending": ["nmi"]},
        host_handlers={2: ["nop", "nop", "iret"]},
        events=["nmi@handler:0x02", "nmi@handler:0x02+1"],
    )
    assert taken(run) == [("host", "nmi", 2, 0), ("host", "nmi", 2, 0)]


def test_any_iret_unmasks_nmis() -> None:
    """S4-02: that of a handler nested in the NMI handler."""
    run = play(
        ["nop"],
        cpu={"pending": ["nmi"]},
        host_handlers={2: ["nop", "int 0x80", "nop", "iret"], 0x80: ["iret"]},
        events=["nmi@handler:0x02+1"],
    )
    entry = handler_entry(run, 2, 0)
    assert [(kind, index) for _, kind, _, index in taken(run)][:3] == [
        ("nmi", 0),
        ("soft", entry + 2),
        ("nmi", entry + 2),
    ]


def test_intercepted_nmi_exits_and_stays_pending() -> None:
    """S4-03, S4-04, T-042: the host takes it at STGI."""
    run = play(["vmrun", "nop", "stgi", "nop"], intercept=["nmi"], events=["nmi@guest+1"])
    assert exit_codes(run) == ["nmi"]
    assert taken(run) == [("host", "nmi", 2, 3)]


def test_unintercepted_nmi_goes_through_the_guest_idt() -> None:
    """S4-03, T-041."""
    run = play(guest=["nop", "nop", "vmmcall"], events=["nmi@guest+1"])
    assert (taken(run), exit_codes(run)) == ([("guest", "nmi", 2, 1)], ["vmmcall"])


def test_nmi_ignores_if() -> None:
    """S4-05."""
    assert taken(play(["cli", "nop"], events=["nmi@cli+1"])) == [("host", "nmi", 2, 1)]


def test_nmi_wakes_a_halted_guest() -> None:
    """S4-06: unintercepted, the handler runs and the guest goes on after HLT; intercepted, exit 61h."""
    run = play(guest=["hlt", "vmmcall"], state={"if": False}, events=["nmi@guest+2"])
    assert (taken(run), exit_codes(run)) == ([("guest", "nmi", 2, 1)], ["vmmcall"])
    run = play(guest=["hlt", "vmmcall"], state={"if": False}, intercept=["nmi"], events=["nmi@guest+2"])
    assert (exit_codes(run), exit_place(only_exit(run))) == (["nmi"], 1)


def test_injected_nmi_does_not_mask() -> None:
    """S4-07, S1-43, T-044: any vector delivers 2; a further NMI hits inside the handler."""
    run = play(vmcb={"eventinj": 0x8000_0277}, handlers={2: ["nop", "nop", "vmmcall"]}, events=["nmi@guest+1"])
    assert [(kind, vector) for _, kind, vector, _ in taken(run)] == [("injected", 2), ("nmi", 2)]


@pytest.mark.parametrize(("value", "masked"), [("separate", False), ("shared", True)])
def test_nmi_mask_across_vmrun(value: str, masked: bool) -> None:
    """S4-08, S4-09: a host in its NMI handler runs a guest; and the mask is the host's again afterwards."""
    run = play(cpu={"nmi_masked": True}, intercept=["nmi"], events=["nmi@guest+1"], nmi_mask_across_vmrun=value)
    assert exit_codes(run) == (["vmmcall"] if masked else ["nmi"])
    assert run.cpu.nmi_masked is True


def test_guest_nmi_mask_does_not_reach_the_host() -> None:
    """S4-08: separate masks; the guest exits inside its NMI handler."""
    run = play(["vmrun", "stgi", "nop"], handlers={2: ["vmmcall"]}, events=["nmi@guest+1", "nmi@vmexit"])
    assert [(world, kind) for world, kind, _, _ in taken(run)] == [("guest", "nmi"), ("host", "nmi")]


def test_iret_intercept_comes_before_iret() -> None:
    """S4-10: NMIs stay masked, and the second one pending; seen in the host where both share one mask."""
    run = play(
        guest=["nop", "nop"],
        intercept=["iret"],
        handlers={2: ["nop", "iret"]},
        events=["nmi@guest+1", "nmi@guest+2"],
        nmi_mask_across_vmrun="shared",
    )
    assert exit_codes(run) == ["iret"]
    assert (run.cpu.nmi_masked, run.cpu.pend_nmi) == (True, True)
    assert [kind for _, kind, _, _ in taken(run)] == ["nmi"]


VNMI = {"v_nmi_enable": True, "v_nmi": True}


def test_virtual_nmi_is_taken() -> None:
    """S4-31, S4-32, S4-33, T-047: V_NMI cleared on recognition; IRET clears the mask."""
    run = play(guest=["nop", "vmmcall"], intercept=["nmi"], vmcb=VNMI)
    assert taken(run) == [("guest", "vnmi", 2, 0)]
    assert (only_exit(run).v_nmi, only_exit(run).v_nmi_mask) == (False, False)


def test_virtual_nmi_mask_in_the_handler() -> None:
    """S4-32, T-048."""
    run = play(intercept=["nmi"], vmcb=VNMI, handlers={2: ["vmmcall"]})
    assert (only_exit(run).v_nmi, only_exit(run).v_nmi_mask) == (False, True)


@pytest.mark.parametrize("blocked_by", ["mask", "shadow", "vgif", "enable"])
def test_virtual_nmi_predicate(blocked_by: str) -> None:
    """S4-31: each term alone holds it; the guest exits with its first instruction."""
    extra: dict[str, dict[str, Any]] = {
        "mask": {"v_nmi_mask": True},
        "shadow": {"int_state": 1},
        "vgif": {"vgif_enable": True},
        "enable": {"v_nmi_enable": False},
    }
    run = play(guest=["vmmcall"], intercept=["nmi"], vmcb={**VNMI, **extra[blocked_by]})
    assert (taken(run), only_exit(run).v_nmi) == ([], True)


def test_virtual_nmi_whose_delivery_exits() -> None:
    """S4-34: EXITINTINFO has it (TYPE 2), V_NMI_MASK is saved as 0."""
    record = only_exit(play(intercept=["nmi"], vmcb=VNMI, idt={2: "npf"}))
    assert (record.code, record.exitintinfo, record.v_nmi, record.v_nmi_mask) == (0x400, 0x8000_0202, False, False)


def test_injected_nmi_sets_the_virtual_mask() -> None:
    """S4-35, T-050; without vNMI it does not (S4-07)."""
    run = play(intercept=["nmi"], vmcb={"v_nmi_enable": True, "eventinj": "nmi"}, handlers={2: ["vmmcall"]})
    assert only_exit(run).v_nmi_mask is True
    run = play(intercept=["nmi"], vmcb={"eventinj": "nmi"}, handlers={2: ["vmmcall"]})
    assert only_exit(run).v_nmi_mask is False


@pytest.mark.parametrize(("value", "mask"), [("clear", False), ("keep", True)])
def test_injected_nmi_whose_delivery_exits(value: str, mask: bool) -> None:
    """S4-35: not settled, an option."""
    run = play(
        intercept=["nmi"],
        vmcb={"v_nmi_enable": True, "eventinj": "nmi"},
        idt={2: "npf"},
        vnmi_mask_on_injection_exit=value,
    )
    assert (exit_codes(run), only_exit(run).v_nmi_mask) == (["npf"], mask)


def test_host_iret_leaves_the_virtual_mask() -> None:
    """S4-33: only the guest's IRET clears it, so the second virtual NMI waits in the second round."""
    run = play(
        ["vmrun", "int 0x80"],
        guest=["vmmcall"],
        intercept=["nmi"],
        vmcb=VNMI,
        handlers={2: ["vmmcall"]},
        rounds=2,
        between=["set vmcb.v_nmi=true", "set guest.rip=guest"],
    )
    assert [(record.v_nmi, record.v_nmi_mask) for record in run.recorder.exits] == [(False, True), (True, True)]


def test_fields_of_vnmi_without_vnmi() -> None:
    """S1-30: they are written back only where it is enabled."""
    run = play(intercept=["nmi"], vmcb={"eventinj": "nmi", "v_nmi": True, "v_nmi_mask": True}, idt={2: "npf"})
    assert (exit_codes(run), only_exit(run).v_nmi, only_exit(run).v_nmi_mask) == (["npf"], True, True)


def test_physical_nmi_precedes_virtual_nmi() -> None:
    """S4-36: it exits first; the NMI intercept does not apply to the virtual one."""
    run = play(intercept=["nmi"], vmcb=VNMI, events=["nmi@guest"])
    assert (exit_codes(run), only_exit(run).v_nmi, taken(run)) == (["nmi"], True, [])


def test_virtual_nmi_precedes_virtual_intr() -> None:
    """S4-37: a trap gate leaves IF=1, so the other follows at the handler's first instruction."""
    run = play(intercept=["nmi"], vmcb={**VNMI, **VIRQ}, idt={2: {"type": "trap"}}, handlers={2: ["nop", "iret"]})
    assert taken(run) == [("guest", "vnmi", 2, 0), ("guest", "virq", 0xF1, handler_entry(run, 2))]


# --- 4.4 priorities


def test_order_at_stgi() -> None:
    """S4-41: SMI before NMI before INTR, at one boundary."""
    run = play(["stgi", "nop"], cpu={"gif": False, "pending": ["intr:0x20", "nmi", "smi"]})
    assert [kind for _, kind, _, _ in taken(run)] == ["smi", "nmi", "intr"]


def test_machine_check_is_first() -> None:
    """S4-40: before SMI and INIT, which are then recognised before the handler's first instruction."""
    run = play(
        ["stgi", "nop"], cpu={"gif": False, "pending": ["smi", "init", "mce"]}, host_handlers={18: ["nop", "iret"]}
    )
    entry = handler_entry(run, 18, WORLD_HOST)
    assert taken(run) == [("host", "mce", 18, 1), ("smm", "smi", 0, entry)]
    assert (run.cpu.stop, run.cpu.regs.rip - 1) == (INIT_RESET, entry)


@pytest.mark.parametrize(("value", "kinds"), [("smi-first", ["smi"]), ("init-first", [])])
def test_init_and_smi(value: str, kinds: list[str]) -> None:
    """S4-40."""
    run = play(["stgi", "nop"], cpu={"gif": False, "pending": ["smi", "init"]}, init_vs_smi_order=value)
    assert ([kind for _, kind, _, _ in taken(run)], run.cpu.stop) == (kinds, INIT_RESET)


def test_kvm_recognises_init_first() -> None:
    """S4-44."""
    run = play(guest=["nop"], intercept=["init", "smi"], events=["smi@guest", "init@guest"], profile="kvm")
    assert exit_codes(run) == ["init"]


def test_physical_intr_precedes_virtual_intr() -> None:
    """S4-42: taken directly, and through an exit."""
    run = play(guest=["nop", "vmmcall"], vmcb=VIRQ, events=["intr@guest"])
    assert [kind for _, kind, _, _ in taken(run)] == ["intr", "virq"]
    run = play(intercept=["intr", "vintr"], vmcb=VIRQ, events=["intr@guest"])
    assert exit_codes(run) == ["intr"]


def test_nmi_interrupts_an_intr_handler_at_its_first_instruction() -> None:
    """S4-43."""
    run = play(
        ["nop"], cpu={"pending": ["intr:0x20"]}, host_handlers={0x20: ["nop", "iret"]}, events=["nmi@handler:0x20"]
    )
    assert taken(run) == [("host", "intr", 0x20, 0), ("host", "nmi", 2, handler_entry(run, 0x20, 0))]


@pytest.mark.parametrize(("first", "vector"), [("intr:0x30", 0x30), ("nmi", 2), ("mce", 18)])
def test_every_delivery_ends_at_a_boundary(first: str, vector: int) -> None:
    """S4-43, S6-41: the next event, an INTR that a trap gate lets in, comes before the handler's first instruction."""
    run = play(
        ["stgi", "nop"],
        cpu={"gif": False, "pending": ["intr:0x20", first]},
        host_idt={vector: {"type": "trap"}},
        host_handlers={vector: ["nop", "iret"]},
    )
    assert taken(run)[1] == ("host", "intr", 0x20, handler_entry(run, vector, WORLD_HOST))


def test_redirected_init_ends_at_a_boundary() -> None:
    """S5-24, S6-41."""
    run = play(
        ["stgi", "nop"],
        cpu={"gif": False, "r_init": True, "pending": ["init", "nmi"]},
        host_handlers={30: ["nop", "iret"]},
    )
    assert taken(run) == [("host", "exception", 30, 1), ("host", "nmi", 2, handler_entry(run, 30, WORLD_HOST))]


def test_exit_ends_at_a_boundary_of_the_host() -> None:
    """S6-58, S2-39: a breakpoint trap that the host had pending comes before the instruction after VMRUN."""
    for intercept, event in (("nmi", "nmi"), ("intr", "intr"), ("smi", "smi"), ("init", "init")):
        run = play(
            ["mov_ss_watched", "vmrun", "int 0x80"],
            intercept=[intercept],
            cpu={"dr7": ["l1"]},
            events=[f"{event}@guest"],
            gif0_breakpoint_db="deliver",
        )
        assert taken(run)[0] == ("host", "exception", 1, 2)


def test_single_step_trap_precedes_nmi() -> None:
    """S6-112: the #DB handler is entered first, and the NMI at its first instruction."""
    run = play(
        ["popf tf", "nop", "nop"],
        cpu=IF_CLEAR,
        host_handlers={1: ["set frame.tf=false", "iret"]},
        events=["nmi@start+2"],
    )
    assert taken(run)[:2] == [("host", "exception", 1, 2), ("host", "nmi", 2, handler_entry(run, 1, 0))]


def test_machine_check_discards_the_single_step_trap_it_overtakes() -> None:
    """S6-20: delivery clears TF, so the handler is not stepped; stepping goes on after the return."""
    run = play(
        ["popf tf", "nop", "nop", "nop"], cpu=IF_CLEAR, host_handlers={18: ["nop", "iret"]}, events=["mce@start+2"]
    )
    assert [(h.vector, h.rip - 1) for h in run.recorder.handlers] == [(18, 2), (1, 3), (1, 4)]


# --- 5 physical and virtual maskable interrupts


@pytest.mark.parametrize("masking", [False, True])
@pytest.mark.parametrize("host_if", [False, True])
@pytest.mark.parametrize("guest_if", [False, True])
@pytest.mark.parametrize("intercepted", [False, True])
def test_physical_intr_predicate(masking: bool, host_if: bool, guest_if: bool, intercepted: bool) -> None:
    """S5-01 to S5-04, S5-06, S5-07, S5-20, T-063, T-064, T-065: HIF with V_INTR_MASKING, guest IF without."""
    run = play(
        guest=["nop", "nop", "vmmcall"],
        intercept=["intr"] if intercepted else [],
        cpu={"if": host_if},
        state={"if": guest_if},
        vmcb={"v_intr_masking": masking},
        events=["intr@guest+1"],
    )
    recognised = host_if if masking else guest_if
    if recognised and intercepted:
        assert (exit_codes(run), exit_place(only_exit(run)), taken(run)) == (["intr"], 1, [])
        assert run.cpu.irr == [0x20]  # S5-06: not acknowledged, still pending
    elif recognised:
        assert (exit_codes(run), taken(run)) == (["vmmcall"], [("guest", "intr", 0x20, 1)])
        assert run.cpu.irr == []  # S5-07: acknowledged
    else:
        assert (exit_codes(run), taken(run), run.cpu.irr) == (["vmmcall"], [], [0x20])


def test_hif_is_sampled_once() -> None:
    """S5-20: nothing the guest does changes it."""
    run = play(guest=["sti", "nop", "cli", "vmmcall"], cpu={"if": False, "pending": ["intr:0x20"]}, intercept=["intr"])
    assert exit_codes(run) == ["vmmcall"]


@pytest.mark.parametrize(("tpr", "running"), [(1, True), (2, False), (3, False)])
def test_task_priority_holds_physical_intr(tpr: int, running: bool) -> None:
    """S5-05: vector 20h is of class 2, and must be above the TPR."""
    run = play(["nop", "nop"], cpu={"tpr": tpr, "pending": ["intr:0x20"]})
    assert (taken(run) != []) is running


def test_highest_vector_first() -> None:
    """S1-10: the latch is a level with a priority."""
    run = play(["nop"], cpu={"pending": ["intr:0x20", "intr:0x90"]})
    assert [vector for _, _, vector, _ in taken(run)] == [0x90, 0x20]


@pytest.mark.parametrize(("masking", "physical"), [(False, 5), (True, 0)])
def test_guest_cr8(masking: bool, physical: int) -> None:
    """S5-01: V_TPR and the physical TPR; S5-02: V_TPR alone."""
    run = play(guest=["mov_cr8 5", "vmmcall"], vmcb={"v_intr_masking": masking})
    assert (only_exit(run).v_tpr, run.cpu.tpr) == (5, physical)


@pytest.mark.parametrize(("priority", "tpr", "ignore", "delivered"), [
    (15, 0, False, True), (8, 8, False, False), (8, 10, False, False), (8, 7, False, True), (8, 10, True, True),
    (1, 0xF0, False, True),
])  # fmt: skip
def test_virtual_intr_priority(priority: int, tpr: int, ignore: bool, delivered: bool) -> None:
    """S5-08, S5-09, T-071, T-073: strictly greater, or V_IGN_TPR; S1-29: bits 7:4 of V_TPR do not count."""
    run = play(
        guest=["sti", "nop", "cli", "vmmcall"],
        state={"if": False},
        vmcb={"v_irq": True, "v_intr_prio": priority, "v_tpr": tpr, "v_ign_tpr": ignore, "v_intr_vector": 0xF1},
    )
    assert taken(run) == ([("guest", "virq", 0xF1, 2)] if delivered else [])
    assert only_exit(run).v_irq is not delivered


@pytest.mark.parametrize("blocked_by", ["if", "gif", "vgif", "shadow", "v_irq"])
def test_virtual_intr_predicate(blocked_by: str) -> None:
    """S5-08: each term alone holds it."""
    guest = {"gif": ["clgi", "vmmcall"]}.get(blocked_by, ["vmmcall"])
    extra: dict[str, dict[str, Any]] = {
        "vgif": {"vgif_enable": True},
        "shadow": {"int_state": 1},
        "gif": {"int_state": 1},  # until CLGI has run
        "v_irq": {"v_irq": False},
    }
    run = play(guest=guest, state={"if": blocked_by != "if"}, vmcb={**VIRQ, **extra.get(blocked_by, {})})
    assert taken(run) == []


def test_vintr_intercept() -> None:
    """S5-10: taken just before the guest would take it; V_IRQ stays."""
    run = play(guest=["sti", "nop", "nop"], intercept=["vintr"], state={"if": False}, vmcb=VIRQ)
    assert (exit_codes(run), exit_place(only_exit(run)), only_exit(run).v_irq) == (["vintr"], 2, True)


def test_vintr_intercept_does_not_fire_for_a_masked_one() -> None:
    """S5-09."""
    run = play(guest=["nop", "vmmcall"], intercept=["vintr"], vmcb={"v_irq": True, "v_intr_prio": 8, "v_tpr": 10})
    assert exit_codes(run) == ["vmmcall"]


def test_virtual_intr_is_cleared_before_the_idt_is_read() -> None:
    """S5-11, S5-12, T-078: an exit of its delivery finds V_IRQ=0 and the event, TYPE 0, in EXITINTINFO."""
    record = only_exit(play(vmcb=VIRQ, idt={0xF1: "npf"}))
    assert (record.code, record.v_irq, record.exitintinfo) == (0x400, False, 0x8000_00F1)


def test_virtual_intr_stays_in_the_guest() -> None:
    """S5-13, S5-14: it neither reaches the host nor the physical latches."""
    run = play(["vmrun", "stgi", "nop", "nop"], state={"if": False}, vmcb=VIRQ)
    assert (taken(run), run.cpu.irr, only_exit(run).v_irq) == ([], [], True)


def test_intr_exit_comes_right_after_the_injection() -> None:
    """S5-18, S6-41, S6-42, T-093: frame pushed, RIP at the handler, EXITINTINFO.V=0, EVENTINJ.V=0."""
    run = play(intercept=["intr"], cpu={"gif": False, "pending": ["intr:0x20"]}, vmcb={"eventinj": "intr:0x68"},
               handlers={0x68: ["nop"]})  # fmt: skip
    record = only_exit(run)
    assert (exit_codes(run), exit_place(record)) == (["intr"], handler_entry(run, 0x68))
    assert (record.exitintinfo, record.eventinj) == (0, 0)
    assert [frame.vector for frame in run.cpu.guest_world.frames] == [0x68]


def test_injection_through_an_interrupt_gate_holds_the_intr() -> None:
    """S6-43, T-094: V_INTR_MASKING=0; the exit comes after the handler has set IF and one instruction."""
    run = play(
        intercept=["intr"],
        cpu={"gif": False, "pending": ["intr:0x20"]},
        vmcb={"eventinj": "intr:0x68", "v_intr_masking": False},
        handlers={0x68: ["nop", "sti", "nop", "nop"]},
    )
    assert (exit_codes(run), exit_place(only_exit(run))) == (["intr"], handler_entry(run, 0x68) + 3)


def test_injection_holds_the_virtual_intr() -> None:
    """S6-44: it waits until the handler returns to IF=1."""
    run = play(guest=["nop", "vmmcall"], vmcb={**VIRQ, "eventinj": "intr:0x68"})
    assert taken(run) == [("guest", "injected", 0x68, 0), ("guest", "virq", 0xF1, 0)]


def test_guest_sti_and_one_instruction_are_enough() -> None:
    """S5-19, T-068: V_INTR_MASKING=0, INTR intercept; exit 60h with IF=1 in VMCB.RFLAGS."""
    run = play(guest=["nop", "sti", "nop", "nop"], intercept=["intr"], state={"if": False},
               cpu={"gif": False, "pending": ["intr:0x20"]}, vmcb={"v_intr_masking": False})  # fmt: skip
    record = only_exit(run)
    assert (exit_codes(run), exit_place(record), bool(record.rflags & 0x200)) == (["intr"], 3, True)


def test_pending_intr_waits_for_stgi_after_the_exit() -> None:
    """S5-21: IF=1 is restored, GIF=0 holds it."""
    run = play(["vmrun", "nop", "stgi", "nop"], intercept=["intr"], events=["intr@guest"])
    assert taken(run) == [("host", "intr", 0x20, 3)]


@pytest.mark.parametrize(("host_if", "guest_if", "program", "index"), [
    (False, True, ["nop", "nop"], 1),
    (False, False, ["nop", "nop", "vmmcall"], None),
    (True, False, ["nop", "nop", "vmmcall"], None),
    (True, True, ["cli", "nop", "nop"], 1),
])  # fmt: skip
def test_bochs_gate_for_physical_intr(host_if: bool, guest_if: bool, program: list[str], index: int | None) -> None:
    """S5-22: guest IF opens it whatever HIF is; host IF matters only when the guest clears IF."""
    run = play(guest=program, intercept=["intr"], cpu={"if": host_if}, state={"if": guest_if},
               events=["intr@guest+1"], physical_intr_gate="bochs")  # fmt: skip
    assert exit_codes(run) == (["vmmcall"] if index is None else ["intr"])
    assert index is None or exit_place(only_exit(run)) == index


@pytest.mark.parametrize(("value", "index"), [("always", 2), ("on-if-change", 6)])
def test_lowering_v_tpr(value: str, index: int) -> None:
    """S5-23: Bochs compares again only when IF changes, here with the STI at 4."""
    program = ["nop", "mov_cr8 0", "nop", "cli", "sti", "nop", "vmmcall"]
    run = play(guest=program, vmcb={**VIRQ, "v_tpr": 15}, vtpr_reevaluated=value)
    assert taken(run) == [("guest", "virq", 0xF1, index)]


def test_intercepted_init_stays_pending() -> None:
    """S5-24, T-079: exit 63h, whatever R_INIT is; it takes effect at STGI."""
    for r_init in (False, True):
        run = play(["vmrun", "nop"], intercept=["init"], cpu={"r_init": r_init}, events=["init@guest+1"])
        assert (exit_codes(run), run.cpu.pend_init) == (["init"], True)
    run = play(["vmrun", "stgi", "nop"], intercept=["init"], events=["init@guest+1"])
    assert (run.cpu.stop, run.cpu.regs.rip - 1) == (INIT_RESET, 2)


def test_redirected_init_in_a_guest() -> None:
    """S5-24: #SX in the guest, no longer pending; intercepted, exit 5Eh with error code 1."""
    run = play(guest=["nop", "nop", "vmmcall"], cpu={"r_init": True}, events=["init@guest+1"])
    assert (taken(run), run.cpu.pend_init) == ([("guest", "exception", 30, 1)], False)
    run = play(intercept=["exception:sx"], cpu={"r_init": True}, events=["init@guest"])
    assert (exit_codes(run), only_exit(run).exitinfo1, run.cpu.pend_init) == (["sx"], 1, False)


def test_intercepted_smi() -> None:
    """S5-25: an external one stays pending, an internal one does not; EXITINFO1 bit 0 tells them apart."""
    run = play(["vmrun", "stgi", "nop"], intercept=["smi"], events=["smi@guest+1"])
    assert (exit_codes(run), only_exit(run).exitinfo1) == (["smi"], 1)
    assert taken(run) == [("smm", "smi", 0, 2)]
    run = play(["vmrun", "stgi", "nop"], guest=["out_smi", "nop"], intercept=["smi"])
    assert (exit_codes(run), only_exit(run).exitinfo1, taken(run)) == (["smi"], 0, [])


def test_unintercepted_machine_check() -> None:
    """S2-35, S4-40: through the guest's IDT; intercepted, exit 52h; with CR4.MCE=0, shutdown."""
    run = play(guest=["nop", "nop", "vmmcall"], events=["mce@guest+1"])
    assert taken(run) == [("guest", "mce", 18, 1)]
    assert exit_codes(play(intercept=["exception:mc"], events=["mce@guest"])) == ["mc"]
    assert play(["nop", "nop"], cpu={"mce": False, "pending": ["mce"]}).cpu.stop == SHUTDOWN
