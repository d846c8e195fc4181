"""What guides the fuzzer: a joint projection of what matters at VM entry and exit.

Each #VMEXIT is one point: how the guest was left, what was injected, what EXITINTINFO says, how far the guest had come,
the shadow loaded and stored, and host IF at VMRUN. Each handler and each end of a run is a point too. A case is
interesting when it reaches a point that no case has reached; single values, seen for themselves, would not say that.
"""

from typing import Final

from worldswitch.core.bits import (
    EVENT_V,
    EXIT_INVALID,
    EXIT_NPF,
    EXIT_SHUTDOWN,
    RFLAGS_IF,
    event_type,
)
from worldswitch.machine.run import Run

EXIT_CLASSES: Final = {
    0x41: 1, 0x46: 2, 0x48: 3, 0x4A: 4, 0x4B: 5, 0x4C: 6, 0x4D: 7, 0x4E: 8, 0x60: 9, 0x61: 10, 0x62: 11, 0x63: 12,
    0x64: 13, 0x74: 14, 0x75: 15, 0x78: 16, 0x7D: 17, EXIT_SHUTDOWN: 18, 0x80: 19, 0x81: 20, EXIT_NPF: 21,
    EXIT_INVALID: 22, 0x84: 23,
}  # fmt: skip
OTHER_CLASS: Final = 0
CLASSES: Final = 24
EVENT_CLASSES: Final = (1, 5, 2, 3, 4, 5, 5, 5)  # by TYPE; 0 = none, 5 = reserved

EXIT_POINTS: Final = CLASSES * 6 * 6 * 3 * 4 * 2
HANDLER_BASE: Final = EXIT_POINTS
HANDLER_POINTS: Final = 3 * 10 * 16
STOP_BASE: Final = HANDLER_BASE + HANDLER_POINTS
STOP_POINTS: Final = 8 * 16
ALWAYS: Final = STOP_BASE + STOP_POINTS
"""A point of every case: libFuzzer never mutates a unit that has a single one."""

SIZE: Final = ALWAYS + 1


def event_class(word: int) -> int:
    """0 for no event, else a class by TYPE."""
    return EVENT_CLASSES[event_type(word)] if word & EVENT_V else 0


def points(run: Run) -> list[int]:
    """The points that a run reaches, each 0 to SIZE-1."""
    if run.plan.scenario.nested is not None:
        from worldswitch.nested.projection import nested_points

        return nested_points(run)
    recorder = run.recorder
    result = [ALWAYS]
    for record in recorder.exits:
        entry = record.entry
        kind = EXIT_CLASSES.get(record.code, OTHER_CLASS)
        progress = 2 if entry.retired else (1 if entry.delivered else 0)
        index = (kind * 6 + event_class(entry.eventinj)) * 6 + event_class(record.exitintinfo)
        index = (index * 3 + progress) * 4 + (record.int_state & 1) * 2 + (entry.int_state & 1)
        result.append(index * 2 + entry.hif)
    for handler in recorder.handlers:
        state = (
            (handler.gif * 2 + bool(handler.rflags & RFLAGS_IF)) * 4 + bool(handler.shadow) * 2 + (handler.lockdep == 1)
        )
        result.append(HANDLER_BASE + (handler.world * 10 + handler.kind) * 16 + state)
    cpu = run.cpu
    pending = bool(cpu.irr) * 2 + cpu.pend_nmi
    state = (cpu.gif * 2 + bool(cpu.regs.rflags & RFLAGS_IF)) * 4 + pending
    result.append(STOP_BASE + cpu.stop * 16 + state)
    return result
