"""The boundary between two instructions: which asynchronous event is recognised, and what becomes of it.

One function per event, each with its predicate and its fate in a guest (intercepted or not) and in the host. All return
True where they took the event. GIF=0 holds all of them (S3-10..S3-15, S3-23), except single-step traps (S3-17).
"""

from worldswitch.core import debug, shadow
from worldswitch.core.bits import (
    CR4_MCE,
    EXIT_EXCEPTION,
    EXIT_INIT,
    EXIT_INTR,
    EXIT_NMI,
    EXIT_SMI,
    EXIT_VINTR,
    RFLAGS_IF,
    SHADOW_NONE,
    TYPE_EXCEPTION,
    TYPE_INTR,
    TYPE_NMI,
    VECTOR_MC,
    VECTOR_NMI,
    VECTOR_SX,
    event_word,
)
from worldswitch.core.delivery import deliver
from worldswitch.core.record import (
    KIND_EXCEPTION,
    KIND_INIT,
    KIND_INTR,
    KIND_MCE,
    KIND_NMI,
    KIND_SMI,
    KIND_VIRQ,
    KIND_VNMI,
    WORLD_SMM,
    Handler,
)
from worldswitch.core.state import INIT_RESET, Cpu
from worldswitch.core.vmexit import shutdown, vmexit
from worldswitch.core.vmrun import virq_passes_tpr

SMI_NONE = 0
SMI_EXTERNAL = 1
SMI_INTERNAL = 2


def recognise(cpu: Cpu) -> bool:
    """Take the one event of highest priority that is recognised here, if any.

    Order: #MC, SMI and INIT (S4-40), debug traps (S6-112), NMI, virtual NMI (S4-36), INTR, virtual INTR (S4-41, S4-42,
    S4-37).
    """
    if cpu.pend_mce and machine_check(cpu):
        return True
    if cpu.pend_init and cpu.options.init_first and init(cpu):
        return True
    if cpu.pend_smi and smi(cpu):
        return True
    if cpu.pend_init and init(cpu):
        return True
    if cpu.debug_trap and debug.take_trap(cpu):
        return True
    if cpu.pend_nmi and nmi(cpu):
        return True
    if cpu.guest and cpu.vmcb.v_nmi and virtual_nmi(cpu):
        return True
    if cpu.irr and intr(cpu):
        return True
    return cpu.guest and cpu.vmcb.v_irq and virtual_intr(cpu)


def machine_check(cpu: Cpu) -> bool:
    """#MC: not blocked by a shadow (S2-35); with GIF=0 held, or shutdown (S3-15)."""
    if not cpu.gif:
        if not cpu.options.mce_gif0_shutdown:
            return False
        cpu.pend_mce = False
        cpu.recorder.acknowledged.append((cpu.step, KIND_MCE, VECTOR_MC))
        shutdown(cpu)
        return True
    cpu.pend_mce = False
    cpu.recorder.acknowledged.append((cpu.step, KIND_MCE, VECTOR_MC))
    if cpu.guest and cpu.vmcb.intercepts[EXIT_EXCEPTION + VECTOR_MC]:
        vmexit(cpu, EXIT_EXCEPTION + VECTOR_MC)
    elif not cpu.regs.cr4 & CR4_MCE:
        shutdown(cpu)
    else:
        deliver(cpu, KIND_MCE, event_word(TYPE_EXCEPTION, VECTOR_MC), cpu.regs.rip, False)
    return True


def smi(cpu: Cpu) -> bool:
    """SMI: held by GIF=0 (S3-13), by a shadow only as an option (S2-34); intercepted S5-25.

    System management mode is outside the model: the handler runs and RSM returns within this boundary.
    """
    if not cpu.gif or shadow.blocks_smi(cpu):
        return False
    if cpu.guest and cpu.vmcb.intercepts[EXIT_SMI]:
        external = 1 if cpu.pend_smi == SMI_EXTERNAL else 0  # EXITINFO1 bit 0 (APM2 15.13.3)
        if not external:
            cpu.pend_smi = SMI_NONE  # S5-25: an internal one does not stay pending
            cpu.recorder.acknowledged.append((cpu.step, KIND_SMI, 0))
        vmexit(cpu, EXIT_SMI, external)
        return True
    cpu.pend_smi = SMI_NONE
    cpu.recorder.acknowledged.append((cpu.step, KIND_SMI, 0))
    record = Handler(cpu.step, WORLD_SMM, KIND_SMI, 0)
    record.guest = cpu.guest
    record.rip = cpu.regs.rip
    record.rflags = cpu.regs.rflags
    record.gif = cpu.gif
    record.shadow = cpu.shadow
    record.nmi_masked = cpu.nmi_masked
    cpu.recorder.handlers.append(record)
    if cpu.options.smi_ends_shadow:
        cpu.shadow = SHADOW_NONE  # S10-54
    return True


def internal_smi(cpu: Cpu) -> None:
    """I/O raised an internal SMI: with GIF=0 it is ignored and discarded (S3-13)."""
    if cpu.gif:
        cpu.pend_smi = cpu.pend_smi or SMI_INTERNAL  # one that is pending already keeps its origin
    else:
        cpu.recorder.discarded.append((cpu.step, KIND_SMI))


def init(cpu: Cpu) -> bool:
    """INIT: held by GIF=0 (S3-14); exit, #SX, or reset (S5-24); never blocked by a shadow (S2-35)."""
    if not cpu.gif:
        return False
    if cpu.guest and cpu.vmcb.intercepts[EXIT_INIT]:
        vmexit(cpu, EXIT_INIT)  # still pending
        return True
    cpu.pend_init = False
    cpu.recorder.acknowledged.append((cpu.step, KIND_INIT, 0))
    if not cpu.r_init:
        cpu.stop = INIT_RESET
    elif cpu.guest and cpu.vmcb.intercepts[EXIT_EXCEPTION + VECTOR_SX]:
        vmexit(cpu, EXIT_EXCEPTION + VECTOR_SX, 1, 0)
    else:  # S5-24: redirected to #SX, error code 1
        deliver(cpu, KIND_EXCEPTION, event_word(TYPE_EXCEPTION, VECTOR_SX, 1), cpu.regs.rip, False)
    return True


def nmi(cpu: Cpu) -> bool:
    """A physical NMI: GIF (S3-12) and the NMI mask (S4-01, S4-03), never IF (S4-05)."""
    if not cpu.gif or cpu.nmi_masked:
        return False
    if cpu.guest and cpu.vmcb.intercepts[EXIT_NMI]:
        if shadow.blocks_intercepted_nmi(cpu):  # S2-59
            return False
        vmexit(cpu, EXIT_NMI)  # S4-03: stays pending
        return True
    if shadow.blocks_nmi(cpu):  # S2-32, S2-33
        return False
    cpu.pend_nmi = False
    cpu.nmi_masked = True  # S4-01
    cpu.recorder.acknowledged.append((cpu.step, KIND_NMI, VECTOR_NMI))
    deliver(cpu, KIND_NMI, event_word(TYPE_NMI, VECTOR_NMI), cpu.regs.rip, False)
    return True


def virtual_nmi(cpu: Cpu) -> bool:
    """A virtual NMI under vNMI (S4-31, S4-32)."""
    vmcb = cpu.vmcb
    if not vmcb.v_nmi_enable or vmcb.v_nmi_mask or not cpu.gif or cpu.shadow != SHADOW_NONE:
        return False
    if vmcb.vgif_enable and not vmcb.vgif:  # S3-33
        return False
    vmcb.v_nmi = False  # S4-32: before the IDT is read
    vmcb.v_nmi_mask = True
    deliver(cpu, KIND_VNMI, event_word(TYPE_NMI, VECTOR_NMI), cpu.regs.rip, False)
    return True


def intr(cpu: Cpu) -> bool:
    """A physical maskable interrupt (S5-01..S5-07); GIF=0 holds it whatever IF says (S3-10)."""
    if not cpu.gif or not intr_unmasked(cpu):
        return False
    vector = cpu.irr[-1]
    if vector >> 4 <= cpu.tpr:
        return False
    if cpu.guest and cpu.vmcb.intercepts[EXIT_INTR]:
        if shadow.blocks_intercepted_intr(cpu):
            return False
        vmexit(cpu, EXIT_INTR)  # S5-06: not acknowledged, still pending
        return True
    if shadow.blocks_intr(cpu):  # S2-30
        return False
    cpu.irr.pop()  # S5-07: acknowledged
    cpu.virq_dropped = cpu.options.intr_drops_virq  # S10-48
    cpu.recorder.acknowledged.append((cpu.step, KIND_INTR, vector))
    deliver(cpu, KIND_INTR, event_word(TYPE_INTR, vector), cpu.regs.rip, False)
    return True


def intr_unmasked(cpu: Cpu) -> bool:
    """The IF term of S5-05."""
    flag = bool(cpu.regs.rflags & RFLAGS_IF)
    if not cpu.guest or not cpu.vmcb.v_intr_masking:
        return flag  # S5-01
    if cpu.options.physical_intr_gate_bochs:
        return flag or (cpu.hif and cpu.guest_if_seen)  # S5-22: what opened the gate, with host IF=1 CLI does not close
    return cpu.hif  # S5-02, S5-03, S5-04


def virtual_intr_is_due(cpu: Cpu) -> bool:
    """Whether a guest's V_IRQ, which must be set, is recognised at this boundary unless something else is."""
    vmcb = cpu.vmcb
    if not cpu.gif or not cpu.regs.rflags & RFLAGS_IF or cpu.shadow != SHADOW_NONE:  # S2-31, S3-11
        return False
    if vmcb.vgif_enable and not vmcb.vgif:  # S3-33
        return False
    options = cpu.options
    passes = cpu.virq_gate_open if options.vtpr_reevaluated_on_if_change else virq_passes_tpr(vmcb)  # S5-23
    if not passes and not (options.virq_prio_equal_passes and vmcb.v_intr_prio == vmcb.v_tpr & 0xF):  # S10-49
        return False
    return not cpu.virq_dropped  # S10-48


def virtual_intr(cpu: Cpu) -> bool:
    """A virtual interrupt (S5-08..S5-11); it never involves the host (S5-14)."""
    if not virtual_intr_is_due(cpu):
        return False
    vmcb = cpu.vmcb
    if vmcb.intercepts[EXIT_VINTR]:  # S5-10: V_IRQ stays
        vmexit(cpu, EXIT_VINTR)
        return True
    vmcb.v_irq = cpu.options.virq_cleared_after_delivery  # S5-11: before the IDT is read; or S10-47
    deliver(cpu, KIND_VIRQ, event_word(TYPE_INTR, vmcb.v_intr_vector), cpu.regs.rip, False)
    return True
