"""Scenarios of the nested world as canonical text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from worldswitch.nested.fields import BY_NAME, BY_TABLE, FIELDS, SOURCES, TABLES
from worldswitch.nested.model import DEFAULT_L1_ROUNDS, DEFAULT_ROUNDS, L1_HYPERVISOR, L1_PROGRAM, Nested
from worldswitch.nested.read import L0_KEYS, L1_KEYS, NESTED_EVENT_KEYS, NPT_KEYS, RECEIVERS, TOP
from worldswitch.paths.write import format_line
from worldswitch.program.instruction import parse_vector
from worldswitch.scenario import write as plain
from worldswitch.scenario.defaults import significant
from worldswitch.scenario.kinds import Integer
from worldswitch.scenario.model import DEFAULT_GUEST, Scenario
from worldswitch.scenario.read import GATE_KEYS, GUEST_KEYS
from worldswitch.text.scan import KeyPath

Given = Mapping[str, Any]

_VECTORS: Final = tuple(f"0x{vector:02x}" for vector in range(256))


def nested_tables(scenario: Scenario, given: Given) -> dict[str, Any]:
    """The tables of the levels as TOML data, without defaults that are not in ``given``."""
    nested = scenario.nested
    assert nested is not None
    data: dict[str, Any] = {"l0": _l0(scenario, nested, _table(given, "l0"))}
    for name, table in (
        ("l1", _l1(nested, _table(given, "l1"))),
        ("vmcb12", _fields(nested, "vmcb12", _table(given, "vmcb12"))),
        ("l2", _l2(nested, _table(given, "l2"))),
        ("npt", {key: list(pages) for key, pages in (("l0", nested.npt0), ("l1", nested.npt1)) if pages}),
    ):
        if table or name in given:
            data[name] = table
    return data


def _table(given: Given, name: str) -> Given:
    table = given.get(name, {})
    return table if isinstance(table, Mapping) else {}


def _keep(given: Given, values: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Of key to (value, default) what differs from its default or stands in ``given``."""
    return {key: value for key, (value, default) in values.items() if value != default or key in given}


def _l0(scenario: Scenario, nested: Nested, given: Given) -> dict[str, Any]:
    return {"path": scenario.path} | _keep(given, {
        "flavour": (nested.flavour, "kvm"), "rounds": (nested.rounds, DEFAULT_ROUNDS), "vgif": (nested.vgif, True),
        "vnmi": (nested.vnmi, False), "nrips": (nested.nrips, True),
    })  # fmt: skip


def _l1(nested: Nested, given: Given) -> dict[str, Any]:
    hypervisor = nested.kind == "hypervisor"
    data = _keep(given, {
        "kind": (nested.kind, "program"), "rounds": (nested.l1_rounds, DEFAULT_L1_ROUNDS if hypervisor else 1),
        "between": (list(nested.l1_between), []), "asserts": (nested.asserts, hypervisor),
        "hsave": (nested.hsave, True), "cr3_loadable": (nested.cr3_loadable, True),
    })  # fmt: skip
    if nested.l1.program != (L1_HYPERVISOR if hypervisor else L1_PROGRAM) or "program" in given:
        data["program"] = ["\n".join(map(format_line, text.splitlines())) for text in nested.l1.program]
    return data | plain.world_data(nested.l1, given) | _fields(nested, "l1", given)


def _l2(nested: Nested, given: Given) -> dict[str, Any]:
    own = nested.l2.program != DEFAULT_GUEST or "program" in given
    data = {"program": list(nested.l2.program)} if own else {}
    return data | plain.world_data(nested.l2, given) | _fields(nested, "l2", given)


def _fields(nested: Nested, table: str, given: Given) -> dict[str, Any]:
    mine = {name.partition(".")[2]: value for name, value in nested.settings.items() if BY_NAME[name].table == table}
    source = SOURCES[table]
    needed = significant({f"{source}.{key}": value for key, value in mine.items()})
    return {
        key: BY_TABLE[table][key].kind.show(value)
        for key, value in mine.items()
        if key in given or f"{source}.{key}" in needed
    }


def event_receiver(level: int, given: Given) -> dict[str, Any]:
    """``for`` of an event."""
    return {"for": RECEIVERS[level]} if level or "for" in given else {}


# --- layout ----------------------------------------------------------------------------------


def key_order(path: KeyPath) -> Sequence[str] | None:
    """The keys of the table at this path in their order; None where the nested world has nothing to say."""
    if not path:
        return TOP
    first = path[0]
    if first == "l0":
        return L0_KEYS
    if first == "npt":
        return NPT_KEYS
    if first == "event":
        return NESTED_EVENT_KEYS
    if first in TABLES:
        if len(path) > 1:
            return _VECTORS if len(path) == 2 else GATE_KEYS
        others: tuple[str, ...] = {"l1": L1_KEYS, "l2": GUEST_KEYS}.get(str(first), ())
        head = tuple(key for key in others if key not in GUEST_KEYS)
        return (*head, *BY_TABLE[str(first)], *(key for key in others if key in GUEST_KEYS))
    return None


def is_short(path: KeyPath) -> bool:
    """Tables that stand on one line where they fit."""
    return path[0] in ("l1", "l2") and path[1:] in (("idt",), ("handlers",))


def field_digits(name: str) -> int | None:
    """Hex digits of a field, as those of the single-level tables."""
    field = BY_NAME.get(name)
    if field is None or not isinstance(field.kind, Integer) or not field.kind.digits:
        return None
    return 2 if field.kind.digits == 2 else 0


def renames(given: Given, data: Given) -> Iterator[tuple[KeyPath, KeyPath]]:
    """Where keys and list elements moved to when they got their canonical spelling, for comments."""
    for world in ("l1", "l2"):
        for kind in ("idt", "handlers"):
            for key in given.get(world, {}).get(kind, {}):
                yield (world, kind, key), (world, kind, f"0x{parse_vector(key):02x}")
    for field in FIELDS:
        value, shown = (tables.get(field.table, {}).get(field.key) for tables in (given, data))
        if isinstance(value, list) and isinstance(shown, list):
            for number, item in enumerate(value):
                word = field.kind.show(field.kind.parse([item]))[0]
                yield (field.table, field.key, number), (field.table, field.key, shown.index(word))
