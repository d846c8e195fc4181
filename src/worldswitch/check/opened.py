"""What is open in a machine at its start: the attributes that choices of fields change, intercepts, gates, handlers.

Which attributes a choice changes is found by making it, so that any scenario field can be one.
"""

from collections.abc import Callable
from itertools import product
from typing import Any, Final, NamedTuple

from worldswitch.check.choices import FIELD, Choices
from worldswitch.check.space import PENDING, Fields, Settings
from worldswitch.machine.machine import Machine

OWNERS: Final = ("cpu", "kernel", "regs", "vmcb", "save")
"""The objects whose attributes fields set."""


class Slot(NamedTuple):
    """An attribute that holds an open value."""

    owner: str
    attribute: str
    names: tuple[str, ...]
    table: tuple[Any, ...]
    widths: tuple[int, ...]


def owner_of(machine: Machine, name: str) -> Any:
    """The object of ``machine`` that ``OWNERS`` calls ``name``."""
    cpu = machine.cpu
    if name == "cpu":
        return cpu
    if name == "kernel":
        return machine.kernel
    return cpu.regs if name == "regs" else cpu.vmcb if name == "vmcb" else cpu.vmcb.save


class Intercepts:
    """The intercept vector; asks for each intercept that the processor looks at."""

    def __init__(self, value: bytes, ask: Callable[[int], None]) -> None:
        self.value, self.ask = value, ask

    def __getitem__(self, code: int) -> int:
        if not self.value[code]:
            self.ask(code)
        return self.value[code]


class Vectors(dict[int, Any]):
    """The guest's gates or handlers by vector; asks for each that delivery looks up."""

    def __init__(self, known: dict[int, Any], ask: Callable[[int], None]) -> None:
        super().__init__(known)
        self.ask = ask

    def get(self, vector: int, default: Any = None) -> Any:
        """What is known of the vector, or the default."""
        if vector in self:
            return self[vector]
        self.ask(vector)
        return default


class Openings:
    """The open attributes of machines that ``start`` makes from settings, while fewer and fewer choices are open."""

    def __init__(self, fields: Fields, start: Callable[[Settings], Machine]) -> None:
        self._fields: Fields = fields
        self._start: Callable[[Settings], Machine] = start
        self._slots: dict[tuple[tuple[str, str], Choices], Slot | None] = {}
        self._opened: dict[tuple[str, str], list[str]] = {}  # attribute to the choices that change it
        plain = self._attributes({})
        for name, alternatives in fields.items():
            if name == PENDING:  # a list of latches, and no value that one could compute with
                continue
            for settings in alternatives:
                for at, value in self._attributes(settings).items():
                    if value != plain[at] and name not in self._opened.setdefault(at, []):
                        self._opened[at].append(name)

    def slots(self, choices: Choices) -> list[Slot]:
        """The attributes that are open where the fields in ``choices`` are decided."""
        decided = {choice.name: choice for choice in choices if choice.kind == FIELD}
        slots = []
        for at, names in self._opened.items():
            relevant = tuple([decided[name] for name in names if name in decided])
            if (at, relevant) not in self._slots:
                self._slots[at, relevant] = self._slot(at, names, relevant)
            slot = self._slots[at, relevant]
            if slot is not None:
                slots.append(slot)
        return slots

    def _slot(self, at: tuple[str, str], names: list[str], decided: Choices) -> Slot | None:
        """The values of one attribute under every alternative that is left; None where there is but one."""
        made = {choice.name for choice in decided}
        free = tuple(name for name in names if name not in made)
        alternatives = [({}, *self._fields[name]) for name in free]
        table = []
        for picks in product(*alternatives):
            settings = {name: value for choice in decided for name, value in choice.value}
            for pick in picks:
                settings.update(pick)
            table.append(self._attributes(settings)[at])
        if all(value == table[0] for value in table):
            return None
        return Slot(*at, free, tuple(table), tuple(len(each) for each in alternatives))

    def _attributes(self, settings: Settings) -> dict[tuple[str, str], Any]:
        """Every attribute of a machine that starts with these settings."""
        machine = self._start(settings)
        values = {}
        for owner in OWNERS:
            instance = owner_of(machine, owner)
            for attribute in type(instance).__slots__:
                value = getattr(instance, attribute)
                if isinstance(value, int):
                    values[owner, attribute] = value
        return values
