"""Turning right rules into wrong ones: makers, and the context in which they apply.

A maker takes the right function and returns the wrong one. It is applied in this process, by replacing a name in a
module, so it needs the model as Python modules: a compiled core calls its own functions without looking their names up.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from worldswitch.core.bits import SHADOW_NONE
from worldswitch.core.execute import DIVERTED
from worldswitch.core.state import Cpu
from worldswitch.errors import InputError
from worldswitch.machine import compile as compilation
from worldswitch.mutants.model import Maker, Mutant, Replacement

Rule = Callable[..., Any]
Change = Callable[[Any], object]
"""Something done to the processor, or to what L0 knows of a vCPU."""


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """The mutant's replacements in place; they are taken back however the block ends.

    Raises ``InputError`` where the model is compiled.
    """
    done: list[tuple[ModuleType, str, Any]] = []
    _forget_layouts()
    try:
        for replacement in mutant.replacements:
            module = module_of(replacement)
            right = getattr(module, replacement.name)
            done.append((module, replacement.name, right))
            setattr(module, replacement.name, replacement.make(right))
        yield
    finally:
        for module, name, right in reversed(done):
            setattr(module, name, right)
        _forget_layouts()


def module_of(replacement: Replacement) -> ModuleType:
    """The module to plant in; raises ``InputError`` where it is compiled."""
    module = importlib.import_module(f"worldswitch.{replacement.module}")
    if not (module.__file__ or "").endswith(".py"):
        raise InputError(
            f"mutants are planted in the pure Python core, and {module.__name__} is compiled: set WORLDSWITCH_CORE=pure"
        )
    return module


def _forget_layouts() -> None:
    """Laid-out code outlives a run and holds the kernel's handlers."""
    compilation.lay_out_for.cache_clear()
    compilation.guest_layout.cache_clear()


def always(value: object) -> Maker:
    """Whatever the arguments."""
    return lambda right: lambda *arguments, **keywords: value


def instead(wrong: object) -> Maker:
    """Another function, or another number."""
    return lambda right: wrong


def first(change: Change) -> Maker:
    """Something happens before the rule applies."""

    def make(right: Rule) -> Rule:
        def wrong(cpu: Any, *arguments: Any, **keywords: Any) -> Any:
            change(cpu)
            return right(cpu, *arguments, **keywords)

        return wrong

    return make


def then(change: Change) -> Maker:
    """Something happens after the rule has applied; where it tells whether it did, only if it did."""

    def make(right: Rule) -> Rule:
        def wrong(cpu: Cpu, *arguments: Any, **keywords: Any) -> Any:
            result = right(cpu, *arguments, **keywords)
            if result is not False:
                change(cpu)
            return result

        return wrong

    return make


def only_if(condition: Change) -> Maker:
    """The rule needs something more."""

    def make(right: Rule) -> Rule:
        return lambda cpu, *arguments, **keywords: bool(condition(cpu)) and right(cpu, *arguments, **keywords)

    return make


def owner(cpu: Cpu, name: str) -> Any:
    """What has the field: the processor, its VMCB, its registers or its options."""
    return next(part for part in (cpu, cpu.vmcb, cpu.regs, cpu.options) if hasattr(part, name))


def put(name: str, value: object) -> Change:
    """A change: the field gets this value."""
    return lambda cpu: setattr(owner(cpu, name), name, value)


def as_if(name: str, value: object) -> Maker:
    """The rule applies as if the field had this value; what the rule writes there stays."""

    def make(right: Rule) -> Rule:
        def wrong(cpu: Cpu, *arguments: Any, **keywords: Any) -> Any:
            part = owner(cpu, name)
            actual = getattr(part, name)
            setattr(part, name, value)
            result = right(cpu, *arguments, **keywords)
            if getattr(part, name) == value:
                setattr(part, name, actual)
            return result

        return wrong

    return make


def keeps(name: str) -> Maker:
    """The rule leaves the field as it was."""

    def make(right: Rule) -> Rule:
        def wrong(cpu: Cpu, *arguments: Any, **keywords: Any) -> Any:
            part = owner(cpu, name)
            actual = getattr(part, name)
            result = right(cpu, *arguments, **keywords)
            setattr(part, name, actual)
            return result

        return wrong

    return make


def with_intercept(code: int, on: bool) -> Maker:
    """The rule applies as if this intercept were set, or clear."""

    def make(right: Rule) -> Rule:
        def wrong(cpu: Cpu, *arguments: Any, **keywords: Any) -> Any:
            actual = cpu.vmcb.intercepts
            cpu.vmcb.intercepts = actual[:code] + bytes([on]) + actual[code + 1 :]
            result = right(cpu, *arguments, **keywords)
            cpu.vmcb.intercepts = actual
            return result

        return wrong

    return make


def instruction(op: int, make: Maker) -> Maker:
    """Of ``execute.perform``: changes one instruction."""

    def for_all(right: Rule) -> Rule:
        wrong = make(right)
        return lambda cpu, found, arg: (wrong if found == op else right)(cpu, found, arg)

    return for_all


def leaves_shadow(after: Callable[[int, int], int]) -> Maker:
    """Of ``execute.perform``: the shadow that an instruction leaves, given the one before it and RFLAGS before it."""

    def make(right: Rule) -> Rule:
        def wrong(cpu: Cpu, op: int, arg: int) -> int:
            before, rflags = cpu.shadow, cpu.regs.rflags
            return after(before, rflags) if right(cpu, op, arg) == SHADOW_NONE else DIVERTED

        return wrong

    return make


def both(*makers: Maker) -> Maker:
    """One maker after the other."""

    def make(right: Any) -> Any:
        for maker in makers:
            right = maker(right)
        return right

    return make
