"""Documents for the property tests: plain data, styles to write it in, and TOML as people may lay it out."""

import zlib
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from worldswitch.text.scan import KeyPath
from worldswitch.text.write import Style

NAMES = ["a", "b", "c-1", "linux-6.14", "0x68", "", 'quote"d', "it's", "sp ace", "new\nline", "ü", "#"]

keys = st.sampled_from(NAMES) | st.text(max_size=4)
scalars = (
    st.integers(-(1 << 63), (1 << 64) - 1)
    | st.integers(-3, 3)
    | st.booleans()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["a\nb\n", "'''\n", 'x\\\n"y"\'', "\r\n", "\ttab\n", "\u202e\ufeff", "", "\n", '"""\n\\'])
    | st.dates()
    | st.times()
    | st.datetimes()
    | st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5, minutes=30))]))
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.lists(st.dictionaries(keys, inner, max_size=3), min_size=1, max_size=3)
    ),
    max_leaves=12,
)
tables = st.dictionaries(keys, values, max_size=6)


@st.composite
def styles(draw: st.DrawFn) -> Style:
    """A style whose every answer depends on nothing but the path."""
    seed = draw(st.integers(0, 1 << 16))
    order = draw(st.permutations(NAMES))[: draw(st.integers(0, len(NAMES)))]

    def roll(path: KeyPath, sides: int, what: str) -> int:
        return zlib.crc32(repr((seed, what, path)).encode()) % sides

    return Style(
        key_order=lambda _path: order,
        inline=lambda path: roll(path, 3, "inline") == 0,
        hex_digits=lambda path: (None, 0, 2, 16)[roll(path, 4, "hex")],
        literal=lambda path: roll(path, 2, "literal") == 0,
    )


def same(one: object, other: object) -> bool:
    """Equal in value and in type, NaN being itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (one != one and other != other)
    return one == other


def paths_of(value: object, path: KeyPath = ()) -> list[KeyPath]:
    """The path of everything in a document but its root."""
    if isinstance(value, dict):
        inner: list[tuple[str | int, object]] = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    else:
        inner = []
    return [below for name, item in inner for below in [(*path, name), *paths_of(item, (*path, name))]]


_KEYS = [("a", "a"), ("b", '"b"'), ("c-1", "'c-1'"), ("1.0", '"1.0"'), ("#", "'#'"), ("]", '"]"'), ("é", '"\\u00e9"')]
_SPELLED: list[tuple[object, str]] = [
    (1, "+1"),
    (0xDEADBEEF, "0xDEAD_beef"),
    (True, "true"),
    (-1.5e10, "-1.5e+10"),
    (float("inf"), "inf"),
    (datetime(1979, 5, 27, 7, 32), "1979-05-27 07:32:00"),
    (date(1979, 5, 27), "1979-05-27"),
    (time(7, 32), "07:32:00"),
    ("a # b", '"a # b"'),
    ('"], {=', "'\"], {='"),
    ('A" ]', '"\\u0041\\" ]"'),
    ("ab # c", '"""\na\\\n\n   b # c"""'),
    ('x""', '"""x"""""'),
    ("'y'", "''''y''''"),
    ("[no]\n# no\nno = 1\n", "'''\n[no]\n# no\nno = 1\n'''"),
    ("", '""'),
    ("", "''''''"),
]
_TREES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(_SPELLED),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=3)
        | st.lists(st.dictionaries(st.sampled_from(_KEYS), inner, max_size=2), min_size=1, max_size=3)
    ),
    max_leaves=10,
)


class Layout:
    """TOML text as someone may have written it, with what is true of it."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[KeyPath, int] = {}  # where everything in it stands
        self.comments: list[str] = []  # every comment in it, in order
        self.data: dict[str, Any] = {}

    def choose(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def found(self, path: KeyPath) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def comment(self) -> str:
        self.comments.append(f"# <{len(self.comments)}>" + self.choose("", " [a]", " x = 1", " ''' \"", "#\u2028 é"))
        return self.comments[-1]

    def end_line(self) -> None:
        self.text += self.choose("", "", " ", "\t")
        if self.choose(True, False, False):
            self.text += self.comment()
        self.text += "\n"

    def blanks(self) -> None:
        for _ in range(self.choose(0, 0, 0, 1, 2, 3)):
            self.text += self.choose("", "  ", "\t")
            if self.choose(True, False):
                self.text += self.comment()
            self.text += "\n"

    def space(self) -> None:
        self.text += self.choose("", "", " ", "\t ")

    def document(self, tree: dict[tuple[str, str], Any]) -> None:
        self.body((), (), tree)
        self.blanks()
        if self.text.endswith("\n") and self.choose(True, False, False):
            self.text = self.text[:-1]
        self.data = _plain(tree)

    def body(self, path: KeyPath, spelled: tuple[str, ...], table: dict[tuple[str, str], Any]) -> None:
        """What stands under a header: assignments, then tables with headers of their own."""
        sections: list[tuple[KeyPath, tuple[str, ...], Any]] = []
        for (name, spelling), value in table.items():
            here, names = (*path, name), (*spelled, spelling)
            if (isinstance(value, dict) or _is_tables(value)) and self.choose(True, False):
                sections.append((here, names, value))
            else:
                self.assignment(here, (spelling,), value)
        for here, names, value in sections:
            if isinstance(value, dict):
                self.section(here, names, value)
                continue
            for number, entry in enumerate(value):
                self.header((*here, number), names, "[[", "]]")
                self.lines.setdefault(here, self.lines[*here, number])
                self.body((*here, number), names, entry)

    def section(self, path: KeyPath, spelled: tuple[str, ...], table: dict[tuple[str, str], Any]) -> None:
        only_tables = bool(table) and all(isinstance(value, dict) and value for value in table.values())
        if only_tables and self.choose(True, False):
            inner = list(table.items())
            late = self.choose(True, False)  # [a] after the [a.b] that implied it
            for (name, spelling), value in inner:
                self.header((*path, name), (*spelled, spelling), "[", "]")
                self.lines.setdefault(path, self.lines[*path, name])
                self.body((*path, name), (*spelled, spelling), value)
            if late:
                del self.lines[path]
                self.header(path, spelled, "[", "]")
        else:
            self.header(path, spelled, "[", "]")
            self.body(path, spelled, table)

    def header(self, path: KeyPath, spelled: tuple[str, ...], opening: str, closing: str) -> None:
        self.blanks()
        self.space()
        self.found(path)
        gap = self.choose("", " ")
        self.text += opening + gap + f"{gap}.{gap}".join(spelled) + gap + closing
        self.end_line()

    def assignment(self, path: KeyPath, spelled: tuple[str, ...], value: Any) -> None:
        if isinstance(value, dict) and value and self.choose(True, False):
            for (name, spelling), item in value.items():  # a.b = 1
                self.assignment((*path, name), (*spelled, spelling), item)
                self.lines.setdefault(path, self.lines[*path, name])
            return
        self.blanks()
        self.space()
        self.found(path)
        gap = self.choose("", " ")
        self.text += f"{gap}.{gap}".join(spelled) + gap + "=" + gap
        self.value(path, value)
        self.end_line()

    def value(self, path: KeyPath, value: Any) -> None:
        if isinstance(value, dict):
            self.text += "{"
            for number, ((name, spelling), item) in enumerate(value.items()):
                self.text += self.choose(",", " , ") if number else ""
                self.space()
                self.found((*path, name))
                self.text += spelling + self.choose("=", " = ")
                self.value((*path, name), item)
            self.space()
            self.text += "}"
        elif isinstance(value, list):
            self.text += "["
            self.within_array()
            for number, item in enumerate(value):
                self.found((*path, number))
                self.value((*path, number), item)
                self.within_array()
                if number < len(value) - 1 or self.choose(True, False):
                    self.text += ","
                    self.within_array()
            self.text += "]"
        else:
            self.text += value[1]

    def within_array(self) -> None:
        self.space()
        if self.choose(True, False, False):
            self.end_line()
            self.blanks()
            self.space()


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _plain(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _plain(value) for (name, _), value in tree.items()}
    if isinstance(tree, list):
        return [_plain(value) for value in tree]
    return tree[0]


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """A document in an odd layout."""
    layout = Layout(draw)
    layout.document(draw(st.dictionaries(st.sampled_from(_KEYS), _TREES, max_size=4)))
    return layout
