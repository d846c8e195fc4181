"""An event for L1 reaches L0: latched for the vCPU, and the CPU that runs it kicked (S1-10, S9-08)."""

from worldswitch.nested.events import INIT_WORD, SMI_WORD, intr_word, process_nmi
from worldswitch.nested.vcpu import NMI_WORD, Vcpu
from worldswitch.scenario.model import Arrival


def arrive(vcpu: Vcpu, event: Arrival) -> None:
    """Latch the event for L1. The kick ends L1's or L2's run, or the next entry at once."""
    if event.kind == "intr":
        new = event.vector not in vcpu.irr
        if new:
            vcpu.irr.append(event.vector)
            vcpu.irr.sort()
        word = intr_word(event.vector)
    elif event.kind == "nmi":
        before = vcpu.nmi_pending + vcpu.vmcb01.v_nmi
        process_nmi(vcpu)
        new = vcpu.nmi_pending + vcpu.vmcb01.v_nmi > before
        word = NMI_WORD
    elif event.kind == "smi":
        new, word = not vcpu.smi_pending, SMI_WORD
        vcpu.smi_pending = True
    else:
        new, word = not vcpu.init_pending, INIT_WORD
        vcpu.init_pending = True
    vcpu.gave(word, "arrival" if new else "merged")
    vcpu.request_event = True
    vcpu.kick()
