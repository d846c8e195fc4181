"""Mutants of interrupts, NMIs and the boundary (sections 4 and 5)."""

from typing import Any, Final

from worldswitch.core import boundary
from worldswitch.core.bits import (
    EXIT_EXCEPTION,
    EXIT_INIT,
    EXIT_INTR,
    EXIT_NMI,
    EXIT_SMI,
    EXIT_VINTR,
    RFLAGS_IF,
    VECTOR_MC,
)
from worldswitch.core.isa import OP_IRET, OP_MOV_CR8, OP_STI
from worldswitch.core.state import Cpu, Vmcb
from worldswitch.mutants.model import OPEN
from worldswitch.mutants.planting import (
    Change,
    Rule,
    always,
    as_if,
    first,
    instead,
    instruction,
    keeps,
    only_if,
    put,
    then,
    with_intercept,
)
from worldswitch.mutants.processor import ARCHITECTURE, FREE, mutant, own_if

LOST: Final = "lost-event"


def _hif(cpu: Cpu) -> bool:
    return cpu.hif if cpu.guest else own_if(cpu)


def _after_exit(code: int, change: Change) -> Any:
    """A change right after an exit with that code."""

    def wrong(cpu: Cpu) -> None:
        if not cpu.guest and cpu.vmcb.exit_code == code and cpu.recorder.exits[-1].step == cpu.step:
            change(cpu)

    return then(wrong)


def _lose_intr(cpu: Cpu) -> None:
    if cpu.irr:
        cpu.irr.pop()


def _earlier(name: str, pending: Any) -> Any:
    """Of ``recognise``: one event comes before all others."""

    def make(right: Rule) -> Rule:
        def wrong(cpu: Cpu) -> bool:
            return bool(pending(cpu) and getattr(boundary, name)(cpu)) or bool(right(cpu))

        return wrong

    return make


def _lowest_first(right: Rule) -> Rule:
    def wrong(cpu: Cpu) -> bool:
        cpu.irr.reverse()
        taken = right(cpu)
        cpu.irr.sort()
        return bool(taken)

    return wrong


def _hif_follows(cpu: Cpu) -> None:
    if cpu.guest:
        cpu.hif = True


def _not_strictly(vmcb: Vmcb) -> bool:
    return vmcb.v_ign_tpr or vmcb.v_intr_prio >= (vmcb.v_tpr & 0xF)


def _all_of_v_tpr(vmcb: Vmcb) -> bool:
    return vmcb.v_ign_tpr or vmcb.v_intr_prio > vmcb.v_tpr


def _wrong_vector(right: Rule) -> Rule:
    def wrong(cpu: Cpu) -> bool:
        vector = cpu.vmcb.v_intr_vector
        cpu.vmcb.v_intr_vector = vector ^ 1
        taken = right(cpu)
        cpu.vmcb.v_intr_vector = vector
        return bool(taken)

    return wrong


MUTANTS: Final = (
    # --- physical interrupts
    mutant("v-intr-masking-ignored", "S5-02 S5-03", "with V_INTR_MASKING=1 the guest's IF masks physical interrupts",
           ARCHITECTURE, "an INTR with host IF=1 is not taken while the guest has IF=0",
           "boundary", "intr_unmasked", instead(own_if)),
    mutant("host-if-masks-always", "S5-01", "host IF masks physical interrupts also with V_INTR_MASKING=0", ARCHITECTURE,
           "an INTR is taken in a guest with IF=0", "boundary", "intr_unmasked", instead(_hif)),
    mutant("host-if-follows-guest-sti", "S5-20", "the guest's STI changes the host IF captured at VMRUN", ARCHITECTURE,
           "an INTR leaves a guest that was entered with host IF=0", "execute", "perform",
           instruction(OP_STI, then(_hif_follows)), subject=FREE),
    mutant("intr-always-exits", "S5-07", "INTR in a guest always exits", ARCHITECTURE, "exit 60h without its intercept",
           "boundary", "intr", with_intercept(EXIT_INTR, True)),
    mutant("intr-never-exits", "S5-06", "INTR in a guest never exits", ARCHITECTURE,
           "a guest handler runs where exit 60h had to come", "boundary", "intr", with_intercept(EXIT_INTR, False)),
    mutant("intr-does-not-wake-hlt", "S2-21", "INTR does not wake a halted guest", ARCHITECTURE,
           "an INTR that nothing holds is not taken", "boundary", "intr", only_if(lambda cpu: not cpu.halted)),
    mutant("intr-exit-acknowledges", "S5-06", "exit 60h takes the INTR with it", LOST, "the INTR vanished",
           "boundary", "intr", _after_exit(EXIT_INTR, _lose_intr)),
    mutant("intr-with-if-clear", "S5-01", "INTR ignores IF", ARCHITECTURE, "a handler runs with IF=0",
           "boundary", "intr_unmasked", always(True)),
    mutant("intr-ignores-tpr", "S5-05", "INTR ignores the task priority", ARCHITECTURE,
           "an INTR is taken below the task priority", "boundary", "intr", as_if("tpr", -1)),
    mutant("intr-lowest-first", "S1-10", "of several INTRs the lowest is taken first", ARCHITECTURE,
           "a handler for another vector", "boundary", "intr", _lowest_first),
    mutant("mov-cr8-acts-on-host-tpr", "S5-02", "with V_INTR_MASKING=1 a guest's MOV CR8 changes the physical priority",
           ARCHITECTURE, "an INTR that nothing holds is not taken, or the priority at the end is another",
           "execute", "perform", instruction(OP_MOV_CR8, as_if("v_intr_masking", False))),
    mutant("mov-cr8-spares-physical-tpr", "S5-01", "with V_INTR_MASKING=0 a guest's MOV CR8 spares the physical priority",
           ARCHITECTURE, "the priority at the end is another", "execute", "perform",
           instruction(OP_MOV_CR8, as_if("v_intr_masking", True))),
    # --- physical NMIs
    mutant("nmi-always-exits", "S4-03", "NMI in a guest always exits", ARCHITECTURE, "exit 61h without its intercept",
           "boundary", "nmi", with_intercept(EXIT_NMI, True)),
    mutant("nmi-never-exits", "S4-03", "NMI in a guest never exits", ARCHITECTURE,
           "a guest handler runs where exit 61h had to come", "boundary", "nmi", with_intercept(EXIT_NMI, False)),
    mutant("nmi-exit-drops-nmi", "S4-03 S4-04", "exit 61h takes the NMI with it", LOST, "the NMI vanished",
           "boundary", "nmi", _after_exit(EXIT_NMI, put("pend_nmi", False))),
    mutant("nmi-stays-latched", "S4-01", "a delivered NMI stays latched", LOST, "it was taken and is still latched",
           "boundary", "nmi", then(put("pend_nmi", True))),
    mutant("nmi-needs-if", "S4-05", "NMI needs IF", ARCHITECTURE, "an NMI that nothing holds is not taken",
           "boundary", "nmi", only_if(own_if)),
    mutant("nmi-does-not-mask", "S4-01", "an NMI does not mask further ones", ARCHITECTURE,
           "an NMI is taken within the NMI handler", "boundary", "nmi", then(put("nmi_masked", False))),
    mutant("iret-leaves-nmi-masked", "S4-01 S4-02", "IRET leaves NMIs masked", ARCHITECTURE,
           "an NMI that nothing holds is not taken", "execute", "perform", instruction(OP_IRET, keeps("nmi_masked"))),
    # --- SMI, INIT, #MC
    mutant("smi-exit-drops-smi", "S5-25", "exit 62h takes an external SMI with it", LOST, "the SMI vanished",
           "boundary", "smi", _after_exit(EXIT_SMI, put("pend_smi", 0))),
    mutant("internal-smi-stays-pending", "S5-25", "exit 62h leaves an internal SMI pending", LOST,
           "it left its latch and is still latched", "boundary", "smi",
           _after_exit(EXIT_SMI, put("pend_smi", boundary.SMI_INTERNAL))),
    mutant("smi-never-exits", "S5-25", "SMI in a guest never exits", ARCHITECTURE, "exit 62h had to come",
           "boundary", "smi", with_intercept(EXIT_SMI, False)),
    mutant("init-exit-drops-init", "S5-24", "exit 63h takes the INIT with it", LOST, "the INIT vanished",
           "boundary", "init", _after_exit(EXIT_INIT, put("pend_init", False))),
    mutant("r-init-ignored", "S5-24", "INIT resets the processor also with R_INIT=1", ARCHITECTURE,
           "a reset where #SX had to come", "boundary", "init", as_if("r_init", False)),
    mutant("mce-not-intercepted", "S6-111", "a machine check ignores its intercept", ARCHITECTURE,
           "a handler runs where exit 52h had to come", "boundary", "machine_check",
           with_intercept(EXIT_EXCEPTION + VECTOR_MC, False)),
    # --- virtual interrupts
    mutant("v-tpr-ignored", "S5-08", "V_TPR is ignored", ARCHITECTURE, "a virtual interrupt below V_TPR is taken",
           "boundary", "virq_passes_tpr", always(True)),
    mutant("v-tpr-not-strict", "S5-09", "a virtual interrupt of the same priority as V_TPR is taken", ARCHITECTURE,
           "a virtual interrupt that V_TPR holds is taken", "boundary", "virq_passes_tpr", instead(_not_strictly)),
    mutant("v-tpr-all-bits", "S1-29", "bits 7:4 of V_TPR count", ARCHITECTURE,
           "a virtual interrupt that nothing holds is not taken", "boundary", "virq_passes_tpr",
           instead(_all_of_v_tpr)),
    mutant("v-ign-tpr-ignored", "S5-08", "V_IGN_TPR is ignored", ARCHITECTURE,
           "a virtual interrupt that nothing holds is not taken", "boundary", "virq_passes_tpr",
           instead(lambda vmcb: vmcb.v_intr_prio > vmcb.v_tpr & 0xF)),
    mutant("v-irq-stays-set", "S5-11", "V_IRQ stays set when its interrupt is taken", ARCHITECTURE,
           "an exit reports V_IRQ=1, or the interrupt is taken again", "boundary", "virtual_intr",
           then(put("v_irq", True))),
    mutant("vintr-exit-clears-v-irq", "S5-10", "exit 64h clears V_IRQ", ARCHITECTURE, "exit 64h reports V_IRQ=0",
           "boundary", "vmexit", lambda right: lambda cpu, code, *rest: (
               setattr(cpu.vmcb, "v_irq", cpu.vmcb.v_irq and code != EXIT_VINTR), right(cpu, code, *rest))),  # type: ignore[func-returns-value]
    mutant("virq-ignores-if", "S5-08", "a virtual interrupt ignores IF", ARCHITECTURE,
           "a virtual interrupt is taken with IF=0", "boundary", "virtual_intr",
           lambda right: lambda cpu: _with_if(right, cpu)),
    mutant("virq-wrong-vector", "S5-11", "a virtual interrupt has the wrong vector", ARCHITECTURE,
           "a handler for another vector", "boundary", "virtual_intr", _wrong_vector),
    mutant("virq-never-exits", "S5-10", "the VINTR intercept is ignored", ARCHITECTURE,
           "a handler runs where exit 64h had to come", "boundary", "virtual_intr", with_intercept(EXIT_VINTR, False)),
    # --- virtual NMIs
    mutant("vnmi-does-not-mask", "S4-32", "a virtual NMI does not set V_NMI_MASK", ARCHITECTURE,
           "an exit of its handler reports V_NMI_MASK=0", "boundary", "virtual_nmi", then(put("v_nmi_mask", False))),
    mutant("vnmi-ignores-mask", "S4-31", "V_NMI_MASK does not hold a virtual NMI", ARCHITECTURE,
           "a virtual NMI is taken while masked", "boundary", "virtual_nmi", as_if("v_nmi_mask", False)),
    mutant("vnmi-stays-pending", "S4-32", "V_NMI stays set when the virtual NMI is taken", ARCHITECTURE,
           "an exit reports V_NMI=1", "boundary", "virtual_nmi", then(put("v_nmi", True))),
    mutant("vnmi-without-enable", "S4-31", "a virtual NMI needs no V_NMI_ENABLE", ARCHITECTURE,
           "", "boundary", "virtual_nmi", as_if("v_nmi_enable", True),
           equivalent="no case has V_NMI set without V_NMI_ENABLE, a combination that no fact describes",
           grounds=OPEN),
    mutant("iret-leaves-v-nmi-mask", "S4-33", "IRET leaves V_NMI_MASK set", ARCHITECTURE,
           "an exit after the handler reports V_NMI_MASK=1", "execute", "perform",
           instruction(OP_IRET, keeps("v_nmi_mask"))),
    mutant("iret-intercept-unmasks", "S4-10 S6-110", "an intercepted IRET has cleared V_NMI_MASK already", ARCHITECTURE,
           "exit 74h reports V_NMI_MASK=0", "execute", "perform",
           instruction(OP_IRET, first(put("v_nmi_mask", False)))),
    # --- which one first
    mutant("intr-before-nmi", "S4-41", "INTR comes before NMI", ARCHITECTURE,
           "an NMI is pending, nothing holds it, and the INTR is taken", "machine", "recognise",
           _earlier("intr", lambda cpu: cpu.irr and not cpu.pend_mce and not cpu.debug_trap)),
    mutant("nmi-before-smi", "S4-41", "NMI comes before SMI", ARCHITECTURE,
           "an SMI is pending, nothing holds it, and the NMI is taken", "machine", "recognise",
           _earlier("nmi", lambda cpu: cpu.pend_nmi and not cpu.pend_mce)),
    mutant("virq-before-intr", "S4-42", "a virtual interrupt comes before INTR", ARCHITECTURE,
           "an INTR is pending, nothing holds it, and the virtual interrupt is taken", "machine", "recognise",
           _earlier("virtual_intr", lambda cpu: cpu.guest and cpu.vmcb.v_irq and not cpu.debug_trap)),
    mutant("vnmi-before-nmi", "S4-36", "a virtual NMI comes before a physical one", ARCHITECTURE,
           "an NMI is pending, nothing holds it, and the virtual one is taken", "machine", "recognise",
           _earlier("virtual_nmi", lambda cpu: cpu.guest and cpu.vmcb.v_nmi and not cpu.debug_trap)),
    mutant("virq-before-vnmi", "S4-37", "a virtual interrupt comes before a virtual NMI", ARCHITECTURE,
           "a virtual NMI is pending, nothing holds it, and the virtual interrupt is taken", "machine", "recognise",
           _earlier("virtual_intr", lambda cpu: cpu.guest and cpu.vmcb.v_irq and cpu.vmcb.v_nmi and not cpu.irr
                    and not cpu.pend_nmi)),
    mutant("nmi-before-single-step", "S6-112", "NMI comes before the single-step trap", ARCHITECTURE,
           "the trap's handler had to run first", "machine", "recognise",
           _earlier("nmi", lambda cpu: cpu.pend_nmi and cpu.debug_trap and not cpu.pend_smi and not cpu.pend_init)),
)  # fmt: skip


def _with_if(right: Rule, cpu: Cpu) -> bool:
    """A rule as if IF were set."""
    rflags = cpu.regs.rflags
    cpu.regs.rflags = rflags | RFLAGS_IF
    try:
        return bool(right(cpu))
    finally:
        if cpu.regs.rflags == rflags | RFLAGS_IF:
            cpu.regs.rflags = rflags
