"""JSON Schema of scenario and path files, generated from the tables that also read them.

They accept every file in canonical form; of the other spellings that the reader takes, the usual ones. Editors that
check TOML use them: a first line ``#:schema scenario.schema.json`` names one.
"""

from collections.abc import Mapping
from typing import Any, Final

from worldswitch.core.names import EXIT_CODES
from worldswitch.core.options import PROFILES
from worldswitch.core.options import TABLE as OPTIONS
from worldswitch.machine import observe
from worldswitch.nested.schema import either_world, nested_properties, receiver
from worldswitch.paths import model as path_model
from worldswitch.program.instruction import FAULTS
from worldswitch.program.layout import LANDMARKS
from worldswitch.scenario.expect import EVENT_WORDS, NESTED_KEYS, observables
from worldswitch.scenario.fields import FIELDS, TABLES
from worldswitch.scenario.kinds import Event
from worldswitch.scenario.model import EVENT_KINDS, FORMAT, MAX_EVENTS, MAX_PROGRAM, ORIGINS
from worldswitch.scenario.places import MAX_ROUNDS

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

# As keys, vectors are text in any TOML spelling of an integer.
_VECTOR_KEY: Final = r"^\+?(0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9_]+)$"
_NUMBER: Final[dict[str, Any]] = {"type": ["integer", "string"]}  # a string in any TOML spelling of an integer
_TEXT: Final[dict[str, Any]] = {"type": "string"}
_TEXTS: Final[dict[str, Any]] = {"type": "array", "items": _TEXT}
_PLAIN: Final[dict[str, Any]] = {"type": ["boolean", "integer", "string", "array"]}


def scenario_schema() -> dict[str, Any]:
    """The schema of a scenario file."""
    tables = {name: _fields(name) for name in TABLES}
    world = {"program": _program(), "idt": _by_vector(_gate()), "handlers": _by_vector(_program())}
    tables["guest"]["properties"] |= world
    below = nested_properties(world, _program())
    host = {
        "path": {"type": "string", "minLength": 1, "description": "an entry path by name, or a path file"},
        "rounds": _integer(1, MAX_ROUNDS) | {"description": "how often the path is executed; default 1"},
        "between": _program() | {"description": "what software does between two rounds"},
    }
    options = {
        option.name: {"enum": list(option.values), "default": option.default, "description": option.about}
        for option in OPTIONS
    }
    properties = {
        "format": {"const": FORMAT},
        "about": _TEXT,
        "profile": {"enum": list(PROFILES), "default": "amd"},
        "options": _table(options),
        **{name: table for name, table in tables.items() if name != "guest"},
        "host": _table(world | host) | {"oneOf": [{"required": ["path"]}, {"required": ["program"]}]},
        "guest": tables["guest"],
        "event": {"type": "array", "maxItems": MAX_EVENTS, "items": _event()},
        "expect": _expectations(),
    }
    head = ("format", "about", "profile", "options", "cpu", "kernel", "host", "vmcb", "guest")
    ordered = {name: (properties | below)[name] for name in (*head, *below, "event", "expect")}
    return {
        "$schema": DIALECT,
        "title": "worldswitch scenario",
        **_table(ordered, required=("format",)),
        "oneOf": either_world(),
        "$defs": _definitions(),
    }


def path_schema() -> dict[str, Any]:
    """The schema of a path file."""
    segments = {"type": "array", "items": {"enum": list(LANDMARKS)}}
    known = {
        "signature": {"type": "string", "minLength": 1, "description": "exact, or a prefix ending in *"},
        "when": {"enum": list(path_model.WHEN), "default": "always"},
        "rule": _TEXT,
        "about": {"type": "string", "minLength": 1},
    }
    entry = {
        "if": {"type": "boolean", "default": False},
        "gif": {"type": "boolean", "default": True},
        "lockdep": {"type": "boolean", "default": False},
        "context": {"enum": ["kernel", "guest"], "default": "kernel"},
    }
    documented = {
        "nmi": segments | {"description": "the segments in which an NMI may come"},
        "intr": segments | {"description": "the segments in which an INTR may come"},
        "hif": {"type": "boolean", "description": "host RFLAGS.IF at VMRUN"},
    }
    properties = {
        "format": {"const": path_model.FORMAT},
        "name": {"type": "string", "minLength": 1},
        "about": _TEXT,
        "system": {"enum": list(path_model.SYSTEMS), "default": "linux"},
        "sources": _TEXTS,
        "listing": {"type": "string", "minLength": 1, "description": "one instruction or kernel call a line"},
        "entry": _table(entry),
        "documented": _table(documented),
        "known": {"type": "array", "items": _table(known, required=("signature", "about"))},
    }
    return {
        "$schema": DIALECT,
        "title": "worldswitch entry path",
        **_table(properties, required=("format", "name", "listing")),
    }


def _table(properties: Mapping[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    result: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": dict(properties)}
    return result | {"required": list(required)} if required else result


def _fields(table: str) -> dict[str, Any]:
    return _table({
        field.key: field.kind.schema() | {"description": f"{field.about}; default {field.default} ({field.rules})"}
        for field in FIELDS
        if field.table == table
    })  # fmt: skip


def _integer(low: int, high: int) -> dict[str, Any]:
    return {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, {"type": "string"}]}


def _program() -> dict[str, Any]:
    return {"type": "array", "maxItems": MAX_PROGRAM, "items": {"type": "string", "pattern": r"\S"}}


def _by_vector(value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "patternProperties": {_VECTOR_KEY: value}}


def _gate() -> dict[str, Any]:
    meets = {"enum": list(FAULTS)}
    gate = {"meets": meets, "type": {"enum": ["interrupt", "trap"]}, "dpl": _integer(0, 3)}
    return {"anyOf": [meets, _table(gate)]}


def _event() -> dict[str, Any]:
    event = {
        "kind": {"enum": list(EVENT_KINDS)},
        "at": {"type": "string", "description": "an arrival point, such as vmrun-1, guest+2, sti@2"},
        "vector": _integer(0x10, 0xFF) | {"description": "of an intr; default 0x20"},
        "origin": {"enum": list(ORIGINS), "default": "external", "description": "internal: of an smi"},
        "for": receiver(),
    }
    return _table(event, required=("kind", "at"))


def _definitions() -> dict[str, Any]:
    """The parts of ``[expect]``, which stand in several places."""
    plain, plain_final = observables(nested=False)
    below, below_final = observables(nested=True)
    parts: dict[str, Any] = {}
    for name, observed in below.items():
        record = _record({**plain.get(name, {}), **observed})
        if "exit_code" in record:
            record["code"] = {"anyOf": [{"enum": sorted(EXIT_CODES)}, _NUMBER]}
        parts[name] = {"type": "array", "items": _table(record)}
    parts |= {
        "final": _table(_record({**plain_final, **below_final})),
        "findings": _TEXTS
        | {"description": "the exact set: oracle names or signatures, LEVEL:NAME with nested levels"},
        "unreached": {"type": "array", "items": {"type": "integer"}, "description": "indices of events"},
    }
    return parts | {"expect": _table(_parts())}


def _parts() -> dict[str, Any]:
    return {key: {"$ref": f"#/$defs/{key}"} for key in NESTED_KEYS}


def _expectations() -> dict[str, Any]:
    each = {"type": "object", "additionalProperties": {"$ref": "#/$defs/expect"}}
    options = [f"{option.name}={value}" for option in OPTIONS for value in option.values]
    variants = {
        "path": each,
        "profile": each | {"propertyNames": {"enum": list(PROFILES)}},
        "options": each | {"propertyNames": {"enum": options}},
    }
    return _table(_parts() | variants)


def _record(observables: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _observable(key) for key in observables}


def _observable(key: str) -> dict[str, Any]:
    if key in EVENT_WORDS:
        return Event().schema()
    return _NUMBER if key in observe.HEX_KEYS or key in ("vector", "error_code") else _PLAIN
