"""One round of KVM as L0: ``vcpu_enter_guest`` up to the entry path, and from its end to the exit handler."""

from worldswitch.core.bits import EVENT_V, EXIT_HLT, event_error_code, event_type, event_word
from worldswitch.core.record import Exit
from worldswitch.nested.events import accept_init, check_and_inject, has_interrupt, runnable
from worldswitch.nested.exits import handle_exit, note_halt
from worldswitch.nested.queues import complete_interrupts, normal
from worldswitch.nested.record import Decided
from worldswitch.nested.reflect import belongs_to_l1, nested_vmexit
from worldswitch.nested.vcpu import NMI_WORD, Vcpu
from worldswitch.nested.vmcb02 import sync_control
from worldswitch.nested.windows import disable_nmi_singlestep, vnmi_enabled


class Kvm:
    """The software of L0. ``before`` and ``after`` frame one execution of the entry path."""

    def __init__(self, vcpu: Vcpu) -> None:
        self.vcpu = vcpu

    def before(self) -> bool:
        """Make the VMCB ready; False where the vCPU sleeps in HLT, or is dead."""
        vcpu = self.vcpu
        accept_init(vcpu)
        if vcpu.halted and not vcpu.dead:
            if not runnable(vcpu):
                return False
            vcpu.halted = False
            vcpu.request_event = True
        if vcpu.dead:
            return False
        forced = False
        if vcpu.request_event or vcpu.immediate_exit:
            vcpu.request_event = vcpu.immediate_exit = False
            forced = check_and_inject(vcpu)
            if is_dead(vcpu):  # a triple fault on the way to L1
                return False
        if forced:
            vcpu.immediate_exit = True  # KVM_REQ_EVENT for the time after the exit
            vcpu.note("vcpu_enter_guest", "forces an immediate exit")
        if vcpu.nmi_singlestep and vcpu.vmcb.eventinj & EVENT_V:  # TF must not be pushed with the frame
            disable_nmi_singlestep(vcpu)
            forced = vcpu.request_event = True
        waiting = bool(vcpu.irr or vcpu.nmi_pending or vcpu.smi_pending)
        vcpu.record(Decided(vcpu.cpu.step, vcpu.vmcb.eventinj, forced, waiting, has_interrupt(vcpu)))
        if forced:
            vcpu.kick()  # S5-18
        return True

    def after(self, record: Exit) -> None:
        """The path is over: table 8.1, P11, then the exit handler."""
        vcpu = self.vcpu
        account(vcpu, record)
        if vcpu.guest_mode:
            sync_control(vcpu)  # S9-10
            vcpu.nested_run_pending = False  # S9-06
        complete_interrupts(vcpu)
        if vcpu.guest_mode and belongs_to_l1(vcpu):
            if vcpu.vmcb02.exit_code == EXIT_HLT:
                note_halt(vcpu)
            nested_vmexit(vcpu)
            return
        handle_exit(vcpu)


def is_dead(vcpu: Vcpu) -> bool:
    """L0 runs this vCPU no more."""
    return bool(vcpu.dead)


def account(vcpu: Vcpu, record: Exit) -> None:
    """An event that the processor was vectoring by itself comes into L0's keeping with EXITINTINFO (S6-70)."""
    word = record.exitintinfo
    if not word & EVENT_V:
        return
    if vnmi_enabled(vcpu) and normal(word) == NMI_WORD:
        return  # out of V_NMI, where L0 had put it
    entry = record.entry
    injected = event_word(event_type(entry.eventinj), entry.eventinj & 0xFF, event_error_code(entry.eventinj))
    own = record.step == entry.step and entry.eventinj & EVENT_V and not entry.delivered
    if not own or normal(word) != normal(injected):
        vcpu.gave(normal(word), "vectoring")
