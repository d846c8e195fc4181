"""Kinds of value: how a field is spelled in a file, and what it is inside.

``parse`` takes what TOML gave (or the text after ``=`` of a ``set``), returns the internal value, and raises
``InputError`` with what is allowed. ``show`` is its inverse in canonical spelling. ``schema`` describes the spelling.
"""

from typing import Any, Final, Protocol

from worldswitch.core.bits import DR7_GD, DR7_L0, DR7_L1, DR7_RESET, INTERCEPT_BITS
from worldswitch.core.names import INTERCEPTS, event_name, parse_event
from worldswitch.errors import InputError


class Kind(Protocol):
    """What every kind can do."""

    def parse(self, value: Any) -> Any:
        """The internal value; raises ``InputError``."""
        ...

    def show(self, value: Any) -> Any:
        """The canonical TOML value."""
        ...

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the spelling."""
        ...


def describe(value: object) -> str:
    """A value as an error message names it, shortened."""
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 60 else text[:57] + "..."


def as_integer(value: Any) -> int:
    """An integer from TOML or from text in any TOML spelling; raises ``InputError``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return int(value.strip(), 0)
        except ValueError:
            pass
    raise InputError(f"expected an integer, not {describe(value)}")


class Bool:
    """``true`` or ``false``; 1 and 0 where a ``set`` gives them."""

    def parse(self, value: Any) -> bool:
        """The boolean."""
        if isinstance(value, bool):
            return value
        if value in (0, 1, "0", "1", "true", "false"):
            return value in (1, "1", "true")
        raise InputError(f"expected true or false, not {describe(value)}")

    def show(self, value: bool) -> bool:
        """Itself."""
        return value

    def schema(self) -> dict[str, Any]:
        """A boolean, or 0 and 1."""
        return {"enum": [True, False, 0, 1]}


class Integer:
    """A number from ``low`` to ``high``; shown with ``digits`` hex digits where that is not 0."""

    def __init__(self, low: int, high: int, digits: int = 0) -> None:
        self.low, self.high, self.digits = low, high, digits

    def parse(self, value: Any) -> int:
        """The number, within the range."""
        number = as_integer(value)
        if not self.low <= number <= self.high:
            if self.digits:
                raise InputError(f"{describe(value)} is not in {self.low:#x}..{self.high:#x}")
            raise InputError(f"{describe(value)} is not in {self.low}..{self.high}")
        return number

    def show(self, value: int) -> int | str:
        """The number; as a hex string where it does not fit TOML's signed 64 bits."""
        return hex(value) if value >= 1 << 63 else value

    def schema(self) -> dict[str, Any]:
        """An integer in range, or its hex spelling as a string."""
        return {
            "anyOf": [
                {"type": "integer", "minimum": self.low, "maximum": self.high},
                {"type": "string", "pattern": "^0x[0-9a-fA-F]{1,16}$"},
            ]
        }


class Choice:
    """One of a few words, each an internal value."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def parse(self, value: Any) -> Any:
        """What the word stands for."""
        if isinstance(value, str) and value in self.values:
            return self.values[value]
        raise InputError(f"{describe(value)} is none of {', '.join(self.values)}")

    def show(self, value: Any) -> str:
        """The word."""
        return next(word for word, meaning in self.values.items() if meaning == value)

    def schema(self) -> dict[str, Any]:
        """One of the words."""
        return {"enum": list(self.values)}


class Event:
    """An EVENTINJ word (S1-40): ``none``, ``nmi``, ``intr:0x68``, ``soft:0x80``, ``gp(0x62)``, or the raw value."""

    def parse(self, value: Any) -> int:
        """The 64-bit word."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        if not isinstance(value, str):
            raise InputError(f'expected an event such as "intr:0x68", not {describe(value)}')
        try:
            return parse_event(value)
        except ValueError as error:
            raise InputError(str(error)) from None

    def show(self, value: int) -> str:
        """The short spelling, or the raw word in hex."""
        return event_name(value)

    def schema(self) -> dict[str, Any]:
        """A string, or a non-negative integer."""
        return {"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}]}


class Intercepts:
    """A list of intercept names; inside, one byte an exit code (S1-54)."""

    def parse(self, value: Any) -> bytes:
        """The intercept vector."""
        if isinstance(value, str):
            value = [word for word in value.replace(" ", "").split(",") if word]
        if not isinstance(value, list):
            raise InputError(f"expected a list of intercepts, not {describe(value)}")
        bits = bytearray(INTERCEPT_BITS)
        for name in value:
            if not isinstance(name, str) or name.lower() not in INTERCEPTS:
                raise InputError(
                    f"{describe(name)} is no intercept; for example intr, vmmcall, exception:gp, cr_write:8"
                )
            bits[INTERCEPTS[name.lower()]] = 1
        return bytes(bits)

    def show(self, value: bytes) -> list[str]:
        """Names, in the order of their exit codes."""
        return [name for name, code in sorted(INTERCEPTS.items(), key=lambda item: item[1]) if value[code]]

    def schema(self) -> dict[str, Any]:
        """A list of the names."""
        return {"type": "array", "items": {"enum": sorted(INTERCEPTS)}, "uniqueItems": True}


class Words:
    """A list of words, each a bit; inside, their sum plus ``base``. A raw number is accepted as well."""

    def __init__(self, base: int, **bits: int) -> None:
        self.base, self.bits = base, bits

    def parse(self, value: Any) -> int:
        """The sum of the bits."""
        if isinstance(value, int | str) and not isinstance(value, bool):
            return Integer(0, (1 << 64) - 1, 16).parse(value)
        if not isinstance(value, list):
            raise InputError(f"expected a list of {', '.join(self.bits)}, or a number, not {describe(value)}")
        total = self.base
        for word in value:
            if not isinstance(word, str) or word not in self.bits:
                raise InputError(f"{describe(word)} is none of {', '.join(self.bits)}")
            total |= self.bits[word]
        return total

    def show(self, value: int) -> list[str] | str:
        """The words, or the number in hex where they cannot say it."""
        words = [word for word, bit in self.bits.items() if value & bit]
        return words if self.parse(words) == value else hex(value)

    def schema(self) -> dict[str, Any]:
        """A list of the words, or a number."""
        return {
            "anyOf": [
                {"type": "array", "items": {"enum": list(self.bits)}, "uniqueItems": True},
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": "^0x[0-9a-fA-F]{1,16}$"},
            ]
        }


class Pending:
    """Events that are latched already: ``intr:0x20``, ``nmi``, ``smi``, ``init``, ``mce`` (S1-10)."""

    NAMES: Final = ("nmi", "smi", "init", "mce")

    def parse(self, value: Any) -> tuple[str, ...]:
        """The names in canonical spelling."""
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            raise InputError(f"expected a list of pending events, not {describe(value)}")
        names = []
        for item in value:
            name = item.strip().lower() if isinstance(item, str) else ""
            if name.startswith("intr:"):
                name = f"intr:0x{Integer(0x10, 0xFF, 2).parse(name[5:]):02x}"
            elif name not in self.NAMES:
                raise InputError(f"{describe(item)} is none of intr:VECTOR, {', '.join(self.NAMES)}")
            if name not in names:
                names.append(name)
        return tuple(names)

    def show(self, value: tuple[str, ...]) -> list[str]:
        """The names."""
        return list(value)

    def schema(self) -> dict[str, Any]:
        """A list of the names."""
        return {
            "type": "array",
            "items": {"type": "string", "pattern": "^(intr:(0x[0-9a-fA-F]{1,2}|[0-9]{1,3})|nmi|smi|init|mce)$"},
            "uniqueItems": True,
        }


class GuestPlace:
    """A place in the guest program: ``guest``, ``guest+2``, ``noncanonical``; inside, a Code index (0: the last)."""

    def parse(self, value: Any) -> int:
        """The Code index; that it lies in the program is checked where the program is known."""
        text = value.strip().lower() if isinstance(value, str) else ""
        if text == "noncanonical":
            return 0
        head, plus, tail = text.partition("+")
        if head == "guest" and (not plus or (tail.isascii() and tail.isdigit())) and len(tail) < 6:
            return 1 + (int(tail) if plus else 0)
        raise InputError(f"{describe(value)} is no place in the guest; use guest, guest+N or noncanonical")

    def show(self, value: int) -> str:
        """The place."""
        return "noncanonical" if value == 0 else "guest" + (f"+{value - 1}" if value > 1 else "")

    def schema(self) -> dict[str, Any]:
        """The pattern."""
        return {"type": "string", "pattern": r"^(guest(\+[0-9]{1,5})?|noncanonical)$"}


DR7: Final = Words(DR7_RESET, l0=DR7_L0, l1=DR7_L1, gd=DR7_GD)
HEX32: Final = Integer(0, 0xFFFF_FFFF, 8)
HEX64: Final = Integer(0, (1 << 64) - 1, 16)
