"""Debug exceptions: single-step, breakpoints, general detect (S1-04, S2-36..S2-39, S3-16, S3-17, S6-16..S6-20)."""

from worldswitch.core.bits import (
    DR6_B0,
    DR6_B1,
    DR6_BD,
    DR6_BS,
    DR7_GD,
    DR7_L0,
    DR7_L1,
    EXIT_EXCEPTION,
    RFLAGS_IF,
    RFLAGS_RF,
    SHADOW_MOVSS,
    VECTOR_DB,
)
from worldswitch.core.delivery import raise_fault, raise_trap
from worldswitch.core.options import HLT_STEP_ON_WAKE
from worldswitch.core.record import KIND_EXCEPTION
from worldswitch.core.state import Cpu
from worldswitch.core.vmexit import vmexit


def after_instruction(cpu: Cpu, created_shadow: int) -> None:
    """Pend the single-step trap of an instruction that began with TF=1.

    A MOV SS shadow suppresses it at its own boundary (S2-37), an STI shadow does not (S2-36, S2-40). GIF does not
    matter (S3-17).
    """
    if not created_shadow & SHADOW_MOVSS:
        cpu.debug_trap |= DR6_BS


def data_breakpoint(cpu: Cpu) -> None:
    """A watched access happened: pend its trap."""
    if cpu.regs.dr7 & DR7_L1:
        cpu.debug_trap |= DR6_B1


def take_trap(cpu: Cpu) -> bool:
    """At a boundary: deliver the pending trap-class #DB; False where a MOV SS shadow holds it (S2-39).

    With GIF=0 breakpoint matches are dropped here (S3-16), the single-step trap is not (S3-17).
    """
    if not cpu.gif and cpu.debug_trap & ~DR6_BS and not cpu.options.gif0_breakpoint_db_deliver:
        cpu.recorder.discarded.append((cpu.step, KIND_EXCEPTION))
        cpu.debug_trap &= DR6_BS
    if not cpu.debug_trap or cpu.shadow == SHADOW_MOVSS:
        return False
    if cpu.halted and cpu.options.hlt_single_step == HLT_STEP_ON_WAKE and not _wakes(cpu):
        return False
    regs = cpu.regs
    regs.dr6 |= cpu.debug_trap  # DR6 and DR7 are those of a handler, also where the #DB is intercepted (APM2 15.12.2)
    regs.dr7 &= ~DR7_GD
    cpu.debug_trap = 0
    if cpu.guest and cpu.vmcb.intercepts[EXIT_EXCEPTION + VECTOR_DB]:
        vmexit(cpu, EXIT_EXCEPTION + VECTOR_DB)  # S6-61: a trap; RIP is that of the next instruction
        return True
    raise_trap(cpu, VECTOR_DB)
    return True


def _wakes(cpu: Cpu) -> bool:
    """Whether something other than the trap ends HLT (S10-81)."""
    if cpu.pend_nmi and not cpu.nmi_masked:
        return True
    return bool(cpu.regs.rflags & RFLAGS_IF and (cpu.irr or (cpu.guest and cpu.vmcb.v_irq)))


def instruction_breakpoint(cpu: Cpu) -> bool:
    """Before an instruction: the fault-class #DB of a breakpoint on it, unless RF is set (S6-18)."""
    regs = cpu.regs
    if not regs.dr7 & DR7_L0 or regs.rflags & RFLAGS_RF:
        return False
    if not cpu.gif and not cpu.options.gif0_breakpoint_db_deliver:
        return False  # S3-16
    regs.dr6 |= DR6_B0
    raise_fault(cpu, VECTOR_DB)
    return True


def general_detect(cpu: Cpu) -> bool:
    """MOV DR with DR7.GD set: #DB, also in a MOV SS shadow (S2-38)."""
    regs = cpu.regs
    if not regs.dr7 & DR7_GD:
        return False
    regs.dr6 |= DR6_BD
    regs.dr7 &= ~DR7_GD
    raise_fault(cpu, VECTOR_DB)
    return True
