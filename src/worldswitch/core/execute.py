"""What each instruction does.

A step of the processor is one event, taken by ``boundary.recognise``, or else one instruction, executed here. An
instruction that completes *retires*: RIP advances, RF clears, the old shadow ends, the new one begins, single-step
traps pend. One that faults, exits, or enters the guest does none of that.
"""

from typing import Final

from worldswitch.core import debug, shadow
from worldswitch.core.bits import (
    EFER_SVME,
    ERROR_CODE_VECTORS,
    EXIT_CLGI,
    EXIT_CR_WRITE,
    EXIT_DR_WRITE,
    EXIT_EXCEPTION,
    EXIT_HLT,
    EXIT_ICEBP,
    EXIT_INVLPGA,
    EXIT_IOIO,
    EXIT_IRET,
    EXIT_NPF,
    EXIT_PAUSE,
    EXIT_POPF,
    EXIT_PUSHF,
    EXIT_RSM,
    EXIT_SKINIT,
    EXIT_STGI,
    EXIT_SWINT,
    EXIT_VMLOAD,
    EXIT_VMMCALL,
    EXIT_VMSAVE,
    PHYSICAL_LIMIT,
    RFLAGS_FIXED,
    RFLAGS_IF,
    RFLAGS_IOPL,
    RFLAGS_RF,
    RFLAGS_TF,
    SHADOW_NONE,
    TYPE_EXCEPTION,
    TYPE_SOFT,
    VECTOR_BP,
    VECTOR_DB,
    VECTOR_GP,
    VECTOR_OF,
    VECTOR_PF,
    VECTOR_UD,
    event_word,
)
from worldswitch.core.boundary import internal_smi
from worldswitch.core.delivery import NPF_STACK_WRITE, PF_WRITE, deliver, raise_fault
from worldswitch.core.isa import (
    GATE_NPF,
    GATE_OK,
    GATE_TASK,
    OP_ACCESS,
    OP_CLGI,
    OP_CLI,
    OP_END,
    OP_HLT,
    OP_ICEBP,
    OP_INT,
    OP_INT3,
    OP_INTERCEPTABLE,
    OP_INTO,
    OP_IRET,
    OP_LSS,
    OP_MOV_CR8,
    OP_MOV_DR,
    OP_MOV_SS,
    OP_MOV_SS_WATCHED,
    OP_NONCANONICAL,
    OP_OUT_SMI,
    OP_PLAIN,
    OP_POPF,
    OP_PUSHF,
    OP_REP,
    OP_RSM,
    OP_SKINIT,
    OP_SPIN,
    OP_STGI,
    OP_STI,
    OP_STORE_WATCHED,
    OP_UD2,
    OP_VMLOAD,
    OP_VMMCALL,
    OP_VMRUN,
    OP_VMSAVE,
)
from worldswitch.core.options import HLT_STEP_NONE
from worldswitch.core.record import KIND_SOFT
from worldswitch.core.state import END, Cpu
from worldswitch.core.vmexit import instruction_exit, vmexit
from worldswitch.core.vmrun import virq_passes_tpr, vmrun

DIVERTED: Final = -1
"""Result of an instruction that did not retire; every other result is the shadow it leaves."""

DATA_ADDRESS: Final = 0x5000


def execute(cpu: Cpu) -> None:
    """Execute the processor instruction at RIP, where the boundary before it took no event.

    Kernel calls are not for here: see ``machine``.
    """
    if cpu.halted:
        if cpu.guest:
            cpu.recorder.entries[-1].retired += 1  # time passes: places in the guest count it as an instruction
        return
    regs = cpu.regs
    if cpu.breakpoint_rip == regs.rip and not cpu.guest and debug.instruction_breakpoint(cpu):
        return
    code = cpu.world().code
    op = code.ops[regs.rip]
    rflags = regs.rflags
    created = perform(cpu, op, code.args[regs.rip])
    if created != DIVERTED:
        retire(cpu, op, rflags, created)


def retire(cpu: Cpu, op: int, rflags_before: int, created_shadow: int) -> None:
    """The instruction completed: the shadow it ran in ends (S2-20), the one it made begins."""
    if cpu.guest:
        entry = cpu.recorder.entries[-1]
        entry.retired += 1
        entry.last_op = op
        entry.last_rflags = rflags_before
        if (cpu.regs.rflags ^ rflags_before) & RFLAGS_IF:
            cpu.virq_gate_open = virq_passes_tpr(cpu.vmcb)  # S5-23
            cpu.guest_if_seen = True  # S5-22
    cpu.shadow = created_shadow
    if op != OP_IRET:
        cpu.regs.rflags &= ~RFLAGS_RF  # POPF too: only IRET loads RF
    # TF as the instruction began: S6-17 in the host, S6-19 in the guest
    if rflags_before & RFLAGS_TF and not _is_not_stepped(cpu, op):
        debug.after_instruction(cpu, created_shadow)


def _is_not_stepped(cpu: Cpu, op: int) -> bool:
    """Instructions after which QEMU takes no single-step trap."""
    options = cpu.options
    if op == OP_HLT:
        return options.hlt_single_step == HLT_STEP_NONE  # S10-77
    if op == OP_STI:
        return options.sti_is_not_stepped  # S10-79
    if op == OP_MOV_SS or op == OP_MOV_SS_WATCHED or op == OP_LSS:
        return options.ss_load_is_not_stepped  # S10-80
    return False


def perform(cpu: Cpu, op: int, arg: int) -> int:
    """Do what the instruction does. Returns the shadow it leaves, RIP advanced; or DIVERTED."""
    regs = cpu.regs
    if op == OP_PLAIN or op == OP_LSS:  # S2-04
        regs.rip += 1
        if op == OP_LSS and cpu.options.lss_creates_shadow:
            return shadow.after_ss_load(cpu)  # S10-51
        return SHADOW_NONE
    if op >= OP_VMRUN:
        return _perform_svm(cpu, op)
    if op == OP_STI or op == OP_CLI:
        if regs.cpl > (regs.rflags & RFLAGS_IOPL) >> 12:
            return _fault(cpu, VECTOR_GP, 0)
        before = regs.rflags
        regs.rip += 1
        if op == OP_CLI:
            regs.rflags &= ~RFLAGS_IF  # S2-09
            return SHADOW_NONE
        regs.rflags |= RFLAGS_IF
        return shadow.after_sti(cpu, before)
    if op == OP_INTERCEPTABLE:
        if cpu.guest and cpu.vmcb.intercepts[arg]:
            return _exit(cpu, arg)
        regs.rip += 1
        if arg == EXIT_PAUSE and cpu.guest and cpu.options.pause_keeps_shadow:
            return cpu.shadow  # S10-53
        return SHADOW_NONE
    if op == OP_SPIN:
        return SHADOW_NONE
    if op == OP_HLT:
        if regs.cpl != 0:
            return _fault(cpu, VECTOR_GP, 0)  # S6-110: exceptions first
        if cpu.guest and cpu.vmcb.intercepts[EXIT_HLT]:
            return _exit(cpu, EXIT_HLT)  # S2-53
        regs.rip += 1
        cpu.halted = True  # S2-21: the boundary after HLT is where it wakes
        return SHADOW_NONE
    if op == OP_IRET:
        return _iret(cpu)
    if op == OP_INT or op == OP_INT3 or op == OP_INTO or op == OP_ICEBP:
        return _software_interrupt(cpu, op, arg)
    if op == OP_UD2:
        return _fault(cpu, VECTOR_UD, -1)
    if op == OP_ACCESS:
        return _access(cpu, arg)
    if op == OP_PUSHF or op == OP_POPF:
        return _flags(cpu, op, arg)
    return _perform_rare(cpu, op, arg)


def _perform_rare(cpu: Cpu, op: int, arg: int) -> int:
    """Segment loads, debug and control registers, REP, I/O."""
    regs = cpu.regs
    if op == OP_MOV_SS or op == OP_MOV_SS_WATCHED:
        if op == OP_MOV_SS_WATCHED:
            debug.data_breakpoint(cpu)  # S2-39
        regs.rip += 1
        return shadow.after_ss_load(cpu)
    if op == OP_STORE_WATCHED:
        debug.data_breakpoint(cpu)
        regs.rip += 1
        return SHADOW_NONE
    if op == OP_MOV_DR:
        if regs.cpl != 0:
            return _fault(cpu, VECTOR_GP, 0)
        if debug.general_detect(cpu):
            return DIVERTED
        if cpu.guest and cpu.vmcb.intercepts[EXIT_DR_WRITE + 7]:
            return _exit(cpu, EXIT_DR_WRITE + 7)
        regs.rip += 1
        return SHADOW_NONE
    if op == OP_MOV_CR8:
        if regs.cpl != 0:
            return _fault(cpu, VECTOR_GP, 0)
        if cpu.guest and cpu.vmcb.intercepts[EXIT_CR_WRITE + 8]:
            return _exit(cpu, EXIT_CR_WRITE + 8)
        if cpu.guest:
            kept = cpu.vmcb.v_tpr & 0xF0 if cpu.options.v_tpr_high_bits_kept else 0  # S10-76
            cpu.vmcb.v_tpr = arg | kept
        if not cpu.guest or not cpu.vmcb.v_intr_masking:  # S5-01, S5-02
            cpu.tpr = arg
        regs.rip += 1
        return SHADOW_NONE
    if op == OP_REP:
        world = cpu.world()
        world.rep_left = (world.rep_left or arg) - 1
        if world.rep_left > 0:
            return cpu.shadow if cpu.options.rep_iteration_keeps_shadow else SHADOW_NONE  # S2-24
        regs.rip += 1
        return SHADOW_NONE
    if op == OP_OUT_SMI:
        if cpu.guest and cpu.vmcb.intercepts[EXIT_IOIO]:
            return _exit(cpu, EXIT_IOIO)
        regs.rip += 1
        internal_smi(cpu)
        return SHADOW_NONE
    if op == OP_RSM:
        if cpu.guest and cpu.vmcb.intercepts[EXIT_RSM]:
            return _exit(cpu, EXIT_RSM)  # S6-110: intercept first
        return _fault(cpu, VECTOR_UD, -1)
    if op == OP_NONCANONICAL:
        return _fault(cpu, VECTOR_GP, 0)  # S6-21
    if op == OP_END:
        cpu.stop = END
        return DIVERTED
    raise AssertionError(f"operation {op} is not an instruction of the processor")


def _perform_svm(cpu: Cpu, op: int) -> int:
    """The SVM instructions: #UD, then #GP, then the intercept (S6-110, S7-01..S7-04)."""
    regs = cpu.regs
    if op == OP_VMRUN:
        vmrun(cpu)
        return DIVERTED
    if op == OP_VMMCALL:
        if cpu.guest and cpu.vmcb.intercepts[EXIT_VMMCALL]:
            return _exit(cpu, EXIT_VMMCALL)
        return _fault(cpu, VECTOR_UD, -1)  # S7-01: nobody intercepts it
    enabled = bool(regs.efer & EFER_SVME)
    if op == OP_STGI or op == OP_SKINIT:
        enabled = enabled or cpu.skinit  # S3-07
    if not enabled or not regs.protected():
        return _fault(cpu, VECTOR_UD, -1)
    if regs.cpl != 0:
        return _fault(cpu, VECTOR_GP, 0)  # S7-02, S7-03
    if op == OP_VMLOAD or op == OP_VMSAVE:
        if regs.rax & 0xFFF or regs.rax >= PHYSICAL_LIMIT:  # S7-04
            return _fault(cpu, VECTOR_GP, 0)
        code = EXIT_VMLOAD if op == OP_VMLOAD else EXIT_VMSAVE
        if cpu.guest and not cpu.vmcb.np_enable and cpu.options.vmload_without_npt_exits:
            return _exit(cpu, code)  # S10-55
    elif op == OP_STGI:
        code = EXIT_STGI
    elif op == OP_CLGI:
        code = EXIT_CLGI
    else:
        code = EXIT_SKINIT if op == OP_SKINIT else EXIT_INVLPGA
    if cpu.guest and cpu.vmcb.intercepts[code]:
        return _exit(cpu, code)  # S3-32, S7-12
    if op == OP_STGI or op == OP_CLGI:
        set_gif(cpu, op == OP_STGI)
    elif op == OP_SKINIT:
        cpu.gif = False  # S3-06
    regs.rip += 1
    return SHADOW_NONE  # S3-21: STGI makes no shadow


def set_gif(cpu: Cpu, value: bool) -> None:
    """STGI or CLGI: the virtual GIF in a guest that has one (S3-31), else the physical one (S3-01, S3-34)."""
    if cpu.guest and cpu.vmcb.vgif_enable:
        cpu.vmcb.vgif = value
    else:
        cpu.gif = value


def _exit(cpu: Cpu, code: int) -> int:
    instruction_exit(cpu, code, cpu.regs.rip + 1)
    return DIVERTED


def _fault(cpu: Cpu, vector: int, error_code: int) -> int:
    raise_fault(cpu, vector, error_code)
    return DIVERTED


def _iret(cpu: Cpu) -> int:
    """IRET: its intercept comes before everything (S6-110), so the NMI mask is still on then (S4-10)."""
    if cpu.guest and cpu.vmcb.intercepts[EXIT_IRET]:
        return _exit(cpu, EXIT_IRET)
    regs = cpu.regs
    frames = cpu.world().frames
    if frames:
        if cpu.options.iret_checks_rip and cpu.world().code.ops[frames[-1].rip] == OP_NONCANONICAL:
            cpu.nmi_masked = False  # S10-82
            return _fault(cpu, VECTOR_GP, 0)  # S10-68
        frame = frames.pop()
        regs.rip = frame.rip
        regs.rflags = frame.rflags
        regs.cpl = frame.cpl
    else:
        regs.rip += 1
    cpu.nmi_masked = False  # S4-01, S4-02: any IRET that completes
    if cpu.guest and cpu.vmcb.v_nmi_enable:
        cpu.vmcb.v_nmi_mask = False  # S4-33
    return SHADOW_NONE  # S2-05


def _software_interrupt(cpu: Cpu, op: int, arg: int) -> int:
    """INTn, INT3, INTO, ICEBP: intercepts fire before delivery starts (S6-75); a shadow holds none (S2-25, S2-38).

    RIP still is the instruction's own while delivery runs: an exit saves that one (S6-61).
    """
    regs = cpu.regs
    next_rip = regs.rip + 1
    if op == OP_INT:
        if cpu.guest and cpu.vmcb.intercepts[EXIT_SWINT]:
            return _exit(cpu, EXIT_SWINT)
        deliver(cpu, KIND_SOFT, event_word(TYPE_SOFT, arg), next_rip, True)
        return DIVERTED
    if op == OP_INTO and regs.mode_64bit():
        return _fault(cpu, VECTOR_UD, -1)
    if op == OP_ICEBP and cpu.guest and cpu.vmcb.intercepts[EXIT_ICEBP]:
        return _exit(cpu, EXIT_ICEBP)
    vector = VECTOR_BP if op == OP_INT3 else VECTOR_OF if op == OP_INTO else VECTOR_DB  # S1-42
    if op == OP_INT3 and cpu.guest and cpu.options.int3_as_swint:  # S10-56
        if cpu.vmcb.intercepts[EXIT_SWINT]:
            return _exit(cpu, EXIT_SWINT)
        deliver(cpu, KIND_SOFT, event_word(TYPE_EXCEPTION, vector), next_rip, True)
        return DIVERTED
    # The #DB of ICEBP is not subject to the #DB intercept (APM2 15.12.2)
    if op != OP_ICEBP and cpu.guest and cpu.vmcb.intercepts[EXIT_EXCEPTION + vector]:
        if cpu.options.exception_intercept_ends_shadow:
            cpu.shadow = SHADOW_NONE  # S10-62
        instruction_exit(cpu, EXIT_EXCEPTION + vector, next_rip)  # S1-71: INT3 and INTO exits have nRIP
        return DIVERTED
    deliver(cpu, KIND_SOFT, event_word(TYPE_EXCEPTION, vector), next_rip, op != OP_ICEBP)
    return DIVERTED


def _access(cpu: Cpu, meets: int) -> int:
    """A memory access, and the fault it meets."""
    if meets == GATE_OK or meets == GATE_TASK or cpu.world().accesses_ok:
        cpu.regs.rip += 1
        return SHADOW_NONE
    if meets == GATE_NPF:
        if cpu.guest and cpu.vmcb.np_enable:
            vmexit(cpu, EXIT_NPF, NPF_STACK_WRITE, DATA_ADDRESS)  # S6-91
            return DIVERTED
        meets = VECTOR_PF
    code = (PF_WRITE if meets == VECTOR_PF else 0) if meets in ERROR_CODE_VECTORS else -1
    raise_fault(cpu, meets, code, DATA_ADDRESS)
    return DIVERTED


def _flags(cpu: Cpu, op: int, arg: int) -> int:
    """PUSHF and POPF: intercept first (S6-110); POPF that sets IF makes no shadow (S2-05)."""
    code = EXIT_PUSHF if op == OP_PUSHF else EXIT_POPF
    if cpu.guest and cpu.vmcb.intercepts[code]:
        return _exit(cpu, code)
    regs = cpu.regs
    if op == OP_POPF:
        keep = 0
        if regs.cpl > (regs.rflags & RFLAGS_IOPL) >> 12:
            keep |= RFLAGS_IF
        if regs.cpl != 0:
            keep |= RFLAGS_IOPL
        regs.rflags = (arg & ~keep) | (regs.rflags & keep) | RFLAGS_FIXED
    regs.rip += 1
    return SHADOW_NONE
