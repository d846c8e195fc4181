"""Values that are still open: a table over the choices they depend on.

A watched run puts an :class:`Open` value wherever a scenario may choose: in a register, a field of the VMCB, a flag of
the kernel. The machine computes with it as with any other. Where a result does not depend on the choice, it is a plain
value again; where the machine has to know it, to branch or to index, the value *asks*: the choice is reported to
whoever listens, and the machine goes on with the default. A choice that nothing asks for changes nothing.

>>> asked = []
>>> flags = Open(("guest.if",), (0x202, 0x2), (2,), asked.append)
>>> bool(flags & 0x2), asked
(True, [])
>>> bool(flags & 0x200), asked
(True, ['guest.if'])
"""

from collections.abc import Callable
from itertools import product
from operator import add, and_, eq, ge, gt, le, lshift, lt, ne, or_, rshift, sub, xor
from typing import Any

Ask = Callable[[str], None]
"""Told the name of a choice when the machine needs to know it."""


class Open:
    """A value that depends on choices not made yet.

    ``names`` are the choices, ``widths`` how many alternatives each has. ``table`` has one value for each combination,
    the last choice varying fastest; the first entry is the value under the defaults.
    """

    __slots__ = ("ask", "names", "table", "widths")

    def __init__(self, names: tuple[str, ...], table: tuple[Any, ...], widths: tuple[int, ...], ask: Ask) -> None:
        self.names: tuple[str, ...] = names
        self.table: tuple[Any, ...] = table
        self.widths: tuple[int, ...] = widths
        self.ask: Ask = ask

    def known(self) -> Any:
        """The value under the defaults, after asking for what it depends on.

        A choice that matters only once another one is no default is not asked for here: whoever makes that other choice
        runs again, and is asked then.
        """
        names, table, widths = self.names, self.table, self.widths
        while any(value != table[0] for value in table):
            block = len(table) // widths[0]
            if any(value != table[index % block] for index, value in enumerate(table)):
                self.ask(names[0])
            names, table, widths = names[1:], table[:block], widths[1:]
        return table[0]

    def _made(self, table: tuple[Any, ...]) -> Any:
        first = table[0]
        if all(value == first for value in table):
            return first
        return Open(self.names, table, self.widths, self.ask)

    def _with(self, other: Any, function: Callable[[Any, Any], Any]) -> Any:
        if type(other) is not Open:
            return self._made(tuple([function(value, other) for value in self.table]))
        widths = dict(zip(self.names + other.names, self.widths + other.widths, strict=True))
        table = []
        for picks in product(*(range(width) for width in widths.values())):
            at = dict(zip(widths, picks, strict=True))
            table.append(function(self._at(at), other._at(at)))
        return Open(tuple(widths), (), tuple(widths.values()), self.ask)._made(tuple(table))

    def _at(self, picks: dict[str, int]) -> Any:
        index = 0
        for name, width in zip(self.names, self.widths, strict=True):
            index = index * width + picks[name]
        return self.table[index]

    def __bool__(self) -> bool:
        value = self._made(tuple([bool(value) for value in self.table]))
        return bool(value.known()) if type(value) is Open else bool(value)

    def __index__(self) -> int:
        return int(self.known())

    def __hash__(self) -> int:
        return hash(self.known())

    def __eq__(self, other: object) -> Any:
        return self._with(other, eq)

    def __ne__(self, other: object) -> Any:
        return self._with(other, ne)

    def __lt__(self, other: Any) -> Any:
        return self._with(other, lt)

    def __le__(self, other: Any) -> Any:
        return self._with(other, le)

    def __gt__(self, other: Any) -> Any:
        return self._with(other, gt)

    def __ge__(self, other: Any) -> Any:
        return self._with(other, ge)

    def __and__(self, other: Any) -> Any:
        return self._with(other, and_)

    def __or__(self, other: Any) -> Any:
        return self._with(other, or_)

    def __xor__(self, other: Any) -> Any:
        return self._with(other, xor)

    def __add__(self, other: Any) -> Any:
        return self._with(other, add)

    def __sub__(self, other: Any) -> Any:
        return self._with(other, sub)

    def __lshift__(self, other: Any) -> Any:
        return self._with(other, lshift)

    def __rshift__(self, other: Any) -> Any:
        return self._with(other, rshift)

    __int__ = __index__
    __rand__ = __and__
    __ror__ = __or__
    __rxor__ = __xor__
    __radd__ = __add__


def is_open(value: object) -> bool:
    """Whether a value still depends on a choice."""
    return type(value) is Open


def settled(value: Any) -> Any:
    """The value under the defaults; nothing is asked."""
    return value.table[0] if type(value) is Open else value
