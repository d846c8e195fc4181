"""Mutants of delivery, its faults, instructions and debug exceptions (sections 6.5 to 6.8 and 7)."""

from typing import Any, Final

from worldswitch.core import delivery
from worldswitch.core.bits import (
    DR6_BS,
    EXIT_ICEBP,
    EXIT_IRET,
    EXIT_NPF,
    EXIT_PUSHF,
    EXIT_SWINT,
    RFLAGS_IF,
    RFLAGS_TF,
    SHADOW_MOVSS,
    SHADOW_NONE,
    VECTOR_PF,
)
from worldswitch.core.isa import (
    GATE_NPF,
    GATE_OK,
    OP_HLT,
    OP_ICEBP,
    OP_INT,
    OP_IRET,
    OP_PUSHF,
    OP_STI,
)
from worldswitch.core.record import KIND_EXCEPTION
from worldswitch.core.state import Cpu
from worldswitch.mutants.planting import (
    Rule,
    always,
    as_if,
    first,
    instead,
    instruction,
    keeps,
    only_if,
    put,
    then,
    with_intercept,
)
from worldswitch.mutants.processor import ARCHITECTURE, mutant, set_rflags


def _pf_alone(right: Rule) -> Rule:
    return lambda before, raised: delivery.ALONE if before == delivery.PAGE_FAULT else right(before, raised)


def _pf_after_contributory(right: Rule) -> Rule:
    def wrong(before: int, raised: int) -> int:
        pair = (before, raised)
        return delivery.BECOMES_DF if pair == (delivery.CONTRIBUTORY, delivery.PAGE_FAULT) else right(before, raised)

    return wrong


def _no_triple_fault(right: Rule) -> Rule:
    return lambda before, raised: delivery.ALONE if before == delivery.DOUBLE_FAULT else right(before, raised)


def _entering(change: Any) -> Any:
    """Of ``_enter_handler``: something is wrong when a handler has been entered."""
    return then(change)


def _gate_ignored(trap: bool) -> Any:
    """Of ``_enter_handler``: every gate is a trap gate, or none."""

    def make(right: Rule) -> Rule:
        def wrong(cpu: Cpu, kind: int, word: int, gate: Any, return_rip: int) -> None:
            actual, gate.trap = gate.trap, trap
            right(cpu, kind, word, gate, return_rip)
            gate.trap = actual

        return wrong

    return make


def _fault_returns_after(right: Rule) -> Rule:
    """A fault's frame names the instruction after."""

    def wrong(cpu: Cpu, kind: int, word: int, gate: Any, return_rip: int) -> None:
        right(cpu, kind, word, gate, return_rip + (kind == KIND_EXCEPTION))

    return wrong


def _cr2_before_the_intercept(right: Rule) -> Rule:
    def wrong(cpu: Cpu, vector: int, error_code: int = -1, address: int = 0) -> None:
        if vector == VECTOR_PF:
            cpu.regs.cr2 = address
        right(cpu, vector, error_code, address)

    return wrong


def _without_error_code(right: Rule) -> Rule:
    return lambda cpu, vector, error_code=-1, address=0: right(cpu, vector, -1, address)


def _intercepts_ignored(right: Rule) -> Rule:
    def wrong(cpu: Cpu, vector: int, error_code: int = -1, address: int = 0) -> None:
        actual = cpu.vmcb.intercepts
        cpu.vmcb.intercepts = actual[:0x40] + bytes(32) + actual[0x60:]
        right(cpu, vector, error_code, address)
        cpu.vmcb.intercepts = actual

    return wrong


def _iret_keeping_if(right: Rule) -> Rule:
    """IRET pops everything but IF."""

    def wrong(cpu: Cpu, op: int, arg: int) -> int:
        before = cpu.regs.rflags & RFLAGS_IF
        result = int(right(cpu, op, arg))
        if result == SHADOW_NONE:
            cpu.regs.rflags = cpu.regs.rflags & ~RFLAGS_IF | before
        return result

    return wrong


def _rip_first(right: Rule) -> Rule:
    """INTn advances RIP before delivery starts."""

    def wrong(cpu: Cpu, op: int, arg: int) -> int:
        rip = cpu.regs.rip
        cpu.vmcb.nrip = 0
        result = int(right(cpu, op, arg))
        if (
            not cpu.guest
            and cpu.vmcb.exit_code == EXIT_NPF
            and cpu.recorder.exits
            and cpu.recorder.exits[-1].step == cpu.step
        ):
            cpu.recorder.exits[-1].rip = cpu.vmcb.save.rip = rip + 1
        return result

    return wrong


def _any_shadow_suppresses(right: Rule) -> Rule:
    return lambda cpu, created: right(cpu, SHADOW_MOVSS if created else SHADOW_NONE)


def _forget_bs(cpu: Cpu) -> None:
    cpu.regs.dr6 &= ~DR6_BS


MUTANTS: Final = (
    # --- what a delivery meets
    mutant("delivery-fault-always-alone", "S6-72 S6-101", "a fault of a delivery is always handled alone", ARCHITECTURE,
           "a handler where #DF had to come", "delivery", "compose", always(delivery.ALONE)),
    mutant("delivery-fault-always-double", "S6-101", "a fault of a delivery is always a double fault", ARCHITECTURE,
           "#DF where the fault had to be handled alone", "delivery", "compose", always(delivery.BECOMES_DF)),
    mutant("page-fault-never-doubles", "S6-101", "a fault while #PF is delivered is handled alone", ARCHITECTURE,
           "a handler where #DF had to come", "delivery", "compose", _pf_alone),
    mutant("contributory-and-page-fault-double", "S6-101", "#PF while a contributory fault is delivered is #DF",
           ARCHITECTURE, "#DF where #PF had to be handled alone", "delivery", "compose", _pf_after_contributory),
    mutant("no-triple-fault", "S6-101", "a fault while #DF is delivered is handled alone", ARCHITECTURE,
           "a handler where the processor had to shut down", "delivery", "compose", _no_triple_fault),
    mutant("ss-not-contributory", "S6-100", "#SS is benign", ARCHITECTURE, "a handler where #DF had to come",
           "delivery", "CONTRIBUTORY_VECTORS", instead(delivery.CONTRIBUTORY_VECTORS - {12})),
    mutant("de-not-contributory", "S6-100", "#DE is benign", ARCHITECTURE, "a handler where #DF had to come",
           "delivery", "CONTRIBUTORY_VECTORS", instead(delivery.CONTRIBUTORY_VECTORS - {0})),
    mutant("interrupt-contributory", "S6-102", "an external interrupt with vector 20h is a contributory fault", ARCHITECTURE,
           "#DF where the fault had to be handled alone", "delivery", "fault_class",
           lambda right: lambda word: delivery.CONTRIBUTORY if word & 0x7FF == 0x20 else right(word)),
    mutant("double-fault-error-code", "S6-104", "#DF has the error code of the fault", ARCHITECTURE,
           "the handler's error code", "delivery", "event_word",
           lambda right: lambda kind, vector, code=-1: right(kind, vector, 0x62 if vector == 8 and code == 0 else code)),
    mutant("idt-error-code-without-idt-bit", "S6-96", "the error code of a delivery's #GP lacks bit 1", ARCHITECTURE,
           "EXITINFO1, or the handler's error code", "delivery", "_error_code",
           lambda right: lambda *arguments: right(*arguments) & ~2 if right(*arguments) > 0 else right(*arguments)),
    mutant("npf-in-delivery-unnoticed", "S6-92", "nested page faults of a delivery go unnoticed", ARCHITECTURE,
           "a handler is entered where exit 400h had to come", "delivery", "_meets",
           lambda right: lambda cpu, gate, software: (
               GATE_OK if right(cpu, gate, software) == GATE_NPF else right(cpu, gate, software))),
    mutant("npf-code-without-final-bit", "S6-91", "EXITINFO1 of a nested page fault lacks bit 32", ARCHITECTURE,
           "EXITINFO1 of exit 400h", "delivery", "NPF_STACK_WRITE", instead(6)),
    mutant("npf-without-nested-paging", "S6-92", "without nested paging a missing page exits all the same", ARCHITECTURE,
           "exit 400h where #PF had to come", "delivery", "deliver", as_if("np_enable", True)),
    mutant("delivery-ignores-exception-intercepts", "S6-72", "faults of a delivery are not intercepted", ARCHITECTURE,
           "a handler where exit 40h+v had to come", "boundary", "deliver",
           lambda right: lambda cpu, *arguments: _deliver_unintercepted(right, cpu, *arguments)),
    mutant("vectoring-not-cleared", "S6-79", "a finished delivery is still reported", "lost-event",
           "EXITINTINFO.V=1 on a later exit", "delivery", "_enter_handler", keeps("vectoring")),
    # --- the handler
    mutant("interrupt-gate-keeps-if", "S6-43", "an interrupt gate leaves IF alone", ARCHITECTURE,
           "an INTR is taken in the handler", "delivery", "_enter_handler", _gate_ignored(True)),
    mutant("trap-gate-clears-if", "S6-43", "a trap gate clears IF", ARCHITECTURE,
           "an exit of the handler reports IF=0", "delivery", "_enter_handler", _gate_ignored(False)),
    mutant("delivery-keeps-tf", "S6-20", "delivery leaves TF alone", ARCHITECTURE, "a #DB in the handler",
           "delivery", "_enter_handler",
           lambda right: lambda cpu, *arguments: _keeping(right, cpu, RFLAGS_TF, *arguments)),
    mutant("delivery-keeps-cpl", "S6-46", "a handler runs at the interrupted CPL", ARCHITECTURE,
           "a fault of the handler that must not come", "delivery", "_enter_handler", keeps("cpl")),
    mutant("fault-returns-after", "S7-05", "a fault's frame names the next instruction", ARCHITECTURE,
           "the saved RIP of a handler", "delivery", "_enter_handler", _fault_returns_after),
    mutant("error-codes-not-pushed", "S6-48", "no fault of an instruction pushes an error code", ARCHITECTURE,
           "the handler's error code", "execute", "raise_fault", _without_error_code),
    mutant("delivery-does-not-wake", "S4-06", "a handler does not end a halt", ARCHITECTURE,
           "the handler's first instruction had to be executed", "delivery", "_enter_handler", keeps("halted")),
    mutant("iret-keeps-if", "S2-05", "IRET does not restore IF", ARCHITECTURE, "an exit reports another RFLAGS",
           "execute", "perform", instruction(OP_IRET, _iret_keeping_if)),
    mutant("iret-keeps-cpl", "S6-07", "IRET does not restore CPL", ARCHITECTURE,
           "a fault, or none, at another CPL", "execute", "perform", instruction(OP_IRET, keeps("cpl"))),
    # --- exceptions and instructions
    mutant("exceptions-not-intercepted", "S6-111", "faults of instructions are not intercepted", ARCHITECTURE,
           "a handler where exit 40h+v had to come", "execute", "raise_fault", _intercepts_ignored),
    mutant("intercepted-pf-writes-cr2", "S6-90", "an intercepted #PF writes CR2", ARCHITECTURE, "CR2 of exit 4Eh",
           "execute", "raise_fault", _cr2_before_the_intercept),
    mutant("pf-does-not-write-cr2", "S6-90", "#PF does not write CR2", ARCHITECTURE, "CR2 of a later exit",
           "execute", "raise_fault",
           lambda right: lambda cpu, vector, code=-1, address=0: _keeping_cr2(right, cpu, vector, code, address)),
    mutant("int-ignores-intercept", "S6-75 S6-110", "INT n ignores its intercept", ARCHITECTURE,
           "a handler where exit 75h had to come", "execute", "perform",
           instruction(OP_INT, with_intercept(EXIT_SWINT, False))),
    mutant("icebp-ignores-intercept", "S6-75", "ICEBP ignores its intercept", ARCHITECTURE,
           "a handler where exit 88h had to come", "execute", "perform",
           instruction(OP_ICEBP, with_intercept(EXIT_ICEBP, False))),
    mutant("iret-ignores-intercept", "S4-10", "IRET ignores its intercept", ARCHITECTURE, "exit 74h had to come",
           "execute", "perform", instruction(OP_IRET, with_intercept(EXIT_IRET, False))),
    mutant("pushf-always-exits", "S6-110", "PUSHF exits without its intercept", ARCHITECTURE,
           "exit 70h that must not come", "execute", "perform",
           instruction(OP_PUSHF, with_intercept(EXIT_PUSHF, True))),
    mutant("int-exit-saves-next-rip", "S6-61", "an exit during delivery of INT n saves the RIP after it", ARCHITECTURE,
           "RIP of such an exit", "execute", "perform", instruction(OP_INT, _rip_first)),
    mutant("hlt-at-any-cpl", "S6-110", "HLT needs no privilege", ARCHITECTURE, "#GP had to come",
           "execute", "perform", instruction(OP_HLT, as_if("cpl", 0))),
    mutant("sti-at-any-cpl", "S2-01", "STI needs no privilege", ARCHITECTURE, "#GP had to come",
           "execute", "perform", instruction(OP_STI, as_if("cpl", 0))),
    # --- debug exceptions
    mutant("sti-shadow-suppresses-step", "S2-36", "an STI shadow suppresses the single-step trap", ARCHITECTURE,
           "a #DB after STI had to come", "debug", "after_instruction", _any_shadow_suppresses),
    mutant("mov-ss-shadow-does-not", "S2-37", "a MOV SS shadow does not suppress the single-step trap", ARCHITECTURE,
           "a #DB after MOV SS that must not come", "debug", "SHADOW_MOVSS", instead(1 << 7)),
    mutant("gif-holds-single-step", "S3-17", "GIF=0 holds the single-step trap", ARCHITECTURE,
           "a #DB had to come", "debug", "take_trap", only_if(lambda cpu: cpu.gif)),
    mutant("no-single-step", "S6-19", "TF does nothing", ARCHITECTURE, "a #DB had to come",
           "debug", "after_instruction", always(None)),
    mutant("single-step-without-bs", "S1-04", "a single-step trap does not set DR6.BS", ARCHITECTURE, "DR6 at the end",
           "debug", "raise_trap", first(_forget_bs)),
    mutant("db-intercept-ignored", "S6-111", "a trap-class #DB ignores its intercept", ARCHITECTURE,
           "a handler where exit 41h had to come", "debug", "take_trap", with_intercept(0x41, False)),
    mutant("single-step-interrupts-shadow", "S2-22", "a single-step trap starts its handler in a shadow", "shadow-bleed",
           "int_state at the first instruction of the handler", "debug", "raise_trap",
           then(put("shadow", SHADOW_MOVSS))),
    mutant("rflags-image-without-if", "S7-05", "a handler's frame has IF=0", ARCHITECTURE,
           "after the handler's IRET IF is another", "delivery", "_pushed_flags",
           lambda right: lambda *arguments: right(*arguments) & ~RFLAGS_IF),
    mutant("handler-starts-with-if", "S6-43", "every handler starts with IF=1", ARCHITECTURE,
           "an INTR is taken in the handler, or an exit of it reports IF=1", "delivery", "_enter_handler",
           _entering(set_rflags(RFLAGS_IF, True))),
)  # fmt: skip


def _keeping(right: Rule, cpu: Cpu, bit: int, *arguments: Any) -> None:
    before = cpu.regs.rflags & bit
    right(cpu, *arguments)
    cpu.regs.rflags |= before


def _keeping_cr2(right: Rule, cpu: Cpu, vector: int, code: int, address: int) -> None:
    before = cpu.regs.cr2
    right(cpu, vector, code, address)
    cpu.regs.cr2 = before


def _deliver_unintercepted(right: Rule, cpu: Cpu, *arguments: Any) -> None:
    actual = cpu.vmcb.intercepts
    cpu.vmcb.intercepts = actual[:0x40] + bytes(32) + actual[0x60:]
    right(cpu, *arguments)
    cpu.vmcb.intercepts = actual
