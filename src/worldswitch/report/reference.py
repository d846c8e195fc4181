"""``docs/format.md`` and the JSON Schemas: the reference of scenario and path files, generated from the code.

``python -m worldswitch.report.reference`` writes them into ``docs``, ``--check`` only compares and exits with 1.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from worldswitch.core.isa import OP_PLAIN, VOCABULARY, Mnemonic
from worldswitch.core.options import PROFILES
from worldswitch.core.options import TABLE as OPTIONS
from worldswitch.kernel.calls import CALLS, EXPANSIONS
from worldswitch.program.layout import LANDMARKS
from worldswitch.report import words
from worldswitch.scenario.fields import FIELDS, TABLES, Field
from worldswitch.scenario.kinds import Bool, Choice, Event, GuestPlace, Integer, Intercepts, Kind, Pending, Words
from worldswitch.scenario.model import EVENT_KINDS
from worldswitch.scenario.schema import path_schema, scenario_schema


def documents() -> dict[str, str]:
    """File name in ``docs`` to text, the same for the same sources."""
    return {
        "format.md": format_page(),
        "scenario.schema.json": json.dumps(scenario_schema(), indent=2) + "\n",
        "path.schema.json": json.dumps(path_schema(), indent=2) + "\n",
    }


def format_page() -> str:
    """The page on scenario and path files."""
    parts = (
        words.INTRODUCTION, _vocabulary(), words.PLACES, _landmarks(), words.SCENARIO, _field_tables(), words.HOST,
        words.EVENTS, _events(), words.EXPECT, _observables(), words.MODEL, _options(), _profiles(), words.PATHS,
        words.CANONICAL,
    )  # fmt: skip
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def _vocabulary() -> str:
    lines = list(words.INSTRUCTIONS.strip("\n").splitlines())
    plain = [name for name, known in VOCABULARY.items() if _is_plain(known)]
    lines += ["", *_table(("instruction", "operand", "what it does"), _instructions())]
    lines += ["", f"Without a role in sequencing, with any operands: {', '.join(f'`{name}`' for name in plain)}."]
    lines += ["", *words.CALLS.strip("\n").splitlines(), ""]
    lines += _table(("call", "what it is"), ((f"`{name}`", call.about) for name, call in CALLS.items()))
    lines += ["", "Calls that stand for several steps:", ""]
    lines += _table(
        ("call", "its steps"),
        ((f"`{name}`", ", ".join(f"`{step}`" for step in steps)) for name, steps in EXPANSIONS.items()),
    )
    lines += ["", *words.SET.strip("\n").splitlines(), "", *words.MEETS.strip("\n").splitlines(), ""]
    lines += _table(("word", "meaning"), ((f"`{word}`", meaning) for word, meaning in words.FAULT_WORDS.items()))
    return "\n".join(lines)


def _is_plain(known: Mnemonic) -> bool:
    return known.op == OP_PLAIN and known.operand == "text"


def _instructions() -> Iterator[tuple[str, str, str]]:
    for name, known in VOCABULARY.items():
        if not _is_plain(known):
            yield f"`{name}`", words.OPERANDS[known.operand], known.about or words.INSTRUCTION_WORDS.get(name, "")


def _landmarks() -> str:
    return "\n".join(_table(("landmark", "place"), ((f"`{name}`", words.LANDMARK_WORDS[name]) for name in LANDMARKS)))


def _field_tables() -> str:
    lines: list[str] = []
    for table in TABLES:
        lines += [f"### [{table}]", "", words.TABLE_WORDS[table], ""]
        fields = [field for field in FIELDS if field.table == table]
        lines += _table(("field", "values", "default", "what it is", "rule"), map(_field_row, fields))
        lines.append("")
    return "\n".join(lines)


def _field_row(field: Field) -> tuple[str, ...]:
    return f"`{field.key}`", spelling(field.kind), field.default, field.about, field.rules


def spelling(kind: Kind) -> str:
    """The values of a kind in words."""
    match kind:
        case Bool():
            return "`true`, `false`"
        case Integer() if kind.digits:
            return f"{kind.low} to {kind.high:#x}"
        case Integer():
            return f"{kind.low} to {kind.high}"
        case Choice():
            return ", ".join(f"`{word}`" for word in kind.values)
        case Words():
            return f"list of {', '.join(f'`{word}`' for word in kind.bits)}; or a number"
        case Event():
            return "an event (section 3.2)"
        case Intercepts():
            return "list of intercepts (section 3.2)"
        case Pending():
            return f"list of `intr:VECTOR`, {', '.join(f'`{name}`' for name in kind.NAMES)}"
        case GuestPlace():
            return "`guest`, `guest+N`, `noncanonical`"
    raise TypeError(f"no words for {kind!r}")


def _events() -> str:
    return "\n".join(_table(("kind", "event"), ((f"`{kind}`", words.EVENT_WORDS[kind]) for kind in EVENT_KINDS)))


def _observables() -> str:
    lines: list[str] = []
    for title, table in words.OBSERVABLES.items():
        lines += [title, "", *_table(("key", "value"), ((f"`{key}`", text) for key, text in table.items())), ""]
    return "\n".join(lines)


def _options() -> str:
    rows = (
        (
            f"`{option.name}`",
            ", ".join(f"**`{value}`**" if value == option.default else f"`{value}`" for value in option.values),
            option.about,
            ", ".join(option.rules),
        )
        for option in OPTIONS
    )
    return "\n".join(_table(("option", "values, the default in bold", "what it decides", "rules"), rows))


def _profiles() -> str:
    rows = (
        (f"`{name}`", ", ".join(f"`{option}={value}`" for option, value in values.items()) or "all defaults")
        for name, values in PROFILES.items()
    )
    return "\n".join(_table(("profile", "differs from `amd` in"), rows))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or compare the documents; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m worldswitch.report.reference", description=__doc__)
    parser.add_argument("directory", nargs="?", default="docs", help="where they are (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args(arguments)
    stale = 0
    for name, text in documents().items():
        file = Path(options.directory) / name
        if options.check:
            if not file.is_file() or file.read_text(encoding="utf-8") != text:
                print(f"{file} is not current")
                stale = 1
        else:
            file.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
