"""What is wrong with a text that is not TOML: ``tomllib``'s complaint in words for the one who wrote the text."""

import re
from collections.abc import Iterable
from itertools import takewhile
from typing import Final, NamedTuple

from worldswitch.errors import InputError
from worldswitch.text.scan import KeyPath, Kind, Mark, scan
from worldswitch.text.spell import dotted

_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_TWICE: Final = re.compile(r"Cannot (declare|overwrite|mutate|redefine)|Duplicate ")
_CHARACTER: Final = re.compile(r"(?:Found invalid|Illegal) character (.*)$")
_UNCLOSED: Final = "a string without its closing quote"
_NO_QUOTE: Final = 'Expected "\'"'
_PHRASES: Final = {
    "Invalid statement": "neither a key, a [table] nor a # comment",
    "Expected newline or end of document": "more text where the line should end",
    "Expected ']'": "expected ']' after the name of a table",
    "Expected ']]'": "expected ']]' after the name of an array of tables",
    "Expected '='": "expected '=' after the key",
    "Invalid initial character for a key part": "expected a key: letters, digits, '_' and '-', or a quoted string",
    "Unclosed array": "expected ',' or ']' in the array",
    "Unclosed inline table": "expected ',' or '}' in the inline table, which must end on the line where it begins",
    _NO_QUOTE: f"{_UNCLOSED} on its line",
    "Unterminated string": _UNCLOSED,
    "Unescaped '\\'": "not an escape: write a backslash as \\\\, or quote the string with '",
    "Invalid hex value": "not an escape: \\u takes four hexadecimal digits, \\U eight",
    "Escaped character": "an escape that names no Unicode character",
    "Invalid date": "no such date or time",
    "Invalid value": "not a value: strings need quotes, the other words are true and false",
}


class _Place(NamedTuple):
    offset: int
    line: int
    is_end: bool


def syntax_error(text: str, complaint: str) -> InputError:
    """The error for a text that ``tomllib`` rejects with this complaint: with line, and field where there is one."""
    place = _place(text, complaint)
    before = takewhile(lambda mark: mark.offset <= place.offset, scan(text))
    marks = (mark for mark in before if mark.kind is not Kind.COMMENT)
    what = _PLACE.sub("", complaint)
    if _TWICE.match(what):
        return _twice(list(marks), place)
    character = _CHARACTER.match(what)
    if character:
        message = f"{_UNCLOSED} on its line" if character[1] == r"'\n'" else f"the control character {character[1]}"
    else:
        # The longest that fits: "Expected ']]'" before "Expected ']'".
        known = [phrase for phrase in _PHRASES if what.startswith(phrase)]
        message = _PHRASES[max(known, key=len)] if known else what[:1].lower() + what[1:]
    begun, field = _unfinished(marks, place)
    if not place.is_end:
        return InputError(message, line=place.line, field=field)
    if begun is None:
        return InputError(f"the text ends too early: {message}", line=place.line, field=field)
    # Where the value begins is where to look: a quote that is missing there shows only at the end of the text.
    if what != _NO_QUOTE:
        message = "this value does not end before the text does"
    return InputError(message, line=begun.line, field=field)


def _place(text: str, complaint: str) -> _Place:
    text = text.replace("\r\n", "\n")
    found = _PLACE.search(complaint)
    if found is None or found[1] is None:
        return _Place(len(text), text.rstrip().count("\n") + 1, True)
    line = int(found[1])
    start = 0
    for _ in range(line - 1):
        start = text.index("\n", start) + 1
    return _Place(start + int(found[2]) - 1, line, False)


def _unfinished(marks: Iterable[Mark], place: _Place) -> tuple[Mark | None, str]:
    """The innermost value that has begun before the place and not ended, and the field to name for it.

    Where there is none, the field is what has just ended on the line.
    """
    begun: list[Mark] = []
    ended: KeyPath = ()
    for mark in marks:
        if mark.kind is Kind.DONE:
            if begun:
                begun.pop()
            ended = mark.path if mark.line == place.line else ()
        elif mark.kind is not Kind.HEADER and mark.offset < place.offset:
            begun.append(mark)
    return (begun[-1], dotted(begun[-1].path)) if begun else (None, dotted(ended))


def _twice(marks: list[Mark], place: _Place) -> InputError:
    """The second of two definitions that exclude each other; ``tomllib`` stops after its key or after its value."""
    begun = [mark for mark in marks if mark.kind is not Kind.DONE and mark.offset < place.offset]
    ended = [mark.path for mark in marks if mark.kind is Kind.DONE and mark.offset == place.offset]
    if ended:
        path = ended[-1]
    elif begun and begun[-1].kind is Kind.HEADER and begun[-1].line == place.line:
        path = begun[-1].path
    else:  # a header that is not complete either
        return InputError("given a second time", line=place.line)
    second = max(number for number, mark in enumerate(begun) if mark.path == path)
    line, earlier = begun[second].line, begun[:second]
    same = next((mark for mark in earlier if mark.path == path), None)
    if same:
        return InputError(f"given a second time; the first is on line {same.line}", line=line, field=dotted(path))
    inside = (mark for mark in earlier if mark.path[: len(path)] == path)
    around = (mark for mark in reversed(earlier) if path[: len(mark.path)] == mark.path)
    other = next(inside, None) or next(around, None)
    what = f"conflicts with {dotted(other.path)} on line {other.line}" if other else "given a second time"
    return InputError(what, line=line, field=dotted(path))
