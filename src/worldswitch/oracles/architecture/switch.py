"""VMRUN and #VMEXIT (sections 6.1 to 6.4)."""

from typing import Final

from worldswitch.core.bits import (
    CR0_CD,
    CR0_NW,
    CR0_PE,
    CR0_PG,
    CR0_WP,
    CR4_CET,
    CR4_DEFINED,
    CR4_PAE,
    DR6_BS,
    DR7_RESET,
    EFER_DEFINED,
    EFER_LMA,
    EFER_LME,
    EFER_SVME,
    EVENT_EV,
    EVENT_V,
    EXCEPTION_NAMES,
    EXIT_INVALID,
    EXIT_NMI,
    EXIT_VMRUN,
    PHYSICAL_LIMIT,
    RFLAGS_IF,
    RFLAGS_RF,
    RFLAGS_TF,
    RFLAGS_VM,
    SHADOW_LOADED,
    SHADOW_NONE,
    TYPE_EXCEPTION,
    TYPE_INTR,
    TYPE_NMI,
    TYPE_SOFT,
    event_type,
)
from worldswitch.core.record import FROM_EXIT
from worldswitch.core.state import Registers, Vmcb
from worldswitch.oracles.architecture.reference import EXT, MASK_UNSURE, Reference

_64BIT_EXCLUDES: Final = (4, 5)  # #OF and #BR cannot occur in 64-bit mode (S6-32)


def enter(ref: Reference) -> bool:
    """VMRUN from (e) on: load the guest, or leave with VMEXIT_INVALID. True where EVENTINJ is to be delivered."""
    cpu = ref.cpu
    regs, vmcb = cpu.regs, cpu.vmcb
    cpu.hif = bool(regs.rflags & RFLAGS_IF)  # S5-20
    ref.take_entry()
    cpu.hsave.copy_from(regs)  # S6-05
    cpu.hsave.rip += 1
    cpu.hsave.rflags &= ~RFLAGS_RF  # S6-18
    cpu.vmrun_trap = cpu.debug_trap | (DR6_BS if regs.rflags & RFLAGS_TF else 0)  # S6-16
    cpu.debug_trap = 0
    regs.copy_from(vmcb.save)  # S6-07
    cpu.guest = True
    ref.host_nmi_mask = ref.nmi_mask
    legal = legal_injection(vmcb)
    if legal is None:  # S6-32: reserved vectors are not settled
        legal = ref.sees_exit() != EXIT_INVALID
    if not legal or not consistent(vmcb, cpu.hsave.cr0):  # S6-08
        ref.take_exit(EXIT_INVALID, (), 0, 0, ())
        _leave(ref)
        return False
    cpu.shadow = SHADOW_LOADED if vmcb.int_state & 1 else SHADOW_NONE  # S2-50
    cpu.gif = True  # S3-02
    cpu.halted = False  # S6-15
    ref.nmi_mask = MASK_UNSURE if ref.nmi_mask else 0  # S4-08, S4-09
    if not regs.cr0 & CR0_PE:
        regs.cpl = 0
    cpu.injecting = bool(vmcb.eventinj & EVENT_V)
    return cpu.injecting


def vmexit(
    ref: Reference, code: int, info1: tuple[int, ...] = (0,), info2: int = 0, nrip: int = 0, or_no_event: bool = False
) -> None:
    """A #VMEXIT, in the order of section 6.4. ``or_no_event``: EXITINTINFO may as well be 0 (S6-78)."""
    cpu = ref.cpu
    vmcb = cpu.vmcb
    if vmcb.v_nmi_enable and ref.vectoring & EVENT_V and event_type(ref.vectoring) == TYPE_NMI:
        vmcb.v_nmi_mask = False  # S4-34
    events: tuple[int, ...] = (ref.vectoring, ref.vectoring | EXT) if ref.vectoring & EVENT_EV else (ref.vectoring,)
    if or_no_event:
        events = (*events, 0)
    injecting, mask = cpu.injecting and event_type(ref.vectoring) == TYPE_NMI, vmcb.v_nmi_mask
    record = ref.take_exit(code, info1, info2, nrip, events)
    if not injecting:  # S4-35: an EVENTINJ NMI is not settled
        ref.same("exit", "v-nmi-mask", record.v_nmi_mask, mask, "S4-32", "S4-33", "S4-34", "S4-35")
    vmcb.save.copy_from(cpu.regs)  # S6-51
    vmcb.save.rip, vmcb.save.rflags, vmcb.save.cr2 = record.rip, record.rflags, record.cr2
    vmcb.v_nmi_mask = record.v_nmi_mask
    vmcb.nrip, vmcb.exitintinfo = record.nrip, record.exitintinfo
    _leave(ref)


def _leave(ref: Reference) -> None:
    """What holds after every exit, VMEXIT_INVALID too (S6-50, S6-54 to S6-57)."""
    cpu = ref.cpu
    regs, vmcb = cpu.regs, cpu.vmcb
    record = ref.exits[ref.next_exit - 1]
    vmcb.int_state = record.int_state
    vmcb.eventinj = record.eventinj  # that V=0 is I-01; how much else is cleared is S6-54
    if record.code == EXIT_INVALID:
        vmcb.exitintinfo, vmcb.nrip = record.exitintinfo, record.nrip
    ref.machine.cpu.recorder.int_state_from = FROM_EXIT
    cr2, dr6 = regs.cr2, regs.dr6
    regs.copy_from(cpu.hsave)
    regs.cr0 |= CR0_PE
    regs.cr2, regs.dr6 = cr2, dr6 & 0xFFFF_FFFF  # S6-05, S6-56
    regs.cpl = 0
    regs.dr7 = DR7_RESET
    regs.rflags &= ~(RFLAGS_VM | RFLAGS_RF)  # S6-59
    cpu.guest = False
    cpu.gif = False  # S3-03, S3-05
    cpu.halted = False
    cpu.shadow = SHADOW_NONE  # S2-80
    cpu.injecting = False
    cpu.guest_world.rep_left = 0
    cpu.debug_trap, cpu.vmrun_trap = cpu.vmrun_trap, 0  # S6-16
    ref.vectoring = 0
    if ref.nmi_mask != ref.host_nmi_mask:
        ref.nmi_mask = MASK_UNSURE  # S4-08


def legal_injection(vmcb: Vmcb) -> bool | None:
    """S6-32, S6-34, S10-35; None where that is not settled."""
    word = vmcb.eventinj
    kind, vector = event_type(word), word & 0xFF
    if not word & EVENT_V or kind in (TYPE_INTR, TYPE_NMI):
        return True
    if kind == TYPE_SOFT:
        return not vmcb.sev_es
    if kind != TYPE_EXCEPTION or vector == 2 or vector >= 32:
        return False
    if vector in _64BIT_EXCLUDES and vmcb.save.mode_64bit():
        return False
    if vmcb.sev_es and vector in (3, 4):
        return False
    return True if vector in EXCEPTION_NAMES else None


def consistent(vmcb: Vmcb, host_cr0: int) -> bool:
    """The checks of section 6.2."""
    return not (
        _bad_state(vmcb.save)
        or not vmcb.intercepts[EXIT_VMRUN]  # S6-31
        or vmcb.asid == 0
        or vmcb.msrpm_base_pa // 0x1000 * 0x1000 > PHYSICAL_LIMIT - 0x2000
        or vmcb.iopm_base_pa // 0x1000 * 0x1000 > PHYSICAL_LIMIT - 0x3000
        or (vmcb.np_enable and not host_cr0 & CR0_PG)  # S6-35
        or (vmcb.v_nmi_enable and not vmcb.intercepts[EXIT_NMI])  # S6-33
    )


def _bad_state(save: Registers) -> bool:
    paged_long = bool(save.efer & EFER_LME and save.cr0 & CR0_PG)
    return (  # S6-30
        not save.efer & EFER_SVME
        or bool(save.efer & ~EFER_DEFINED)
        or bool(save.cr0 & CR0_NW and not save.cr0 & CR0_CD)
        or max(save.cr0, save.dr6, save.dr7) > 0xFFFF_FFFF
        or bool(save.cr4 & ~CR4_DEFINED)
        or bool(save.efer & EFER_LMA and save.cr3 >= PHYSICAL_LIMIT)
        or (paged_long and not save.cr4 & CR4_PAE)
        or (paged_long and not save.cr0 & CR0_PE)
        or (paged_long and save.cs_long and save.cs_big)
        or bool(save.cr4 & CR4_CET and not save.cr0 & CR0_WP)  # S6-34
    )
