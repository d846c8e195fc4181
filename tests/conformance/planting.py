"""How a rule of the model is turned into a wrong one: each function gives a maker, which takes the right rule."""

from collections.abc import Callable
from typing import Any

from worldswitch.core import execute
from worldswitch.core.bits import SHADOW_NONE
from worldswitch.core.state import Cpu

Rule = Callable[..., Any]
Maker = Callable[[Any], Any]
Change = Callable[[Cpu], object]


def always(value: object) -> Maker:
    return lambda real: lambda *arguments, **keywords: value


def instead(wrong: object) -> Maker:
    return lambda real: wrong


def first(change: Change) -> Maker:
    """Something happens before the rule applies."""

    def make(real: Rule) -> Rule:
        def rule(cpu: Cpu, *arguments: Any, **keywords: Any) -> Any:
            change(cpu)
            return real(cpu, *arguments, **keywords)

        return rule

    return make


def then(change: Change) -> Maker:
    """Something happens after the rule has applied; if it tells whether it did, only where it did."""

    def make(real: Rule) -> Rule:
        def rule(cpu: Cpu, *arguments: Any, **keywords: Any) -> Any:
            taken = real(cpu, *arguments, **keywords)
            if taken is not False:
                change(cpu)
            return taken

        return rule

    return make


def only_if(condition: Callable[[Cpu], object]) -> Maker:
    """The rule needs something more."""

    def make(real: Rule) -> Rule:
        return lambda cpu, *arguments: condition(cpu) and real(cpu, *arguments)

    return make


def holder(cpu: Cpu, name: str) -> Any:
    return next(owner for owner in (cpu, cpu.vmcb, cpu.regs, cpu.options) if hasattr(owner, name))


def put(name: str, value: object) -> Change:
    """A change: a field of the processor, its VMCB, its registers or its options gets this value."""
    return lambda cpu: setattr(holder(cpu, name), name, value)


def as_if(name: str, value: object) -> Maker:
    """The rule applies as if the field had this value; what the rule itself writes there stays."""

    def make(real: Rule) -> Rule:
        def rule(cpu: Cpu, *arguments: Any, **keywords: Any) -> Any:
            owner = holder(cpu, name)
            actual = getattr(owner, name)
            setattr(owner, name, value)
            result = real(cpu, *arguments, **keywords)
            if getattr(owner, name) == value:
                setattr(owner, name, actual)
            return result

        return rule

    return make


def with_intercept(code: int, on: bool) -> Maker:
    """The rule applies as if this intercept were set, or clear."""

    def make(real: Rule) -> Rule:
        def rule(cpu: Cpu, *arguments: Any, **keywords: Any) -> Any:
            actual = cpu.vmcb.intercepts
            cpu.vmcb.intercepts = actual[:code] + bytes([on]) + actual[code + 1 :]
            result = real(cpu, *arguments, **keywords)
            cpu.vmcb.intercepts = actual
            return result

        return rule

    return make


def instruction(op: int, make: Maker) -> Maker:
    """Of ``execute.perform``: mutates one instruction."""

    def for_all(real: Rule) -> Rule:
        wrong = make(real)
        return lambda cpu, op_, arg: (wrong if op_ == op else real)(cpu, op_, arg)

    return for_all


def keeps(name: str) -> Maker:
    """The rule leaves the field as it was."""

    def make(real: Rule) -> Rule:
        def rule(cpu: Cpu, *arguments: Any, **keywords: Any) -> Any:
            owner = holder(cpu, name)
            actual = getattr(owner, name)
            result = real(cpu, *arguments, **keywords)
            setattr(owner, name, actual)
            return result

        return rule

    return make


def leaves_shadow(after: Callable[[int, int], int]) -> Maker:
    """Of ``execute.perform``: the shadow an instruction leaves, given the one before it and RFLAGS before it."""

    def make(real: Rule) -> Rule:
        def rule(cpu: Cpu, op: int, arg: int) -> Any:
            before, rflags = cpu.shadow, cpu.regs.rflags
            return after(before, rflags) if real(cpu, op, arg) == SHADOW_NONE else execute.DIVERTED

        return rule

    return make
