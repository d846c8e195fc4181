"""Reading a scenario from its TOML file; every error names file, line and field."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from worldswitch.core.options import BY_NAME as OPTIONS
from worldswitch.core.options import PROFILES
from worldswitch.errors import InputError
from worldswitch.paths.listing import parse_listing
from worldswitch.program.instruction import canonical, meets_number, parse_program, parse_vector
from worldswitch.scenario.expect import read_expectations
from worldswitch.scenario.fields import FIELDS, TABLES
from worldswitch.scenario.kinds import as_integer, describe
from worldswitch.scenario.model import (
    DEFAULT_GUEST,
    DEFAULT_INTR_VECTOR,
    EVENT_KINDS,
    FORMAT,
    MAX_EVENTS,
    MAX_PROGRAM,
    ORIGINS,
    Arrival,
    GateSpec,
    Program,
    Scenario,
)
from worldswitch.scenario.places import MAX_ROUNDS, parse_place
from worldswitch.text.read import Document, load, loads

Path_ = tuple[str | int, ...]

TOP: Final = ("format", "about", "profile", "options", "cpu", "kernel", "host", "vmcb", "guest", "event", "expect")
NESTED_TABLES: Final = frozenset({"l0", "l1", "l2", "vmcb12", "npt"})
"""Tables of a scenario of the nested world; one of them makes it one."""

HOST_KEYS: Final = ("path", "program", "rounds", "between", "idt", "handlers")
GUEST_KEYS: Final = ("program", "idt", "handlers")
EVENT_KEYS: Final = ("kind", "at", "vector", "origin")
GATE_KEYS: Final = ("meets", "type", "dpl")
_BY_TABLE: Final = {table: {field.key: field for field in FIELDS if field.table == table} for table in TABLES}


def read_scenario(file: str | Path) -> Scenario:
    """The scenario in a file; raises ``InputError``."""
    return parse_scenario(load(file))


def read_text(text: str, file: str = "<scenario>") -> Scenario:
    """The scenario in a text; raises ``InputError``."""
    return parse_scenario(loads(text, file))


def parse_scenario(document: Document) -> Scenario:
    """The scenario in a TOML document; raises ``InputError``."""
    if not NESTED_TABLES.isdisjoint(document.data):
        from worldswitch.nested.read import NestedReader

        return NestedReader(document).scenario()
    return Reader(document).scenario()


class Reader:
    """Reads one document."""

    top: Sequence[str] = TOP
    tables: Sequence[str] = TABLES

    def __init__(self, document: Document) -> None:
        self.document = document

    def scenario(self) -> Scenario:
        """The whole scenario; raises ``InputError``."""
        data = self.document.data
        self.keys(data, self.top, ())
        if "format" not in data:
            raise self.error(("format",), f"missing; this version reads format = {FORMAT}")
        if data["format"] != FORMAT or isinstance(data["format"], bool):
            raise self.error(("format",), f"this version reads format {FORMAT}, not {describe(data['format'])}")
        scenario = Scenario(file=self.document.file, about=self.string(data, "about", ()))
        scenario.profile = self.string(data, "profile", (), "amd")
        if scenario.profile not in PROFILES:
            raise self.error(("profile",), f"unknown profile {scenario.profile!r}; there are {', '.join(PROFILES)}")
        scenario.options = self.options(self.table(data, "options", ()))
        for name in self.tables:
            self.settings(scenario, name, self.table(data, name, ()))
        self.worlds(scenario, data)
        scenario.events = self.events(data.get("event", []))
        if "expect" in data:
            self.expectations(scenario, self.table(data, "expect", ()))
        return scenario

    def worlds(self, scenario: Scenario, data: dict[str, Any]) -> None:
        """The host and the guest; other levels where there are some."""
        self.host(scenario, self.table(data, "host", ()))
        self.guest(scenario, self.table(data, "guest", ()))

    def expectations(self, scenario: Scenario, table: dict[str, Any]) -> None:
        """``[expect]``."""
        scenario.expect = read_expectations(self.document, table, scenario.path)

    # --- pieces -----------------------------------------------------------------------------

    def error(self, path: Path_, message: str) -> InputError:
        """The complaint about what stands at ``path``."""
        return self.document.error(message, path)

    def keys(self, table: dict[str, Any], allowed: Sequence[str], path: Path_) -> None:
        """Complain about a key that is not ``allowed``."""
        for key in table:
            if key not in allowed:
                raise self.error((*path, key), f"unknown field; there are {', '.join(allowed)}")

    def table(self, data: dict[str, Any], key: str, path: Path_) -> dict[str, Any]:
        """The table at a key; empty where it is missing."""
        value = data.get(key, {})
        if not isinstance(value, dict):
            raise self.error((*path, key), f"expected a table, not {describe(value)}")
        return value

    def string(self, data: dict[str, Any], key: str, path: Path_, default: str = "") -> str:
        """The string at a key."""
        value = data.get(key, default)
        if not isinstance(value, str):
            raise self.error((*path, key), f"expected a string, not {describe(value)}")
        return value

    def at(self, path: Path_, parse: Callable[[Any], Any], value: Any) -> Any:
        """``parse(value)``, with the place added to what it complains about."""
        try:
            return parse(value)
        except InputError as error:
            raise self.error(path, f"{error.field} {error.message}".strip()) from None

    def options(self, table: dict[str, Any]) -> dict[str, str]:
        """Model options."""
        for name, value in table.items():
            option = OPTIONS.get(name)
            if option is None:
                raise self.error(("options", name), f"unknown model option; there are {', '.join(OPTIONS)}")
            if value not in option.values:
                allowed = ", ".join(option.values)
                raise self.error(("options", name), f"{describe(value)} is none of {allowed}")
        return dict(table)

    def settings(self, scenario: Scenario, name: str, table: dict[str, Any]) -> None:
        """The fields of one table."""
        fields = _BY_TABLE[name]
        others = GUEST_KEYS if name == "guest" else ()
        self.keys(table, (*fields, *others), (name,))
        for key, value in table.items():
            if key in fields:
                scenario.settings[f"{name}.{key}"] = self.at((name, key), fields[key].kind.parse, value)

    def host(self, scenario: Scenario, table: dict[str, Any]) -> None:
        """``[host]``."""
        self.keys(table, HOST_KEYS, ("host",))
        scenario.path = self.string(table, "path", ("host",))
        scenario.host = self.world(table, "host", ())
        if bool(scenario.path) == ("program" in table):
            raise self.error(("host",), "give either path or program")
        if "program" in table:
            self.at(("host", "program"), lambda texts: parse_listing("\n".join(texts)), scenario.host.program)
        scenario.rounds = self.at(("host", "rounds"), as_integer, table.get("rounds", 1))
        if not 1 <= scenario.rounds <= MAX_ROUNDS:
            raise self.error(("host", "rounds"), f"{scenario.rounds} is not in 1..{MAX_ROUNDS}")
        scenario.between = self.program(table.get("between", []), ("host", "between"))

    def guest(self, scenario: Scenario, table: dict[str, Any]) -> None:
        """``[guest]``."""
        scenario.guest = self.world(table, "guest", DEFAULT_GUEST)
        for name in ("guest.rip", "vmcb.nrip"):
            steps = len(parse_program(list(scenario.guest.program)))
            if scenario.settings.get(name, 0) > steps + 1:
                path = tuple(name.split("."))
                raise self.error(path, f"beyond the guest program, which has {steps} instructions")

    def world(self, table: dict[str, Any], name: str, default: tuple[str, ...]) -> Program:
        """Program, IDT and handlers of one world."""
        listing = name in ("host", "l1")
        program = self.program(table["program"], (name, "program"), listing) if "program" in table else default
        idt: dict[int, GateSpec] = {}
        for key, value in self.vectors(self.table(table, "idt", (name,)), (name, "idt")).items():
            idt[key[0]] = self.gate(value, (name, "idt", key[1]))
        handlers: dict[int, tuple[str, ...]] = {}
        for key, value in self.vectors(self.table(table, "handlers", (name,)), (name, "handlers")).items():
            handlers[key[0]] = self.program(value, (name, "handlers", key[1]))
        return Program(program, idt, handlers)

    def program(self, value: Any, path: Path_, listing: bool = False) -> tuple[str, ...]:
        """A program in canonical spelling; as a ``listing`` it may have labels."""
        if not isinstance(value, list):
            raise self.error(path, f"expected a list of instructions, not {describe(value)}")
        if len(value) > MAX_PROGRAM:
            raise self.error(path, f"{len(value)} instructions; at most {MAX_PROGRAM} are allowed")
        texts = []
        for index, text in enumerate(value):
            if not isinstance(text, str):
                raise self.error((*path, index), f"expected an instruction, not {describe(text)}")
            if "\n" in text or "\r" in text:
                raise self.error((*path, index), "one instruction, not several lines")
            if not text.strip():
                raise self.error((*path, index), "empty instruction")
            if listing and (
                ":" in text or "[" in text or text.strip().startswith(".")
            ):  # checked as a whole, by host()
                texts.append(text.strip())
            else:
                texts.append(self.at((*path, index), canonical, text))
        return tuple(texts)

    def vectors(self, table: dict[str, Any], path: Path_) -> dict[tuple[int, str], Any]:
        """A table keyed by vector; two spellings of one vector are an error."""
        found: dict[int, str] = {}
        result: dict[tuple[int, str], Any] = {}
        for key, value in table.items():
            vector = self.at((*path, key), parse_vector, key)
            if vector in found:
                raise self.error((*path, key), f"vector 0x{vector:02x} is given twice, as {found[vector]} and as {key}")
            found[vector] = key
            result[vector, key] = value
        return result

    def gate(self, value: Any, path: Path_) -> GateSpec:
        """One IDT entry."""
        if isinstance(value, str):
            value = {"meets": value}
        if not isinstance(value, dict):
            raise self.error(path, f"expected what delivery meets (ok, gp, npf, ...), not {describe(value)}")
        self.keys(value, GATE_KEYS, path)
        outcome = self.at(path, meets_number, value.get("meets", "ok"))
        kind = value.get("type", "interrupt")
        if kind not in ("interrupt", "trap"):
            raise self.error((*path, "type"), f"{describe(kind)} is neither interrupt nor trap")
        dpl = self.at((*path, "dpl"), as_integer, value.get("dpl", 0))
        if not 0 <= dpl <= 3:
            raise self.error((*path, "dpl"), f"{dpl} is not in 0..3")
        return GateSpec(outcome, kind == "trap", dpl)

    def events(self, items: Any) -> tuple[Arrival, ...]:
        """All events."""
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise self.error(("event",), "expected [[event]] tables")
        if len(items) > MAX_EVENTS:
            raise self.error(("event",), f"{len(items)} events; at most {MAX_EVENTS} are allowed")
        return tuple(self.event(item, ("event", index)) for index, item in enumerate(items))

    def event(self, item: dict[str, Any], path: Path_) -> Arrival:
        """One event."""
        self.keys(item, EVENT_KEYS, path)
        for key in ("kind", "at"):
            if key not in item:
                raise self.error((*path, key), "missing")
        kind = item["kind"]
        if kind not in EVENT_KINDS:
            raise self.error((*path, "kind"), f"{describe(kind)} is none of {', '.join(EVENT_KINDS)}")
        vector, origin = DEFAULT_INTR_VECTOR, item.get("origin", "external")
        if "vector" in item:
            if kind != "intr":
                raise self.error((*path, "vector"), "only intr has a vector")
            vector = self.at((*path, "vector"), as_integer, item["vector"])
            if not 0x10 <= vector <= 0xFF:
                raise self.error((*path, "vector"), f"vector {describe(item['vector'])} is not in 0x10..0xff")
        if origin not in ORIGINS or (origin == "internal" and kind != "smi"):
            raise self.error((*path, "origin"), f"{describe(origin)}: external, or internal for an smi")
        return Arrival(kind, self.at((*path, "at"), parse_place, item["at"]), vector, origin)
