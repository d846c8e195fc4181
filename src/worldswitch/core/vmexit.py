"""#VMEXIT: what it writes, in the order of section 6.4 (not observable, S6-60), and the return to the host."""

from worldswitch.core import shadow
from worldswitch.core.bits import (
    CR0_PE,
    DR6_BS,
    DR7_RESET,
    EVENT_V,
    EXIT_EXCEPTION,
    EXIT_INVALID,
    EXIT_SHUTDOWN,
    EXIT_VINTR,
    RFLAGS_IF,
    RFLAGS_RF,
    RFLAGS_TF,
    RFLAGS_VM,
    SHADOW_NONE,
    TYPE_NMI,
    event_type,
)
from worldswitch.core.options import EVENTINJ_ALL, EVENTINJ_V_ONLY, SOURCE_QEMU
from worldswitch.core.record import FROM_EXIT, Exit
from worldswitch.core.state import SHUTDOWN, Cpu


def vmexit(
    cpu: Cpu, code: int, exitinfo1: int = 0, exitinfo2: int = 0, nrip: int = 0, report_event: bool = True
) -> None:
    """Leave the guest. ``cpu.regs.rip`` is the RIP to save (S6-61); ``cpu.vectoring`` the event under delivery.

    ``nrip`` is 0 but for the exits that S1-71 names; in particular for every exit while vectoring (S1-72).
    ``report_event`` False leaves the event under delivery out of EXITINTINFO (S6-78).
    """
    vmcb = cpu.vmcb
    if cpu.options.guest_tf_traps_host and cpu.regs.rflags & RFLAGS_TF and not EXIT_EXCEPTION <= code <= EXIT_VINTR:
        cpu.vmrun_trap |= 0 if cpu.vectoring else DR6_BS  # S10-72
    vmcb.nrip = nrip
    cpu.gif = False  # (1) S3-03, S6-50
    vmcb.save.copy_from(cpu.regs)  # (2) S6-51
    vmcb.int_state = shadow.at_exit(cpu)  # (3) S2-52, S6-52; bit 1 stays 0 (S1-32)
    _write_back_nmi(cpu)
    if cpu.options.exit_writes_v_irq_only:  # S10-28
        vmcb.vgif = False
        vmcb.v_nmi = False
        vmcb.v_nmi_mask = False
    vmcb.exit_code = code  # (4) S6-53
    vmcb.exitinfo1 = exitinfo1
    vmcb.exitinfo2 = exitinfo2
    # S6-70, S6-79; QEMU copies EVENTINJ instead (S6-81)
    if cpu.options.exitintinfo_source == SOURCE_QEMU:
        vmcb.exitintinfo = vmcb.eventinj
    elif cpu.vectoring and report_event:
        vmcb.exitintinfo = cpu.vectoring
    else:
        clear_exitintinfo(cpu)
    clear_eventinj(cpu)  # (5)
    leave(cpu)


def instruction_exit(cpu: Cpu, code: int, next_rip: int) -> None:
    """The exit of an intercepted instruction: RIP at it (S6-61), nRIP after it (S1-71), nothing vectoring (S6-75)."""
    vmexit(cpu, code, nrip=next_rip)


def invalid_exit(cpu: Cpu, loaded: bool = False) -> None:
    """VMEXIT_INVALID: the save area is not written (S6-37), EVENTINJ is cleared all the same (S6-57).

    ``loaded`` is for ``shadow.at_invalid_exit``.
    """
    vmcb = cpu.vmcb
    cpu.gif = False  # S3-05
    vmcb.int_state = shadow.at_invalid_exit(cpu, vmcb.int_state, loaded)
    vmcb.nrip = 0
    vmcb.exit_code = EXIT_INVALID
    vmcb.exitinfo1 = 0
    vmcb.exitinfo2 = 0
    # S6-81: QEMU copies it on every exit
    if cpu.options.exitintinfo_source == SOURCE_QEMU:
        vmcb.exitintinfo = vmcb.eventinj
    else:
        clear_exitintinfo(cpu)
    clear_eventinj(cpu)
    leave(cpu)


def clear_exitintinfo(cpu: Cpu) -> None:
    """EXITINTINFO of an exit without an event under delivery (S6-70, S6-79); S10-66 leaves its error code."""
    cpu.vmcb.exitintinfo = cpu.vmcb.exitintinfo & ~0xFFFF_FFFF if cpu.options.exitintinfo_cleared_low_32 else 0


def clear_eventinj(cpu: Cpu) -> None:
    """EVENTINJ.V reads 0 after every #VMEXIT (S6-57); how much else is cleared is S6-54."""
    cleared = cpu.options.eventinj_clear
    if cleared == EVENTINJ_ALL:
        cpu.vmcb.eventinj = 0
    elif cleared == EVENTINJ_V_ONLY:
        cpu.vmcb.eventinj &= ~EVENT_V
    else:
        cpu.vmcb.eventinj &= ~0xFFFF_FFFF  # S10-41: the error code stays


def _write_back_nmi(cpu: Cpu) -> None:
    """V_NMI and V_NMI_MASK of an exit during NMI delivery: the NMI is in EXITINTINFO, the mask off (S4-34)."""
    vmcb = cpu.vmcb
    if not vmcb.v_nmi_enable or not cpu.vectoring & EVENT_V or event_type(cpu.vectoring) != TYPE_NMI:
        return
    if cpu.injecting and cpu.options.vnmi_mask_kept_on_injection_exit:
        return  # S4-35: an EVENTINJ NMI, not settled
    vmcb.v_nmi_mask = False


def leave(cpu: Cpu) -> None:
    """Reload the host (6) and (7), and record the exit."""
    cpu.guest = False
    cpu.halted = False
    cpu.vectoring = 0
    cpu.injecting = False
    cpu.shadow = SHADOW_NONE  # S2-80
    cpu.guest_world.rep_left = 0
    regs = cpu.regs
    cr2, dr6 = regs.cr2, regs.dr6
    regs.copy_from(cpu.hsave)  # S6-56
    regs.cr0 |= CR0_PE
    regs.cr2 = cr2  # S6-05, S6-56: CR2 and DR6 are not host state that VMRUN saves; the guest's values stay
    regs.dr6 = dr6 & 0xFFFF_FFFF  # bits 63:32 cannot be set, not even by a VMCB that failed for them (S6-30)
    regs.cpl = 0
    regs.dr7 = DR7_RESET  # breakpoints disabled
    regs.rflags &= ~(RFLAGS_VM | RFLAGS_RF)  # S6-18, S6-59: IF=HIF, TF as at VMRUN
    cpu.host_shadow = SHADOW_NONE
    if not cpu.options.nmi_mask_shared:
        cpu.nmi_masked = cpu.host_nmi_masked  # S4-08
    cpu.debug_trap = cpu.vmrun_trap  # S6-16, I-11: the host's traps for VMRUN wait until here
    cpu.vmrun_trap = 0
    _record(cpu)


def shutdown(cpu: Cpu) -> None:
    """A shutdown condition: exit where intercepted (S6-94), else the physical processor stops (S6-95)."""
    if cpu.guest and (cpu.vmcb.intercepts[EXIT_SHUTDOWN] or cpu.options.shutdown_always_exits):  # S10-57
        vmexit(cpu, EXIT_SHUTDOWN)
    else:
        cpu.stop = SHUTDOWN


def _record(cpu: Cpu) -> None:
    vmcb = cpu.vmcb
    entry = cpu.recorder.entries[-1]
    record = Exit(entry, cpu.step)
    record.code = vmcb.exit_code
    record.exitinfo1 = vmcb.exitinfo1
    record.exitinfo2 = vmcb.exitinfo2
    record.exitintinfo = vmcb.exitintinfo
    record.eventinj = vmcb.eventinj
    record.int_state = vmcb.int_state
    record.rip = vmcb.save.rip
    record.nrip = vmcb.nrip
    record.rflags = vmcb.save.rflags
    record.cr2 = vmcb.save.cr2
    record.v_tpr = vmcb.v_tpr
    record.v_irq = vmcb.v_irq
    record.vgif = vmcb.vgif
    record.v_nmi = vmcb.v_nmi
    record.v_nmi_mask = vmcb.v_nmi_mask
    record.gif = cpu.gif
    record.host_if = bool(cpu.regs.rflags & RFLAGS_IF)
    cpu.recorder.exits.append(record)
    cpu.recorder.int_state_from = FROM_EXIT
