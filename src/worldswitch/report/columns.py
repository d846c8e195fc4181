"""The state columns of a timeline, wide and narrow, and the legends that explain them."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from worldswitch.machine.trace import Row
from worldswitch.report.terminal import Screen

MARK: Final = "!!"


class Column(NamedTuple):
    """One column: its heading, its width, and what it shows of a row."""

    name: str
    width: int
    value: Callable[[Row], str]


def _on(value: bool | None) -> str:
    return "-" if value is None else "on" if value else "off"


WIDE: Final = (
    Column("IF", 2, lambda row: str(int(row.interrupts))),
    Column("shadow", 6, lambda row: row.shadow),
    Column("GIF", 3, lambda row: str(int(row.gif))),
    Column("NMI", 6, lambda row: "masked" if row.nmi_masked else "-"),
    Column("lockdep", 7, lambda row: _on(row.lockdep)),
    Column("context", 7, lambda row: row.context or "-"),
)
WIDE_LEGEND: Final = (
    "One line a step; the state is that at the boundary before it. shadow: the interrupt shadow in force. NMI: masked "
    "until IRET. lockdep: whether it believes interrupts are on. context: context tracking. pending: latched, not yet "
    f"taken. {MARK}: an oracle objects."
)

NARROW: Final = (
    Column("IF", 2, lambda row: str(int(row.interrupts))),
    Column("SH", 6, lambda row: row.shadow),
    Column("GIF", 3, lambda row: str(int(row.gif))),
    Column("NMI", 3, lambda row: "m" if row.nmi_masked else "-"),
    Column("LD", 3, lambda row: _on(row.lockdep)),
    Column("CT", 2, lambda row: row.context[:1].upper() or "-"),
)
NARROW_LEGEND: Final = (
    "One line a step; the state is that at the boundary before it. SH: the interrupt shadow in force. NMI m: masked "
    "until IRET. LD: whether lockdep believes interrupts are on. CT: context tracking, Kernel or Guest. pending: "
    f"latched, not yet taken. {MARK}: an oracle objects."
)


def heads(columns: Sequence[Column]) -> str:
    """The headings on one line."""
    return " ".join(column.name.ljust(column.width) for column in columns)


def state(row: Row, previous: Row | None, columns: Sequence[Column], screen: Screen) -> str:
    """The columns of one row, as wide as their headings; what differs from the row before is bold."""
    cells = []
    for column in columns:
        value = column.value(row)
        cell = value.ljust(column.width)
        cells.append(screen.bold(cell) if previous and column.value(previous) != value else cell)
    return " ".join(cells)
