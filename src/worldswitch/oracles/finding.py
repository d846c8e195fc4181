"""A finding: what an oracle objects to."""

from typing import NamedTuple

from worldswitch.machine.run import Run
from worldswitch.program.layout import LANDMARKS


class Finding(NamedTuple):
    """One objection.

    ``oracle``, ``cause`` and ``place`` make the signature: they name the defect and not the input that showed it.
    ``steps`` are the steps of the run that are the evidence; ``rules`` the facts it rests on; ``level`` who sees it.
    """

    oracle: str
    cause: str
    place: str
    message: str
    steps: tuple[int, ...] = ()
    rules: tuple[str, ...] = ()
    level: str = ""

    @property
    def signature(self) -> str:
        """``ORACLE.CAUSE.PLACE``, in ``[a-z0-9.-]``."""
        return f"{self.oracle}.{self.cause}.{self.place}"


def segment_of(run: Run, rip: int) -> str:
    """The segment that a host instruction belongs to: the last landmark before it; ``handler`` in handlers."""
    number = run.plan.host.segment[rip]
    return LANDMARKS[number] if number >= 0 else "handler"


def boundary_segment(run: Run, rip: int) -> str:
    """The segment of the boundary before a host instruction: that of the instruction which has just completed."""
    number = run.plan.host.segment[rip]
    if number < 0:
        return "handler"
    return segment_of(run, rip - 1) if rip > run.plan.host.code.start else LANDMARKS[0]
