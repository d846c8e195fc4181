"""The timeline of a nested run: the level of each row, and what L0's C code does between two executions of the path."""

from typing import TYPE_CHECKING, cast

from worldswitch.core.bits import RFLAGS_IF
from worldswitch.core.state import END
from worldswitch.kernel.state import CONTEXTS
from worldswitch.machine.trace import SHADOWS, STOPS, Row, Trace

if TYPE_CHECKING:
    from worldswitch.machine.machine import Machine
    from worldswitch.nested.machine import NestedMachine

SOFTWARE = "(C code)"
"""The place of rows that are not instructions of the path."""


class NestedTrace(Trace):
    """Rows with a level; ``levels`` runs beside ``rows``."""

    __slots__ = ("_noted", "levels")

    def __init__(self) -> None:
        super().__init__()
        self.levels: list[int] = []
        self._noted = 0

    def before(self, machine: "Machine") -> None:
        """A boundary, after arrivals."""
        super().before(machine)
        level = cast("NestedMachine", machine).level if machine.cpu.guest else 0
        self.levels.append(level)
        row = self.rows[-1]
        if level == 2:
            row.where = "L2." + row.where
            row.where = row.where.replace("L2.guest.", "L2.")
        elif level == 1:
            row.where = "L1." + row.where

    def after(self, machine: "Machine") -> None:
        """The step is done: note what it caused, and what L1's own code noted meanwhile."""
        super().after(machine)
        if self.levels[-1] == 0 and self.rows[-1].notes == [STOPS[END]]:
            self.rows[-1].notes.clear()  # the end of one execution of the path is not that of the run
        self.software(cast("NestedMachine", machine))

    def software(self, machine: "NestedMachine") -> None:
        """Rows for what L0 noted since the last call."""
        notes = machine.journal.notes
        cpu, kernel = machine.cpu, machine.kernel
        for step, function, text in notes[self._noted :]:
            self.levels.append(1 if function.startswith("L1") else 0)
            self.rows.append(
                Row(
                    step=step,
                    world="guest" if self.levels[-1] else "host",
                    where=SOFTWARE,
                    text=function,
                    interrupts=bool(cpu.regs.rflags & RFLAGS_IF),
                    shadow=SHADOWS[cpu.shadow],
                    gif=cpu.gif,
                    nmi_masked=cpu.nmi_masked,
                    lockdep=kernel.hardirqs_enabled if kernel.present else None,
                    context=CONTEXTS[kernel.context] if kernel.present else "",
                    pending="",
                    notes=[text],
                )
            )
        self._noted = len(notes)
