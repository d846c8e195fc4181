"""L1's global interrupt flag: vGIF of vmcb01, of vmcb02, or a flag of L0's own (S9-07)."""

from worldswitch.core.state import Vmcb
from worldswitch.nested.vcpu import Vcpu


def nested_vgif_enabled(vcpu: Vcpu) -> bool:
    """L1 gives L2 a GIF of its own (S9-03)."""
    return vcpu.nested.vgif and vcpu.cache.vgif_enable


def vgif_vmcb(vcpu: Vcpu) -> Vmcb | None:
    """``get_vgif_vmcb``: where L1's GIF lives, None for the software flag (S9-07)."""
    if not vcpu.nested.vgif:
        return None
    if vcpu.guest_mode and not nested_vgif_enabled(vcpu):
        return vcpu.vmcb02
    return vcpu.vmcb01


def gif_set(vcpu: Vcpu) -> bool:
    """L1's GIF."""
    vmcb = vgif_vmcb(vcpu)
    return vcpu.software_gif if vmcb is None else vmcb.vgif
