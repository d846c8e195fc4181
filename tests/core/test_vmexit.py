"""Section 6.4: what a #VMEXIT writes, and the host it returns to."""

import pytest
from tests.helpers import exit_codes, exit_place, handler_entry, only_exit, play, taken

from worldswitch.core.bits import RFLAGS_RF, RFLAGS_VM
from worldswitch.core.state import SHUTDOWN


def test_gif_and_host_if_after_an_exit() -> None:
    """S6-50, S3-03, S6-59, I-01, T-117: GIF=0, host IF=HIF whatever the guest's IF is."""
    for host_if in (False, True):
        record = only_exit(play(cpu={"if": host_if}, state={"if": not host_if}))
        assert (record.gif, record.host_if) == (False, host_if)


def test_guest_state_is_written() -> None:
    """S6-51: RIP, RFLAGS, CR2, DR6 and DR7 as the guest left them."""
    run = play(guest=["cli", "store pf"], handlers={14: ["vmmcall"]})
    record = only_exit(run)
    assert (exit_place(record), record.rflags & 0x200, record.cr2) == (handler_entry(run, 14), 0, 0x5000)
    run = play(guest=["store_watched", "vmmcall"], state={"dr7": ["l1", "gd"]}, handlers={1: ["vmmcall"]})
    save = run.cpu.vmcb.save
    assert (save.dr6 & 2, save.dr7) == (2, 0x404)  # the #DB cleared GD


def test_interrupt_control_is_written() -> None:
    """S6-52, S1-30: V_TPR, V_IRQ, V_GIF, V_NMI and V_NMI_MASK; S2-52: the shadow."""
    run = play(
        guest=["mov_cr8 7", "sti", "vmmcall"],
        intercept=["nmi"],
        state={"if": False},
        vmcb={"v_irq": True, "v_intr_prio": 1, "vgif_enable": True, "vgif": True, "v_nmi_enable": True,
              "v_nmi": True, "v_nmi_mask": True},
    )  # fmt: skip
    record = only_exit(run)
    assert (record.v_tpr, record.v_irq, record.vgif, record.v_nmi, record.v_nmi_mask, record.int_state) == (
        7, True, True, True, True, 1,
    )  # fmt: skip


def test_exit_information_is_written() -> None:
    """S6-53: EXITCODE, EXITINFO1, EXITINFO2 and EXITINTINFO, of the last exit and not of one before."""
    run = play(
        ["vmrun", "stgi"],
        guest=["load npf", "vmmcall"],
        vmcb={"eventinj": "intr:0x68"},
        idt={0x68: "npf"},
        rounds=3,
        between=["set guest.memory=ok"],
    )
    first, second, third = run.recorder.exits
    assert (first.code, first.exitintinfo, first.exitinfo1 != 0, first.exitinfo2 != 0) == (
        0x400,
        0x8000_0068,
        True,
        True,
    )
    assert (second.code, second.exitinfo1, second.exitinfo2, second.exitintinfo) == (0x81, 0, 0, 0)
    assert third.code == 0x81


@pytest.mark.parametrize(("value", "left"), [("all-64-bits", 0), ("V-only", 0x1234_0000_0B0D)])
@pytest.mark.parametrize("code", ["vmmcall", "invalid", "npf"])
def test_eventinj_is_cleared(value: str, left: int, code: str) -> None:
    """S6-54, S6-57, I-01: after every exit, whether or not delivery completed."""
    run = play(
        vmcb={"eventinj": "gp(0x1234)", "asid": 0 if code == "invalid" else 1},
        idt={13: "npf"} if code == "npf" else {},
        handlers={13: ["vmmcall"]},
        eventinj_clear=value,
    )
    assert (exit_codes(run), only_exit(run).eventinj) == ([code], left)


def test_intercepts_do_not_reach_the_host() -> None:
    """S6-55: nothing the host does after the exit is intercepted."""
    run = play(["vmrun", "stgi", "hlt", "nop"], intercept=["hlt", "nmi", "intr"], events=["nmi@stgi+1", "intr@stgi+1"])
    assert exit_codes(run) == ["vmmcall"]
    assert [kind for _, kind, _, _ in taken(run)] == ["nmi", "intr"]


def test_host_registers_after_the_exit() -> None:
    """S6-56, T-117: CR0.PE, DR7 without breakpoints, RFLAGS without VM and RF, CPL 0."""
    run = play(["vmrun", "nop"], cpu={"dr7": ["l1"], "rf": True}, state={"cpl": 3})
    regs = run.cpu.regs
    assert (regs.cr0 & 1, regs.dr7, regs.rflags & (RFLAGS_VM | RFLAGS_RF), regs.cpl) == (1, 0x400, 0, 0)


def test_cr2_and_dr6_are_not_reloaded() -> None:
    """S6-05, S6-56: VMRUN does not save them, so the host sees the guest's."""
    run = play(state={"cr2": 0x7777, "dr6": 0xFFFF_4FF0})
    assert (run.cpu.regs.cr2, run.cpu.regs.dr6) == (0x7777, 0xFFFF_4FF0)


def test_the_host_goes_on_after_vmrun() -> None:
    """S6-58, S6-56: the next instruction of the host runs, once."""
    run = play(["vmrun", "stgi", "int 0x80"], rounds=1)
    assert taken(run) == [("host", "soft", 0x80, 3)]


@pytest.mark.parametrize("tf", [False, True])
def test_host_rflags_are_those_at_vmrun(tf: bool) -> None:
    """S6-59: TF as it was, so the instruction after VMRUN is stepped as well; RF cleared."""
    run = play(["popf tf" if tf else "popf", "vmrun", "nop"], cpu={"if": False})
    assert [h.rip - 1 for h in run.recorder.handlers] == ([2, 3] if tf else [])


@pytest.mark.parametrize(("guest", "events", "intercept", "index"), [
    (["nop", "hlt"], [], "hlt", 1),
    (["nop", "nop", "nop"], ["intr@guest+2"], "intr", 2),
    (["hlt"], ["intr@guest+1"], "intr", 1),
    (["nop", "int3"], [], "exception:bp", 1),
    (["nop", "int 0x80"], [], "swint", 1),
    (["nop", "store_watched", "nop"], [], "exception:db", 2),
    (["nop", "load gp"], [], "exception:gp", 1),
])  # fmt: skip
def test_saved_rip(guest: list[str], events: list[str], intercept: str, index: int) -> None:
    """S6-61: at the instruction; for an asynchronous exit and a trap, the next one."""
    run = play(guest=guest, intercept=[intercept], state={"dr7": ["l1"]}, events=events)
    assert exit_codes(run) == [intercept.removeprefix("exception:")]
    assert exit_place(only_exit(run)) == index


def test_saved_rip_of_an_exit_during_delivery() -> None:
    """S6-61, T-104: the RIP that would have been pushed; for INT n that of the INT n itself."""
    run = play(guest=["nop", "int 0x80"], idt={0x80: "npf"})
    assert (exit_place(only_exit(run)), only_exit(run).exitintinfo) == (1, 0x8000_0480)
    run = play(guest=["nop", "nop"], idt={0x20: "npf"}, events=["intr@guest+1"])
    assert exit_place(only_exit(run)) == 1


@pytest.mark.parametrize(("guest", "intercept", "nrip"), [
    ("hlt", "hlt", 2), ("vmmcall", "vmmcall", 2), ("wrmsr", "msr", 2), ("out", "ioio", 2), ("int3", "exception:bp", 2),
    ("ud2", "exception:ud", -1), ("load npf", "hlt", -1), ("load gp", "exception:gp", -1),
])  # fmt: skip
def test_nrip(guest: str, intercept: str, nrip: int) -> None:
    """S1-71: for instruction intercepts, MSR, IOIO and INT3; for others it is 0, here index -1."""
    record = only_exit(play(guest=["nop", guest], intercept=[intercept]))
    assert record.nrip - 1 == nrip


def test_nrip_of_into() -> None:
    """S1-71; INTO exists outside 64-bit mode only."""
    run = play(guest=["nop", "into"], intercept=["exception:of"], state={"mode": "compat"})
    assert (exit_codes(run), only_exit(run).nrip - 1) == (["of"], 2)


def test_nrip_of_asynchronous_and_vectoring_exits() -> None:
    """S1-71, S1-72: 0, even for a soft interrupt."""
    assert only_exit(play(intercept=["intr"], events=["intr@guest+1"], vmcb={"nrip": "guest+1"})).nrip == 0
    assert only_exit(play(guest=["nop", "int 0x80"], idt={0x80: "npf"})).nrip == 0


def test_int_ctl_byte_in_bochs() -> None:
    """S10-28: the byte at 61h is rewritten with V_IRQ alone."""
    vmcb = {"v_irq": True, "vgif_enable": True, "vgif": True, "v_nmi_enable": True, "v_nmi": True, "v_nmi_mask": True}
    for value, kept in (("fields", True), ("v_irq-only", False)):
        record = only_exit(play(["vmrun"], ["vmmcall"], intercept=["nmi"], state={"if": False}, vmcb=vmcb,
                                exit_writes_int_ctl_byte1=value))  # fmt: skip
        assert (record.v_irq, record.vgif, record.v_nmi, record.v_nmi_mask) == (True, kept, kept, kept)


def test_shutdown_with_and_without_the_intercept() -> None:
    """S6-94, S6-95."""
    gates = {6: "gp", 13: "gp", 8: "gp"}
    assert exit_codes(play(guest=["ud2"], intercept=["shutdown"], idt=gates)) == ["shutdown"]
    run = play(guest=["ud2"], idt=gates)
    assert (run.cpu.stop, run.recorder.exits) == (SHUTDOWN, [])


def test_mid_delivery_is_over_with_the_exit() -> None:
    """S6-60, S6-79: nothing of the event under delivery is left in the processor; the next exit reports nothing."""
    run = play(["vmrun", "stgi"], vmcb={"eventinj": "intr:0x68"}, idt={0x68: "npf"}, rounds=2)
    assert [record.exitintinfo for record in run.recorder.exits] == [0x8000_0068, 0]
