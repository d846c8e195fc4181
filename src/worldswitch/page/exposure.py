"""Exposure maps: at which boundaries of each path NMI, IRQ and exception handlers can run, and in which state.

The map is that of the plainest run of each path: nothing injected, no event, a guest that exits by itself. An NMI can
be taken with GIF=1 and NMIs not masked (S3-23), an INTR with GIF=1, IF=1 and no shadow (S8-05, S8-70); exceptions are
blocked by neither (S8-71), so that of them the state is shown which their handler would find.
"""

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

from worldswitch.machine.trace import Row
from worldswitch.page.markup import Children, code, el, ids, place, scrolling, table
from worldswitch.paths.model import EntryPath
from worldswitch.report.align import align
from worldswitch.report.listing import walk

_HEADS: Final = (
    ("NMI", "whether an NMI handler can run at this boundary"),
    ("IRQ", "whether an interrupt handler can run at this boundary"),
    ("an exception sees", "the state that an exception handler would find"),
)

LEGEND: Final = (
    "Each line is the boundary before an instruction of the path, in the plainest run: nothing injected, no event. NMI "
    "and IRQ say whether such a handler can run there. GIF and IF do not block exceptions: the map says which state "
    "their handler would find. Cells are filled where a handler can run, and where it would find interrupts enabled."
)


def exposure(paths: Sequence[EntryPath], label: str) -> Element:
    """The map of one to three paths."""
    runs = [[row for _, row in walk(path).steps] for path in paths]
    body = el("tbody")
    for line in align(runs):
        rows = [item if isinstance(item, Row) else None for item in line.items]
        cells: list[Children] = [place(line.landmark)]
        for number, row in enumerate(rows):
            cells += _cells(row, number > 0)
        body.append(el("tr", cells, class_="first" if line.landmark else None))
    groups = [el("th", path.name, scope="colgroup", colspan=len(_HEADS) + 1) for path in paths]
    heads: list[Children] = [el("th", "place", scope="col")]
    for number in range(len(paths)):
        heads.append(el("th", "instruction", scope="col", class_="edge" if number else None))
        heads += [el("th", el("abbr", name, title=about), scope="col") for name, about in _HEADS]
    head = el("thead", el("tr", el("td"), groups), el("tr", heads))
    return scrolling(label, el("table", el("caption", label), head, body, class_="exposure"))


def aspects(first: EntryPath, second: EntryPath) -> Element:
    """What changes for whom between two paths, as ``worldswitch diff`` tells it."""
    from worldswitch.diff.aspects import compare
    from worldswitch.diff.side import Side

    rows = [
        (
            aspect.name,
            aspect.first,
            el("em", "unchanged") if aspect.same else el("strong", aspect.second),
            ids(aspect.rules),
        )
        for aspect in compare(Side(first), Side(second))
    ]
    label = f"What changes for whom between {first.name} and {second.name}"
    return table(label, ("for whom, what", first.name, second.name, "rules"), rows, "prose")


def _exposed(row: Row) -> tuple[bool, bool, str]:
    """Whether an NMI and an INTR can be taken before this row's instruction, and what an exception's handler sees."""
    state = f"IF={int(row.interrupts)}"
    if row.lockdep is not None:
        state += f" lockdep={'on' if row.lockdep else 'off'}"
    if row.context:
        state += f" {row.context}"
    nmi = row.gif and not row.nmi_masked
    return nmi, row.gif and row.interrupts and row.shadow == "-", state


def _cells(row: Row | None, edge: bool) -> list[Children]:
    if row is None:
        return [el("td", colspan=len(_HEADS) + 1, class_="edge none" if edge else "none")]
    nmi, irq, state = _exposed(row)
    return [
        el("td", code(row.text), class_="edge what" if edge else "what"),
        el("td", "can run" if nmi else "no", class_="state on" if nmi else "state off"),
        el("td", "can run" if irq else "no", class_="state on" if irq else "state off"),
        el("td", state, class_="sees on" if row.interrupts else "sees"),
    ]
