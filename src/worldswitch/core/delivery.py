"""Delivery of an event through the IDT, the faults it meets, and what they become (sections 6.5 to 6.7).

``deliver`` is the loop of S6-72. While it runs, ``cpu.vectoring`` is the aggregate of everything before the condition
now under way, which is what a #VMEXIT reports in EXITINTINFO (S6-70).
"""

from typing import Final

from worldswitch.core import shadow
from worldswitch.core.bits import (
    DR6_BS,
    ERROR_CODE_VECTORS,
    EVENT_EV,
    EVENT_V,
    EXIT_EXCEPTION,
    EXIT_NPF,
    EXIT_TASK_SWITCH,
    RFLAGS_IF,
    RFLAGS_NT,
    RFLAGS_RF,
    RFLAGS_TF,
    RFLAGS_VM,
    SHADOW_NONE,
    TYPE_EXCEPTION,
    TYPE_NMI,
    TYPE_SOFT,
    VECTOR_AC,
    VECTOR_DB,
    VECTOR_DF,
    VECTOR_GP,
    VECTOR_NP,
    VECTOR_PF,
    VECTOR_SS,
    VECTOR_TS,
    event_error_code,
    event_type,
    event_word,
)
from worldswitch.core.isa import GATE_NPF, GATE_OK, GATE_TASK
from worldswitch.core.options import SOURCE_ARCHITECTURAL, SOURCE_LAST_NOTED, SOURCE_QEMU
from worldswitch.core.record import (
    KIND_EXCEPTION,
    KIND_INJECTED,
    KIND_NMI,
    KIND_SOFT,
    KIND_VIRQ,
    WORLD_GUEST,
    WORLD_HOST,
    Handler,
)
from worldswitch.core.state import LIMIT, Cpu, Frame, Gate
from worldswitch.core.vmexit import shutdown, vmexit

# The data side of memory is not modelled: every fault of a delivery is one write to the stack page.
STACK_ADDRESS: Final = 0x7FF8
PF_WRITE: Final = 0x2
NPF_STACK_WRITE: Final = (1 << 32) | 0x6  # S6-91: final physical address; write, user
TASK_SELECTOR: Final = 0x28  # of the TSS that a task gate names

FAULT_LIMIT: Final = 8
"""Faults within one delivery after which a run is cut off: a benign exception whose own gate raises it again never ends
(S6-101), in the model as in the processor's microcode."""

BENIGN: Final = 0
CONTRIBUTORY: Final = 1
PAGE_FAULT: Final = 2
DOUBLE_FAULT: Final = 3
CONTRIBUTORY_VECTORS: Final = frozenset({0, 10, 11, 12, 13, 21, 29, 30})  # S6-100

_QEMU_ERROR_CODES: Final = frozenset({VECTOR_DF, VECTOR_TS, VECTOR_NP, VECTOR_SS, VECTOR_GP, VECTOR_PF, VECTOR_AC})

ALONE: Final = 0
BECOMES_DF: Final = 1
BECOMES_SHUTDOWN: Final = 2


def fault_class(word: int) -> int:
    """The double-fault class of an event word (S6-100); only TYPE 3 can be other than benign (S6-102)."""
    if event_type(word) != TYPE_EXCEPTION:
        return BENIGN
    return vector_class(word & 0xFF)


def vector_class(vector: int) -> int:
    """The double-fault class of an exception (S6-100)."""
    if vector == VECTOR_PF:
        return PAGE_FAULT
    if vector == VECTOR_DF:
        return DOUBLE_FAULT
    return CONTRIBUTORY if vector in CONTRIBUTORY_VECTORS else BENIGN


def compose(first: int, second: int) -> int:
    """What exception ``second``, raised while event ``first`` is delivered, becomes (S6-101); both are classes."""
    if first == BENIGN or second == BENIGN:
        return ALONE
    if first == DOUBLE_FAULT:
        return BECOMES_SHUTDOWN
    if first == CONTRIBUTORY and second == PAGE_FAULT:
        return ALONE
    return BECOMES_DF


def raise_fault(cpu: Cpu, vector: int, error_code: int = -1, address: int = 0) -> None:
    """A fault-class exception of the instruction at RIP, which has not completed (S6-111)."""
    if cpu.guest and cpu.vmcb.intercepts[EXIT_EXCEPTION + vector]:
        if cpu.options.exception_intercept_ends_shadow:
            cpu.shadow = SHADOW_NONE  # S10-62
        # S6-90: CR2 is not written; an exception exit for a fault has nRIP 0 (S1-71)
        vmexit(cpu, EXIT_EXCEPTION + vector, max(error_code, 0), address if vector == VECTOR_PF else 0)
        return
    if vector == VECTOR_PF:
        cpu.regs.cr2 = address
    deliver(cpu, KIND_EXCEPTION, event_word(TYPE_EXCEPTION, vector, error_code), cpu.regs.rip, False)


def raise_trap(cpu: Cpu, vector: int) -> None:
    """A trap-class exception at the boundary before RIP, already known not to be intercepted."""
    deliver(cpu, KIND_EXCEPTION, event_word(TYPE_EXCEPTION, vector), cpu.regs.rip, False)


def deliver(cpu: Cpu, kind: int, word: int, return_rip: int, software: bool) -> None:
    """Deliver the event ``word`` (EVENTINJ format) in the running world, or exit, or shut down.

    ``return_rip`` is what a successful delivery pushes; ``cpu.regs.rip`` what an exit before that saves (S6-61).
    ``software`` asks for the DPL check of INTn, INT3 and INTO (S6-46, S6-47). The exits in here are the only ones with
    EXITINTINFO.V=1 (S6-74).
    """
    cpu.vectoring = word
    if cpu.options.exitintinfo_source != SOURCE_ARCHITECTURAL and cpu.guest:
        _note(cpu, kind, word)
    world = cpu.world()
    faults = 0
    while True:
        vector = word & 0xFF
        gate = world.idt.get(vector, world.default_gate)
        outcome = _meets(cpu, gate, software)
        if outcome == GATE_OK:
            _enter_handler(cpu, kind, word, gate, return_rip)
            return
        if outcome == GATE_NPF and cpu.guest and cpu.vmcb.np_enable:
            vmexit(cpu, EXIT_NPF, NPF_STACK_WRITE, STACK_ADDRESS)  # S6-92
            return
        if outcome == GATE_TASK:  # legacy mode, TASK_SWITCH intercepted: nothing of the switch has happened (S6-93)
            vmexit(cpu, EXIT_TASK_SWITCH, TASK_SELECTOR, _task_switch_info(cpu, kind, word))
            return
        fault = VECTOR_PF if outcome == GATE_NPF else outcome  # without nested paging the page is simply not there
        code = _error_code(cpu, fault, vector, software and not _as_hardware(cpu, kind, word))
        if cpu.guest and cpu.vmcb.intercepts[EXIT_EXCEPTION + fault]:  # S6-72 (i)
            vmexit(cpu, EXIT_EXCEPTION + fault, max(code, 0), STACK_ADDRESS if fault == VECTOR_PF else 0)
            return
        if fault == VECTOR_PF:
            cpu.regs.cr2 = STACK_ADDRESS
        becomes = compose(_first_class(cpu, kind, word), vector_class(fault))  # S6-72 (ii)
        cpu.recorder.superseded.append((cpu.step, word))
        faults += 1
        if faults > FAULT_LIMIT:
            cpu.stop = LIMIT
            return
        if becomes == BECOMES_SHUTDOWN:
            shutdown(cpu)
            return
        if becomes == BECOMES_DF:
            intercepted = cpu.guest and cpu.vmcb.intercepts[EXIT_EXCEPTION + VECTOR_DF]
            if intercepted and not cpu.options.composed_df_intercept_ignored:  # S6-72 (iii), S10-46
                report_event = not cpu.options.exitintinfo_invalid_on_df_exit  # S6-78
                vmexit(cpu, EXIT_EXCEPTION + VECTOR_DF, report_event=report_event)
                return
            fault, code = VECTOR_DF, 0  # S6-104
        word = event_word(TYPE_EXCEPTION, fault, code)  # S6-72 (iv)
        cpu.vectoring = word
        if cpu.options.exitintinfo_source == SOURCE_LAST_NOTED and cpu.guest:
            cpu.noted = word
        kind = KIND_EXCEPTION
        software = False
        return_rip = cpu.regs.rip


def _meets(cpu: Cpu, gate: Gate, software: bool) -> int:
    """What delivery through ``gate`` meets: a GATE_* number, or the vector of an exception."""
    if software and gate.dpl < cpu.regs.cpl:
        return VECTOR_GP  # S6-46, S6-47
    outcome = gate.outcome
    if outcome == GATE_TASK:
        if cpu.regs.long_mode():
            return VECTOR_GP  # there are no task gates in long mode
        if not (cpu.guest and cpu.vmcb.intercepts[EXIT_TASK_SWITCH]):
            return GATE_OK  # a hardware task switch, seen from outside: the handler runs, the shadow is gone (S2-23)
    return outcome


def _error_code(cpu: Cpu, fault: int, vector: int, software: bool) -> int:
    """The error code of a fault raised by delivering ``vector``; -1 where the fault pushes none (S6-96)."""
    if fault not in ERROR_CODE_VECTORS:
        return -1
    if fault == VECTOR_PF:
        return PF_WRITE
    external = 1 if cpu.options.idt_gp_ext_bit and not software else 0  # S6-96, S6-97
    if fault in (VECTOR_GP, VECTOR_NP):
        scale = 16 if cpu.options.idt_error_code_16 and cpu.regs.long_mode() else 8  # S10-43
        return vector * scale + 2 + external  # an IDT entry: bit 1
    return external if fault in (VECTOR_SS, VECTOR_TS) else 0  # a stack; the other codes have no EXT bit


def _task_switch_info(cpu: Cpu, kind: int, word: int) -> int:
    """EXITINFO2 of a task-switch exit through a task gate (S6-93)."""
    code = event_error_code(word)
    info = 1 << 44 | code if code >= 0 else 0
    return info | 1 << 48 if _pushed_flags(cpu, kind, word & 0xFF) & RFLAGS_RF else info


def _enter_handler(cpu: Cpu, kind: int, word: int, gate: Gate, return_rip: int) -> None:
    """Delivery is complete: push, mask, go (S6-72 (v))."""
    regs = cpu.regs
    world = cpu.world()
    vector = word & 0xFF
    if event_type(word) == TYPE_NMI:
        vector = 2  # S1-43
    record = Handler(cpu.step, WORLD_GUEST if cpu.guest else WORLD_HOST, kind, vector)
    record.error_code = event_error_code(word)
    record.guest = cpu.guest
    record.rip = return_rip
    record.rflags = regs.rflags
    record.gif = cpu.gif
    record.shadow = cpu.shadow
    record.nmi_masked = cpu.nmi_masked and kind != KIND_NMI  # an NMI has just set it, and found it clear (S4-01)
    cpu.recorder.handlers.append(record)
    if cpu.guest:
        entry = cpu.recorder.entries[-1]
        entry.delivered += 1
        entry.last_op = -1  # what it did for the shadow is over (S2-23)
        if kind == KIND_INJECTED:
            entry.injected_deliveries += 1

    pushed = _pushed_flags(cpu, kind, vector)
    world.frames.append(Frame(return_rip, pushed, regs.cpl, vector, record.error_code))
    regs.rflags &= ~(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM)  # S6-20: no trap before the handler
    if not gate.trap:
        regs.rflags &= ~RFLAGS_IF
    regs.cpl = 0
    regs.rip = world.code.handlers.get(vector, world.code.default_handler)
    cpu.shadow = shadow.after_delivery(cpu)
    cpu.debug_trap &= ~DR6_BS  # S6-20: of a trap that a #MC or #SX overtook; stepping goes on after the return
    cpu.halted = False
    world.rep_left = 0
    cpu.vectoring = 0  # S6-79
    cpu.injecting = False  # VMRUN is complete (S2-70, S2-74)
    if cpu.options.exitintinfo_source == SOURCE_QEMU and cpu.guest:
        cpu.vmcb.eventinj &= ~EVENT_V  # S6-81: leaves a non-valid event behind
    if kind == KIND_VIRQ:
        cpu.vmcb.v_irq = False  # S10-47: where it was not cleared before


def _pushed_flags(cpu: Cpu, kind: int, vector: int) -> int:
    """The RFLAGS image of an event: a fault's has RF=1; that of #DB is left to software (T-113)."""
    rflags = cpu.regs.rflags
    return rflags | RFLAGS_RF if kind == KIND_EXCEPTION and vector != VECTOR_DB else rflags


def _first_class(cpu: Cpu, kind: int, word: int) -> int:
    """The double-fault class of the event that met a fault (S6-100), or what an option makes of an injected one."""
    if kind == KIND_INJECTED:
        if cpu.options.injected_exception_benign:
            return BENIGN  # S10-45
        if cpu.options.vector_20_page_fault and event_type(word) == TYPE_EXCEPTION and word & 0xFF == 20:
            return PAGE_FAULT  # S10-63
    return fault_class(word)


def _as_hardware(cpu: Cpu, kind: int, word: int) -> bool:
    """Whether EXT takes an injected #BP or #OF for an event of the hardware (S10-61)."""
    injected = kind == KIND_INJECTED and event_type(word) == TYPE_EXCEPTION
    return injected and cpu.options.idt_ext_bit_of_injected_bp_of


def _note(cpu: Cpu, kind: int, word: int) -> None:
    """What an implementation notes for EXITINTINFO where that is not the event under delivery."""
    if cpu.options.exitintinfo_source == SOURCE_QEMU:
        if not cpu.vmcb.eventinj & EVENT_V:
            cpu.vmcb.eventinj = _qemu_native_word(kind, word, cpu.vmcb.eventinj)  # S6-81
    elif kind == KIND_INJECTED:
        cpu.noted = word >> 32 << 32 | cpu.vmcb.eventinj & 0xFFFF_FFFF  # S10-73: with an NMI's vector, reserved bits
        cpu.vectoring = cpu.noted
    elif event_type(word) == TYPE_EXCEPTION and (kind != KIND_SOFT or word & 0xFF != VECTOR_DB):
        cpu.noted = word
    else:
        cpu.vectoring = cpu.noted  # S10-64: Bochs notes no INTR, NMI, INTn or ICEBP


def _qemu_native_word(kind: int, word: int, eventinj: int) -> int:
    """QEMU's record of a native event (S6-81, correction; S10-42).

    TYPE is 4 for INTn, INT3 and INTO, 3 for everything else. The error code is written for the vectors that have one;
    for others what EVENTINJ held stays.
    """
    vector = word & 0xFF
    native = event_word(TYPE_SOFT if kind == KIND_SOFT else TYPE_EXCEPTION, vector)
    if vector in _QEMU_ERROR_CODES:
        return native | EVENT_EV | word >> 32 << 32
    return native | eventinj >> 32 << 32
