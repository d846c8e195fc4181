"""Making mutants of the processor model: what the four lists of them share."""

from typing import Final

from worldswitch.core.bits import RFLAGS_IF
from worldswitch.core.state import Cpu
from worldswitch.mutants.model import PROCESSOR, SAME, SEQUENCE, Maker, Mutant, Replacement

PATH: Final = "linux-6.14"
"""The subject of most: no finding is expected there, so that any is news."""

OLD: Final = "linux-6.1"
FREE: Final = SEQUENCE
ARCHITECTURE: Final = "architecture"


def mutant(
    name: str, rule: str, about: str, oracle: str, why: str, module: str, function: str, make: Maker, *,
    subject: str = PATH, missing: str = "", equivalent: str = "", grounds: str = SAME,
) -> Mutant:  # fmt: skip
    """A mutant that replaces ``core.MODULE.FUNCTION``, or the name that ``machine.machine`` has for it."""
    prefix = "machine" if module == "machine" else "core"
    return Mutant(
        name, PROCESSOR, about, tuple(rule.split()), f"{prefix}.{module}.{function}", oracle, why, subject,
        (Replacement(f"{prefix}.{module}", function, make),), missing=missing, equivalent=equivalent,
        grounds=grounds,
    )  # fmt: skip


def own_if(cpu: Cpu) -> bool:
    """RFLAGS.IF of the running context."""
    return bool(cpu.regs.rflags & RFLAGS_IF)


def set_rflags(bit: int, on: bool) -> Maker:
    """A change: a bit of RFLAGS."""
    if on:
        return lambda cpu: setattr(cpu.regs, "rflags", cpu.regs.rflags | bit)
    return lambda cpu: setattr(cpu.regs, "rflags", cpu.regs.rflags & ~bit)
