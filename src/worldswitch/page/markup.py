"""HTML as a tree: whatever text goes in is escaped on the way out, by the standard library's serialiser."""

import re
from collections.abc import Iterable
from typing import Final
from xml.etree.ElementTree import Element, tostring

Child = Element | str | int | None
Children = Child | Iterable["Children"]

_UNFIT: Final = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202f-\u2065\u2070-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that HTML does not allow, and those that reorder or break the text around them."""

_LONGEST: Final = 4000


def el(tag: str, *children: Children, **attributes: str | int | bool | None) -> Element:
    """An element.

    ``class_`` is the attribute ``class``, ``aria_label`` is ``aria-label``; None and False are left out.
    """
    element = Element(tag)
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        element.set(name.rstrip("_").replace("_", "-"), "" if value is True else fit(str(value)))
    add(element, *children)
    return element


def add(element: Element, *children: Children) -> None:
    """Put children at the end of an element: elements, texts, and lists of them."""
    for child in children:
        if child is None:
            continue
        if isinstance(child, Element):
            element.append(child)
        elif isinstance(child, str | int):
            text = fit(str(child))
            if len(element):
                element[-1].tail = (element[-1].tail or "") + text
            else:
                element.text = (element.text or "") + text
        else:
            add(element, *child)


def fit(text: str) -> str:
    """The text with characters replaced that a page cannot hold or that would disturb it."""
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)


def cut(text: str, longest: int = _LONGEST) -> str:
    """A text that is not longer than ``longest`` characters; what is left out is said."""
    return text if len(text) <= longest else f"{text[:longest]} [{len(text) - longest} more characters]"


def serialise(root: Element) -> str:
    """The document's text."""
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def table(caption: str, heads: Iterable[Children], rows: Iterable[Iterable[Children]], class_: str = "") -> Element:
    """A table in a region that scrolls where it is too wide; the first cell of a row is its heading."""
    head = el("tr", [el("th", text, scope="col") for text in heads])
    body = [
        el("tr", [el("td", cell) if number else el("th", cell, scope="row") for number, cell in enumerate(row)])
        for row in rows
    ]
    return scrolling(caption, el("table", el("caption", caption), el("thead", head), el("tbody", body), class_=class_))


def scrolling(label: str, *children: Children) -> Element:
    """A region that scrolls sideways, which the keyboard can reach."""
    return el("div", *children, class_="scroll", role="group", aria_label=label, tabindex=0)


def place(landmark: str) -> Element:
    """The first cell of a line that belongs to a landmark; "" on the lines after its first."""
    return el("th", landmark, scope="row", class_="place") if landmark else el("td", class_="place")


def details(summary: Children, *children: Children, open_: bool = False) -> Element:
    """Something that is folded until asked for."""
    return el("details", el("summary", summary), *children, open=open_)


def code(text: str) -> Element:
    """A word of code."""
    return el("code", text)


def prose(text: str) -> list[Children]:
    """A text of the facts: code in backticks and **strong** words become elements, all else stays as it is."""
    parts: list[Children] = []
    for part in re.split(r"(`[^`\n]+`|\*\*[^*\n]+\*\*)", text):
        if part.startswith("`") and part.endswith("`") and len(part) > 2:
            parts.append(code(part[1:-1]))
        elif part.startswith("**") and part.endswith("**") and len(part) > 4:
            parts.append(el("strong", part[2:-2]))
        else:
            parts.append(part)
    return parts


def ids(names: Iterable[str]) -> list[Children]:
    """Rule ids in a row, each of which stays on one line."""
    parts: list[Children] = []
    for number, name in enumerate(names):
        parts += [", " if number else None, el("span", name, class_="id")]
    return parts


def listing(label: str, text: str) -> Element:
    """A block of code, which the keyboard can scroll."""
    return el("pre", el("code", text), tabindex=0, role="group", aria_label=label)


def figure(number: int, singular: str, plural: str = "") -> str:
    """A number with its noun: ``1 case``, ``12 345 cases``."""
    return f"{grouped(number)} {singular if number == 1 else plural or singular + 's'}"


def grouped(number: int) -> str:
    """An integer with its digits in groups of three."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def duration(seconds: float) -> str:
    """A time in the two units that matter."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{seconds:.0f} s" if seconds >= 10 or seconds <= 0 else f"{seconds:.1f} s"
    for unit, size, below, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"
