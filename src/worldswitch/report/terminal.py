"""How wide the output may be, and its colours: only on a terminal, and not with NO_COLOR."""

import os
import shutil
import textwrap
from typing import Final, NamedTuple, TextIO

FILE_WIDTH: Final = 160
"""Columns where the output is no terminal and COLUMNS is not set: two timelines fit side by side."""

LEAST_WIDTH: Final = 80

_BOLD: Final = "1"
_DIM: Final = "2"
_RED: Final = "1;31"
_GREEN: Final = "32"


class Screen(NamedTuple):
    """Where text goes: the columns it has, and whether colours show."""

    width: int = FILE_WIDTH
    colour: bool = False

    def bold(self, text: str) -> str:
        """What changed, and headings."""
        return self._painted(text, _BOLD)

    def dim(self, text: str) -> str:
        """What explains."""
        return self._painted(text, _DIM)

    def bad(self, text: str) -> str:
        """What an oracle objects to, and what is not as expected."""
        return self._painted(text, _RED)

    def good(self, text: str) -> str:
        """What is as expected."""
        return self._painted(text, _GREEN)

    def _painted(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text.strip() else text

    def wrapped(self, text: str, first: str = "", rest: str = "") -> list[str]:
        """``text`` broken into lines, the first one after ``first``, the others after ``rest``."""
        return wrapped(text, self.width, first, rest)


def wrapped(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """``text`` broken into lines of at most ``width`` columns; what has no space in it may be longer."""
    lines = textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    return lines or [first.rstrip()]


def cut(text: str, width: int) -> str:
    """``text`` in at most ``width`` columns; what is left out shows as two dots."""
    return text if len(text) <= width else text[: width - 2] + ".."


def screen(stream: TextIO) -> Screen:
    """What ``stream`` can show; COLUMNS overrides the width, NO_COLOR (not empty) turns colours off."""
    terminal = stream.isatty()
    fallback = (LEAST_WIDTH if terminal else FILE_WIDTH, 24)
    width = shutil.get_terminal_size(fallback).columns if terminal or _columns() else FILE_WIDTH
    colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Screen(max(width, LEAST_WIDTH), colour)


def _columns() -> bool:
    return os.environ.get("COLUMNS", "").isdigit()
