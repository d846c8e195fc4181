"""IDT entries whose use meets what a scenario says."""

from typing import Final

from worldswitch.core.bits import VECTOR_GP, VECTOR_NP, VECTOR_PF
from worldswitch.core.isa import GATE_NPF, GATE_OK, GATE_TASK
from worldswitch.core.names import exception_name
from worldswitch.core.state import Gate
from worldswitch.replay.assemble import UnsupportedError

_PRESENT: Final = 0x80
_INTERRUPT: Final = 0xE
_TRAP: Final = 0xF
_TASK: Final = 0x5
_IST_PAGE_FAULT: Final = 1
_IST_NESTED_FAULT: Final = 2


def gate_quads(idt: int, vector: int, gate: Gate, target: int, nested: bool) -> dict[int, int]:
    """The two quadwords of a gate by address; raises ``UnsupportedError``.

    A stack page that is absent makes the push fault: in the page tables for #PF, in the nested ones for #NPF.
    """
    attributes = _PRESENT | gate.dpl << 5 | (_TRAP if gate.trap else _INTERRUPT)
    stack = 0
    if gate.outcome == VECTOR_GP:
        attributes &= ~0xF  # a system type that is no gate
    elif gate.outcome == GATE_TASK:
        attributes = attributes & ~0xF | _TASK  # no gate either, in long mode
    elif gate.outcome == VECTOR_NP:
        attributes &= ~_PRESENT
    elif gate.outcome == VECTOR_PF or (gate.outcome == GATE_NPF and not nested):
        stack = _IST_PAGE_FAULT
    elif gate.outcome == GATE_NPF:
        stack = _IST_NESTED_FAULT
    elif gate.outcome != GATE_OK:
        raise UnsupportedError(f"no gate of long mode makes delivery meet #{exception_name(gate.outcome)}")
    low = (target & 0xFFFF) | 8 << 16 | stack << 32 | attributes << 40 | (target >> 16 & 0xFFFF) << 48
    return {idt + 16 * vector: low, idt + 16 * vector + 8: target >> 32}
