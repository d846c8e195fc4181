"""Before an entry: which event is injected, which becomes an exit to L1, which must wait (S4-44, S9-13)."""

from worldswitch.core.bits import (
    EVENT_V,
    EXIT_INIT,
    EXIT_INTR,
    EXIT_NMI,
    EXIT_SMI,
    RFLAGS_RF,
    TYPE_INTR,
    VECTOR_DB,
    event_word,
)
from worldswitch.nested.blocked import (
    EBUSY,
    exits_on,
    interrupt_allowed,
    interrupt_blocked,
    nmi_allowed,
    nmi_blocked,
    smi_allowed,
    smi_blocked,
)
from worldswitch.nested.gif import gif_set
from worldswitch.nested.queues import inject_exception, inject_irq, inject_nmi, needs_reinjection
from worldswitch.nested.record import Took
from worldswitch.nested.reflect import exception_vmexit, simple_vmexit
from worldswitch.nested.vcpu import Vcpu
from worldswitch.nested.windows import enable_irq_window, enable_nmi_window, vnmi_enabled

SMI_WORD = 0x100
INIT_WORD = 0x101
"""An SMI and an INIT in records, where event words have no spelling for them."""


def check_and_inject(vcpu: Vcpu) -> bool:
    """``kvm_check_and_inject_events``; True where an immediate exit must be forced (S5-18, S9-06)."""
    result = check_nested_events(vcpu) if vcpu.guest_mode else 0
    if vcpu.dead:
        return False
    exception = vcpu.exception
    if exception.injected:
        inject_exception(vcpu)
    elif exception.pending or vcpu.exception_vmexit.pending:
        pass
    elif vcpu.nmi_injected:
        inject_nmi(vcpu)
    elif vcpu.interrupt_injected:
        inject_irq(vcpu)
    if result < 0:
        return True
    can_inject = not needs_reinjection(vcpu) and not vcpu.vmcb.eventinj & EVENT_V  # the latter: Xen's vmcb02 (S9-30)
    if exception.pending:
        _deliver_payload(vcpu)
        inject_exception(vcpu)
        exception.pending, exception.injected = False, True
        can_inject = False
    for one in (_smi, _nmi, _interrupt):
        result = one(vcpu, can_inject)
        if result < 0:
            return True
        can_inject = can_inject and not result
    return vcpu.guest_mode and has_nested_events(vcpu)


def _deliver_payload(vcpu: Vcpu) -> None:
    exception = vcpu.exception
    save = vcpu.vmcb.save
    if exception.vector == VECTOR_DB:
        save.dr6 |= exception.payload  # S6-45
    else:
        save.rflags |= RFLAGS_RF


def _smi(vcpu: Vcpu, can_inject: bool) -> int:
    if not vcpu.smi_pending:
        return 0
    allowed = smi_allowed(vcpu) if can_inject else EBUSY
    if allowed == 1:  # there is no SMM in the model: the handler runs and RSM returns at once
        vcpu.smi_pending = False
        vcpu.record(Took(vcpu.cpu.step, SMI_WORD, "smm"))
        vcpu.note("enter_smm", "L1's SMI handler runs")
    return allowed


def _nmi(vcpu: Vcpu, can_inject: bool) -> int:
    if not vcpu.nmi_pending:
        return 0
    allowed = nmi_allowed(vcpu) if can_inject else EBUSY
    if allowed < 0:
        return allowed
    if allowed:
        vcpu.nmi_pending -= 1
        vcpu.nmi_injected = True
        inject_nmi(vcpu)
    if vcpu.nmi_pending and vnmi_enabled(vcpu) and not vcpu.vmcb01.v_nmi:  # taken as soon as it can be (S4-31)
        vcpu.vmcb01.v_nmi = True
        vcpu.nmi_pending -= 1
    elif vcpu.nmi_pending:
        enable_nmi_window(vcpu)
    return allowed


def _interrupt(vcpu: Vcpu, can_inject: bool) -> int:
    if not has_interrupt(vcpu):
        return 0
    allowed = interrupt_allowed(vcpu) if can_inject else EBUSY
    if allowed < 0:
        return allowed
    if allowed:
        vcpu.interrupt_nr = vcpu.irr.pop()
        vcpu.interrupt_soft = False
        vcpu.interrupt_injected = True
        inject_irq(vcpu)
    if has_interrupt(vcpu):
        enable_irq_window(vcpu)
    return allowed


def has_interrupt(vcpu: Vcpu) -> bool:
    """``kvm_cpu_has_injectable_intr``: the highest request is above L1's task priority (S5-05)."""
    return bool(vcpu.irr) and vcpu.irr[-1] >> 4 > vcpu.tpr


def has_nested_events(vcpu: Vcpu) -> bool:
    """Another event waits to become an exit to L1: come back at once."""
    if vcpu.nested_run_pending or needs_reinjection(vcpu):
        return False
    if vcpu.nmi_pending and exits_on(vcpu, EXIT_NMI) and not nmi_blocked(vcpu):
        return True
    return has_interrupt(vcpu) and exits_on(vcpu, EXIT_INTR) and not interrupt_blocked(vcpu)


def check_nested_events(vcpu: Vcpu) -> int:
    """``svm_check_nested_events``: INIT, exceptions, SMI, NMI, INTR (S4-44).

    A pending VMRUN blocks all of them; an event that needs re-injection blocks all but exceptions (S9-13).
    """
    block_exceptions = vcpu.nested_run_pending
    block = block_exceptions or needs_reinjection(vcpu)
    if vcpu.init_pending:
        if block:
            return EBUSY
        if exits_on(vcpu, EXIT_INIT):
            simple_vmexit(vcpu, EXIT_INIT)
        return 0
    if vcpu.exception_vmexit.pending:
        if block_exceptions:
            return EBUSY
        exception_vmexit(vcpu)
        return 0
    if vcpu.exception.pending:
        return EBUSY if block_exceptions else 0
    for waiting, blocked, code in (
        (vcpu.smi_pending, smi_blocked, EXIT_SMI),
        (bool(vcpu.nmi_pending), nmi_blocked, EXIT_NMI),
        (has_interrupt(vcpu), interrupt_blocked, EXIT_INTR),
    ):
        if waiting and not blocked(vcpu):
            if block:
                return EBUSY
            if exits_on(vcpu, code):
                simple_vmexit(vcpu, code)
            return 0
    return 0


def accept_init(vcpu: Vcpu) -> None:
    """``kvm_apic_accept_events``: INIT waits for GIF=1, and while L2 runs (S3-14)."""
    if vcpu.init_pending and gif_set(vcpu) and not vcpu.guest_mode:
        vcpu.init_pending = False
        vcpu.record(Took(vcpu.cpu.step, INIT_WORD, "reset"))
        vcpu.dead = "l1-reset"


def process_nmi(vcpu: Vcpu) -> None:
    """An NMI for L1 arrives: at most one more than those in service (S1-11), the processor's with vNMI (S4-31)."""
    limit = 1 if vcpu.nmi_masked or vcpu.nmi_injected or (vnmi_enabled(vcpu) and vcpu.vmcb01.v_nmi_mask) else 2
    vcpu.nmi_pending = min(vcpu.nmi_pending + 1, limit)
    if vnmi_enabled(vcpu) and not vcpu.vmcb01.v_nmi:
        vcpu.vmcb01.v_nmi = True
        vcpu.nmi_pending -= 1


def runnable(vcpu: Vcpu) -> bool:
    """``kvm_arch_vcpu_runnable``: what ends HLT (S2-21, S4-06)."""
    if vcpu.exception.pending or vcpu.exception_vmexit.pending or vcpu.init_pending:
        return True
    if vcpu.smi_pending and not smi_blocked(vcpu):
        return True
    if (vcpu.nmi_pending or (vnmi_enabled(vcpu) and vcpu.vmcb01.v_nmi)) and not nmi_blocked(vcpu):
        return True
    return has_interrupt(vcpu) and not interrupt_blocked(vcpu)


def intr_word(vector: int) -> int:
    """The event word of an interrupt for L1."""
    return event_word(TYPE_INTR, vector)
