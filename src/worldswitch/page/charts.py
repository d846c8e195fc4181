"""Line charts as SVG: inline, each with its figures as text for those who do not see it, and as a file of its own."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element, tostring

from worldswitch.page.markup import details, duration, el, grouped, table

POINTS: Final = 400
"""Points of a line; of more samples every so many are drawn, the last always."""

ROWS: Final = 12
"""Rows of the table below a chart."""

_WIDTH: Final = 360
_HEIGHT: Final = 190
_LEFT: Final = 46
_RIGHT: Final = 12
_TOP: Final = 14
_BOTTOM: Final = 34


_GAP: Final = 16
_HEAD: Final = 28
_SHEET_STYLE: Final = """
text { font: 11px system-ui, "DejaVu Sans", sans-serif; fill: #4f5b6b; }
text.head { font-size: 13px; font-weight: 600; fill: #1b2330; }
.sheet { fill: #ffffff; }
.grid { stroke: #d5dae1; } .line { fill: none; stroke: #1f5fa8; stroke-width: 2; stroke-linejoin: round; }
.end { fill: #1f5fa8; }
@media (prefers-color-scheme: dark) {
  text { fill: #a9b4c2; } text.head { fill: #e4e9f0; } .sheet { fill: #12161d; } .grid { stroke: #303947; }
  .line { stroke: #7db4f5; } .end { fill: #7db4f5; }
}
"""
"""The colours of ``style.css``: a file beside a page has none of the page's."""


class Mark(NamedTuple):
    """A moment worth a line of its own: a finding's first sight."""

    second: float
    label: str
    about: str


def chart(name: str, title: str, points: Sequence[tuple[float, float]], marks: Sequence[Mark] = ()) -> Element:
    """One quantity over time; ``name`` makes the ids of the page's elements."""
    drawn = thinned(points, POINTS)
    last = max([point[0] for point in drawn] + [mark.second for mark in marks]) or 1.0
    steps = ticks(max(value for _, value in drawn))
    top = steps[-1]

    def x(second: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * second / last, 1)

    def y(value: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / top, 1)

    grid = [
        [
            el("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=str(y(step)), y2=str(y(step)), class_="grid"),
            el("text", grouped(int(step)), x=_LEFT - 6, y=str(y(step) + 4), text_anchor="end"),
        ]
        for step in steps
    ]
    times = [
        el("text", duration(last * share), x=str(x(last * share)), y=_HEIGHT - 10, text_anchor=anchor)
        for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end"))
    ]
    flags = [
        [
            el("line", x1=str(x(mark.second)), x2=str(x(mark.second)), y1=_TOP, y2=_HEIGHT - _BOTTOM, class_="flag"),
            el("text", mark.label, x=str(x(mark.second) + 3), y=_TOP + 8, class_="flag-label"),
        ]
        for mark in apart(marks, last)
    ]
    line = " ".join(f"{x(second)},{y(value)}" for second, value in drawn)
    first, final = drawn[0], drawn[-1]
    says = f"{title} went from {grouped(int(first[1]))} to {grouped(int(final[1]))} in {duration(final[0])}."
    svg = el(
        "svg",
        el("title", title, id=f"{name}-title"),
        el("desc", says, id=f"{name}-desc"),
        grid,
        times,
        flags,
        el("polyline", points=line, class_="line"),
        el("circle", cx=str(x(final[0])), cy=str(y(final[1])), r=3, class_="end"),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )
    rows = [(duration(second), grouped(int(value))) for second, value in thinned(points, ROWS)]
    figures = table(f"{title} over time", ("after", title.lower()), rows, "figures")
    return el("figure", el("figcaption", el("strong", title), f" now {grouped(int(final[1]))}"), svg,
              details("The figures", figures), class_="chart")  # fmt: skip


def sheet(charts: Sequence[tuple[str, Element]], columns: int = 2) -> str:
    """Charts with their headings as one SVG file, which reads in light and dark."""
    width = columns * _WIDTH + (columns + 1) * _GAP
    height = _GAP + math.ceil(len(charts) / columns) * (_HEAD + _HEIGHT + _GAP)
    placed = []
    for number, (heading, figure) in enumerate(charts):
        x = _GAP + number % columns * (_WIDTH + _GAP)
        y = _GAP + number // columns * (_HEAD + _HEIGHT + _GAP)
        drawing = next(figure.iter("svg"))
        for name, value in (("x", x), ("y", y + _HEAD), ("width", _WIDTH), ("height", _HEIGHT)):
            drawing.set(name, str(value))
        placed += [el("text", heading, x=x, y=y + 16, class_="head"), drawing]
    root = el(
        "svg",
        el("style", _SHEET_STYLE),
        el("rect", width=width, height=height, class_="sheet"),
        placed,
        viewBox=f"0 0 {width} {height}",
        xmlns="http://www.w3.org/2000/svg",
    )
    return tostring(root, encoding="unicode") + "\n"


def thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most ``most`` of the points, evenly spread, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(number * (len(points) - 1) / (most - 1))] for number in range(most)]


def ticks(highest: float) -> list[float]:
    """Three to five round values from 0 to at least ``highest``."""
    if highest <= 4:
        return [float(value) for value in range(max(1, math.ceil(highest)) + 1)]
    rough = highest / 4
    scale = 10.0 ** math.floor(math.log10(rough))
    sizes = [size * scale for size in (1, 2, 2.5, 5, 10)]
    step = next(size for size in sizes if size >= rough and size.is_integer())
    return [step * number for number in range(math.ceil(highest / step) + 1)]


def apart(marks: Sequence[Mark], last: float) -> list[Mark]:
    """The marks with the labels of those too close together joined."""
    joined: list[Mark] = []
    for mark in sorted(marks):
        if joined and mark.second - joined[-1].second < last * 0.04:
            head = joined[-1].label.split("\N{EN DASH}")[0]
            joined[-1] = joined[-1]._replace(label=f"{head}\N{EN DASH}{mark.label}")
        else:
            joined.append(mark)
    return joined


def rates(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A count over time as what was added a second, at the end of each interval."""
    found = [
        (after[0], max(0.0, after[1] - before[1]) / (after[0] - before[0]))
        for before, after in pairwise(points)
        if after[0] > before[0]
    ]
    return [(points[0][0], found[0][1]), *found] if found else []
