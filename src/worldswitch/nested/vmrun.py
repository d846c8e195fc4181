"""VMRUN by L1, as L0 emulates it (S9-01 to S9-08)."""

from worldswitch.core.bits import CR0_PG, EVENT_V, EXIT_INVALID, VECTOR_GP, VECTOR_UD
from worldswitch.core.names import event_name
from worldswitch.core.vmrun import consistent
from worldswitch.nested import xen
from worldswitch.nested.queues import normal, queue_exception
from worldswitch.nested.record import Asked, control_of
from worldswitch.nested.reflect import leave_l2, record_exit
from worldswitch.nested.skip import skip_instruction
from worldswitch.nested.vcpu import Vcpu
from worldswitch.nested.vmcb02 import copy_control, prepare_control, prepare_save
from worldswitch.nested.windows import set_gif


def permitted(vcpu: Vcpu) -> bool:
    """``nested_svm_check_permissions``: SVME and paging, then CPL; raises the exception in L1 (S6-01, S9-01)."""
    save = vcpu.vmcb01.save
    if not vcpu.l1_svme or not save.cr0 & CR0_PG:
        queue_exception(vcpu, VECTOR_UD)
        return False
    if save.cpl != 0:
        queue_exception(vcpu, VECTOR_GP, 0)
        return False
    return True


def nested_vmrun(vcpu: Vcpu) -> None:
    """``nested_svm_vmrun``: permissions, HSAVE, skip, consistency, entry (S9-01, S7-14)."""
    vcpu.record(asked(vcpu))
    if not permitted(vcpu):
        return
    if not vcpu.nested.hsave:
        queue_exception(vcpu, VECTOR_GP, 0)
        return
    skip_instruction(vcpu, single_step=False)  # S9-02: L1's own shadow ends here
    vmcb12 = vcpu.vmcb12
    copy_control(vcpu.cache, vmcb12)
    vcpu.machine.loaded_int_state = vmcb12.int_state
    if not acceptable(vcpu):
        failed(vcpu)
        return
    vcpu.vmruns += 1
    vcpu.nested_run_pending = not xen.is_xen(vcpu)  # S9-06, S9-30
    vcpu.guest_mode = True
    if not vmcb12.np_enable:
        vcpu.memory.lift_l1()
    prepare_control(vcpu)
    prepare_save(vcpu)
    set_gif(vcpu, True)  # S9-07
    vcpu.machine.level_entered(2)
    word = vcpu.cache.eventinj
    text = "vmcb02 from vmcb12 and vmcb01"
    if word & EVENT_V:
        vcpu.gave(normal(word), "l1")
        text += f", eventinj {event_name(word)}"
    vcpu.note("nested_svm_vmrun", f"{text}, int_state {vcpu.vmcb02.int_state:#x}")


def asked(vcpu: Vcpu) -> Asked:
    """L1's VMRUN, for the oracles."""
    vmcb12, save = vcpu.vmcb12, vcpu.vmcb01.save
    allowed = bool(vcpu.l1_svme and save.cr0 & CR0_PG and save.cpl == 0 and vcpu.nested.hsave)
    return Asked(
        vcpu.cpu.step, control_of(vmcb12), vmcb12.eventinj, vmcb12.int_state, vmcb12.save.rip, save.rip, save.rflags,
        allowed,
    )  # fmt: skip


def acceptable(vcpu: Vcpu) -> bool:
    """The consistency checks of L0: those of the processor on the cached copy (S6-30, S6-31, S6-33)."""
    if not vcpu.nested.vnmi:
        vcpu.cache.v_nmi_enable = False  # the bit means nothing to an L1 without the feature
    return consistent(vcpu.cache, vcpu.vmcb01.save.cr0)


def failed(vcpu: Vcpu) -> None:
    """Exit -1 without having run: EVENTINJ cleared by newer kernels, GIF 0 (S9-01, S9-20)."""
    vmcb12 = vcpu.vmcb12
    vmcb12.exit_code = EXIT_INVALID
    vmcb12.exitinfo1 = vmcb12.exitinfo2 = 0
    vmcb12.exitintinfo = 0
    if not vcpu.cpu.options.vmcb12_eventinj_cached:
        vmcb12.eventinj = 0
    record_exit(vcpu, synthesised=True)
    leave_l2(vcpu)
