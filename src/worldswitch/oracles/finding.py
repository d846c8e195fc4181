"""A finding: what an oracle objects to; and the places of a path that findings name."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from worldswitch.core.bits import SHADOW_NONE, VECTOR_DB
from worldswitch.core.isa import OP_CLGI
from worldswitch.core.record import KIND_EXCEPTION, WORLD_HOST
from worldswitch.kernel.state import CONTEXT_GUEST, CONTEXTS
from worldswitch.machine.machine import (
    SEEN_CONTEXT_GUEST,
    SEEN_GIF,
    SEEN_IF,
    SEEN_LOCKDEP,
    SEEN_NMI_MASKED,
    SEEN_SHADOW,
    SEEN_SHIFT,
)
from worldswitch.machine.run import Run
from worldswitch.machine.trace import SHADOWS, Row
from worldswitch.program.layout import LANDMARKS, Layout

REMEMBERED: Final = 512
"""Sets of boundaries for which an oracle remembers what follows from them; there are a few hundred of a path.

As many as ``machine.compile`` keeps layouts: what is remembered keeps its layout from being freed.
"""

HANDLER: Final = "handler"
"""The place of everything in the host's handlers."""


class Finding(NamedTuple):
    """One objection.

    ``oracle``, ``cause`` and ``place`` make the signature: they name the defect and not the input that showed it.
    ``steps`` are the steps of the run that are the evidence; ``rules`` the facts it rests on; ``level`` who sees it.
    ``of_path`` marks an objection to the path's own doing, which presupposes that the path was started as its file says
    and that nothing else changed the host's state (``scope.outside``).
    """

    oracle: str
    cause: str
    place: str
    message: str
    steps: tuple[int, ...] = ()
    rules: tuple[str, ...] = ()
    level: str = "L0"
    of_path: bool = False

    @property
    def signature(self) -> str:
        """``ORACLE.CAUSE.PLACE``, in ``[a-z0-9.-]``."""
        return f"{self.oracle}.{self.cause}.{self.place}"


class State(NamedTuple):
    """The state of processor and kernel that a handler interrupts, as far as it can tell."""

    interrupts: bool  # RFLAGS.IF
    lockdep: bool
    context_guest: bool

    def __str__(self) -> str:
        lockdep = "on" if self.lockdep else "off"
        return f"IF={int(self.interrupts)} lockdep={lockdep} context={'guest' if self.context_guest else 'kernel'}"


def state_of(seen: int) -> State:
    """The state in an element of ``Run.seen``."""
    return State(bool(seen & SEEN_IF), bool(seen & SEEN_LOCKDEP), bool(seen & SEEN_CONTEXT_GUEST))


def segment_of(run: Run, rip: int) -> str:
    """The segment that a host instruction belongs to: the last landmark before it; ``handler`` in handlers."""
    return _segment(run.plan.host, rip)


def _segment(host: Layout, rip: int) -> str:
    number = host.segment[rip]
    return LANDMARKS[number] if number >= 0 else HANDLER


def boundary_segment(run: Run, rip: int) -> str:
    """The segment of the boundary before a host instruction: that of the instruction which has just completed."""
    return segment_before(run.plan.host, rip)


def segment_before(host: Layout, rip: int) -> str:
    """:func:`boundary_segment`, of a layout."""
    if host.segment[rip] < 0:
        return HANDLER
    return _segment(host, rip - 1) if rip > host.code.start else LANDMARKS[0]


def steps_at(run: Run, states: Iterable[int]) -> tuple[int, ...]:
    """The first step that passed a host boundary in one of ``states`` (of ``Run.seen``); empty in untraced runs."""
    if run.trace is None:
        return ()
    wanted = {(run.where(False, seen >> SEEN_SHIFT), seen & _SHOWN) for seen in states}
    for row in run.trace.rows:
        if (row.where, _shown(row)) in wanted:
            return (row.step,)
    return ()


_SHOWN: Final = SEEN_IF | SEEN_GIF | SEEN_LOCKDEP | SEEN_CONTEXT_GUEST | SEEN_SHADOW | SEEN_NMI_MASKED


def _shown(row: Row) -> int:
    """The bits of ``Run.seen`` that a row of the timeline shows."""
    flags = (
        (SEEN_IF, row.interrupts),
        (SEEN_GIF, row.gif),
        (SEEN_LOCKDEP, row.lockdep),
        (SEEN_CONTEXT_GUEST, row.context == CONTEXTS[CONTEXT_GUEST]),
        (SEEN_SHADOW, row.shadow != SHADOWS[SHADOW_NONE]),
        (SEEN_NMI_MASKED, row.nmi_masked),
    )
    return sum(bit for bit, on in flags if on)


def clgi_skipped(run: Run) -> bool:
    """Whether a CLGI faulted and the run went on without it, so that GIF stayed as it was (S7-08, S7-15)."""
    ops = run.plan.host.code.ops
    return any(
        handler.kind == KIND_EXCEPTION
        and handler.world == WORLD_HOST
        and handler.vector != VECTOR_DB  # a trap before CLGI, not a fault of it
        and ops[handler.rip] == OP_CLGI
        for handler in run.recorder.handlers
    )
