"""The interrupt shadow: who creates it, what it blocks (section 2).

The shadow in ``Cpu.shadow`` covers the boundary before the next instruction and, for the purpose of VMRUN and of exits,
that instruction itself (S2-20, S2-53). It goes when the instruction completes (``execute.retire``) or when any event is
delivered (S2-22, S2-23).
"""

from worldswitch.core.bits import (
    RFLAGS_IF,
    SHADOW_LOADED,
    SHADOW_MOVSS,
    SHADOW_NONE,
    SHADOW_STI,
)
from worldswitch.core.options import (
    BLEED_ON_INJECTION_EXIT,
    BLEED_QEMU_OLD,
    BLOCKS_BOTH,
    BLOCKS_MOVSS,
    NEW_SHADOW_BY_KIND,
    NEW_SHADOW_NONE,
    SHADOW_GATE_NEVER,
    SHADOW_GATE_ON,
)
from worldswitch.core.state import Cpu


def after_sti(cpu: Cpu, rflags_before: int) -> int:
    """The shadow that STI leaves; ``rflags_before`` is RFLAGS before it."""
    options = cpu.options
    if options.sti_with_if_set_creates_shadow:  # S2-02, S10-30: QEMU, unless one is active already
        return SHADOW_NONE if cpu.shadow else SHADOW_STI
    if rflags_before & RFLAGS_IF:
        return SHADOW_NONE  # S2-01, S2-07
    if cpu.shadow & SHADOW_MOVSS and options.movss_then_sti_cleared:
        return SHADOW_NONE  # S2-08
    return SHADOW_STI


def after_ss_load(cpu: Cpu) -> int:
    """The shadow that MOV SS or POP SS leaves, whatever IF is (S2-03)."""
    if cpu.shadow and cpu.options.new_shadow_in_shadow != NEW_SHADOW_BY_KIND:
        if cpu.options.new_shadow_in_shadow == NEW_SHADOW_NONE:
            return SHADOW_NONE  # S10-52: QEMU, while any shadow is active
        return SHADOW_NONE if cpu.shadow == SHADOW_MOVSS else SHADOW_MOVSS  # S10-74: Bochs
    return SHADOW_NONE if cpu.shadow & SHADOW_MOVSS else SHADOW_MOVSS  # S2-06: does not extend


def blocks_nmi(cpu: Cpu) -> bool:
    """Whether the shadow holds a physical NMI that would be delivered here (S2-32, S2-33)."""
    if cpu.options.shadow_blocks_nmi == BLOCKS_BOTH:
        return cpu.shadow != SHADOW_NONE
    return cpu.options.shadow_blocks_nmi == BLOCKS_MOVSS and bool(cpu.shadow & SHADOW_MOVSS)


def blocks_intercepted_nmi(cpu: Cpu) -> bool:
    """The same for an NMI that would exit (S2-59)."""
    return cpu.options.guest_shadow_blocks_intercepted_nmi == SHADOW_GATE_ON and cpu.shadow != SHADOW_NONE


def blocks_intr(cpu: Cpu) -> bool:
    """Whether the shadow holds a physical INTR that would be delivered here (S2-30, S5-05)."""
    if cpu.options.v_intr_masking_lifts_shadow and cpu.guest and cpu.vmcb.v_intr_masking:
        return False  # S10-31: QEMU
    return cpu.shadow != SHADOW_NONE


def blocks_intercepted_intr(cpu: Cpu) -> bool:
    """Whether the guest's shadow holds a physical INTR that would exit (S2-59, S5-05, S8-91)."""
    gate = cpu.options.guest_shadow_blocks_intercepted_intr
    if cpu.shadow == SHADOW_NONE or gate == SHADOW_GATE_NEVER:
        return False
    return gate == SHADOW_GATE_ON or not cpu.vmcb.v_intr_masking


def blocks_smi(cpu: Cpu) -> bool:
    """Whether the shadow holds an SMI (S2-34)."""
    return cpu.options.shadow_blocks_smi and cpu.shadow != SHADOW_NONE


def at_vmrun(cpu: Cpu, int_state: int) -> int:
    """The guest's shadow after VMRUN loaded it; ``cpu.shadow`` still is the host's."""
    if cpu.options.bleed_sti_shadow == BLEED_QEMU_OLD:
        return cpu.shadow  # 10.1: QEMU up to 9.0 neither loads int_state nor clears its flag
    return SHADOW_LOADED if int_state & 1 else SHADOW_NONE  # S2-50


def bleeds(cpu: Cpu) -> bool:
    """The quirk: the exit under way happens while VMRUN, itself in a host shadow, is not complete (S2-70, S2-71)."""
    if not cpu.injecting:  # S2-74, S2-76
        return False
    if cpu.options.bleed_sti_shadow == BLEED_ON_INJECTION_EXIT and cpu.host_shadow & SHADOW_STI:
        return True
    return cpu.options.bleed_movss_shadow and bool(cpu.host_shadow & SHADOW_MOVSS)  # S2-77


def at_exit(cpu: Cpu) -> int:
    """int_state bit 0 as a #VMEXIT stores it (S2-52, S2-71)."""
    if bleeds(cpu):
        return 1
    if cpu.vectoring and cpu.options.delivery_clears_loaded_shadow_on_exit:
        return 0  # S2-58; a native event as well: S2-22, S2-23 as Bochs applies them
    return 1 if cpu.shadow else 0


def at_invalid_exit(cpu: Cpu, int_state: int, loaded: bool = False) -> int:
    """int_state after VMEXIT_INVALID; ``int_state`` is what the VMCB held (S2-79, S6-37).

    ``loaded`` says that VMRUN had taken it for the guest's before it found something wrong (S10-65).
    """
    if cpu.options.bleed_on_invalid_exit:
        return 1 if cpu.host_shadow or (loaded and int_state & 1) else 0
    if cpu.options.invalid_writes_guest_state:
        return 1 if at_vmrun(cpu, int_state) else 0
    return int_state


def after_delivery(cpu: Cpu) -> int:
    """The shadow in which a handler starts (S2-22, S2-23, S2-57)."""
    if cpu.options.bleed_sti_shadow == BLEED_QEMU_OLD:
        return cpu.shadow  # 10.1: only a completed instruction clears QEMU's flag
    return SHADOW_NONE
