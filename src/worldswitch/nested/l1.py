"""What L1 does: ``set`` in its program, and the exit handler of an L1 that is a hypervisor."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from worldswitch.core.bits import (
    ERROR_CODE_VECTORS,
    EVENT_V,
    EXIT_EXCEPTION,
    EXIT_NPF,
    EXIT_VINTR,
    TYPE_EXCEPTION,
    TYPE_INTR,
    VECTOR_DF,
    event_type,
    event_word,
)
from worldswitch.core.delivery import BECOMES_DF, compose, fault_class, vector_class
from worldswitch.core.names import event_name
from worldswitch.core.state import END, Vmcb
from worldswitch.errors import InputError
from worldswitch.machine.software import Assignment, parse_assignment
from worldswitch.nested.fields import BY_NAME, Bench
from worldswitch.nested.memory import OF_L1, parse_page
from worldswitch.nested.record import Assertion
from worldswitch.nested.vcpu import Vcpu
from worldswitch.nested.vmcb02 import is_soft, write_vmcb12_int_state
from worldswitch.program.instruction import meets_number, parse_vector

if TYPE_CHECKING:
    from worldswitch.machine.machine import Machine
    from worldswitch.nested.machine import NestedMachine

HANDLE_EXIT: Final = "set l1.exit=handled"
"""Ends each round of an L1 of kind ``hypervisor``."""

Act = Callable[[Vcpu], None]


def parse_level_assignment(level: int, field: str, value: str) -> Assignment:
    """``set FIELD=VALUE`` in the program of L1 or L2; raises ``InputError``.

    L1 sets ``vmcb12.*`` (also ``vmcb12.eventinj=exitintinfo``), ``l2.*`` (what vmcb12 holds of L2; ``l2.rip=next``),
    ``npt.PAGE=ok`` (its nested page table; ``npt.all=ok``). Both set ``guest.idt.VECTOR``, ``guest.memory=ok`` and
    ``frame.*`` of their own.
    """
    head, _, rest = field.partition(".")
    if head == "frame":
        return parse_assignment(field, value)
    if head == "guest":
        return _assignment(_own_world(level, field, rest, value))
    if level == 1:
        act = _of_l1(field, head, rest, value)
        if act is not None:
            return _assignment(act)
    raise InputError(f"set {field}: L{level} cannot set that")


def _assignment(act: Act) -> Assignment:
    def apply(machine: "Machine", _: object) -> None:
        vcpu = cast("NestedMachine", machine).vcpu
        assert vcpu is not None
        act(vcpu)

    return Assignment(apply, None)


def _own_world(level: int, field: str, rest: str, value: str) -> Act:
    if rest == "memory" and value == "ok":
        return lambda vcpu: vcpu.memory.map_all(level)
    if rest.startswith("idt."):
        vector, outcome = parse_vector(rest[4:]), meets_number(value)
        return lambda vcpu: vcpu.memory.set_gate(level, vector, outcome)
    raise InputError(f"set {field}: a guest sets guest.idt.VECTOR, guest.memory=ok and frame.*")


def _of_l1(field: str, head: str, rest: str, value: str) -> Act | None:
    if (field, value) == ("l1.exit", "handled"):
        return handle_exit
    if (field, value) == ("vmcb12.eventinj", "exitintinfo"):
        return reinject
    if (field, value) == ("l2.rip", "next"):
        return lambda vcpu: skip(vcpu, clear_shadow=False)
    if head == "npt":
        if value != "ok":
            raise InputError(f"set {field}={value}: the value is ok")
        if rest == "all":
            return lambda vcpu: vcpu.memory.map_all(2)
        try:
            page = parse_page(rest)[1]
        except InputError as error:
            raise InputError(f"set {field}: {error.message}") from None
        return lambda vcpu: vcpu.memory.map1(page)
    if head in ("vmcb12", "l2"):
        return _field(field, value)
    return None


def _field(name: str, value: str) -> Act:
    known = BY_NAME.get(name)
    if known is None:
        raise InputError(f"set {name}: no such field")
    try:
        parsed: Any = known.kind.parse(_plain(value))
    except InputError as error:
        raise InputError(f"set {name}={value}: {error.message}") from None
    if name == "vmcb12.int_state":
        return lambda vcpu: write_vmcb12_int_state(vcpu, parsed)
    return lambda vcpu: known.apply(Bench(vcpu.vmcb12), parsed)


def _plain(value: str) -> Any:
    return [word.strip() for word in value[1:-1].split(",") if word.strip()] if value.startswith("[") else value


def reinject(vcpu: Vcpu) -> None:
    """EVENTINJ := EXITINTINFO (S6-71); the return RIP of a soft event is L1's to give (S1-72, S1-73)."""
    vmcb12 = vcpu.vmcb12
    vmcb12.eventinj = vmcb12.exitintinfo
    if is_soft(vmcb12.eventinj):
        vmcb12.nrip = vmcb12.save.rip + 1


def skip(vcpu: Vcpu, clear_shadow: bool = True) -> None:
    """Step over the instruction at RIP; a hypervisor must clear int_state when it does (S2-54)."""
    vmcb12 = vcpu.vmcb12
    last = len(vcpu.machine.layout(2).code.ops) - 1
    if 0 < vmcb12.save.rip < last:
        vmcb12.save.rip += 1
    if clear_shadow:
        write_vmcb12_int_state(vcpu, 0)


def violates_s9_27(vmcb: Vmcb) -> bool:
    """VMware's assertion: no shadow together with an external interrupt under delivery (S9-27, S2-84)."""
    word = vmcb.exitintinfo
    return bool(vmcb.int_state & 1) and bool(word & EVENT_V) and event_type(word) == TYPE_INTR


def handle_exit(vcpu: Vcpu) -> None:
    """The exit handler of a hypervisor: assert, map, re-inject, or step over what it has emulated."""
    exits = vcpu.journal.exits
    if not exits:
        return  # VMRUN itself was refused
    vmcb12, code = vcpu.vmcb12, exits[-1].code
    if violates_s9_27(vmcb12):
        text = f"int_state 1 with EXITINTINFO {event_name(vmcb12.exitintinfo)}"
        vcpu.journal.assertions.append(Assertion(vcpu.cpu.step, exits[-1].number, text))
        vcpu.note("L1 ASSERT", text)
        if vcpu.nested.asserts:
            vcpu.dead = "l1-assert"
            vcpu.cpu.stop = END
            return
    vectoring = bool(vmcb12.exitintinfo & EVENT_V)
    if code == EXIT_NPF:
        page, owner = vcpu.memory.fault(2, vmcb12, l1_paging=True)
        if owner == OF_L1:
            vcpu.memory.map1(page)
    if EXIT_EXCEPTION <= code < EXIT_EXCEPTION + 32:
        vmcb12.eventinj = _exception(vmcb12, code - EXIT_EXCEPTION, vectoring)
    elif vectoring:
        reinject(vcpu)
    elif code == EXIT_VINTR:
        vmcb12.v_irq = False
    elif vmcb12.nrip:  # an instruction that L1 has emulated (S1-71)
        skip(vcpu)


def _exception(vmcb12: Vmcb, vector: int, vectoring: bool) -> int:
    """An intercepted exception for L2 itself, combined with the event it interrupted (S6-101)."""
    if vectoring and compose(fault_class(vmcb12.exitintinfo), vector_class(vector)) == BECOMES_DF:
        return event_word(TYPE_EXCEPTION, VECTOR_DF, 0)
    code = vmcb12.exitinfo1 & 0xFFFF_FFFF if vector in ERROR_CODE_VECTORS else -1
    return event_word(TYPE_EXCEPTION, vector, code)
