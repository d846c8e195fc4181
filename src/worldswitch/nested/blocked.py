"""What holds an event for L1 back: the questions KVM asks before it injects one (S8-91, S4-24)."""

from worldswitch.core.bits import EVENT_V, EXIT_INTR, EXIT_NMI, EXIT_SMI, RFLAGS_IF
from worldswitch.nested import xen
from worldswitch.nested.gif import gif_set
from worldswitch.nested.queues import needs_reinjection
from worldswitch.nested.record import Query
from worldswitch.nested.vcpu import Vcpu
from worldswitch.nested.windows import nmi_mask

EBUSY = -1
"""An immediate entry and exit is needed first."""


def exits_on(vcpu: Vcpu, code: int) -> bool:
    """L2 runs and L1 intercepts this: ``nested_exit_on_intr`` and the like (S9-14)."""
    return vcpu.guest_mode and bool(vcpu.cache.intercepts[code])


def interrupt_blocked(vcpu: Vcpu) -> bool:
    """``svm_interrupt_blocked`` (S8-91)."""
    return _asked(vcpu, "intr", interrupt_held(vcpu, _shadow(vcpu)), interrupt_held(vcpu, False))


def interrupt_held(vcpu: Vcpu, shadow: bool) -> bool:
    """The answer for a shadow bit of that value."""
    if not gif_set(vcpu) or (xen.is_xen(vcpu) and xen.delays_interrupt(vcpu)):
        return True
    if vcpu.guest_mode:
        rflags = vcpu.vmcb01.save.rflags if vcpu.cache.v_intr_masking else vcpu.vmcb02.save.rflags  # S9-05
        if not rflags & RFLAGS_IF:
            return True
        if exits_on(vcpu, EXIT_INTR):
            return False  # S9-14: an exit is not blocked by the shadow
    elif not vcpu.vmcb01.save.rflags & RFLAGS_IF:
        return True
    return shadow


def nmi_blocked(vcpu: Vcpu) -> bool:
    """``svm_nmi_blocked`` (S4-24)."""
    return _asked(vcpu, "nmi", nmi_held(vcpu, _shadow(vcpu)), nmi_held(vcpu, False))


def nmi_held(vcpu: Vcpu, shadow: bool) -> bool:
    """The answer for a shadow bit of that value."""
    if not gif_set(vcpu):
        return True
    if exits_on(vcpu, EXIT_NMI):
        return False
    return nmi_mask(vcpu) or shadow


def smi_blocked(vcpu: Vcpu) -> bool:
    """``svm_smi_blocked``: GIF alone (S3-13)."""
    return not gif_set(vcpu)


def interrupt_allowed(vcpu: Vcpu) -> int:
    """``svm_interrupt_allowed`` for injection: 1, 0 or EBUSY (S9-06)."""
    if vcpu.nested_run_pending:
        return EBUSY
    if interrupt_blocked(vcpu):
        return 0
    return EBUSY if exits_on(vcpu, EXIT_INTR) else 1


def nmi_allowed(vcpu: Vcpu) -> int:
    """``svm_nmi_allowed`` for injection."""
    if vcpu.nested_run_pending:
        return EBUSY
    if nmi_blocked(vcpu):
        return 0
    return EBUSY if exits_on(vcpu, EXIT_NMI) else 1


def smi_allowed(vcpu: Vcpu) -> int:
    """``svm_smi_allowed`` for injection."""
    if vcpu.nested_run_pending:
        return EBUSY
    if smi_blocked(vcpu):
        return 0
    return EBUSY if exits_on(vcpu, EXIT_SMI) else 1


def _shadow(vcpu: Vcpu) -> bool:
    return bool(vcpu.vmcb.int_state & 1)


def _asked(vcpu: Vcpu, what: str, blocked: bool, without: bool) -> bool:
    if _shadow(vcpu):
        occupied = needs_reinjection(vcpu) or vcpu.nested_run_pending or bool(vcpu.vmcb.eventinj & EVENT_V)
        vcpu.record(Query(vcpu.cpu.step, vcpu.place, what, blocked, without, occupied, vcpu.halted))
    return blocked
