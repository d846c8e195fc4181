"""``facts.md`` read into values: rules, conformance rows, invariants, the table of model options.

A rule is one list item, ``- **ID [TAG]** text — source. Remark``. The source follows the last dash that ends a
sentence; what follows the source's first sentence was added later (corrections among it) and is the remark.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from worldswitch.errors import InputError
from worldswitch.rules.ids import cited, normalise

FACTS: Final = Path(__file__).with_name("facts.md")

CONFIDENCE: Final = {"C": "certain", "L": "likely", "D": "disputed", "U": "uncertain"}
"""The tags of section 0.1, in words."""


class Rule(NamedTuple):
    """One rule of the processor or of the host."""

    id: str
    confidence: str  # certain, likely, disputed, uncertain
    text: str
    source: str  # as the facts abbreviate it (see ``sources``); "" where they name none
    remark: str  # what was added after the source; corrections begin with "Correction:"
    section: str  # "2.5"; "7" where the chapter has no subsections
    section_title: str
    line: int  # in facts.md


class Row(NamedTuple):
    """One conformance scenario of section 11; the columns as they stand."""

    id: str
    start: str
    ops: str
    expected: str
    source: str
    confidence: str
    rules: tuple[str, ...]  # the rules its expectation and source cite
    section: str
    section_title: str
    line: int


class Invariant(NamedTuple):
    """One cross-model invariant of section 11.9."""

    id: str
    text: str
    confidence: str
    section: str
    section_title: str
    line: int


class ModelOption(NamedTuple):
    """One row of section 13: a switch for a disputed or uncertain point."""

    name: str
    values: tuple[str, ...]  # without the remarks in parentheses
    default: str
    rules: tuple[str, ...]
    line: int


class Facts(NamedTuple):
    """All of ``facts.md``."""

    rules: dict[str, Rule]
    rows: dict[str, Row]
    invariants: dict[str, Invariant]
    options: dict[str, ModelOption]
    sources: dict[str, str]  # short name to what it stands for (section 0.2)


_HEADING: Final = re.compile(r"#{2,3} (\d+(?:\.\d+)?)\.? (.*)")
_RULE: Final = re.compile(r"- \*\*(S\d+-\d+) \[([CLDU])\](?: (\([^)]*\)))?\*\* (.*)")
_INVARIANT: Final = re.compile(r"- \*\*(I-\d+)\*\* (.*)")
_SOURCE_DASH: Final = re.compile('(?<=[.)"]) \u2014 ')
_REMARK: Final = re.compile(r"(?<=\.) (?=[A-Z*])")
_COMMON_SOURCE: Final = re.compile(r"\bAll (S\d+-\dx): (.*?)\.?$")
_HEADING_SOURCE: Final = re.compile(r"\((APM\d[^)]*)\)$")
_PARENTHESIS: Final = re.compile(r"\s*\([^)]*\)")
_FIRST_WORD: Final = re.compile(r"[\w.-]+(?:\(q\))?")


def parse(text: str) -> Facts:
    """The facts in ``text``, which has the form of ``facts.md``."""
    facts = Facts({}, {}, {}, {}, {})
    cells: list[tuple[int, list[str], str, str]] = []
    section = title = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            if heading := _HEADING.match(line):
                section, title = heading[1], heading[2]
        elif line.startswith("| "):
            cells.append((number, [cell.strip() for cell in line.strip()[1:-1].split("|")], section, title))
        elif match := _RULE.match(line):
            rule = _rule(match, section, title, number)
            facts.rules[rule.id] = rule
        elif match := _INVARIANT.match(line):
            facts.invariants[match[1]] = Invariant(match[1], match[2].strip(), _word(match[2]), section, title, number)
    _spread_sources(facts.rules)
    for number, row, section, title in cells:
        _read_table_row(facts, number, row, section, title)
    return facts


def _rule(match: re.Match[str], section: str, title: str, line: int) -> Rule:
    name, tag, label, body = match.groups()
    text, source, remark = body.strip(), "", ""
    dashes = list(_SOURCE_DASH.finditer(text))
    if dashes:
        text, source = text[: dashes[-1].start()], text[dashes[-1].end() :]
        source, *rest = _REMARK.split(source, maxsplit=1)
        remark = rest[0] if rest else ""
    if label:
        text = f"{label} {text}"
    return Rule(name, CONFIDENCE[tag], text, source.removesuffix("."), remark, section, title, line)


def _word(text: str) -> str:
    """The confidence an invariant states, "(certain)" or "(likely)", also with more inside the parentheses."""
    match = re.search(r"\((certain|likely|disputed|uncertain)\b", text)
    return match[1] if match else ""


def _spread_sources(rules: dict[str, Rule]) -> None:
    """Sources given once for several rules: by a heading, or after the last of them ("All S8-6x: ...", "all ...")."""
    for rule in list(rules.values()):
        if common := _COMMON_SOURCE.search(rule.text):
            text = rule.text[: common.start()].rstrip()
            rules[rule.id] = rule._replace(text=text)
            names = [name for _, name in cited(common[1], rules)]
            source = common[2]
        elif rule.source.startswith("all "):
            source = rule.source.removeprefix("all ")
            rules[rule.id] = rule._replace(source=source)
            names = [other.id for other in rules.values() if other.section == rule.section and other.line < rule.line]
        elif heading := _HEADING_SOURCE.search(rule.section_title):
            names, source = [rule.id], heading[1]
        else:
            continue
        for name in names:
            if not rules[name].source and rules[name].confidence == "certain":
                rules[name] = rules[name]._replace(source=source)


def _read_table_row(facts: Facts, line: int, row: list[str], section: str, title: str) -> None:
    if section == "0.2" and len(row) == 2 and row[0] != "short":
        for name in row[0].split(" / "):
            if word := _FIRST_WORD.match(name):
                facts.sources[word[0]] = row[1]
    elif section == "13" and len(row) == 4 and row[0] != "option":
        values = tuple(_PARENTHESIS.sub("", value).strip() for value in row[1].split(" / "))
        facts.options[row[0]] = ModelOption(
            row[0], values, _PARENTHESIS.sub("", row[2]), _rules_in(row[3], facts.rules), line
        )
    elif row[0].startswith("T-") and len(row) == 6:
        based = _rules_in(f"{row[3]} {row[4]}", facts.rules)
        name, start, ops, expected, source, confidence = row
        facts.rows[name] = Row(name, start, ops, expected, source, confidence, based, section, title, line)


def _rules_in(text: str, known: dict[str, Rule]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for _, name in cited(text, known) if name in known))


@cache
def facts() -> Facts:
    """Everything in the package's ``facts.md``; read once."""
    return parse(FACTS.read_text(encoding="utf-8"))


def rules() -> dict[str, Rule]:
    """Every rule by id, in the order of the facts."""
    return facts().rules


def rows() -> dict[str, Row]:
    """Every conformance row by id, in the order of the facts."""
    return facts().rows


def invariants() -> dict[str, Invariant]:
    """Every invariant by id."""
    return facts().invariants


@cache
def known_ids() -> dict[str, Rule | Row | Invariant]:
    """Everything that has an id."""
    return {**facts().rules, **facts().rows, **facts().invariants}


def find(name: str) -> Rule | Row | Invariant:
    """What ``name`` (``S2-70``, ``t-120``, ``I-4``) stands for.

    Raises ``InputError`` naming near matches for an id that does not exist.
    """
    known = known_ids()
    found = known.get(normalise(name))
    if found is None:
        near = ", ".join(_near(normalise(name), list(known)))
        hint = f"near it: {near}" if near else "ids look like S2-70, T-120, I-04"
        raise InputError(f"no rule, conformance row or invariant {name.strip()!r}; {hint}")
    return found


def rule(name: str) -> Rule:
    """The rule ``name``; raises ``InputError`` naming near matches where there is none."""
    found = find(name)
    if not isinstance(found, Rule):
        raise InputError(
            f"{found.id} is not a rule but a {'conformance row' if isinstance(found, Row) else 'invariant'}"
        )
    return found


def _near(name: str, known: list[str]) -> list[str]:
    """Up to four ids someone may have meant: the numerically nearest of the same family, else similar spellings."""
    from difflib import get_close_matches

    prefix, dash, digits = name.partition("-")
    family = [other for other in known if other.startswith(prefix + "-")]
    if dash and digits.isdecimal() and family:
        nearest = sorted(family, key=lambda other: (abs(int(other[len(prefix) + 1 :]) - int(digits[:6])), other))[:4]
        return sorted(nearest, key=known.index)
    return get_close_matches(name, known, n=4)


def names_in(text: str) -> Iterator[str]:
    """The ids ``text`` cites that exist, each once, in order of appearance."""
    yield from dict.fromkeys(name for _, name in cited(text, known_ids()) if name in known_ids())
