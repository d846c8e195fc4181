"""PE files with a COFF symbol table, as the linker of ``xen.efi`` writes them.

Read by hand: the libraries for PE know Microsoft's debug information, but not this table.
"""

import struct
from typing import Final

from worldswitch.errors import InputError
from worldswitch.importer.image import Image, Section, Symbol

_SYMBOL: Final = struct.Struct("<8sIhHBB")
_SECTION: Final = struct.Struct("<8sIIII12xI")
_AMD64: Final = 0x8664
_PE32_PLUS: Final = 0x20B
_CODE: Final = 0x2000_0020  # contains code, may be executed: GNU ld sets either or both
_EXTERNAL: Final = 2
_STATIC: Final = 3
_LABEL: Final = 6
_ABSOLUTE: Final = -1
_LINUX_MAGIC: Final = b"HdrS"


def read_pe(content: bytes, file: str) -> Image:
    """The image of an x86-64 PE file; raises ``InputError`` where it is another, damaged, or without symbols."""
    try:
        return _read(content, file)
    except struct.error:
        raise InputError("truncated or damaged PE file: a header lies outside it", file) from None


def _read(content: bytes, file: str) -> Image:
    (start,) = struct.unpack_from("<I", content, 0x3C)
    if content[start : start + 4] != b"PE\0\0":
        raise InputError("a DOS program, or a damaged PE file: it has no PE header", file)
    machine, count, _, symbols, symbol_count, optional_size, _ = struct.unpack_from("<HHIIIHH", content, start + 4)
    if content[0x202:0x206] == _LINUX_MAGIC:
        raise InputError("a compressed kernel image (bzImage): give the vmlinux or the module in it", file)
    if machine != _AMD64:
        raise InputError(f"a PE file for machine {machine:#x}, not for x86-64", file)
    optional = start + 24
    magic, image_base = struct.unpack_from("<H22xQ", content, optional)
    if magic != _PE32_PLUS:
        raise InputError(f"a PE file whose optional header is of type {magic:#x}, not PE32+", file)
    names_at = symbols + symbol_count * _SYMBOL.size
    if not symbols or not symbol_count:
        raise InputError("has no symbol table (stripped): there is no function to be found in it", file)
    if names_at + 4 > len(content):
        raise InputError("truncated or damaged PE file: the symbol table lies outside it", file)
    sections = _sections(content, file, optional + optional_size, count, image_base)
    return Image(file, "PE", sections, _symbols(content, symbols, symbol_count, sections))


def _sections(content: bytes, file: str, start: int, count: int, image_base: int) -> list[Section]:
    found, total = [], 0
    for number in range(count):
        raw_name, size, rva, raw_size, offset, flags = _SECTION.unpack_from(content, start + number * 40)
        data = content[offset : offset + min(raw_size, size or raw_size)] if offset else b""
        total += len(data)
        if total > len(content):
            raise InputError("damaged PE file: its sections overlap", file)
        if image_base + rva + max(size, len(data)) > 1 << 64:
            raise InputError("damaged PE file: a section lies outside the address space", file)
        name = raw_name.rstrip(b"\0").decode("ascii", "replace")
        found.append(Section(name, image_base + rva, max(size, len(data)), data, bool(flags & _CODE)))
    return found


def _symbols(content: bytes, start: int, count: int, sections: list[Section]) -> list[Symbol]:
    names_at = start + count * _SYMBOL.size
    found = []
    number = 0
    while number < count:
        raw, value, section, _, storage, auxiliary = _SYMBOL.unpack_from(content, start + number * _SYMBOL.size)
        number += 1 + auxiliary
        if storage not in (_EXTERNAL, _STATIC, _LABEL) or not (section == _ABSOLUTE or 0 < section <= len(sections)):
            continue
        if raw[:4] == b"\0\0\0\0":
            (offset,) = struct.unpack_from("<I", raw, 4)
            end = content.find(b"\0", names_at + offset)
            name = content[names_at + offset : max(end, 0)].decode("ascii", "replace")
        else:
            name = raw.rstrip(b"\0").decode("ascii", "replace")
        home = sections[section - 1] if section > 0 else None
        if not name or (storage == _STATIC and auxiliary):  # the latter names a section
            continue
        address = value if home is None else home.address + value
        found.append(Symbol(name, address, 0, home is not None and home.executable))
    return found
