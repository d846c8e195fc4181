"""A TOML file or string to plain data that knows its lines; all bad input is an ``InputError``."""

import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from worldswitch.errors import InputError
from worldswitch.text.locate import line_of, locate
from worldswitch.text.scan import KeyPath, scan
from worldswitch.text.spell import INTEGERS, dotted
from worldswitch.text.syntax import syntax_error

LIMIT: Final = 1 << 20
"""Bytes of the largest file that is read, unless the caller says otherwise."""

_LONGEST_NUMBER: Final = 200
# A 64-bit number takes 66 characters in binary. Python's own limit is 4300 digits, but for decimal ones only.


@dataclass(frozen=True)
class Document:
    """A TOML document."""

    data: dict[str, Any]  # as tomllib gives it; integers are of spell.INTEGERS
    file: str  # the name for messages
    text: str

    @cached_property
    def _lines(self) -> dict[KeyPath, int]:
        return locate(self.text)

    def line(self, path: KeyPath) -> int:
        """The line, from 1, of this key or element, else of the nearest key around it, else 0."""
        return line_of(self._lines, path)

    def error(self, message: str, path: KeyPath = ()) -> InputError:
        """The complaint ``message`` about what stands at ``path``, with file, line and field."""
        return InputError(message, self.file, self.line(path), dotted(path))


def load(path: str | Path, limit: int = LIMIT) -> Document:
    """The document in a file.

    Raises ``InputError`` if the file can't be read, is larger than ``limit`` bytes, or is not UTF-8, and as
    :func:`loads` does.
    """
    # A file's name may hold anything; the complaint must stay one line that any terminal can show.
    file = str(path) if str(path).isprintable() else ascii(str(path))
    try:
        with open(path, "rb") as stream:
            raw = stream.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}", file) from None
    if len(raw) > limit:
        raise InputError(f"larger than the {limit} bytes that are read", file)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"not UTF-8: byte 0x{raw[error.start]:02x} at offset {error.start}", file, line) from None
    return loads(text, file)


def loads(text: str, file: str = "<scenario>") -> Document:
    """The document in a string; ``file`` is its name in messages.

    Raises ``InputError`` with the line, and the field where there is one, if the text is not TOML, nests deeper than
    ``scan.MAX_DEPTH``, or holds an integer outside ``spell.INTEGERS``.
    """
    _check_characters(text, file)
    try:
        # tomllib would stumble over these late, or not at all: it recurses, and takes quadratic time for long keys.
        for mark in scan(text):
            if len(mark.text) > _LONGEST_NUMBER and not mark.text.startswith("#"):
                message = f"a number or word of {len(mark.text)} characters"
                raise InputError(message, line=mark.line, field=dotted(mark.path))
        data = tomllib.loads(text)
    except InputError as error:
        raise error.at(file) from None
    except tomllib.TOMLDecodeError as error:
        raise syntax_error(text, str(error)).at(file) from None
    except RecursionError:  # the caller is near the limit itself
        raise InputError("nested too deeply to be read", file) from None
    document = Document(data, file, text)
    _check_integers(document)
    return document


def _check_characters(text: str, file: str) -> None:
    if text.startswith("\ufeff"):
        raise InputError("begins with a byte order mark; save it as UTF-8 without one", file, 1)
    nul = text.find("\0")
    if nul >= 0:
        raise InputError("holds a NUL byte: not a text file", file, text.count("\n", 0, nul) + 1)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise InputError(f"holds U+{ord(text[error.start]):04X}, which is no character", file, line) from None


def _check_integers(document: Document) -> None:
    waiting: list[tuple[KeyPath, Any]] = [((), document.data)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [((*path, name), item) for name, item in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, number), item) for number, item in enumerate(value)]
        elif isinstance(value, int) and value not in INTEGERS:
            raise document.error("integer wider than 64 bits", path)
