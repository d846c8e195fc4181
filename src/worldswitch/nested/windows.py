"""Windows: how L0 learns that an event it could not inject can be injected now.

For interrupts a dummy V_IRQ with a VINTR intercept (S5-17); for NMIs the IRET intercept, then a single step, or
the STGI intercept (S4-20, S4-21).
"""

from worldswitch.core.bits import EXIT_IRET, EXIT_STGI, EXIT_VINTR, RFLAGS_RF, RFLAGS_TF
from worldswitch.nested import xen
from worldswitch.nested.gif import gif_set, vgif_vmcb
from worldswitch.nested.vcpu import Vcpu
from worldswitch.nested.vmcb02 import clear_intercept, set_intercept

DUMMY_PRIORITY = 0xF


def enable_irq_window(vcpu: Vcpu) -> None:
    """``svm_enable_irq_window``: with GIF=0 and no vGIF, the STGI intercept comes first."""
    if vcpu.nested.vgif or gif_set(vcpu):
        set_vintr(vcpu)


def set_vintr(vcpu: Vcpu) -> None:
    """``svm_set_vintr``: a dummy V_IRQ, vector 0, priority Fh, and its intercept (S5-17)."""
    set_intercept(vcpu, EXIT_VINTR)
    vmcb = vcpu.vmcb
    if not vmcb.intercepts[EXIT_VINTR]:
        return  # pointless: L1's IF, which counts while L2 runs, cannot become 1 (S9-05); V_IRQ stays L1's own
    vcpu.vintr_window = True
    vmcb.v_intr_vector = 0
    vmcb.v_intr_prio = DUMMY_PRIORITY
    vmcb.v_irq = True
    vcpu.note("svm_set_vintr", "interrupt window: dummy V_IRQ")


def clear_vintr(vcpu: Vcpu) -> None:
    """``svm_clear_vintr``: L1's own V_IRQ takes its place again (S9-10)."""
    if not vcpu.vmcb01.intercepts[EXIT_VINTR]:
        return
    vcpu.vintr_window = False
    clear_intercept(vcpu, EXIT_VINTR)
    for vmcb in (vcpu.vmcb01, vcpu.vmcb):
        vmcb.v_irq = False
        vmcb.v_intr_prio = 0
        vmcb.v_ign_tpr = False
        vmcb.v_intr_vector = 0
    if vcpu.guest_mode:
        vmcb02, cache = vcpu.vmcb02, vcpu.cache
        vmcb02.v_irq = cache.v_irq
        vmcb02.v_intr_prio = cache.v_intr_prio
        vmcb02.v_ign_tpr = cache.v_ign_tpr
        vmcb02.v_intr_vector = cache.v_intr_vector


def vnmi_enabled(vcpu: Vcpu) -> bool:
    """``is_vnmi_enabled``: the processor keeps L1's NMI mask, while L1 runs."""
    return vcpu.nested.vnmi and not vcpu.guest_mode


def nmi_mask(vcpu: Vcpu) -> bool:
    """``svm_get_nmi_mask``."""
    return vcpu.vmcb01.v_nmi_mask if vnmi_enabled(vcpu) else vcpu.nmi_masked


def enable_nmi_window(vcpu: Vcpu) -> None:
    """``svm_enable_nmi_window`` (S4-21)."""
    if nmi_mask(vcpu) and not vcpu.awaiting_iret:
        return  # IRET will exit
    if not gif_set(vcpu):
        if vcpu.nested.vgif:
            set_intercept(vcpu, EXIT_STGI)
        return  # STGI will exit
    save = vcpu.vmcb.save
    if not vcpu.nmi_singlestep:
        vcpu.singlestep_rflags = save.rflags
    vcpu.nmi_singlestep = True
    save.rflags |= RFLAGS_TF | RFLAGS_RF
    vcpu.note("svm_enable_nmi_window", "NMI window: single step")


def disable_nmi_singlestep(vcpu: Vcpu) -> None:
    """``disable_nmi_singlestep``: TF and RF as the guest had them."""
    vcpu.nmi_singlestep = False
    save = vcpu.vmcb.save
    for flag in (RFLAGS_TF, RFLAGS_RF):
        if not vcpu.singlestep_rflags & flag:
            save.rflags &= ~flag


def iret_interception(vcpu: Vcpu) -> None:
    """``iret_interception`` (S4-10, S4-20): NMIs stay masked until IRET has completed."""
    if xen.is_xen(vcpu):
        xen.iret_interception(vcpu)
        return
    vcpu.awaiting_iret = True
    clear_intercept(vcpu, EXIT_IRET)
    vcpu.nmi_iret_rip = vcpu.vmcb.save.rip
    vcpu.request_event = True


def iret_completed(vcpu: Vcpu) -> None:
    """In ``svm_complete_interrupts``: RIP has moved since IRET exited, so it has completed (S4-20)."""
    if vcpu.awaiting_iret and vcpu.vmcb.save.rip != vcpu.nmi_iret_rip:
        vcpu.awaiting_iret = False
        vcpu.nmi_masked = False
        vcpu.request_event = True


def mask_nmi(vcpu: Vcpu) -> None:
    """An NMI was injected: masked until IRET; the processor does that itself with vNMI (S4-20, S4-35)."""
    if not vnmi_enabled(vcpu):
        vcpu.nmi_masked = True
        set_intercept(vcpu, EXIT_IRET)


def set_gif(vcpu: Vcpu, value: bool) -> None:
    """``svm_set_gif``: what waits is looked at again once GIF is 1 (S9-08)."""
    vmcb = vgif_vmcb(vcpu)
    if value:
        if vmcb is not None:
            clear_intercept(vcpu, EXIT_STGI)  # set only to notice the opening of an NMI or SMI window
        if vcpu.vintr_window:
            clear_vintr(vcpu)
    elif vmcb is None:
        clear_vintr(vcpu)  # STGI will exit; with vGIF the dummy V_IRQ is what notices it
    if vmcb is None:
        vcpu.software_gif = value
    else:
        vmcb.vgif = value
    if value and (vcpu.smi_pending or vcpu.nmi_pending or vcpu.irr or vcpu.init_pending):
        vcpu.request_event = True
