"""The line of every key, table and array element of a TOML text."""

from collections.abc import Mapping

from worldswitch.text.scan import KeyPath, Kind, scan

__all__ = ["KeyPath", "line_of", "locate"]


def locate(text: str) -> dict[KeyPath, int]:
    """The line, from 1, on which each key path of ``text`` stands; complete for every text that ``read.loads`` accepts.

    A table stands where its header is; one without a header, where it is first mentioned. An array of tables stands
    where its first entry is.
    """
    lines: dict[KeyPath, int] = {}
    for mark in scan(text):
        if mark.kind not in (Kind.HEADER, Kind.KEY, Kind.ITEM):
            continue
        lines[mark.path] = mark.line  # also where [a] stands after the [a.b] that implied it
        for length in range(len(mark.path) - 1, 0, -1):
            outer = mark.path[:length]
            if outer in lines:
                break
            lines[outer] = mark.line
    return lines


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """The line of ``path``, else of the nearest key path around it that has one, else 0."""
    return next((lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines), 0)
