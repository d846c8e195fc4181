"""How one key or scalar is written: the canonical spelling."""

import re
from datetime import date, datetime, time
from typing import Final

from worldswitch.text.scan import KeyPath

INTEGERS: Final = range(-(1 << 63), 1 << 64)
"""Integers a document may hold: TOML's 64-bit signed ones and, because registers are unsigned, 64-bit unsigned ones."""

_LONGEST_SHOWN: Final = 60
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
# Beyond what TOML demands: characters that can't be seen, or that reorder what is seen, have no place in a text that
# people review. The set is fixed, so that the canonical form does not depend on a Unicode version.
_ESCAPED: Final = re.compile(r'["\\\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]')
_PLAIN_IN_LITERAL: Final = str.maketrans("", "", '\n\t"\\')
_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def key(name: str) -> str:
    """A key, bare where TOML allows it: ``svme``, ``"linux-6.14"``."""
    return name if _BARE_KEY.fullmatch(name) else string(name)


def dotted(path: KeyPath) -> str:
    """A key path for people and for ``InputError.field``: ``expect.path."linux-6.14".exits[0].code``.

    Keys longer than a person reads are cut.
    """
    parts = [f"[{part}]" if isinstance(part, int) else f".{key(_cut(part))}" for part in path]
    return "".join(parts).removeprefix(".")


def string(text: str) -> str:
    """A basic string on one line; raises ``ValueError`` for a lone surrogate, which no TOML text can hold."""
    text.encode()
    return f'"{_ESCAPED.sub(_escape, text)}"'


def block(text: str) -> str:
    """A string of several lines, written as such: literal where every character may stand unescaped."""
    text.encode()
    plain = text.translate(_PLAIN_IN_LITERAL)
    if not _ESCAPED.search(plain) and "'''" not in text and not text.endswith("'"):
        return f"'''\n{text}'''"
    return '"""\n' + "\n".join(_ESCAPED.sub(_escape, line) for line in text.split("\n")) + '"""'


def scalar(value: object, hex_digits: int | None = None) -> str:
    """A scalar on one line.

    Args:
        value: a str, bool, int of ``INTEGERS``, float, or a date or time that TOML has.
        hex_digits: write a non-negative integer in lower-case hex, filled with zeros to this many digits.

    Raises:
        TypeError: TOML has no such value.
        ValueError: TOML can't hold this value of its type.
    """
    if isinstance(value, str):
        return string(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if int(value) not in INTEGERS:
            raise ValueError(f"integer {value:#x} is wider than 64 bits")
        return f"0x{int(value):0{hex_digits}x}" if hex_digits is not None and value >= 0 else f"{int(value):d}"
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, (date, time)):
        return _moment(value)
    raise TypeError(f"TOML has no {type(value).__name__}")


def _moment(value: date | time) -> str:
    offset = value.utcoffset() if isinstance(value, (datetime, time)) else None
    if offset is not None and (isinstance(value, time) or offset.total_seconds() % 60):
        raise ValueError(f"TOML has no {value.isoformat()}")
    return value.isoformat()


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_SHOWN else name[: _LONGEST_SHOWN - 3] + "..."


def _escape(match: re.Match[str]) -> str:
    return _SHORT.get(match[0]) or f"\\u{ord(match[0]):04x}"
