"""vmcb02: made from vmcb12 and vmcb01, and read back into the cached control area (section 9.1)."""

from worldswitch.core.bits import (
    EFER_SVME,
    EVENT_RESERVED,
    EVENT_V,
    EXIT_CR_WRITE,
    EXIT_VINTR,
    EXIT_VMLOAD,
    EXIT_VMMCALL,
    EXIT_VMSAVE,
    RFLAGS_IF,
    TYPE_EXCEPTION,
    TYPE_NMI,
    TYPE_SOFT,
    VECTOR_BP,
    VECTOR_OF,
    event_type,
)
from worldswitch.core.state import Vmcb
from worldswitch.nested import xen
from worldswitch.nested.record import CACHE, VMCB02, VMCB12, Copied, Wrote
from worldswitch.nested.vcpu import Vcpu, with_intercept


def set_intercept(vcpu: Vcpu, code: int) -> None:
    """``svm_set_intercept``: one of L0's own, which vmcb02 inherits."""
    vcpu.vmcb01.intercepts = with_intercept(vcpu.vmcb01.intercepts, code, True)
    recalc_intercepts(vcpu)


def clear_intercept(vcpu: Vcpu, code: int) -> None:
    """``svm_clr_intercept``; what L1 intercepts stays."""
    vcpu.vmcb01.intercepts = with_intercept(vcpu.vmcb01.intercepts, code, False)
    recalc_intercepts(vcpu)


def recalc_intercepts(vcpu: Vcpu) -> None:
    """``recalc_intercepts``: L0's and L1's together, with what L0 does not need of its own (S9-05)."""
    if not vcpu.guest_mode:
        return
    own = vcpu.vmcb01.intercepts
    if vcpu.cache.v_intr_masking:
        own = with_intercept(own, EXIT_CR_WRITE + 8, False)
        if not vcpu.vmcb01.save.rflags & RFLAGS_IF:
            own = with_intercept(own, EXIT_VINTR, False)
    own = with_intercept(own, EXIT_VMMCALL, False)
    own = with_intercept(own, EXIT_VMLOAD, True)  # L1's VMLOAD and VMSAVE are never left to the processor
    own = with_intercept(own, EXIT_VMSAVE, True)
    theirs = vcpu.cache.intercepts
    vcpu.vmcb02.intercepts = bytes(mine | other for mine, other in zip(own, theirs, strict=True))


def nested_vnmi_enabled(vcpu: Vcpu) -> bool:
    """L1 lets the processor keep L2's NMI mask (S9-03)."""
    return vcpu.nested.vnmi and vcpu.cache.v_nmi_enable


def is_soft(word: int) -> bool:
    """``is_evtinj_soft``: INTn, INT3, INTO (S1-73)."""
    kind = event_type(word)
    return bool(word & EVENT_V) and (
        kind == TYPE_SOFT or (kind == TYPE_EXCEPTION and word & 0xFF in (VECTOR_BP, VECTOR_OF))
    )


def prepare_control(vcpu: Vcpu) -> None:
    """``nested_vmcb02_prepare_control`` (S9-03, S9-04)."""
    vmcb01, vmcb02, cache = vcpu.vmcb01, vcpu.vmcb02, vcpu.cache
    vmcb02.asid = vmcb01.asid
    vmcb02.np_enable = True  # L0's own nested paging is always on
    vmcb02.v_tpr = cache.v_tpr
    vmcb02.v_irq = cache.v_irq
    vmcb02.v_intr_prio = cache.v_intr_prio
    vmcb02.v_ign_tpr = cache.v_ign_tpr
    vmcb02.v_intr_vector = cache.v_intr_vector
    vmcb02.v_intr_masking = True
    own = cache if vcpu.nested.vgif and cache.vgif_enable else vmcb01
    vmcb02.vgif, vmcb02.vgif_enable = own.vgif, own.vgif_enable
    if vcpu.nested.vnmi and vmcb01.v_nmi:  # an NMI of L1's that the processor has not taken yet
        vmcb01.v_nmi = False
        vcpu.nmi_pending += 1
        vcpu.request_event = True
    nested_vnmi = nested_vnmi_enabled(vcpu)
    vmcb02.v_nmi_enable = nested_vnmi
    vmcb02.v_nmi = nested_vnmi and cache.v_nmi
    vmcb02.v_nmi_mask = nested_vnmi and cache.v_nmi_mask
    vmcb02.exitintinfo = 0
    load_int_state(vcpu)
    vmcb02.eventinj = cache.eventinj if xen.is_xen(vcpu) else cache.eventinj & ~EVENT_RESERVED  # S9-30, S9-04
    vmcb02.nrip = cache.nrip if vcpu.nested.nrips else vcpu.vmcb12.save.rip
    vcpu.nmi_l1_to_l2 = bool(vmcb02.eventinj & EVENT_V) and event_type(vmcb02.eventinj) == TYPE_NMI
    vcpu.soft_int_injected = is_soft(vmcb02.eventinj)
    vcpu.soft_int_next_rip = vmcb02.nrip
    recalc_intercepts(vcpu)


def load_int_state(vcpu: Vcpu) -> None:
    """int_state of vmcb12 into the cache and vmcb02; newer kernels keep bit 0 alone (S9-04)."""
    value = vcpu.vmcb12.int_state
    if not vcpu.cpu.options.vmcb12_int_state_verbatim and not xen.is_xen(vcpu):
        value &= 1
    vcpu.cache.int_state = value
    vcpu.vmcb02.int_state = value
    vcpu.record(Copied(vcpu.cpu.step, VMCB12, CACHE, value))
    vcpu.record(Copied(vcpu.cpu.step, VMCB12, VMCB02, value))


def prepare_save(vcpu: Vcpu) -> None:
    """``nested_vmcb02_prepare_save``."""
    save = vcpu.vmcb02.save
    save.copy_from(vcpu.vmcb12.save)
    save.efer |= EFER_SVME
    vcpu.request_event = True  # kvm_set_rflags


def sync_control(vcpu: Vcpu) -> None:
    """``nested_sync_control_from_vmcb02``, after every run of L2 (S9-10, S9-26)."""
    vmcb02, cache = vcpu.vmcb02, vcpu.cache
    cache.eventinj = vmcb02.eventinj
    cache.int_state = vmcb02.int_state
    vcpu.record(Copied(vcpu.cpu.step, VMCB02, CACHE, cache.int_state))
    cache.v_tpr = vmcb02.v_tpr
    if not vcpu.vintr_window:  # else L0 has taken V_IRQ for a window of its own
        cache.v_irq = vmcb02.v_irq
    if vcpu.nested.vgif and cache.vgif_enable:
        cache.vgif = vmcb02.vgif
    if nested_vnmi_enabled(vcpu):
        cache.v_nmi = vmcb02.v_nmi
        cache.v_nmi_mask = vmcb02.v_nmi_mask


def write_vmcb12_int_state(vcpu: Vcpu, value: int) -> None:
    """L1 writes int_state of its VMCB."""
    vcpu.vmcb12.int_state = value
    vcpu.record(Wrote(vcpu.cpu.step, VMCB12, value, 1))


def copy_control(target: Vmcb, source: Vmcb) -> None:
    """``nested_copy_vmcb_control_to_cache``."""
    target.copy_from(source)
