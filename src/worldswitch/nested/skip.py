"""Stepping over an instruction that L0 has emulated."""

from worldswitch.core.bits import DR6_BS, RFLAGS_RF, RFLAGS_TF, VECTOR_DB
from worldswitch.nested.queues import queue_exception
from worldswitch.nested.vcpu import Vcpu


def skip_instruction(vcpu: Vcpu, single_step: bool = True) -> None:
    """``svm_skip_emulated_instruction``: RIP after it, and no shadow any more (S2-54, S8-93).

    With TF=1 its single-step trap is L0's to raise, except for VMRUN, whose trap comes at the exit (S9-21).
    """
    vmcb = vcpu.vmcb
    save = vmcb.save
    save.rip = vmcb.nrip or save.rip + 1
    vcpu.machine.completed[vcpu.level] += 1
    vcpu.write_int_state(vmcb, vcpu.place, 0)
    rflags = vcpu.singlestep_rflags if vcpu.nmi_singlestep else save.rflags
    save.rflags &= ~RFLAGS_RF
    if single_step and rflags & RFLAGS_TF:
        queue_exception(vcpu, VECTOR_DB, payload=DR6_BS)
