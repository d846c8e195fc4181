"""Delivery through the IDT and what its faults become (sections 6.5 to 6.7)."""

from typing import Final

from worldswitch.core.bits import (
    DR6_BS,
    EVENT_EV,
    EXIT_EXCEPTION,
    EXIT_NPF,
    EXIT_SHUTDOWN,
    EXIT_TASK_SWITCH,
    RFLAGS_IF,
    RFLAGS_NT,
    RFLAGS_RF,
    RFLAGS_TF,
    RFLAGS_VM,
    SHADOW_NONE,
    TYPE_EXCEPTION,
    TYPE_NMI,
    VECTOR_DB,
    VECTOR_DF,
    VECTOR_GP,
    VECTOR_NMI,
    VECTOR_PF,
    event_error_code,
    event_type,
    event_word,
)
from worldswitch.core.delivery import NPF_STACK_WRITE, PF_WRITE, STACK_ADDRESS, TASK_SELECTOR
from worldswitch.core.isa import GATE_NPF, GATE_OK, GATE_TASK
from worldswitch.core.record import KIND_EXCEPTION, WORLD_GUEST, WORLD_HOST
from worldswitch.core.state import LIMIT, SHUTDOWN, Frame
from worldswitch.oracles.architecture.reference import LostTrack, Reference
from worldswitch.oracles.architecture.switch import vmexit

_CONTRIBUTORY: Final = frozenset({0, 10, 11, 12, 13, 21, 29, 30})
_PUSHES_CODE: Final = frozenset({8, 10, 11, 12, 13, 14, 17, 21, 29, 30})
_NAMES_GATE: Final = frozenset({11, 13})  # faults whose error code names the IDT entry
_HAS_EXT: Final = frozenset({10, 11, 12, 13})

# S6-101: (class of the first, class of the second) to what comes of it; every other pair is handled alone.
_FOLDS: Final = {
    ("contributory", "contributory"): "df",
    ("page", "page"): "df",
    ("page", "contributory"): "df",
    ("df", "contributory"): "shutdown",
    ("df", "page"): "shutdown",
    ("df", "df"): "shutdown",
}


def fault_class(word: int) -> str:
    """S6-100, S6-102."""
    vector = word & 0xFF
    if event_type(word) != TYPE_EXCEPTION:
        return "benign"
    if vector in _CONTRIBUTORY:
        return "contributory"
    return {VECTOR_PF: "page", VECTOR_DF: "df"}.get(vector, "benign")


def fault(ref: Reference, vector: int, code: int = -1, address: int = 0) -> None:
    """An instruction raises an exception before it completes (S6-111, S6-90)."""
    cpu = ref.cpu
    if cpu.guest and cpu.vmcb.intercepts[EXIT_EXCEPTION + vector]:
        vmexit(ref, EXIT_EXCEPTION + vector, (max(code, 0),), address)
        return
    if vector == VECTOR_PF:
        cpu.regs.cr2 = address
    deliver(ref, KIND_EXCEPTION, event_word(TYPE_EXCEPTION, vector, code), cpu.regs.rip, False)


def deliver(ref: Reference, kind: int, word: int, return_rip: int, software: bool) -> None:
    """S6-72: an event, then each exception that its delivery raises, until a handler is entered or the guest left."""
    cpu = ref.cpu
    regs, vmcb = cpu.regs, cpu.vmcb
    codes: tuple[int, ...] = (event_error_code(word),)
    while True:
        ref.vectoring = word
        vector = word & 0xFF
        world = cpu.world()
        gate = world.idt.get(vector, world.default_gate)
        raised = gate.outcome
        if software and regs.cpl > gate.dpl:
            raised = VECTOR_GP  # S6-46, S6-47
        elif raised == GATE_TASK:
            if regs.long_mode():
                raised = VECTOR_GP
            elif cpu.guest and vmcb.intercepts[EXIT_TASK_SWITCH]:
                _task_switch(ref, kind, word)
                return
            else:
                raised = GATE_OK
        if raised == GATE_OK:
            _enter(ref, kind, word, return_rip, codes)
            return
        if raised == GATE_NPF:
            if cpu.guest and vmcb.np_enable:  # S6-92
                vmexit(ref, EXIT_NPF, (NPF_STACK_WRITE,), STACK_ADDRESS)
                return
            raised = VECTOR_PF
        codes = _codes(raised, vector, software)
        if cpu.guest and vmcb.intercepts[EXIT_EXCEPTION + raised]:  # S6-72 (i)
            found = tuple(max(code, 0) for code in codes)
            vmexit(ref, EXIT_EXCEPTION + raised, found, STACK_ADDRESS if raised == VECTOR_PF else 0)
            return
        if raised == VECTOR_PF:
            regs.cr2 = STACK_ADDRESS
        becomes = _FOLDS.get((fault_class(word), fault_class(event_word(TYPE_EXCEPTION, raised))))
        word = ref.supersede(word)
        if ref.run.cpu.stop == LIMIT and ref.run.cpu.step == ref.step and not ref.sees_superseded():
            raise LostTrack  # a delivery that never ends was cut off
        if becomes == "shutdown":
            shut_down(ref)
            return
        if becomes == "df":
            if cpu.guest and vmcb.intercepts[EXIT_EXCEPTION + VECTOR_DF]:  # S6-72 (iii); S6-78: V=0 in some
                vmexit(ref, EXIT_EXCEPTION + VECTOR_DF, or_no_event=True)
                return
            raised, codes = VECTOR_DF, (0,)  # S6-104
        kind, software, return_rip = KIND_EXCEPTION, False, regs.rip
        word = event_word(TYPE_EXCEPTION, raised, codes[0])


def _codes(vector: int, gate: int, software: bool) -> tuple[int, ...]:
    """The error codes allowed for a fault raised by delivery through ``gate``; EXT is disputed (S6-96, S6-97)."""
    if vector not in _PUSHES_CODE:
        return (-1,)
    if vector == VECTOR_PF:
        return (PF_WRITE,)
    code = gate << 3 | 2 if vector in _NAMES_GATE else 0
    return (code, code | 1) if vector in _HAS_EXT and not software else (code,)


def _task_switch(ref: Reference, kind: int, word: int) -> None:
    """S6-93."""
    info = 0
    if word & EVENT_EV:
        info = 1 << 44 | event_error_code(word)
    if _pushed(ref, kind, word & 0xFF) & RFLAGS_RF:
        info |= 1 << 48
    vmexit(ref, EXIT_TASK_SWITCH, (TASK_SELECTOR,), info)


def _pushed(ref: Reference, kind: int, vector: int) -> int:
    rflags = ref.cpu.regs.rflags
    return rflags | RFLAGS_RF if kind == KIND_EXCEPTION and vector != VECTOR_DB else rflags


def _enter(ref: Reference, kind: int, word: int, return_rip: int, codes: tuple[int, ...]) -> None:
    cpu = ref.cpu
    regs, world = cpu.regs, cpu.world()
    vector = VECTOR_NMI if event_type(word) == TYPE_NMI else word & 0xFF  # S1-43
    record = ref.enter_handler(kind, vector, WORLD_GUEST if cpu.guest else WORLD_HOST, return_rip, codes)
    gate = world.idt.get(word & 0xFF, world.default_gate)
    world.frames.append(Frame(return_rip, _pushed(ref, kind, vector), regs.cpl, vector, record.error_code))
    regs.rflags &= ~(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM)  # S6-20
    if not gate.trap:
        regs.rflags &= ~RFLAGS_IF
    regs.cpl = 0
    regs.rip = world.code.handlers.get(vector, world.code.default_handler)
    cpu.shadow = SHADOW_NONE  # S2-22, S2-23, S2-57
    cpu.debug_trap &= ~DR6_BS
    cpu.halted = False
    world.rep_left = 0
    cpu.injecting = False
    ref.vectoring = 0


def shut_down(ref: Reference) -> None:
    """S6-94, S6-95."""
    if ref.cpu.guest and ref.cpu.vmcb.intercepts[EXIT_SHUTDOWN]:
        vmexit(ref, EXIT_SHUTDOWN)
    else:
        ref.stop(SHUTDOWN)
