"""Scenarios as canonical text.

``scenario_text`` writes a :class:`Scenario` and leaves out what is default; ``format_scenario`` respells a file that a
person wrote, keeps its comments, and leaves out nothing.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from worldswitch.paths.write import format_line
from worldswitch.program.instruction import meets_name
from worldswitch.scenario.defaults import significant
from worldswitch.scenario.fields import BY_NAME, TABLES
from worldswitch.scenario.model import DEFAULT_GUEST, DEFAULT_INTR_VECTOR, FORMAT, Arrival, GateSpec, Program, Scenario
from worldswitch.scenario.read import parse_scenario
from worldswitch.scenario.respell import renamed_comments
from worldswitch.scenario.style import scenario_style
from worldswitch.scenario.write_expect import expectations_data
from worldswitch.text.comments import Comments
from worldswitch.text.comments import comments as read_comments
from worldswitch.text.read import Document
from worldswitch.text.write import dumps

Given = Mapping[str, Any]
"""A document's data: what stands in it is written even where it is default."""

_NOTHING: Final[Given] = {}


def scenario_text(scenario: Scenario, comments: Comments | None = None) -> str:
    """The canonical text of ``scenario``; reading it gives the same scenario, apart from settings that are default.

    ``comments`` are those of a canonical text, or made for one: their paths are those of ``scenario_data``.
    """
    data = scenario_data(scenario)
    return dumps(data, style=scenario_style(data), comments=comments)


def format_scenario(document: Document) -> str:
    """The canonical text of a scenario file, comments kept; raises ``InputError`` where it is no scenario."""
    scenario = parse_scenario(document)
    data = scenario_data(scenario, document.data)
    notes = renamed_comments(read_comments(document.text), document.data, data)
    return dumps(data, style=scenario_style(data), comments=notes)


def scenario_data(scenario: Scenario, given: Given = _NOTHING) -> dict[str, Any]:
    """The scenario as TOML data in canonical spelling, without defaults that are not in ``given``."""
    data: dict[str, Any] = {"format": FORMAT}
    if scenario.about or "about" in given:
        data["about"] = scenario.about
    if scenario.profile != "amd" or "profile" in given:
        data["profile"] = scenario.profile
    if scenario.options or "options" in given:
        data["options"] = dict(scenario.options)
    needed = significant(scenario.settings)
    for table in TABLES:
        fields = _fields(scenario, table, needed, _table(given, table))
        if fields or table in given:
            data[table] = fields
    if scenario.nested is not None:
        return data | _nested(scenario, given)
    data["host"] = _host(scenario, _table(given, "host"))
    guest = data.get("guest", {}) | _guest(scenario.guest, _table(given, "guest"))
    if guest or "guest" in given:
        data["guest"] = guest
    return data | _events_and_expect(scenario, given)


def _nested(scenario: Scenario, given: Given) -> dict[str, Any]:
    from worldswitch.nested.write import nested_tables

    return nested_tables(scenario, given) | _events_and_expect(scenario, given)


def _events_and_expect(scenario: Scenario, given: Given) -> dict[str, Any]:
    data: dict[str, Any] = {}
    events = given.get("event", [])
    if scenario.events or "event" in given:
        data["event"] = [
            _event(event, events[number] if number < len(events) else _NOTHING)
            for number, event in enumerate(scenario.events)
        ]
    if scenario.expect is not None:
        data["expect"] = expectations_data(scenario.expect)
    return data


def _table(given: Given, name: str) -> Given:
    table = given.get(name, _NOTHING)
    return table if isinstance(table, Mapping) else _NOTHING


def _fields(scenario: Scenario, table: str, needed: Collection[str], given: Given) -> dict[str, Any]:
    return {
        field.key: field.kind.show(value)
        for name, value in scenario.settings.items()
        if (field := BY_NAME[name]).table == table and (name in needed or field.key in given)
    }


def _host(scenario: Scenario, given: Given) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if scenario.path:
        data["path"] = scenario.path
    else:
        data["program"] = ["\n".join(map(format_line, text.splitlines())) for text in scenario.host.program]
    if scenario.rounds != 1 or "rounds" in given:
        data["rounds"] = scenario.rounds
    if scenario.between or "between" in given:
        data["between"] = list(scenario.between)
    return data | world_data(scenario.host, given)


def _guest(guest: Program, given: Given) -> dict[str, Any]:
    own = guest.program != DEFAULT_GUEST or "program" in given
    return ({"program": list(guest.program)} if own else {}) | world_data(guest, given)


def world_data(program: Program, given: Given) -> dict[str, Any]:
    """The IDT and the handlers of one world."""
    data: dict[str, Any] = {}
    if program.idt or "idt" in given:
        data["idt"] = {_vector(vector): _gate(gate) for vector, gate in program.idt.items()}
    if program.handlers or "handlers" in given:
        data["handlers"] = {_vector(vector): list(body) for vector, body in program.handlers.items()}
    return data


def _vector(vector: int) -> str:
    return f"0x{vector:02x}"


def _gate(gate: GateSpec) -> Any:
    meets = meets_name(gate.outcome)
    data: dict[str, Any] = {"meets": meets} if meets != "ok" else {}
    if gate.trap:
        data["type"] = "trap"
    if gate.dpl:
        data["dpl"] = gate.dpl
    return data if gate.trap or gate.dpl else meets


def _event(event: Arrival, given: Given) -> dict[str, Any]:
    data: dict[str, Any] = {"kind": event.kind, "at": str(event.at)}
    if event.kind == "intr" and (event.vector != DEFAULT_INTR_VECTOR or "vector" in given):
        data["vector"] = event.vector
    if event.origin != "external" or "origin" in given:
        data["origin"] = event.origin
    if event.level or "for" in given:
        from worldswitch.nested.write import event_receiver

        data |= event_receiver(event.level, given)
    return data
