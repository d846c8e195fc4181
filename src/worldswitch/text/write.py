"""Data and comments to the one canonical TOML text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from worldswitch.text.comments import Comments, Lines, Note
from worldswitch.text.scan import KeyPath
from worldswitch.text.spell import block, key, scalar

_INDENT: Final = "    "


def _no(_path: KeyPath) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What is particular to one kind of file. Every rule takes the full key path, array indices included."""

    key_order: Callable[[KeyPath], Sequence[str]] = lambda _path: ()
    """The keys of the table at this path in their order; keys it does not name follow in the order of the data."""
    inline: Callable[[KeyPath], bool] = _no
    """Whether the table at this path is written ``{ a = 1 }``, or the array of tables at this path ``[{ a = 1 }]``.
    What stands inside an inline table or an array is inline in any case."""
    hex_digits: Callable[[KeyPath], int | None] = lambda _path: None
    """For the integer at this path: how many hex digits it has at the least, or None for decimal."""
    literal: Callable[[KeyPath], bool] = _no
    """Whether the string at this path is written on lines of its own between ``'''`` if it has more than one line.
    Asked for values of tables, not inside inline tables or arrays."""


def dumps(
    data: Mapping[str, Any], *, style: Style | None = None, comments: Comments | None = None, width: int = 120
) -> str:
    """The canonical text of ``data``, with ``comments`` where they belong.

    A table's own values come first, then its tables. A table without values of its own has no header. An array that
    does not fit into ``width`` columns, or has comments in it, takes a line an element. ``read.loads`` of the result
    gives ``data``, and writing that with the comments of the result gives the result.

    A comment of what can't have one (inside an inline table, a path not in ``data``) goes on a line of its own before
    the nearest thing around it that can, or to the end of the text.

    Raises:
        TypeError: something in ``data`` that TOML has no type for, such as None.
        ValueError: a value outside what TOML can hold, such as an integer of more than 64 bits.
    """
    return _Writer(style or Style(), comments or Comments(), width).document(data)


class _Shape(Enum):
    VALUE = auto()
    TABLE = auto()
    TABLES = auto()


class _Writer:
    def __init__(self, style: Style, comments: Comments, width: int) -> None:
        self.style = style
        self.comments = comments
        self.width = width
        self.notes: Mapping[KeyPath, Note] = {}
        self.noted: set[KeyPath] = set()  # the paths that have a note somewhere inside
        self.statements: list[str] = []
        self.is_fresh = True  # nothing to set off with a blank line: the start of the text, or of a table

    def document(self, data: Mapping[str, Any]) -> str:
        homes, arrays = self.places(data)
        settled = self.comments.settled(homes, arrays)
        self.notes = settled.notes
        self.noted = {path[:length] for path in self.notes for length in range(len(path))}
        if settled.head:
            self.statements += [*_tidy(settled.head, drop_first=True), ""]
        self.table((), data)
        self.statements += _tidy(settled.end, drop_first=self.is_fresh)
        text = "\n".join(self.statements).rstrip("\n")
        return text + "\n" if text else ""

    def shape(self, path: KeyPath, value: object) -> _Shape:
        if isinstance(value, Mapping):
            return _Shape.VALUE if self.style.inline(path) else _Shape.TABLE
        if isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
            return _Shape.VALUE if self.style.inline(path) else _Shape.TABLES
        return _Shape.VALUE

    def ordered(self, path: KeyPath, table: Mapping[str, Any]) -> list[tuple[KeyPath, Any]]:
        if not all(isinstance(name, str) for name in table):
            raise TypeError("TOML has no keys but strings")
        rank = {name: place for place, name in enumerate(self.style.key_order(path))}
        return [((*path, name), table[name]) for name in sorted(table, key=lambda name: rank.get(name, len(rank)))]

    def places(self, data: Mapping[str, Any]) -> tuple[dict[KeyPath, KeyPath], list[KeyPath]]:
        """Where the text has a place for comments, as :meth:`Comments.settled` wants it."""
        homes: dict[KeyPath, KeyPath] = {}
        arrays: list[KeyPath] = []

        def visit_table(path: KeyPath, table: Mapping[str, Any]) -> None:
            for here, value in self.ordered(path, table):
                shape = self.shape(here, value)
                homes[here] = (*here, 0) if shape is _Shape.TABLES else here
                if shape is _Shape.TABLE:
                    visit_table(here, value)
                elif shape is _Shape.TABLES:
                    for number, entry in enumerate(value):
                        homes[*here, number] = (*here, number)
                        visit_table((*here, number), entry)
                else:
                    visit_value(here, value)

        def visit_value(path: KeyPath, value: object) -> None:
            if isinstance(value, (list, tuple)):
                arrays.append(path)
                for number, item in enumerate(value):
                    homes[*path, number] = (*path, number)
                    visit_value((*path, number), item)

        visit_table((), data)
        return homes, arrays

    def table(self, path: KeyPath, table: Mapping[str, Any]) -> None:
        items = [(here, value, self.shape(here, value)) for here, value in self.ordered(path, table)]
        is_entry = bool(path) and isinstance(path[-1], int)
        has_own = not table or any(shape is _Shape.VALUE for _, _, shape in items)
        if path and (is_entry or has_own or path in self.notes):
            self.header(path, is_entry)
        for here, value, shape in items:
            if shape is _Shape.VALUE:
                self.assignment(here, value)
        for here, value, shape in items:
            if shape is _Shape.TABLE:
                self.table(here, value)
            elif shape is _Shape.TABLES:
                for number, entry in enumerate(value):
                    self.table((*here, number), entry)

    def header(self, path: KeyPath, is_entry: bool) -> None:
        if self.statements and self.statements[-1]:
            self.statements.append("")
        name = ".".join(key(part) for part in path if isinstance(part, str))
        note = self.notes.get(path, Note())
        self.statements += _tidy(note.before, drop_first=True)
        self.statements.append(_with_comment(f"[[{name}]]" if is_entry else f"[{name}]", note))
        self.is_fresh = True

    def assignment(self, path: KeyPath, value: object) -> None:
        note = self.notes.get(path, Note())
        start = f"{key(str(path[-1]))} = "
        self.statements += _tidy(note.before, drop_first=self.is_fresh)
        if isinstance(value, str) and "\n" in value and self.style.literal(path):
            text = block(value)
        else:
            text = self.value(path, value, "", self.width - len(start))
        self.statements.append(_with_comment(start + text, note))
        self.is_fresh = False

    def value(self, path: KeyPath, value: object, indent: str, room: int) -> str:
        """A value that starts on a line of this indentation, with ``room`` columns left on it."""
        if not isinstance(value, (list, tuple)):
            return self.flat(path, value)
        if path not in self.noted and not self.notes.get(path, Note()).last:
            text = self.flat(path, value)
            if not value or len(text) <= room:
                return text
        return "\n".join(["[", *self.elements(path, value, indent + _INDENT), indent + "]"])

    def elements(self, path: KeyPath, array: Sequence[object], indent: str) -> Iterator[str]:
        for number, item in enumerate(array):
            here = (*path, number)
            note = self.notes.get(here, Note())
            yield from (line and indent + line for line in _tidy(note.before, drop_first=number == 0))
            text = self.value(here, item, indent, self.width - len(indent) - len(","))
            yield _with_comment(indent + text + ",", note)
        last = _tidy(self.notes.get(path, Note()).last, drop_first=not array)
        while last and not last[-1]:
            last.pop()
        yield from (line and indent + line for line in last)

    def flat(self, path: KeyPath, value: object) -> str:
        """A value on one line."""
        if isinstance(value, Mapping):
            pairs = [f"{key(str(here[-1]))} = {self.flat(here, item)}" for here, item in self.ordered(path, value)]
            return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
        if isinstance(value, (list, tuple)):
            return f"[{', '.join(self.flat((*path, number), item) for number, item in enumerate(value))}]"
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        return scalar(value, self.style.hex_digits(path) if is_integer else None)


def _with_comment(text: str, note: Note) -> str:
    return f"{text}  {note.after}" if note.after else text


def _tidy(lines: Lines, *, drop_first: bool) -> list[str]:
    """The lines without repeated blank ones, and without one at the start where the layout has none or its own."""
    tidy: list[str] = []
    for line in lines:
        if line or (tidy[-1] if tidy else not drop_first):
            tidy.append(line)
    return tidy
