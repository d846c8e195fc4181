"""The tables in an object that tell the kernel where to patch code, and where to recover from a fault in it.

Each has had several layouts. Its entries say where they point, so a layout under which one of them points nowhere is
not the one.
"""

import re
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from worldswitch.importer.image import Image


class Alternative(NamedTuple):
    """Code that replaces other code if the processor has a feature, or lacks it."""

    address: int
    length: int
    feature: int
    inverted: bool
    direct_call: bool  # the replacement stands for a call of what the call's pointer holds
    replacement: int
    replacement_length: int


class Fixup(NamedTuple):
    """An entry of the exception table."""

    address: int
    resume: int


class Jump(NamedTuple):
    """A branch that a static key makes a jump or a NOP."""

    address: int
    target: int
    key: int  # address of the key
    likely: bool  # a jump if the key is off


class ParavirtCall(NamedTuple):
    """A call through ``pv_ops``, of kernels up to 6.7."""

    address: int
    length: int


class Table(NamedTuple):
    """A table's bytes, and the address of the first."""

    name: str
    address: int
    data: bytes


class _Layout(NamedTuple):
    """A layout of the alternatives: place, replacement, feature, length and replacement's length, then the rest."""

    format: str
    has_flags: bool = False  # beside the feature; else its top bit inverts it
    has_padding: bool = False  # counted apart from the length


_LINUX_ALTERNATIVES: Final = (
    _Layout("<iiIBB", has_flags=True),  # from 6.3 on
    _Layout("<iiHBB"),  # from 5.13 on
    _Layout("<iiHBBB"),  # from 4.1 on
)
_XEN_ALTERNATIVES: Final = (_Layout("<iiHBBBB", has_padding=True), _Layout("<iiHBB"))  # from 4.11 on; before
_FIXUPS: Final = ("<iii", "<ii")
_JUMP: Final = struct.Struct("<iiq")
_PARAVIRT: Final = struct.Struct("<QBB")
_PARAVIRT_STRIDE: Final = 16
_FLAG_NOT: Final = 1
_FLAG_DIRECT_CALL: Final = 2
_INVERTED: Final = 1 << 15


def find_table(image: Image, section: str, first: str, last: str) -> Table | None:
    """A table by its section's name, else by the symbols at its start and end."""
    found = image.section(section)
    if found is not None:
        return Table(section, found.address, bytes(found.data))
    start, end = image.symbol(first), image.symbol(last)
    if start is None or end is None or not start.address < end.address:
        return None
    return Table(section, start.address, image.read(start.address, end.address - start.address))


def read_alternatives(image: Image, xen: bool) -> list[Alternative] | None:
    """Every alternative, in the order in which they are applied; None if there are some in an unknown layout."""
    table = find_table(image, ".altinstructions", "__alt_instructions", "__alt_instructions_end")
    if table is None or not table.data:
        return []
    for layout in _XEN_ALTERNATIVES if xen else _LINUX_ALTERNATIVES:
        entries = _entries(table, layout.format)
        if entries is None:
            continue
        found = [_alternative(address, fields, layout) for address, fields in entries]
        if all(_is_plausible(image, alternative) for alternative in found):
            return found
    return None


def _alternative(address: int, fields: tuple[int, ...], layout: _Layout) -> Alternative:
    where, replacement, word, length, replacement_length = fields[:5]
    if layout.has_flags:
        feature, flags = word & 0xFFFF, word >> 16
    else:
        feature, flags = word & ~_INVERTED, _FLAG_NOT if word & _INVERTED else 0
    return Alternative(
        address=address + where,
        length=length + (fields[5] if layout.has_padding else 0),
        feature=feature,
        inverted=bool(flags & _FLAG_NOT),
        direct_call=bool(flags & _FLAG_DIRECT_CALL),
        replacement=address + 4 + replacement,
        replacement_length=replacement_length,
    )


def _is_plausible(image: Image, alternative: Alternative) -> bool:
    if not image.is_code(alternative.address) or alternative.replacement_length > alternative.length:
        return False
    return not alternative.replacement_length or image.section_at(alternative.replacement) is not None


def read_fixups(image: Image) -> dict[int, Fixup] | None:
    """The exception table by address; None if it has an unknown layout."""
    table = find_table(image, "__ex_table", "__start___ex_table", "__stop___ex_table")
    if table is None or not table.data:
        return {}
    for layout in _FIXUPS:
        entries = _entries(table, layout)
        if entries is None:
            continue
        found = [Fixup(address + fields[0], address + 4 + fields[1]) for address, fields in entries]
        if all(image.is_code(fixup.address) and image.is_code(fixup.resume) for fixup in found):
            return {fixup.address: fixup for fixup in found}
    return None


def read_jumps(image: Image) -> dict[int, Jump] | None:
    """The static branches by address; None if they have an unknown layout."""
    table = find_table(image, "__jump_table", "__start___jump_table", "__stop___jump_table")
    if table is None or not table.data:
        return {}
    if len(table.data) % _JUMP.size:
        return None
    found = {}
    for number, (where, target, key) in enumerate(_JUMP.iter_unpack(table.data)):
        address = table.address + number * _JUMP.size
        jump = Jump(address + where, address + 4 + target, address + 8 + (key & ~3), bool(key & 1))
        if not image.is_code(jump.address) or not image.is_code(jump.target):
            return None
        found[jump.address] = jump
    return found


def read_paravirt_calls(image: Image) -> list[ParavirtCall]:
    """The calls through ``pv_ops`` that the kernel lists; none from Linux 6.8 on, where they are alternatives."""
    table = find_table(image, ".parainstructions", "__parainstructions", "__parainstructions_end")
    if table is None:
        return []
    found = []
    for start in range(0, len(table.data) - _PARAVIRT.size + 1, _PARAVIRT_STRIDE):
        address, _, length = _PARAVIRT.unpack_from(table.data, start)
        if image.is_code(address):
            found.append(ParavirtCall(address, length))
    return found


def read_version(image: Image) -> str:
    """The release that a module is for, or that a kernel's or Xen's banner names; "" where none is found."""
    modinfo = image.section(".modinfo")
    if modinfo is not None:
        match = re.search(rb"(?:^|\0)vermagic=([!-~]{1,80})", bytes(modinfo.data))
        return match[1].decode() if match else ""
    for pattern, names in (
        (rb"Linux version ([!-~]{1,80}) ", (".rodata", ".rodata.cst", ".init.data")),
        (rb"\0(4\.\d{1,2}(?:\.\d{1,3}|-unstable|-rc)[!-~]{0,60})\0", (".rodata", ".data", ".init", ".init.data")),
    ):
        for name in names:
            section = image.section(name)
            match = re.search(pattern, bytes(section.data)) if section else None
            if match:
                return match[1].decode()
    return ""


def _entries(table: Table, layout: str) -> Iterator[tuple[int, tuple[int, ...]]] | None:
    """Each entry with its address; None where the table is no whole number of them."""
    entry = struct.Struct(layout)
    if len(table.data) % entry.size:
        return None
    unpacked = entry.iter_unpack(table.data)
    return ((table.address + number * entry.size, fields) for number, fields in enumerate(unpacked))
