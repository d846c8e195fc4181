"""Reading a scenario of the nested world; every error names file, line and field."""

from typing import Any, Final

from worldswitch.nested.fields import BY_TABLE
from worldswitch.nested.memory import page_name, parse_page
from worldswitch.nested.model import (
    DEFAULT_L1_ROUNDS,
    DEFAULT_ROUNDS,
    FLAVOURS,
    KINDS,
    L1_HYPERVISOR,
    L1_PROGRAM,
    MAX_L0_ROUNDS,
    Nested,
)
from worldswitch.paths.listing import parse_listing
from worldswitch.program.instruction import parse_program
from worldswitch.scenario.expect import read_expectations
from worldswitch.scenario.kinds import Bool, as_integer, describe
from worldswitch.scenario.model import DEFAULT_GUEST, Arrival, Scenario
from worldswitch.scenario.places import MAX_ROUNDS
from worldswitch.scenario.read import EVENT_KEYS, GUEST_KEYS, Path_, Reader

TOP: Final = (
    "format", "about", "profile", "options", "cpu", "kernel", "l0", "l1", "vmcb12", "l2", "npt", "event", "expect",
)  # fmt: skip
L0_KEYS: Final = ("path", "flavour", "rounds", "vgif", "vnmi", "nrips")
L1_KEYS: Final = ("kind", "rounds", "between", "asserts", "hsave", "cr3_loadable", *GUEST_KEYS)
NPT_KEYS: Final = ("l0", "l1")
NESTED_EVENT_KEYS: Final = (*EVENT_KEYS, "for")
RECEIVERS: Final = ("L0", "L1")


class NestedReader(Reader):
    """Reads one document of the nested world."""

    top = TOP
    tables = ("cpu", "kernel")

    def worlds(self, scenario: Scenario, data: dict[str, Any]) -> None:
        """The tables of the levels."""
        nested = Nested()
        scenario.nested = nested
        self._l0(scenario, nested, self.table(data, "l0", ()))
        self._l1(nested, self.table(data, "l1", ()))
        self._fields(nested, "vmcb12", self.table(data, "vmcb12", ()), ())
        l2 = self.table(data, "l2", ())
        self._fields(nested, "l2", l2, GUEST_KEYS)
        nested.l2 = self.world(l2, "l2", DEFAULT_GUEST)
        steps = len(parse_program(list(nested.l2.program)))
        for name in ("l2.rip", "vmcb12.nrip"):
            if nested.settings.get(name, 0) > steps + 1:
                raise self.error(tuple(name.split(".")), f"beyond the program of L2, which has {steps} instructions")
        npt = self.table(data, "npt", ())
        self.keys(npt, NPT_KEYS, ("npt",))
        nested.npt0 = self._pages(npt, "l0")
        nested.npt1 = self._pages(npt, "l1")

    def _l0(self, scenario: Scenario, nested: Nested, table: dict[str, Any]) -> None:
        self.keys(table, L0_KEYS, ("l0",))
        scenario.path = self.string(table, "path", ("l0",))
        if not scenario.path:
            raise self.error(("l0", "path"), "missing: the entry path of L0")
        nested.flavour = self._word(table, "flavour", ("l0",), FLAVOURS)
        nested.rounds = self._number(table, "rounds", ("l0",), DEFAULT_ROUNDS, MAX_L0_ROUNDS)
        for key in ("vgif", "vnmi", "nrips"):
            setattr(nested, key, self._flag(table, key, ("l0",), getattr(nested, key)))

    def _l1(self, nested: Nested, table: dict[str, Any]) -> None:
        self._fields(nested, "l1", table, L1_KEYS)
        nested.kind = self._word(table, "kind", ("l1",), KINDS)
        hypervisor = nested.kind == "hypervisor"
        nested.l1 = self.world(table, "l1", L1_HYPERVISOR if hypervisor else L1_PROGRAM)
        self.at(("l1", "program"), lambda texts: parse_listing("\n".join(texts)), nested.l1.program)
        default = DEFAULT_L1_ROUNDS if hypervisor else 1
        nested.l1_rounds = self._number(table, "rounds", ("l1",), default, MAX_ROUNDS)
        nested.l1_between = self.program(table.get("between", []), ("l1", "between"))
        nested.asserts = self._flag(table, "asserts", ("l1",), hypervisor)
        nested.hsave = self._flag(table, "hsave", ("l1",), True)
        nested.cr3_loadable = self._flag(table, "cr3_loadable", ("l1",), True)
        if not hypervisor and nested.asserts:
            raise self.error(("l1", "asserts"), 'only an L1 of kind "hypervisor" asserts')

    def _fields(self, nested: Nested, name: str, table: dict[str, Any], others: tuple[str, ...]) -> None:
        fields = BY_TABLE[name]
        self.keys(table, (*others, *fields), (name,))
        for key, value in table.items():
            if key in fields and key not in others:
                nested.settings[f"{name}.{key}"] = self.at((name, key), fields[key].kind.parse, value)

    def _pages(self, table: dict[str, Any], key: str) -> tuple[str, ...]:
        items = table.get(key, [])
        if not isinstance(items, list):
            raise self.error(("npt", key), f"expected a list of pages, not {describe(items)}")
        names: list[str] = []
        for index, text in enumerate(items):
            place = ("npt", key, index)
            if not isinstance(text, str):
                raise self.error(place, f"expected a page, not {describe(text)}")
            level, page = self.at(place, parse_page, text)
            if level == 1 and key == "l1":
                raise self.error(place, "L1's own pages are in L0's tables only")
            name = page_name(level, page)
            if name not in names:
                names.append(name)
        return tuple(names)

    def _word(self, table: dict[str, Any], key: str, path: Path_, words: tuple[str, ...]) -> str:
        value = table.get(key, words[0])
        if value not in words:
            raise self.error((*path, key), f"{describe(value)} is none of {', '.join(words)}")
        return str(value)

    def _flag(self, table: dict[str, Any], key: str, path: Path_, default: bool) -> bool:
        return bool(self.at((*path, key), Bool().parse, table.get(key, default)))

    def _number(self, table: dict[str, Any], key: str, path: Path_, default: int, most: int) -> int:
        value: int = self.at((*path, key), as_integer, table.get(key, default))
        if not 1 <= value <= most:
            raise self.error((*path, key), f"{value} is not in 1..{most}")
        return value

    def event(self, item: dict[str, Any], path: Path_) -> Arrival:
        """One event, with ``for``: whose it is."""
        self.keys(item, NESTED_EVENT_KEYS, path)
        arrival = super().event({key: value for key, value in item.items() if key != "for"}, path)
        place = arrival.at
        if place.landmark == "guest" and place.level not in (1, 2):
            raise self.error((*path, "at"), "say whose guest: L1.guest or L2.guest")
        if place.level == 2 and place.landmark != "guest":
            raise self.error((*path, "at"), "L2 has no landmarks; use L2.guest+N")
        if place.level == 1 and place.landmark == "handler":
            raise self.error((*path, "at"), "handlers of L1 are no places; use L1.guest+N")
        receiver = item.get("for", "L0")
        if receiver not in RECEIVERS:
            raise self.error((*path, "for"), f"{describe(receiver)} is none of {', '.join(RECEIVERS)}")
        if receiver == "L1" and (arrival.kind == "mce" or arrival.origin == "internal"):
            raise self.error((*path, "for"), f"an {arrival.origin} {arrival.kind} is the processor's, not L1's")
        return arrival._replace(level=RECEIVERS.index(receiver))

    def expectations(self, scenario: Scenario, table: dict[str, Any]) -> None:
        """``[expect]``, with what a nested run has more."""
        scenario.expect = read_expectations(self.document, table, scenario.path, nested=True)
