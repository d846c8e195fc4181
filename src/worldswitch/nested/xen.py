"""Xen as L0, where it differs from KVM (S9-30, S9-31, S4-22).

Xen copies int_stat and event_inj as they are, both ways, and does not hold an exit to L1 back until L2 has run once.
The rest of the round is KVM's.
"""

from worldswitch.core.bits import EVENT_V, EXIT_IRET
from worldswitch.nested.vcpu import Vcpu


def is_xen(vcpu: Vcpu) -> bool:
    """Whether L0 is Xen."""
    return vcpu.nested.flavour == "xen"


def exitintinfo(vcpu: Vcpu) -> int:
    """EXITINTINFO for L1: the processor's own word, or an EVENTINJ that has not been tried yet (S9-30)."""
    vmcb02 = vcpu.vmcb02
    return vmcb02.eventinj if vmcb02.eventinj & EVENT_V else vmcb02.exitintinfo


def delays_interrupt(vcpu: Vcpu) -> bool:
    """An event of L2's waits to be injected again: to an interrupt for L1 that is as good as a shadow (S9-31)."""
    return vcpu.guest_mode and bool(vcpu.vmcb02.exitintinfo & EVENT_V)


def iret_interception(vcpu: Vcpu) -> None:
    """IRET exits: drop the intercept and let a shadow hold the next NMI until IRET has completed (S4-22)."""
    from worldswitch.nested.vmcb02 import clear_intercept

    clear_intercept(vcpu, EXIT_IRET)
    vcpu.write_int_state(vcpu.vmcb, vcpu.place, 1)
    vcpu.nmi_masked = False
    vcpu.request_event = True
