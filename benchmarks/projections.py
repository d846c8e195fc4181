"""Projections that were tried: each maps a run to points below its size. ``joint`` is the one in use."""

from collections.abc import Callable
from typing import Final

from worldswitch.core.bits import RFLAGS_IF
from worldswitch.fuzzing import projection as in_use
from worldswitch.fuzzing.counters import spread
from worldswitch.fuzzing.projection import CLASSES, EXIT_CLASSES, OTHER_CLASS, event_class
from worldswitch.machine.run import Run

Projection = Callable[[Run], list[int]]


def singles(run: Run) -> list[int]:
    """Each value for itself: what was injected, how the guest was left, and so on, not what came together."""
    points = [0]
    for record in run.recorder.exits:
        entry = record.entry
        kind = EXIT_CLASSES.get(record.code, OTHER_CLASS)
        points += (
            8 + kind, 40 + event_class(entry.eventinj), 50 + event_class(record.exitintinfo),
            60 + min(entry.retired, 8), 70 + (record.int_state & 1), 72 + entry.int_state, 74 + entry.hif,
            76 + min(entry.delivered, 3), 80 + record.v_irq, 82 + record.v_nmi, 84 + min(entry.number, 3),
        )  # fmt: skip
    points += [100 + 16 * h.world + h.kind for h in run.recorder.handlers]
    points += (160 + run.cpu.stop, 170 + run.cpu.gif, 172 + bool(run.cpu.irr), 174 + run.cpu.pend_nmi)
    return points


def transitions(run: Run) -> list[int]:
    """The joint projection, and each exit joint with the one before it."""
    points = in_use.points(run)
    last = 0
    for record in run.recorder.exits:
        kind = EXIT_CLASSES.get(record.code, OTHER_CLASS)
        state = (event_class(record.entry.eventinj) * 2 + (record.int_state & 1)) * 2 + record.entry.int_state
        points.append(in_use.SIZE + (last * CLASSES + kind) * 24 + state)
        last = kind
    return points


def events(run: Run) -> list[int]:
    """The joint projection, and each handler joint with the exit that followed it."""
    points = in_use.points(run)
    exits = run.recorder.exits
    number = 0
    for handler in run.recorder.handlers:
        while number < len(exits) and exits[number].step < handler.step:
            number += 1
        kind = EXIT_CLASSES.get(exits[number].code, OTHER_CLASS) if number < len(exits) else CLASSES
        flags = bool(handler.rflags & RFLAGS_IF) * 2 + bool(handler.shadow)
        points.append(in_use.SIZE + ((handler.world * 10 + handler.kind) * (CLASSES + 1) + kind) * 4 + flags)
    return points


def controls(run: Run) -> list[int]:
    """The joint projection, and each exit joint with the VMCB's controls: virtual interrupt, NMI, masking, progress."""
    points = in_use.points(run)
    for record in run.recorder.exits:
        entry = record.entry
        kind = EXIT_CLASSES.get(record.code, OTHER_CLASS)
        state = (record.v_irq * 2 + record.v_nmi) * 2 + entry.v_intr_masking
        progress = min(entry.retired, 3) * 2 + (record.int_state & 1)
        points.append(in_use.SIZE + ((kind * 8 + state) * 8 + progress) * 2 + (entry.number > 1))
    return points


def everything(run: Run) -> list[int]:
    """A hash of all that the run recorded: every run is new."""
    key = 0
    for record in run.recorder.exits:
        key = (key * 31 + record.code * 7 + record.exitintinfo + record.int_state + record.rip * 3) & 0xFFFF_FFFF_FFFF
    for handler in run.recorder.handlers:
        key = (key * 31 + handler.kind * 64 + handler.rip + handler.rflags) & 0xFFFF_FFFF_FFFF
    return [0, 1 + spread(key * 8 + run.cpu.stop, 65535)]


PROJECTIONS: Final[dict[str, tuple[Projection, int]]] = {
    "joint": (in_use.points, in_use.SIZE),
    "transitions": (transitions, in_use.SIZE + CLASSES * CLASSES * 24),
    "events": (events, in_use.SIZE + 30 * (CLASSES + 1) * 4),
    "controls": (controls, in_use.SIZE + CLASSES * 8 * 8 * 2),
    "singles": (singles, 200),
    "everything": (everything, 1 << 16),
}
