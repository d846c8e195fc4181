"""Timelines of one scenario on several paths, drawn beside each other: the same landmark on the same line."""

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

from worldswitch.machine.trace import Row
from worldswitch.nested.trace import NestedTrace
from worldswitch.page.markup import Children, add, cut, el, figure, place, scrolling
from worldswitch.report.align import align
from worldswitch.report.fold import Fold, Item, fold
from worldswitch.report.timeline import mark
from worldswitch.result import Result

ROWS: Final = 250
"""Lines of a timeline at the most."""

COLUMNS: Final = (
    ("IF", "RFLAGS.IF: 1 where interrupts are enabled"),
    ("SH", "the interrupt shadow in force"),
    ("GIF", "the global interrupt flag"),
    ("NMI", "m where NMIs are masked until IRET"),
    ("LD", "whether lockdep believes that interrupts are on"),
    ("CT", "context tracking: K kernel, G guest"),
)

LEGEND: Final = (
    "Time runs downwards, one line a step; the state is that at the boundary before it, and a filled cell is one that "
    "is set. A thick edge marks what differs from the line above."
)


def legend() -> Element:
    """What the columns mean."""
    items = [el("div", el("dt", name), el("dd", about)) for name, about in COLUMNS]
    return el("div", el("p", LEGEND), el("dl", items, class_="legend"))


def timelines(results: Sequence[Result], label: str) -> Element:
    """The runs, which were traced, in the columns of one table."""
    runs = [_items(result) for result in results]
    lines = align(runs)
    shown = lines[:ROWS]
    previous: list[Row | None] = [None] * len(runs)
    body = el("tbody")
    for line in shown:
        cells: list[Children] = [place(line.landmark)]
        for number, item in enumerate(line.items):
            cells += _cells(item, previous[number], number > 0)
            if isinstance(item, Row):
                previous[number] = item
        body.append(el("tr", cells, class_="first" if line.landmark else None))
    span = len(COLUMNS) + 1
    groups = el("tr", el("td"), [el("th", _title(result), scope="colgroup", colspan=span) for result in results])
    heads: list[Children] = [el("th", "place", scope="col")]
    for number in range(len(results)):
        heads += [
            el("th", el("abbr", name, title=about), scope="col", class_="state edge" if first and number else "state")
            for first, (name, about) in zip((True, *[False] * span), COLUMNS, strict=False)
        ]
        heads.append(el("th", "what runs, and what it causes", scope="col"))
    table = el("table", el("caption", label), el("thead", groups, el("tr", heads)), body, class_="timeline")
    wrapper = el("div", scrolling(label, table))
    if len(lines) > len(shown):
        add(wrapper, el("p", f"Cut: {figure(len(lines) - len(shown), 'more line')} of {len(lines)} are not shown; "
                        "worldswitch run shows all.", class_="cut"))  # fmt: skip
    return wrapper


def _title(result: Result) -> str:
    verdict = ", ".join(finding.oracle for finding in result.verdict.findings)
    return f"{result.path}: " + (f"{verdict} objects" if verdict else "no finding")


def _items(result: Result) -> list[Item]:
    mark(result)
    trace = result.run.trace
    rows = trace.rows if trace else []
    if isinstance(trace, NestedTrace):
        for level, row in zip(trace.levels, rows, strict=True):
            row.text = f"L{level}: {row.text}"
    return fold(rows)


def _cells(item: Item | None, previous: Row | None, edge: bool) -> list[Children]:
    """The cells of one run on one line."""
    first = "edge " if edge else ""
    if item is None:
        return [el("td", colspan=len(COLUMNS) + 1, class_=f"{first}none")]
    if isinstance(item, Fold):
        return [el("td", str(item), colspan=len(COLUMNS) + 1, class_=f"{first}fold")]
    before = dict(_state(previous)) if previous else {}
    cells: list[Children] = []
    for number, (name, (value, on)) in enumerate(_state(item)):
        classes = ["state", "on" if on else "off"]
        classes += ["changed"] if previous and before[name] != (value, on) else []
        classes += ["edge"] if edge and number == 0 else []
        cells.append(el("td", value, class_=" ".join(classes)))
    notes = [el("li", cut(note, 400)) for note in item.notes]
    if item.pending and item.pending != (previous.pending if previous else ""):
        notes.append(el("li", f"pending: {item.pending}"))
    marks = [el("p", "\N{WARNING SIGN}\ufe0e ", el("strong", name), " objects", class_="mark") for name in item.marks]
    what = el("td", el("code", cut(item.text, 200)), el("ul", notes, class_="notes") if notes else None, marks)
    what.set("class", "what marked" if marks else "what")
    return [*cells, what]


def _state(row: Row) -> list[tuple[str, tuple[str, bool]]]:
    """The state columns of a row: what is written, and whether the cell is filled."""
    lockdep = ("\N{EN DASH}", False) if row.lockdep is None else ("on" if row.lockdep else "off", row.lockdep)
    return [
        ("IF", (str(int(row.interrupts)), row.interrupts)),
        ("SH", (row.shadow.replace("-", "\N{EN DASH}"), row.shadow != "-")),
        ("GIF", (str(int(row.gif)), row.gif)),
        ("NMI", ("m" if row.nmi_masked else "\N{EN DASH}", row.nmi_masked)),
        ("LD", lockdep),
        ("CT", (row.context[:1].upper() or "\N{EN DASH}", row.context == "guest")),
    ]
