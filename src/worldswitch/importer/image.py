"""An object file in memory: its sections at their addresses, its symbols, and what is said about it.

A relocatable object is linked: its sections are placed one after the other, and each symbol that it leaves undefined
has an address of its own in ``EXTERNAL`` that stands for it.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from worldswitch.errors import InputError

PLACED: Final = 0x1000_0000
"""Where the first section of a relocatable object is placed; all stays below 2 GiB, as 32-bit relocations want."""

EXTERNAL: Final = 0x6000_0000
EXTERNAL_SIZE: Final = 0x1_0000
"""The address space of each undefined symbol: wide enough for the offsets that code adds to it."""


class Symbol(NamedTuple):
    """A defined symbol."""

    name: str
    address: int
    size: int  # 0: unknown
    is_function: bool


@dataclass(frozen=True, slots=True)
class Section:
    """A section that is loaded."""

    name: str
    address: int
    size: int
    data: bytes | bytearray  # linked; empty where the file holds none
    executable: bool
    placed: bool = False  # its address is ours: the file knows offsets only
    raw: bytes = b""  # as the file has it, where that differs

    @property
    def end(self) -> int:
        """The address after it."""
        return self.address + self.size


@dataclass(slots=True)
class Image:
    """An object file."""

    file: str
    format: str  # "relocatable ELF", "ELF", "PE"
    sections: list[Section]
    symbols: list[Symbol]
    externals: list[str] = field(default_factory=list)  # by number of their address space
    build_id: str = ""
    _starts: list[int] = field(default_factory=list)
    _addresses: list[int] = field(default_factory=list)
    _by_address: list[Symbol] = field(default_factory=list)
    _by_name: dict[str, Symbol] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sections.sort(key=lambda section: section.address)
        self._starts = [section.address for section in self.sections]
        # Of several names for one address, that of a function, and the shortest, is the one to show.
        ranked = sorted(self.symbols, key=lambda s: (s.address, s.is_function, s.size > 0, -len(s.name)))
        self._by_address = list({symbol.address: symbol for symbol in ranked}.values())
        self._addresses = [symbol.address for symbol in self._by_address]
        for symbol in ranked:
            self._by_name[symbol.name] = symbol

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return next((section for section in self.sections if section.name == name), None)

    def section_at(self, address: int) -> Section | None:
        """The section that holds an address."""
        number = bisect_right(self._starts, address) - 1
        if number < 0 or address >= self.sections[number].end:
            return None
        return self.sections[number]

    def is_code(self, address: int) -> bool:
        """Whether an address lies in an executable section."""
        section = self.section_at(address)
        return section is not None and section.executable

    def read(self, address: int, size: int) -> bytes:
        """At most ``size`` linked bytes from an address on; fewer at the end of its section, none outside."""
        section = self.section_at(address)
        if section is None:
            return b""
        start = address - section.address
        return bytes(section.data[start : start + size])

    def raw(self, address: int, size: int) -> bytes:
        """The same bytes as the file has them: before it was linked."""
        section = self.section_at(address)
        if section is None or not section.placed:
            return self.read(address, size)
        return section.raw[address - section.address :][:size]

    def symbol(self, name: str) -> Symbol | None:
        """The symbol of that name."""
        return self._by_name.get(name)

    def symbol_at(self, address: int) -> Symbol | None:
        """The symbol at exactly that address."""
        number = bisect_right(self._addresses, address) - 1
        found = self._by_address[number] if number >= 0 else None
        return found if found and found.address == address else None

    def symbol_before(self, address: int) -> Symbol | None:
        """The nearest symbol at or before an address in the same section."""
        number = bisect_right(self._addresses, address) - 1
        if number < 0:
            return None
        found = self._by_address[number]
        section = self.section_at(address)
        return found if section is not None and section.address <= found.address else None

    def external(self, address: int) -> tuple[str, int] | None:
        """The undefined symbol that an address stands for, and the offset from it."""
        number, offset = divmod(address - EXTERNAL + EXTERNAL_SIZE // 2, EXTERNAL_SIZE)
        if not 0 <= number < len(self.externals):
            return None
        return self.externals[number], offset - EXTERNAL_SIZE // 2

    def is_address(self, value: int) -> bool:
        """Whether a number is an address in the image, or stands for an undefined symbol."""
        return self.section_at(value) is not None or self.external(value) is not None

    def name_of(self, address: int) -> str:
        """An address as ``symbol+0x10``; "" where no symbol is near."""
        found = self.external(address)
        if found is not None:
            return _with_offset(*found)
        symbol = self.symbol_before(address)
        if symbol is None or (symbol.size and address >= symbol.address + symbol.size and not symbol.is_function):
            return ""
        return _with_offset(symbol.name, address - symbol.address)

    def shown(self, address: int) -> str:
        """An address as the file's own tools print it: a section offset in a relocatable object."""
        section = self.section_at(address)
        return f"{address - section.address:x}" if section is not None and section.placed else f"{address:x}"

    def complaint(self, message: str) -> InputError:
        """An ``InputError`` about this file."""
        return InputError(message, self.file)


def clean(name: str) -> str:
    """A name from a file as text that may stand in a listing: whatever else it holds becomes ``_``."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.$@") else "_" for c in name[:200])


def _with_offset(name: str, offset: int) -> str:
    return name if not offset else f"{name}{'+' if offset > 0 else '-'}{abs(offset):#x}"
