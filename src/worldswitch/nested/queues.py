"""The queues of injected events: what an exit left undelivered goes back into them, and from there into EVENTINJ."""

from worldswitch.core.bits import (
    EVENT_V,
    EXIT_EXCEPTION,
    EXIT_SHUTDOWN,
    TYPE_EXCEPTION,
    TYPE_INTR,
    TYPE_NMI,
    TYPE_SOFT,
    VECTOR_BP,
    VECTOR_DF,
    VECTOR_OF,
    VECTOR_VC,
    event_error_code,
    event_type,
    event_word,
)
from worldswitch.core.delivery import BECOMES_DF, BECOMES_SHUTDOWN, compose, vector_class
from worldswitch.core.names import event_name
from worldswitch.nested.record import Took
from worldswitch.nested.vcpu import NMI_WORD, Vcpu
from worldswitch.nested.vmcb02 import is_soft
from worldswitch.nested.windows import iret_completed, mask_nmi

KVM_NMI: int = EVENT_V | TYPE_NMI << 8
"""The word KVM injects an NMI with: its vector is ignored (S1-43)."""


def normal(word: int) -> int:
    """An event word as records count it: an NMI has vector 2, no error code."""
    if event_type(word) == TYPE_NMI:
        return NMI_WORD
    return word


def needs_reinjection(vcpu: Vcpu) -> bool:
    """``kvm_event_needs_reinjection``."""
    return vcpu.exception.injected or vcpu.interrupt_injected or vcpu.nmi_injected


def clear_queues(vcpu: Vcpu) -> None:
    """Forget what is injected, and a pending exception: the processor has said what became of it (S9-22)."""
    vcpu.nmi_injected = False
    vcpu.exception.clear()
    vcpu.exception_vmexit.clear()
    vcpu.interrupt_injected = False


def complete_interrupts(vcpu: Vcpu) -> None:
    """``svm_complete_interrupts`` (S8-90): EXITINTINFO of the run just over back into the queues."""
    word = vcpu.vmcb.exitintinfo
    nmi_l1_to_l2, soft = vcpu.nmi_l1_to_l2, vcpu.soft_int_injected
    vcpu.nmi_l1_to_l2 = vcpu.soft_int_injected = False
    iret_completed(vcpu)
    clear_queues(vcpu)
    if not word & EVENT_V:
        return
    vcpu.request_event = True
    vector, kind = word & 0xFF, event_type(word)
    if soft and is_soft(word):
        vcpu.vmcb.nrip = vcpu.soft_int_next_rip  # S1-72: the exit has cleared it
    if kind == TYPE_NMI:
        vcpu.nmi_injected = True
        vcpu.nmi_l1_to_l2 = nmi_l1_to_l2
    elif kind == TYPE_EXCEPTION:
        if vector == VECTOR_VC:
            return  # never again
        exception = vcpu.exception
        exception.injected = True
        exception.vector = vector
        exception.error_code = event_error_code(word)
    elif kind in (TYPE_INTR, TYPE_SOFT):
        vcpu.interrupt_injected = True
        vcpu.interrupt_nr = vector
        vcpu.interrupt_soft = kind == TYPE_SOFT
    vcpu.note("svm_complete_interrupts", f"{event_name(word)} goes back into the queue")


def queue_exception(vcpu: Vcpu, vector: int, error_code: int = -1, payload: int = 0) -> None:
    """``kvm_multiple_exception``: L0 raises an exception in the guest; L1 may have asked for it as an exit."""
    vcpu.request_event = True
    if vcpu.guest_mode and vcpu.cache.intercepts[EXIT_EXCEPTION + vector]:
        target = vcpu.exception_vmexit
        target.pending, target.vector, target.error_code, target.payload = True, vector, error_code, payload
        return
    exception = vcpu.exception
    if exception.pending or exception.injected:
        if exception.vector == VECTOR_DF:
            triple_fault(vcpu)
            return
        becomes = compose(vector_class(exception.vector), vector_class(vector))
        if becomes == BECOMES_SHUTDOWN:
            triple_fault(vcpu)
            return
        exception.clear()
        if becomes == BECOMES_DF:
            queue_exception(vcpu, VECTOR_DF, 0)
            return
    exception.pending, exception.injected = True, False
    exception.vector, exception.error_code, exception.payload = vector, error_code, payload


def triple_fault(vcpu: Vcpu) -> None:
    """KVM_REQ_TRIPLE_FAULT: an exit 7Fh where L1 asked for it, else the vCPU is at its end (S6-95)."""
    from worldswitch.nested.reflect import simple_vmexit

    if vcpu.guest_mode and vcpu.cache.intercepts[EXIT_SHUTDOWN] and not vcpu.nested_run_pending:
        simple_vmexit(vcpu, EXIT_SHUTDOWN)
    else:
        vcpu.dead = "l1-shutdown"


def next_soft_rip(vcpu: Vcpu) -> int:
    """``svm_update_soft_interrupt_rip``: where a soft event returns to, kept for its next injection (S1-73)."""
    vmcb = vcpu.vmcb
    if not vmcb.nrip:
        vmcb.nrip = vmcb.save.rip + 1
    vcpu.soft_int_injected = True
    vcpu.soft_int_next_rip = vmcb.nrip
    return vmcb.nrip


def inject_exception(vcpu: Vcpu) -> None:
    """``svm_inject_exception``."""
    exception = vcpu.exception
    if exception.vector in (VECTOR_BP, VECTOR_OF):
        next_soft_rip(vcpu)
    _inject(vcpu, event_word(TYPE_EXCEPTION, exception.vector, exception.error_code))


def inject_nmi(vcpu: Vcpu) -> None:
    """``svm_inject_nmi`` (S4-20): L1's own NMIs mask further ones; what L1 injects into L2 does not."""
    _inject(vcpu, KVM_NMI)
    if not vcpu.nmi_l1_to_l2:
        mask_nmi(vcpu)


def inject_irq(vcpu: Vcpu) -> None:
    """``svm_inject_irq``."""
    if vcpu.interrupt_soft:
        next_soft_rip(vcpu)
    _inject(vcpu, event_word(TYPE_SOFT if vcpu.interrupt_soft else TYPE_INTR, vcpu.interrupt_nr))


def _inject(vcpu: Vcpu, word: int) -> None:
    vcpu.vmcb.eventinj = word
    vcpu.note("inject", f"{vcpu.place}.eventinj := {event_name(normal(word))}")


def queued_word(vcpu: Vcpu) -> int:
    """The injected event whose delivery is not known to be complete, as an event word; 0 for none.

    What ``nested_save_pending_event_to_vmcb12`` reports as EXITINTINFO (S9-20).
    """
    if vcpu.exception.injected:
        return event_word(TYPE_EXCEPTION, vcpu.exception.vector, vcpu.exception.error_code)
    if vcpu.nmi_injected:
        return NMI_WORD
    if vcpu.interrupt_injected:
        return event_word(TYPE_SOFT if vcpu.interrupt_soft else TYPE_INTR, vcpu.interrupt_nr)
    return 0


def report(vcpu: Vcpu, word: int) -> None:
    """An event passes from L0's keeping into L1's."""
    if word & EVENT_V:
        vcpu.record(Took(vcpu.cpu.step, normal(word), "reported"))
