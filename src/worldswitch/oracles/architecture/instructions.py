"""What each instruction does: retire, exit, fault, or start a delivery."""

from typing import Final

from worldswitch.core import isa
from worldswitch.core.bits import (
    CR0_PG,
    DR6_B0,
    DR6_B1,
    DR6_BD,
    DR6_BS,
    DR7_GD,
    DR7_L0,
    DR7_L1,
    EFER_SVME,
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
    EXIT_POPF,
    EXIT_PUSHF,
    EXIT_RSM,
    EXIT_SKINIT,
    EXIT_STGI,
    EXIT_SWINT,
    EXIT_VMLOAD,
    EXIT_VMMCALL,
    EXIT_VMRUN,
    EXIT_VMSAVE,
    PHYSICAL_LIMIT,
    RFLAGS_FIXED,
    RFLAGS_IF,
    RFLAGS_IOPL,
    RFLAGS_RF,
    RFLAGS_TF,
    SHADOW_MOVSS,
    SHADOW_NONE,
    SHADOW_STI,
    TYPE_EXCEPTION,
    TYPE_NMI,
    TYPE_SOFT,
    VECTOR_BP,
    VECTOR_DB,
    VECTOR_DF,
    VECTOR_GP,
    VECTOR_NMI,
    VECTOR_OF,
    VECTOR_PF,
    VECTOR_UD,
    event_error_code,
    event_type,
    event_word,
)
from worldswitch.core.delivery import NPF_STACK_WRITE, PF_WRITE
from worldswitch.core.execute import DATA_ADDRESS
from worldswitch.core.record import KIND_INJECTED, KIND_SOFT
from worldswitch.core.state import END, HOST_BUG
from worldswitch.kernel import calls as k
from worldswitch.kernel.state import NMI_EXECUTING, NMI_LATCHED, NMI_NOT_RUNNING
from worldswitch.oracles.architecture.delivery import deliver, fault
from worldswitch.oracles.architecture.events import internal_smi
from worldswitch.oracles.architecture.reference import UNSURE, LostTrack, Reference
from worldswitch.oracles.architecture.switch import enter, vmexit

_INTERCEPT_FIRST: Final = {  # S6-110: before any exception
    isa.OP_PUSHF: EXIT_PUSHF, isa.OP_POPF: EXIT_POPF, isa.OP_IRET: EXIT_IRET, isa.OP_RSM: EXIT_RSM,
    isa.OP_INT: EXIT_SWINT, isa.OP_ICEBP: EXIT_ICEBP, isa.OP_OUT_SMI: EXIT_IOIO, isa.OP_VMMCALL: EXIT_VMMCALL,
}  # fmt: skip
_EXCEPTION_FIRST: Final = {  # S6-110: after #UD and #GP
    isa.OP_HLT: EXIT_HLT, isa.OP_MOV_CR8: EXIT_CR_WRITE + 8, isa.OP_VMLOAD: EXIT_VMLOAD, isa.OP_VMSAVE: EXIT_VMSAVE,
    isa.OP_STGI: EXIT_STGI, isa.OP_CLGI: EXIT_CLGI, isa.OP_SKINIT: EXIT_SKINIT, isa.OP_INVLPGA: EXIT_INVLPGA,
}  # fmt: skip
_SVM: Final = frozenset({
    isa.OP_VMRUN, isa.OP_VMLOAD, isa.OP_VMSAVE, isa.OP_STGI, isa.OP_CLGI, isa.OP_SKINIT, isa.OP_INVLPGA,
})  # fmt: skip
_WITHOUT_SVME: Final = frozenset({isa.OP_STGI, isa.OP_SKINIT})  # where the SKINIT feature is there (S3-07, S7-01)
_BY_RAX: Final = frozenset({isa.OP_VMRUN, isa.OP_VMLOAD, isa.OP_VMSAVE})
_CPL0: Final = frozenset({isa.OP_HLT, isa.OP_MOV_CR8, isa.OP_MOV_DR})
_BY_IOPL: Final = frozenset({isa.OP_STI, isa.OP_CLI})  # allowed up to IOPL
_SOFTWARE: Final = {isa.OP_INT3: VECTOR_BP, isa.OP_INTO: VECTOR_OF, isa.OP_ICEBP: VECTOR_DB}  # S1-42
_MOVES_RIP: Final = frozenset({k.K_EXCEPTION, k.K_EXC_NMI_BEGIN, k.K_EXC_NMI_END})
_PLAIN: Final = frozenset({isa.OP_PLAIN, isa.OP_LSS, *(call.op for call in k.CALLS.values())} - _MOVES_RIP)
"""Nothing but an instruction, to the processor."""


def execute(ref: Reference) -> None:
    """The instruction at RIP."""
    cpu = ref.cpu
    regs = cpu.regs
    code = (cpu.guest_world if cpu.guest else cpu.host_world).code
    op, arg = code.ops[regs.rip], code.args[regs.rip]
    if cpu.halted:
        if op >= isa.FIRST_KERNEL_OP or op == isa.OP_SET:
            raise LostTrack  # the machine's run loop carries out calls and `set` behind HLT all the same
        return
    if regs.rip == cpu.breakpoint_rip and not cpu.guest and _instruction_breakpoint(ref):
        return
    before = regs.rflags
    created = SHADOW_NONE
    if op in _PLAIN:
        regs.rip += 1
    elif op >= isa.FIRST_KERNEL_OP or op == isa.OP_SET:
        _software(ref, op, arg)
    else:
        if _intercepted_or_faulting(ref, op, arg):
            return
        created = _perform(ref, op, arg)
        if created < 0:
            return
    cpu.shadow = created  # S2-20
    if op != isa.OP_IRET:
        regs.rflags &= ~RFLAGS_RF
    if before & RFLAGS_TF and not created & SHADOW_MOVSS:  # S2-36, S2-37, S3-17
        cpu.debug_trap |= DR6_BS


def _instruction_breakpoint(ref: Reference) -> bool:
    """S6-18; with GIF=0 it may be dropped (S3-16)."""
    cpu = ref.cpu
    if not cpu.regs.dr7 & DR7_L0 or cpu.regs.rflags & RFLAGS_RF:
        return False
    if not cpu.gif and not ref.sees_exception(VECTOR_DB):
        return False
    cpu.regs.dr6 |= DR6_B0
    fault(ref, VECTOR_DB)
    return True


def _exits(ref: Reference, code: int) -> bool:
    """Exit if the guest's VMCB has that intercept."""
    cpu = ref.cpu
    if not cpu.guest or not cpu.vmcb.intercepts[code]:
        return False
    vmexit(ref, code, nrip=cpu.regs.rip + 1)  # S1-71
    return True


def _intercepted_or_faulting(ref: Reference, op: int, arg: int) -> bool:
    """The exceptions and intercepts of an instruction, in the order of S6-110."""
    cpu = ref.cpu
    regs = cpu.regs
    if op in _INTERCEPT_FIRST and _exits(ref, _INTERCEPT_FIRST[op]):
        return True
    if op == isa.OP_INTERCEPTABLE:
        return _exits(ref, arg)
    if op in _SVM:
        enabled = regs.efer & EFER_SVME or (op in _WITHOUT_SVME and cpu.skinit)
        if not enabled or not regs.protected():  # S7-01
            fault(ref, VECTOR_UD)
            return True
        if op == isa.OP_VMRUN and not regs.cr0 & CR0_PG and ref.sees_exception(VECTOR_UD):
            fault(ref, VECTOR_UD)  # S6-01: KVM
            return True
        if regs.cpl:  # S7-02, S7-03
            fault(ref, VECTOR_GP, 0)
            return True
        intercepted_first = op == isa.OP_VMRUN and cpu.guest and ref.sees_exit() == EXIT_VMRUN  # S6-04
        if op in _BY_RAX and (regs.rax % 4096 or regs.rax >= PHYSICAL_LIMIT) and not intercepted_first:  # S7-04
            fault(ref, VECTOR_GP, 0)
            return True
        if op == isa.OP_VMRUN and cpu.guest:  # S7-12: always intercepted
            vmexit(ref, EXIT_VMRUN, nrip=regs.rip + 1)
            return True
    elif regs.cpl > _highest_cpl(regs.rflags, op):
        fault(ref, VECTOR_GP, 0)
        return True
    elif op in (isa.OP_UD2, isa.OP_RSM, isa.OP_VMMCALL) or (op == isa.OP_INTO and regs.mode_64bit()):
        fault(ref, VECTOR_UD)
        return True
    elif op == isa.OP_NONCANONICAL:  # S6-21
        fault(ref, VECTOR_GP, 0)
        return True
    if op == isa.OP_MOV_DR:
        if regs.dr7 & DR7_GD:  # S2-38
            regs.dr6 |= DR6_BD
            regs.dr7 &= ~DR7_GD
            fault(ref, VECTOR_DB)
            return True
        return _exits(ref, EXIT_DR_WRITE + 7)
    return op in _EXCEPTION_FIRST and _exits(ref, _EXCEPTION_FIRST[op])


def _highest_cpl(rflags: int, op: int) -> int:
    """The CPL up to which an instruction does not raise #GP."""
    if op in _CPL0:
        return 0
    return (rflags & RFLAGS_IOPL) >> 12 if op in _BY_IOPL else 3


def _perform(ref: Reference, op: int, arg: int) -> int:
    """What is left after the checks: the shadow that the instruction leaves, or -1 where it did not retire."""
    cpu = ref.cpu
    regs = cpu.regs
    if op == isa.OP_VMRUN:
        if enter(ref):
            _inject(ref)
        return -1
    if op == isa.OP_INT:
        deliver(ref, KIND_SOFT, event_word(TYPE_SOFT, arg), regs.rip + 1, True)
        return -1
    if op in _SOFTWARE:
        return _trap_instruction(ref, op)
    if op == isa.OP_ACCESS:
        return _access(ref, arg)
    if op == isa.OP_IRET:
        return _iret(ref)
    if op == isa.OP_SPIN:
        return SHADOW_NONE
    if op == isa.OP_END:
        ref.stop(END)
        return -1
    if op == isa.OP_REP:
        world = cpu.world()
        world.rep_left = (world.rep_left or arg) - 1
        if world.rep_left:
            return UNSURE if cpu.shadow else SHADOW_NONE  # S2-24
        regs.rip += 1
        return SHADOW_NONE
    regs.rip += 1
    if op == isa.OP_STI:
        before, shadow = regs.rflags, cpu.shadow
        regs.rflags |= RFLAGS_IF
        if before & RFLAGS_IF:
            return SHADOW_NONE  # S2-01
        return UNSURE | SHADOW_STI if shadow & (SHADOW_MOVSS | UNSURE) else SHADOW_STI  # S2-08
    if op == isa.OP_CLI:
        regs.rflags &= ~RFLAGS_IF
    elif op == isa.OP_POPF:
        _popf(ref, arg)
    elif op in (isa.OP_MOV_SS, isa.OP_MOV_SS_WATCHED):
        if op == isa.OP_MOV_SS_WATCHED and regs.dr7 & DR7_L1:
            cpu.debug_trap |= DR6_B1
        if cpu.shadow & UNSURE:
            return SHADOW_MOVSS | UNSURE
        return SHADOW_NONE if cpu.shadow & SHADOW_MOVSS else SHADOW_MOVSS  # S2-03, S2-06
    elif op == isa.OP_STORE_WATCHED and regs.dr7 & DR7_L1:
        cpu.debug_trap |= DR6_B1
    elif op == isa.OP_HLT:
        cpu.halted = True
    elif op == isa.OP_MOV_CR8:  # S5-01, S5-02
        if cpu.guest:
            cpu.vmcb.v_tpr = arg
        if not (cpu.guest and cpu.vmcb.v_intr_masking):
            cpu.tpr = arg
    elif op in (isa.OP_STGI, isa.OP_CLGI):
        if cpu.guest and cpu.vmcb.vgif_enable:
            cpu.vmcb.vgif = op == isa.OP_STGI  # S3-31
        else:
            cpu.gif = op == isa.OP_STGI  # S3-01, S3-34
    elif op == isa.OP_SKINIT:
        cpu.gif = False  # S3-06
    elif op == isa.OP_OUT_SMI:
        internal_smi(ref)
    return SHADOW_NONE


def _inject(ref: Reference) -> None:
    """S6-11, S6-40, S2-56: whatever IF, V_TPR, the shadow and the intercepts say."""
    cpu = ref.cpu
    vmcb = cpu.vmcb
    word = vmcb.eventinj
    kind, vector = event_type(word), word & 0xFF
    if kind == TYPE_NMI:
        vector = VECTOR_NMI  # S1-43
        vmcb.v_nmi_mask = vmcb.v_nmi_mask or vmcb.v_nmi_enable  # S4-35
    software = kind == TYPE_SOFT or (kind == TYPE_EXCEPTION and vector in (VECTOR_BP, VECTOR_OF))  # S6-46, S6-47
    return_rip = (software and vmcb.nrip) or cpu.regs.rip  # S6-48, S1-73
    deliver(ref, KIND_INJECTED, event_word(kind, vector, event_error_code(word)), return_rip, software)


def _trap_instruction(ref: Reference, op: int) -> int:
    """INT3, INTO and ICEBP; the last one's #DB is not intercepted as an exception."""
    cpu = ref.cpu
    vector = _SOFTWARE[op]
    if op != isa.OP_ICEBP and _exits(ref, EXIT_EXCEPTION + vector):
        return -1
    deliver(ref, KIND_SOFT, event_word(TYPE_EXCEPTION, vector), cpu.regs.rip + 1, op != isa.OP_ICEBP)
    return -1


def _access(ref: Reference, meets: int) -> int:
    cpu = ref.cpu
    if meets in (isa.GATE_OK, isa.GATE_TASK) or cpu.world().accesses_ok:
        cpu.regs.rip += 1
        return SHADOW_NONE
    if meets == isa.GATE_NPF and cpu.guest and cpu.vmcb.np_enable:
        vmexit(ref, EXIT_NPF, (NPF_STACK_WRITE,), DATA_ADDRESS)  # S6-91
        return -1
    vector = VECTOR_PF if meets == isa.GATE_NPF else meets
    code = PF_WRITE if vector == VECTOR_PF else 0 if vector in (8, 10, 11, 12, 13, 17, 21, 29, 30) else -1
    fault(ref, vector, code, DATA_ADDRESS if vector == VECTOR_PF else 0)
    return -1


def _iret(ref: Reference) -> int:
    """S4-01, S4-02, S4-33, S2-05."""
    cpu = ref.cpu
    regs, frames = cpu.regs, cpu.world().frames
    if frames:
        frame = frames.pop()
        regs.rip, regs.rflags, regs.cpl = frame.rip, frame.rflags, frame.cpl
    else:
        regs.rip += 1
    ref.nmi_mask = 0
    if cpu.guest and cpu.vmcb.v_nmi_enable:
        cpu.vmcb.v_nmi_mask = False
    return SHADOW_NONE


def _popf(ref: Reference, image: int) -> None:
    """IOPL changes at CPL 0 only, IF at a CPL that IOPL allows."""
    regs = ref.cpu.regs
    kept = 0 if regs.cpl == 0 else RFLAGS_IOPL
    if regs.cpl > (regs.rflags & RFLAGS_IOPL) >> 12:
        kept |= RFLAGS_IF
    regs.rflags = RFLAGS_FIXED | image & ~kept | regs.rflags & kept


def _software(ref: Reference, op: int, arg: int) -> None:
    """A ``set``, or a kernel call: an instruction like others, but for what moves RIP."""
    cpu, run = ref.cpu, ref.run
    cpu.regs.rip += 1
    if op == isa.OP_SET:
        assignments = run.plan.guest_assignments if cpu.guest else run.plan.host_assignments
        assignments[arg].apply(ref.machine, assignments[arg].value)
    elif cpu.guest or op not in _MOVES_RIP:
        return
    elif op == k.K_EXCEPTION:
        _fixup(ref)
    elif op == k.K_EXC_NMI_BEGIN:  # S8-78
        if ref.nmi_state == NMI_NOT_RUNNING:
            ref.nmi_state = NMI_EXECUTING
        else:
            ref.nmi_state = NMI_LATCHED
            cpu.regs.rip = arg
    else:
        ref.nmi_state -= 1
        if ref.nmi_state != NMI_NOT_RUNNING:
            cpu.regs.rip = arg


def _fixup(ref: Reference) -> None:
    """S7-08: the kernel skips the instruction, or stops itself. Which is its business and not the processor's."""
    frames, world = ref.cpu.host_world.frames, ref.cpu.host_world
    skipped = (
        frames and ref.machine.kernel.rebooting and frames[-1].vector != VECTOR_DF and world.code.fixup[frames[-1].rip]
    )
    stopped = ref.run.cpu.stop == HOST_BUG and ref.run.cpu.step == ref.step
    if not skipped or stopped:
        raise LostTrack
    frames[-1].rip += 1
