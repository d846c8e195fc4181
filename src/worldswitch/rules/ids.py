"""How text cites a fact: ``S2-70``, ``T-120``, ``I-04``, and several at once.

==========================================  ===============================
``S8-60..67``, ``S8-60..S8-67``, en dash    every rule from S8-60 to S8-67
``S8-60 to S8-67``                          the same
``S6-61/70``                                S6-61 and S6-70
``S8-6x``                                   S8-60 to S8-69
==========================================  ===============================
"""

import re
from collections.abc import Container, Iterator
from typing import Final

_CITATION: Final = re.compile(
    r"(?<![\w-])(?:(S\d{1,2})-(\d{1,4})|(T)-(\d{3})|(I)-(\d{2}))"
    r"(?:(?P<tens>x)"
    r"|\s*(?:\.\.|\u2013)\s*(?:(?:\1|\3|\5)-)?(?P<last>\d{1,4})"
    r"|\s+to\s+(?:#\s*)?(?:\1|\3|\5)-(?P<to>\d{1,4})"
    r"|(?P<more>(?:/\d{1,4})+))?"
    r"(?!\w)"
)
_SPELLING: Final = re.compile(r"\s*([STI])(\d*)-(\d{1,6})\s*", re.IGNORECASE)
_LONGEST_RANGE: Final = 200
_DIGITS: Final = {"S": 2, "T": 3, "I": 2}


def make_id(prefix: str, number: int) -> str:
    """``S2``, 7 -> ``S2-07``; ``T``, 1 -> ``T-001``."""
    return f"{prefix}-{number:0{_DIGITS[prefix[0]]}d}"


def normalise(text: str) -> str:
    """An id as a person may type it (``s2-70``, ``t-1``) in its canonical spelling; other text in upper case."""
    match = _SPELLING.fullmatch(text)
    if match is None:
        return text.strip().upper()
    return make_id(match[1].upper() + match[2], int(match[3]))


def cited(text: str, known: Container[str]) -> Iterator[tuple[int, str]]:
    """Every citation in ``text``: its offset and the id.

    The ends of a range are reported known or not, so that a typing error shows; between them, and for ``S8-6x``, only
    ids in ``known``.
    """
    for match in _CITATION.finditer(text):
        prefix = match[1] or match[3] or match[5]
        digits = match[2] or match[4] or match[6]
        start = match.start()
        first = int(digits)
        if match["tens"]:
            yield from ((start, name) for n in range(10) if (name := make_id(prefix, first * 10 + n)) in known)
            continue
        yield start, f"{prefix}-{digits}"
        last = match["last"] or match["to"]
        if last:
            end = min(int(last), first + _LONGEST_RANGE)
            yield from ((start, name) for n in range(first + 1, end) if (name := make_id(prefix, n)) in known)
            yield start, make_id(prefix, int(last))
        elif match["more"]:
            yield from ((start, make_id(prefix, int(number))) for number in match["more"][1:].split("/"))
