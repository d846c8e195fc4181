"""VMRUN: checks, loading, consistency, event injection (sections 6.1 to 6.3)."""

from worldswitch.core import shadow
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
    EFER_DEFINED,
    EFER_LMA,
    EFER_LME,
    EFER_SVME,
    EVENT_V,
    EXCEPTION_NAMES,
    EXIT_NMI,
    EXIT_VMRUN,
    PHYSICAL_LIMIT,
    RFLAGS_IF,
    RFLAGS_RF,
    RFLAGS_TF,
    TYPE_EXCEPTION,
    TYPE_INTR,
    TYPE_NMI,
    TYPE_SOFT,
    VECTOR_BP,
    VECTOR_BR,
    VECTOR_GP,
    VECTOR_NMI,
    VECTOR_OF,
    VECTOR_UD,
    event_error_code,
    event_type,
    event_word,
)
from worldswitch.core.delivery import deliver, raise_fault
from worldswitch.core.record import KIND_INJECTED, Entry
from worldswitch.core.state import Cpu, Vmcb
from worldswitch.core.vmexit import instruction_exit, invalid_exit

# S6-31: the maps must end below the physical limit: MSRPM two pages, IOPM three (64K + 3 bits).
MSRPM_SIZE = 0x2000
IOPM_SIZE = 0x3000


def vmrun(cpu: Cpu) -> None:
    """Execute VMRUN at ``cpu.regs.rip``, in the order (a) to (k) of section 6.1; (l) is the next boundary."""
    regs = cpu.regs
    if not regs.efer & EFER_SVME or not regs.protected():  # (a) S6-01, S7-01
        raise_fault(cpu, VECTOR_UD)
        return
    if cpu.options.vmrun_requires_paging and not regs.cr0 & CR0_PG:  # (a) S6-01, KVM only
        raise_fault(cpu, VECTOR_UD)
        return
    if regs.cpl != 0:  # (b) S6-02, S7-02, S7-03
        raise_fault(cpu, VECTOR_GP, 0)
        return
    next_rip = regs.rip + 1
    if cpu.guest and cpu.options.vmrun_intercept_before_rax_gp:  # (d) before (c): S6-04
        instruction_exit(cpu, EXIT_VMRUN, next_rip)
        return
    if regs.rax & 0xFFF or regs.rax >= PHYSICAL_LIMIT:  # (c) S6-03, S7-04
        raise_fault(cpu, VECTOR_GP, 0)
        return
    if cpu.guest:  # (d) S6-04, S7-12: the intercept is mandatory, so a guest gets no further
        instruction_exit(cpu, EXIT_VMRUN, next_rip)
        return

    vmcb = cpu.vmcb
    hsave = cpu.hsave
    hsave.copy_from(regs)  # (e) S6-05
    hsave.rip = next_rip
    # S6-16: to the host VMRUN is one instruction, its traps come after the exit; so does one that MOV SS held (S2-39)
    cpu.vmrun_trap = cpu.debug_trap | (DR6_BS if regs.rflags & RFLAGS_TF else 0)
    cpu.debug_trap = 0
    hsave.rflags &= ~RFLAGS_RF  # S6-18: completion of VMRUN clears it
    cpu.hif = bool(regs.rflags & RFLAGS_IF)  # S5-20
    cpu.host_shadow = cpu.shadow
    cpu.host_nmi_masked = cpu.nmi_masked
    _record_entry(cpu)

    # (f) S6-06: the controls are read from the VMCB where they are used
    regs.copy_from(vmcb.save)  # (g) S6-07
    if cpu.options.vmrun_keeps_cr2:
        regs.cr2 = hsave.cr2  # S10-78
    cpu.guest = True
    # (h) S6-08
    if not consistent(vmcb, hsave.cr0):
        invalid_exit(cpu)
        return
    options = cpu.options
    if not legal_injection(
        vmcb,
        options.eventinj_reserved_vectors_deliver,
        options.eventinj_of_br_deliver,
        options.eventinj_vector_31_invalid,
    ):
        invalid_exit(cpu, options.invalid_keeps_loaded_int_state)
        return
    cpu.shadow = shadow.at_vmrun(cpu, vmcb.int_state)  # (g) S2-50
    # (i) S6-09: nothing to do without a TLB
    cpu.gif = True  # (j) S3-02, S6-10
    if not cpu.options.nmi_mask_shared:
        cpu.nmi_masked = False  # S4-08, S4-09
    cpu.halted = False  # S6-15
    if not regs.cr0 & CR0_PE:
        regs.cpl = 0  # S6-07: the CPL field does not count in real mode
    cpu.virq_gate_open = virq_passes_tpr(vmcb)
    cpu.virq_dropped = False
    cpu.guest_if_seen = bool(regs.rflags & RFLAGS_IF)
    if vmcb.eventinj & EVENT_V:  # (k) S6-11
        inject(cpu)


def inject(cpu: Cpu) -> None:
    """Deliver EVENTINJ: not subject to intercepts (S6-40), IF, V_TPR or the guest's shadow (S2-56)."""
    vmcb = cpu.vmcb
    word = vmcb.eventinj
    kind, vector = event_type(word), word & 0xFF
    software = kind == TYPE_SOFT or (kind == TYPE_EXCEPTION and vector in (VECTOR_BP, VECTOR_OF))
    # S6-48: the RIP pushed is VMCB.RIP; of a soft event nRIP (S1-73), where software gave one
    # or, as an option, never nRIP (S10-59)
    return_rip = vmcb.nrip if software and vmcb.nrip and not cpu.options.injection_ignores_nrip else cpu.regs.rip
    if kind == TYPE_NMI:
        vector = VECTOR_NMI  # S1-43
        if vmcb.v_nmi_enable:
            vmcb.v_nmi_mask = True  # S4-35; without vNMI nothing is masked (S4-07)
        elif cpu.options.eventinj_nmi_sets_mask:
            cpu.nmi_masked = True  # S10-60
    cpu.injecting = True  # S2-70: until a handler is entered VMRUN is not complete
    # S1-45: reserved bits do not come back in EXITINTINFO
    deliver(cpu, KIND_INJECTED, event_word(kind, vector, event_error_code(word)), return_rip, software)


def virq_passes_tpr(vmcb: Vmcb) -> bool:
    """S5-08, S5-09: V_IGN_TPR, or strictly greater; bits 7:4 of V_TPR do not count (S1-29)."""
    return vmcb.v_ign_tpr or vmcb.v_intr_prio > (vmcb.v_tpr & 0xF)


def consistent(vmcb: Vmcb, host_cr0: int) -> bool:
    """The checks whose failure is VMEXIT_INVALID (6.2); ``host_cr0`` is CR0 of the host that executes VMRUN."""
    save = vmcb.save
    # S6-30
    if not save.efer & EFER_SVME or save.efer & ~EFER_DEFINED:
        return False
    if save.cr0 & CR0_NW and not save.cr0 & CR0_CD:
        return False
    if save.cr0 >> 32 or save.dr6 >> 32 or save.dr7 >> 32:
        return False
    if save.cr4 & ~CR4_DEFINED or (save.efer & EFER_LMA and save.cr3 >= PHYSICAL_LIMIT):
        return False
    if save.efer & EFER_LME and save.cr0 & CR0_PG:
        if not save.cr4 & CR4_PAE or not save.cr0 & CR0_PE:
            return False
        if save.cs_long and save.cs_big:
            return False
    if save.cr4 & CR4_CET and not save.cr0 & CR0_WP:  # S6-34
        return False
    # S6-31
    if not vmcb.intercepts[EXIT_VMRUN] or vmcb.asid == 0:
        return False
    if _beyond_limit(vmcb.msrpm_base_pa, MSRPM_SIZE) or _beyond_limit(vmcb.iopm_base_pa, IOPM_SIZE):
        return False
    if vmcb.np_enable and not host_cr0 & CR0_PG:  # S6-35
        return False
    return not (vmcb.v_nmi_enable and not vmcb.intercepts[EXIT_NMI])  # S4-30, S6-33


def _beyond_limit(base: int, size: int) -> bool:
    """Whether a permission map reaches beyond the physical limit (S6-31); VMRUN ignores bits 11:0 of its base."""
    return (base & ~0xFFF) + size > PHYSICAL_LIMIT


def legal_injection(vmcb: Vmcb, reserved_vectors: bool, of_br: bool = False, not_31: bool = False) -> bool:
    """Whether EVENTINJ is one the processor accepts (S6-32, S6-34, S10-35).

    ``reserved_vectors``, ``of_br`` and ``not_31`` are options: reserved exception vectors are accepted, #OF and #BR are
    for a 64-bit guest too, vector 31 is not (S10-44).
    """
    word = vmcb.eventinj
    if not word & EVENT_V:
        return True
    kind, vector = event_type(word), word & 0xFF
    if kind == TYPE_EXCEPTION:
        if vector == VECTOR_NMI or vector > 31 or (not_31 and vector == 31):
            return False
        if vector in (VECTOR_BR, VECTOR_OF) and not of_br and vmcb.save.mode_64bit():
            return False
        if vmcb.sev_es and vector in (VECTOR_BP, VECTOR_OF):
            return False
        return vector in EXCEPTION_NAMES or reserved_vectors
    if kind == TYPE_SOFT:
        return not vmcb.sev_es
    return kind in (TYPE_INTR, TYPE_NMI)


def _record_entry(cpu: Cpu) -> None:
    recorder, vmcb = cpu.recorder, cpu.vmcb
    entry = Entry(len(recorder.entries) + 1, cpu.step)
    entry.rip = vmcb.save.rip
    entry.hif = cpu.hif
    entry.v_intr_masking = vmcb.v_intr_masking
    entry.eventinj = vmcb.eventinj
    entry.int_state = vmcb.int_state & 1
    entry.int_state_from = recorder.int_state_from
    recorder.entries.append(entry)
