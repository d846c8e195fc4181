"""Exits that L1 gets, and what it finds in vmcb12 then (sections 9.2 and 9.3)."""

from worldswitch.core.bits import (
    DR6_BS,
    DR7_RESET,
    EXIT_EXCEPTION,
    EXIT_INIT,
    EXIT_INTR,
    EXIT_INVALID,
    EXIT_NMI,
    EXIT_NPF,
    EXIT_SMI,
    RFLAGS_IF,
    RFLAGS_TF,
    VECTOR_DB,
    VECTOR_PF,
)
from worldswitch.core.names import event_name, exit_name
from worldswitch.core.record import Entry
from worldswitch.core.state import Vmcb
from worldswitch.nested import xen
from worldswitch.nested.gif import gif_set
from worldswitch.nested.queues import clear_queues, queue_exception, queued_word, report, triple_fault
from worldswitch.nested.record import VMCB02, VMCB12, Copied, NestedExit
from worldswitch.nested.vcpu import Vcpu
from worldswitch.nested.windows import set_gif

HOST_FIRST = frozenset({EXIT_INTR, EXIT_NMI, EXIT_NPF})


def belongs_to_l1(vcpu: Vcpu) -> bool:
    """``nested_svm_exit_special`` and ``nested_svm_exit_handled`` (S9-11)."""
    code = vcpu.vmcb02.exit_code
    if code in HOST_FIRST:
        return False  # an #NPF may yet turn out to be L1's
    if EXIT_EXCEPTION <= code < EXIT_EXCEPTION + 32:
        return not vcpu.vmcb01.intercepts[code]
    if code == EXIT_INVALID:
        return True
    return code < len(vcpu.cache.intercepts) and bool(vcpu.cache.intercepts[code])


def simple_vmexit(vcpu: Vcpu, code: int) -> None:
    """``nested_svm_simple_vmexit``: an exit that L0 makes up, not blocked by L2's shadow (S9-14)."""
    vmcb02 = vcpu.vmcb02
    vmcb02.exit_code = code
    vmcb02.exitinfo1 = vmcb02.exitinfo2 = 0
    nested_vmexit(vcpu, synthesised=True)


def exception_vmexit(vcpu: Vcpu) -> None:
    """``nested_svm_inject_exception_vmexit``: an exception that L0 raised in L2 and L1 intercepts."""
    exception, vmcb02 = vcpu.exception_vmexit, vcpu.vmcb02
    exception.pending = False
    vmcb02.exit_code = EXIT_EXCEPTION + exception.vector
    vmcb02.exitinfo1 = max(exception.error_code, 0)
    vmcb02.exitinfo2 = exception.payload if exception.vector == VECTOR_PF else 0
    if exception.vector == VECTOR_DB:
        vmcb02.save.dr6 |= exception.payload
    nested_vmexit(vcpu, synthesised=True)


def nested_vmexit(vcpu: Vcpu, synthesised: bool = False) -> None:
    """``nested_svm_vmexit``: L2 is left, L1 goes on after its VMRUN (S9-20 to S9-23)."""
    vmcb02, vmcb12, cache = vcpu.vmcb02, vcpu.vmcb12, vcpu.cache
    vcpu.guest_mode = False
    vcpu.halted = False
    vmcb12.save.copy_from(vmcb02.save)
    vmcb12.int_state = vmcb02.int_state  # S9-20, S2-83: verbatim
    vcpu.record(Copied(vcpu.cpu.step, VMCB02, VMCB12, vmcb12.int_state))
    vmcb12.exit_code = vmcb02.exit_code
    vmcb12.exitinfo1 = vmcb02.exitinfo1
    vmcb12.exitinfo2 = vmcb02.exitinfo2
    if vmcb02.exit_code != EXIT_INVALID:
        vmcb12.exitintinfo = xen.exitintinfo(vcpu) if xen.is_xen(vcpu) else queued_word(vcpu)
        report(vcpu, vmcb12.exitintinfo)
    if vcpu.nested.nrips:
        vmcb12.nrip = vmcb02.nrip
    copy_int_ctl(vmcb12, cache)
    vmcb12.eventinj = cache.eventinj if vcpu.cpu.options.vmcb12_eventinj_cached else 0
    record_exit(vcpu, synthesised)
    leave_l2(vcpu)


def copy_int_ctl(target: Vmcb, source: Vmcb) -> None:
    """int_ctl of the cache into vmcb12 (S9-20)."""
    target.v_tpr = source.v_tpr
    target.v_irq = source.v_irq
    target.vgif = source.vgif
    target.v_nmi = source.v_nmi
    target.v_nmi_mask = source.v_nmi_mask


def leave_l2(vcpu: Vcpu) -> None:
    """What becomes of L1 at an exit: its state is that of vmcb01, GIF 0, the queues empty (S9-21, S9-22)."""
    vmcb01 = vcpu.vmcb01
    set_gif(vcpu, False)
    vcpu.machine.level_entered(1)
    vcpu.journal.exits[-1].gif = gif_set(vcpu)
    vmcb01.exitintinfo = 0
    vmcb01.save.dr7 = DR7_RESET
    clear_queues(vcpu)
    vcpu.request_event = True  # kvm_set_rflags
    if not vcpu.nested.cr3_loadable and not vcpu.cpu.options.l1_bad_cr3_ignored:
        vcpu.note("nested_svm_load_cr3", "fails: triple fault")
        triple_fault(vcpu)  # S9-23
        return
    if vmcb01.save.rflags & RFLAGS_TF:
        queue_exception(vcpu, VECTOR_DB, payload=DR6_BS)  # S9-21


def record_exit(vcpu: Vcpu, synthesised: bool) -> None:
    """Write down what L1 finds."""
    vmcb12 = vcpu.vmcb12
    entries = vcpu.cpu.recorder.entries
    record = NestedExit(entries[-1] if entries else Entry(0, vcpu.cpu.step), vcpu.cpu.step)
    record.number = len(vcpu.journal.exits) + 1
    record.vmruns = vcpu.vmruns
    record.synthesised = synthesised
    record.loaded = vcpu.machine.loaded_int_state
    record.code = vmcb12.exit_code
    record.exitinfo1 = vmcb12.exitinfo1
    record.exitinfo2 = vmcb12.exitinfo2
    record.exitintinfo = vmcb12.exitintinfo
    record.eventinj = vmcb12.eventinj
    record.int_state = vmcb12.int_state
    record.rip = vmcb12.save.rip
    record.nrip = vmcb12.nrip
    record.rflags = vmcb12.save.rflags
    record.cr2 = vmcb12.save.cr2
    record.v_tpr = vmcb12.v_tpr
    record.v_irq = vmcb12.v_irq
    record.vgif = vmcb12.vgif
    record.v_nmi = vmcb12.v_nmi
    record.v_nmi_mask = vmcb12.v_nmi_mask
    record.l1_intercepts = vmcb12.intercepts
    record.l1_np_enable = vmcb12.np_enable
    record.waiting = tuple(
        code
        for code, waits in (
            (EXIT_INIT, vcpu.init_pending), (EXIT_SMI, vcpu.smi_pending), (EXIT_NMI, vcpu.nmi_pending),
            (EXIT_INTR, vcpu.irr),
        )
        if waits
    )  # fmt: skip
    record.host_if = bool(vcpu.vmcb01.save.rflags & RFLAGS_IF)
    vcpu.journal.exits.append(record)
    vcpu.record(record)
    text = f"exit {exit_name(record.code)} to L1, int_state {record.int_state}"
    if record.exitintinfo:
        text += f", EXITINTINFO {event_name(record.exitintinfo)}"
    vcpu.note("nested_svm_vmexit", text)
