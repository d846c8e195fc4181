"""A scanner that says where things stand in TOML text: keys, array elements and comments.

``tomllib`` reads TOML and keeps neither positions nor comments. The scanner adds just those and judges nothing: text
that ``tomllib`` accepts is followed to its end, other text as far as it can be followed. It takes time linear in the
text, so it can run before ``tomllib``, which takes time quadratic in the length of a dotted key.
"""

import re
import tomllib
from collections.abc import Iterator
from enum import Enum, auto
from typing import Final, NamedTuple

from worldswitch.errors import InputError

KeyPath = tuple[str | int, ...]
"""The keys and array indices that lead to a value: ``("expect", "exits", 0, "code")``."""

MAX_DEPTH: Final = 32
"""The longest key path. No file of ours comes near it, and recursion over a document stays far from Python's limit."""


class Kind(Enum):
    """What a mark stands for."""

    HEADER = auto()  # [table] or [[table]]
    KEY = auto()  # a key of a table, before its value
    ITEM = auto()  # an element of an array or a key of an inline table, before its value
    DONE = auto()  # the end of the value of a KEY or ITEM, or of a HEADER
    COMMENT = auto()


class Mark(NamedTuple):
    """One thing found in the text."""

    kind: Kind
    path: KeyPath
    line: int  # from 1
    offset: int  # in the text with \r\n read as \n, as tomllib counts
    text: str = ""  # of a comment from its # on, and of a value that is neither a string nor a container


_SPACE: Final = re.compile(r"[ \t]*+")
_LINES: Final = re.compile(r"[ \t\n]*+")
_COMMENT: Final = re.compile(r"#[^\n]*+")
_EQUALS: Final = re.compile(r"=[ \t]*+")
_BRACKET: Final = re.compile(r"\]")
_BRACKETS: Final = re.compile(r"\]\]")
# Groups are not possessive: Python before 3.11.5 loses its place in such a one. Each has but one way to match a text,
# so that giving iterations back finds nothing and takes linear time.
_KEY_PART: Final = re.compile(r"""[A-Za-z0-9_-]++|"(?:[^"\\\n]++|\\.)*"|'[^'\n]*+'""")
# The closing quotes of a multi-line string may be preceded by up to two quotes that are part of it.
_STRING: Final = re.compile(
    r'''"""(?:[^"\\]++|\\.|"(?!""))*""""{0,2}|"(?!"")(?:[^"\\\n]++|\\.)*"'''
    r"""|'''(?:[^']++|'(?!''))*''''{0,2}|'(?!'')[^'\n]*+'""",
    re.DOTALL,
)
_BARE: Final = re.compile(r"""[^,\]}#\n"'\[{=]++""")


def scan(text: str) -> Iterator[Mark]:
    """The marks of ``text`` in the order of the text; they stop where the text can't be followed.

    Raises ``InputError`` (with its line) where a key path is longer than ``MAX_DEPTH``.
    """
    try:
        yield from _Scanner(text).document()
    except _LostError:
        return


class _LostError(Exception):
    """The text is not TOML here."""


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n")
        self.at = 0
        self.line = 1
        self.entries: dict[KeyPath, int] = {}  # how many [[path]] there have been

    def document(self) -> Iterator[Mark]:
        table: KeyPath = ()
        while True:
            yield from self.blanks()
            if self.at == len(self.text):
                return
            here = self.at
            if self.peek() == "[":
                table = self.header()
                yield Mark(Kind.HEADER, table, self.line, here)
                yield Mark(Kind.DONE, table, self.line, self.at)
            else:
                path = self.deeper(table + self.key())
                yield Mark(Kind.KEY, path, self.line, here)
                self.take(_EQUALS)
                yield from self.value(path)

    def value(self, path: KeyPath) -> Iterator[Mark]:
        """The value of ``path``, nested ones too. No recursion: nesting is what a hostile text overdoes."""
        containers: list[tuple[str, KeyPath]] = []  # open arrays and inline tables: what closes them, and their path
        counts: list[int] = []
        while True:
            opener = self.peek()
            if opener in ("[", "{"):
                self.at += 1
                containers.append(("]" if opener == "[" else "}", path))
                counts.append(0)
            elif opener in ('"', "'"):
                self.take(_STRING)
                yield Mark(Kind.DONE, path, self.line, self.at)
            else:
                start, token = self.at, self.take(_BARE).rstrip(" \t")
                yield Mark(Kind.DONE, path, self.line, start + len(token), token)
            while containers:
                self.take(_LINES)
                if self.peek() == "#":
                    yield from self.blanks()
                closer, container = containers[-1]
                if self.peek() == ",":
                    self.at += 1
                elif self.peek() == closer:
                    self.at += 1
                    containers.pop()
                    counts.pop()
                    yield Mark(Kind.DONE, container, self.line, self.at)
                else:
                    here = self.at
                    if closer == "]":
                        path = self.deeper((*container, counts[-1]))
                        counts[-1] += 1
                        yield Mark(Kind.ITEM, path, self.line, here)
                    else:
                        path = self.deeper(container + self.key())
                        yield Mark(Kind.ITEM, path, self.line, here)
                        self.take(_EQUALS)
                    break
            else:
                return

    def blanks(self) -> Iterator[Mark]:
        """Past white space, newlines and comments."""
        while True:
            self.take(_LINES)
            if self.peek() != "#":
                return
            here = self.at
            yield Mark(Kind.COMMENT, (), self.line, here, self.take(_COMMENT).rstrip(" \t"))

    def header(self) -> KeyPath:
        """``[a.b]`` or ``[[a.b]]``, with the index of the entry where a part names an array of tables."""
        is_entry = self.text.startswith("[[", self.at)
        self.at += 2 if is_entry else 1
        parts = self.key()
        self.take(_BRACKETS if is_entry else _BRACKET)
        path: KeyPath = ()
        for part in parts[:-1]:
            path += (part,)
            if path in self.entries:
                path += (self.entries[path] - 1,)
        path += parts[-1:]
        if is_entry:
            self.entries[path] = self.entries.get(path, 0) + 1
            path += (self.entries[path] - 1,)
        return self.deeper(path)

    def key(self) -> tuple[str, ...]:
        """A bare, quoted or dotted key."""
        parts: list[str] = []
        while True:
            self.take(_SPACE)
            parts.append(_unquoted(self.take(_KEY_PART)))
            self.take(_SPACE)
            if self.peek() != ".":
                return tuple(parts)
            if len(parts) > MAX_DEPTH:
                raise self.too_deep()
            self.at += 1

    def take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise _LostError
        self.at = found.end()
        self.line += self.text.count("\n", found.start(), found.end())
        return found.group()

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def deeper(self, path: KeyPath) -> KeyPath:
        if len(path) > MAX_DEPTH:
            raise self.too_deep()
        return path

    def too_deep(self) -> InputError:
        return InputError(f"nested more than {MAX_DEPTH} levels deep", line=self.line)


def _unquoted(part: str) -> str:
    if part[0] not in "\"'":
        return part
    if part[0] == "'" or "\\" not in part:
        return part[1:-1]
    try:
        return str(tomllib.loads(f"key = {part}")["key"])
    except tomllib.TOMLDecodeError:
        raise _LostError from None
