"""One fact for a person or as JSON: its text, source and confidence, the code behind it and the tests of it."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from worldswitch.rules.citations import Citation, checkout
from worldswitch.rules.evidence import FOLLOWS, LEFT_OUT, PARTLY, Evidence, evidence, places, status
from worldswitch.rules.facts import Invariant, Row, Rule, facts, find, names_in
from worldswitch.rules.left_out import left_out

WIDTH: Final = 100
FORMAT: Final = 1

NO_TESTS: Final = "not known here: an installed package has no tests; run from a checkout"


def explain_rule(name: str, root: Path | None = None) -> str:
    """What is known of a rule (``S2-70``), a conformance row (``T-120``) or an invariant (``I-04``).

    At most 100 columns wide, no newline at the end. ``root`` is the checkout whose tests are searched, None for the one
    the package runs from. Raises ``InputError`` naming near matches for an id that does not exist.
    """
    fact = find(name)
    found = evidence(fact.id, root)
    tested = bool(root or checkout())
    lines = [*_title(fact), ""]
    if isinstance(fact, Row):
        for label, cell in (("start", fact.start), ("operations", fact.ops), ("expected", fact.expected)):
            lines += _field(label, cell or "-")
        lines += _field("source", fact.source)
        based = [f"{rule}  {_short(facts().rules[rule].text)}" for rule in fact.rules]
        lines += _list("rests on", based, empty_too=False)
    elif isinstance(fact, Invariant):
        lines += _wrap(fact.text)
        lines.append("")
    else:
        lines += _wrap(fact.text)
        lines.append("")
        lines += _field("remark", fact.remark) if fact.remark else []
        lines += _field("source", fact.source or "none stated")
        lines += [line for short, meaning in _sources(fact) for line in _wrap(f"{short}: {meaning}", "    ", "      ")]
        lines += _field("status", _status(found))
    if found.code or not isinstance(fact, Row):
        lines += _list("code", _located(found.code))
    lines += _list("used by", _located(found.mentions)) if found.mentions else []
    lines += _list("options", [_option_line(option) for option in _options(fact.id)], empty_too=False)
    lines += _list("tests", _located(found.tests) if tested else [NO_TESTS])
    through = [f"{row.id}  {_row_tests(row.tests, tested)}" for row in found.rows]
    lines += _list("conformance rows", through, empty_too=False)
    lines += _field("see also", ", ".join(related)) if (related := _related(fact)) else []
    return "\n".join(line.rstrip() for line in lines).rstrip()


def rule_as_json(name: str, root: Path | None = None) -> dict[str, Any]:
    """The same as values that ``json`` can write; ``tests`` is null where there is no checkout to search."""
    fact = find(name)
    found = evidence(fact.id, root)
    tested = bool(root or checkout())
    result: dict[str, Any] = {"format": FORMAT, "id": fact.id, "kind": type(fact).__name__.lower()}
    result |= {"confidence": fact.confidence, "section": fact.section, "section_title": fact.section_title}
    if isinstance(fact, Row):
        result |= {"start": fact.start, "operations": fact.ops, "expected": fact.expected, "source": fact.source}
        result["rules"] = list(fact.rules)
    elif isinstance(fact, Invariant):
        result["text"] = fact.text
    else:
        result |= {"text": fact.text, "remark": fact.remark, "source": fact.source, "sources": dict(_sources(fact))}
        result["status"] = status(found)
        group = left_out().group_of(fact.id)
        result["left_out"] = group.reason if group else None
        result["follows_from"] = list(left_out().follows.get(fact.id, ()))
        result["missing"] = left_out().partly.get(fact.id)
    result["code"] = [_citation(citation) for citation in found.code]
    result["used_by"] = [_citation(citation) for citation in found.mentions]
    result["options"] = _options(fact.id)
    result["tests"] = [_citation(citation) for citation in found.tests] if tested else None
    result["rows"] = [
        {"id": row.id, "tests": [_citation(citation) for citation in row.tests] if tested else None}
        for row in found.rows
    ]
    result["see_also"] = _related(fact)
    return result


def _title(fact: Rule | Row | Invariant) -> list[str]:
    return _wrap(f"{fact.id}  {fact.confidence}  (section {fact.section}, {fact.section_title})", "", "    ")


def _related(fact: Rule | Row | Invariant) -> list[str]:
    """The other ids that the fact's own words cite; of a row without the rules listed for it anyway."""
    if isinstance(fact, Row):
        text = f"{fact.start} {fact.ops} {fact.expected} {fact.source}"
        return [other for other in names_in(text) if other != fact.id and other not in fact.rules]
    text = f"{fact.text} {fact.remark} {fact.source}" if isinstance(fact, Rule) else fact.text
    return [other for other in names_in(text) if other != fact.id]


def _status(found: Evidence) -> str:
    word = status(found)
    if word == FOLLOWS:
        return f"needs no code of its own: it follows from {', '.join(left_out().follows[found.id])}"
    if word == LEFT_OUT:
        group = left_out().group_of(found.id)
        return f"left out: {group.reason}" if group else word
    return f"{word}: {left_out().partly[found.id]}" if word == PARTLY else word


def _sources(rule: Rule) -> Iterator[tuple[str, str]]:
    """The source abbreviations that ``rule.source`` uses, and what each stands for."""
    for short, meaning in facts().sources.items():
        if re.search(rf"(?<![\w-]){re.escape(short)}(?![\w-])", rule.source):
            yield short, meaning


def _options(name: str) -> list[dict[str, Any]]:
    """The model options that rest on a rule."""
    from worldswitch.core.options import TABLE

    return [
        {"name": option.name, "values": list(option.values), "default": option.default, "about": option.about}
        for option in TABLE
        if name in option.rules
    ]


def _option_line(option: dict[str, Any]) -> str:
    values = " | ".join(f"{value} (default)" if value == option["default"] else value for value in option["values"])
    return f"{option['name']} = {values}: {option['about']}"


def _citation(citation: Citation) -> dict[str, Any]:
    return {"file": citation.file, "line": citation.line, "place": citation.place or None}


def _located(found: Iterable[Citation]) -> list[str]:
    return [f"{citation.file}:{citation.line}  {citation.place}".rstrip() for citation in found]


def _row_tests(tests: tuple[Citation, ...], tested: bool) -> str:
    return ", ".join(places(tests)) or ("no test" if tested else NO_TESTS)


def _short(text: str) -> str:
    return text if len(text) <= WIDTH - 20 else text[: WIDTH - 21].rsplit(" ", 1)[0] + " ..."


def _wrap(text: str, first: str = "", rest: str = "") -> list[str]:
    from textwrap import wrap

    return wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False) or [first]


def _field(label: str, text: str) -> list[str]:
    return _wrap(text, f"{label}:".ljust(12), " " * 12)


def _list(label: str, items: list[str], empty_too: bool = True) -> list[str]:
    """A labelled list; an empty one says so, or with ``empty_too`` off is not there."""
    if not items:
        return [f"{label}:".ljust(12) + "none"] if empty_too else []
    return [f"{label}:", *(line for item in items for line in _wrap(item, "    ", "      "))]
