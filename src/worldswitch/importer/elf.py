"""ELF files: read with pyelftools, and relocatable ones linked in memory.

Only what is loaded is read, so debug information costs nothing. Symbols and relocations are unpacked here, a table at a
time: a vmlinux has 150,000 symbols.
"""

import io
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from worldswitch.errors import InputError
from worldswitch.importer.image import EXTERNAL, EXTERNAL_SIZE, PLACED, Image, Section, Symbol

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

MAX_SECTIONS: Final = 1 << 16
_PAGE: Final = 0x1000
_SPACE: Final = EXTERNAL - PLACED

_SHF_ALLOC: Final = 2
_SHF_EXECINSTR: Final = 4
_SHF_COMPRESSED: Final = 0x800
_SHN_UNDEF: Final = 0
_SHN_ABS: Final = 0xFFF1
_SHN_COMMON: Final = 0xFFF2
_STT_FUNC: Final = 2
_STT_SECTION: Final = 3
_STT_FILE: Final = 4

_SYMBOL: Final = struct.Struct("<IBBHQQ")
_RELOCATION: Final = struct.Struct("<QIIq")

_R_64: Final = 1
_R_PC32: Final = 2
_R_PLT32: Final = 4
_R_32: Final = 10
_R_32S: Final = 11
_R_PC64: Final = 24
_WIDTH: Final = {_R_64: 8, _R_PC32: 4, _R_PLT32: 4, _R_32: 4, _R_32S: 4, _R_PC64: 8}
_RELATIVE: Final = frozenset({_R_PC32, _R_PLT32, _R_PC64})


class _Header(NamedTuple):
    """A section's header as far as it is used."""

    name: str
    type: str | int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int


def read_elf(content: bytes, file: str) -> Image:
    """The image of an x86-64 ELF file; raises ``InputError`` where it is another, damaged, or without symbols."""
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(io.BytesIO(content))
        _check_machine(elf, file)
        headers = _headers(elf, content, file)
    except InputError:
        raise
    except Exception as error:  # pyelftools meets damaged headers with whatever Python raises
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"damaged ELF file: {reason}", file) from None
    return _Reader(content, file, headers, elf.header["e_type"] == "ET_REL").read()


def _check_machine(elf: "ELFFile", file: str) -> None:
    machine = str(elf.header["e_machine"]).removeprefix("EM_")
    if elf.elfclass != 64 or not elf.little_endian or machine != "X86_64":
        order = "little" if elf.little_endian else "big"
        hint = "; Xen's boot image is one: give xen-syms or xen.efi" if machine == "386" else ""
        raise InputError(f"a {elf.elfclass}-bit {order}-endian ELF file for {machine}, not for x86-64{hint}", file)
    if elf.header["e_type"] not in ("ET_REL", "ET_EXEC", "ET_DYN"):
        raise InputError(f"an ELF file of type {elf.header['e_type']}, neither an object nor an executable", file)


def _headers(elf: "ELFFile", content: bytes, file: str) -> list[_Header]:
    from elftools.common.utils import struct_parse

    start, entry = elf.header["e_shoff"], elf.header["e_shentsize"]
    if not start:
        raise InputError("has no section headers: stripped of them, or no object file", file)
    count = elf.num_sections()
    if not 0 < count <= MAX_SECTIONS or entry < elf.structs.Elf_Shdr.sizeof() or start + count * entry > len(content):
        raise InputError("truncated or damaged ELF file: the section headers lie outside it", file)
    found = [
        struct_parse(elf.structs.Elf_Shdr, elf.stream, stream_pos=start + number * entry) for number in range(count)
    ]
    index = elf.get_shstrndx()
    if not 0 <= index < count:
        raise InputError("damaged ELF file: it has no section names", file)
    names = content[found[index]["sh_offset"] : found[index]["sh_offset"] + found[index]["sh_size"]]
    return [
        _Header(
            _string(names, header["sh_name"]),
            header["sh_type"],
            header["sh_flags"],
            header["sh_addr"],
            header["sh_offset"],
            header["sh_size"],
            header["sh_link"],
            header["sh_info"],
        )
        for header in found
    ]


def _string(table: bytes, offset: int) -> str:
    end = table.find(b"\0", offset)
    return table[offset : end if end >= 0 else len(table)].decode("utf-8", "replace")


class _Reader:
    def __init__(self, content: bytes, file: str, headers: list[_Header], relocatable: bool) -> None:
        self.content = content
        self.file = file
        self.headers = headers
        self.relocatable = relocatable
        self.sections: dict[int, Section] = {}  # by number
        self.values: list[int | None] = []  # by symbol number; None where a symbol has no address
        self.symbols: list[Symbol] = []
        self.externals: list[str] = []

    def read(self) -> Image:
        self.load()
        self.name()
        if self.relocatable:
            for header in self.headers:
                if header.type == "SHT_RELA" and header.info in self.sections:
                    self.relocate(self.sections[header.info], header)
        kind = "relocatable ELF" if self.relocatable else "ELF"
        image = Image(self.file, kind, list(self.sections.values()), self.symbols, self.externals)
        image.build_id = self.build_id()
        return image

    def bytes_of(self, header: _Header) -> bytes:
        """A section's content; raises ``InputError`` where it reaches past the end of the file."""
        if header.offset + header.size > len(self.content):
            raise self.error(f"truncated or damaged ELF file: section {header.name!r} reaches past its end")
        return self.content[header.offset : header.offset + header.size]

    def load(self) -> None:
        """Read what is loaded, and give the sections of a relocatable object their addresses."""
        place, total = PLACED, 0
        for number, header in enumerate(self.headers):
            if not header.flags & _SHF_ALLOC or not header.size:
                continue
            if header.flags & _SHF_COMPRESSED:
                raise self.error(f"section {header.name!r} is compressed, which no loaded section is")
            data = b"" if header.type == "SHT_NOBITS" else self.bytes_of(header)
            total += len(data)
            if total > len(self.content):
                raise self.error("damaged ELF file: its sections overlap")
            address = place if self.relocatable else header.address
            if address + header.size > 1 << 64:
                raise self.error(f"damaged ELF file: section {header.name!r} lies outside the address space")
            self.sections[number] = Section(
                header.name,
                address,
                header.size,
                bytearray(data) if self.relocatable else data,
                bool(header.flags & _SHF_EXECINSTR),
                self.relocatable,
                data if self.relocatable else b"",
            )
            place += -(-header.size // _PAGE) * _PAGE + _PAGE
            if self.relocatable and place - PLACED > _SPACE:
                raise self.error("damaged ELF file: its sections are larger than any object's")

    def name(self) -> None:
        """Read the symbol table."""
        table = next((header for header in self.headers if header.type == "SHT_SYMTAB"), None)
        if table is None or not table.size:
            raise self.error("has no symbol table (stripped): there is no function to be found in it")
        if not 0 < table.link < len(self.headers):
            raise self.error("damaged ELF file: its symbols have no names")
        strings = self.bytes_of(self.headers[table.link])
        entries = self.bytes_of(table)
        externals: dict[str, int] = {}
        whole = len(entries) // _SYMBOL.size * _SYMBOL.size
        for name_offset, info, _, index, value, size in _SYMBOL.iter_unpack(entries[:whole]):
            kind = info & 15
            if index in (_SHN_UNDEF, _SHN_COMMON):
                self.values.append(self.external(externals, _string(strings, name_offset)))
                continue
            address = self.address_of(index, value)
            self.values.append(address)
            if address is None or kind in (_STT_SECTION, _STT_FILE):
                continue
            name = _string(strings, name_offset)
            if name and not name.startswith(".L"):
                self.symbols.append(Symbol(name, address, size, kind == _STT_FUNC))
        self.externals = list(externals)

    def external(self, externals: dict[str, int], name: str) -> int | None:
        if not name or not self.relocatable:
            return None
        number = externals.setdefault(name, len(externals))
        address = EXTERNAL + number * EXTERNAL_SIZE
        if address >= 1 << 31:
            raise self.error(f"more than {number} undefined symbols")
        return address

    def address_of(self, index: int, value: int) -> int | None:
        if index == _SHN_ABS or not self.relocatable:
            return value
        section = self.sections.get(index)
        return section.address + value if section is not None and value <= section.size else None

    def relocate(self, section: Section, header: _Header) -> None:
        """Apply relocations, as a linker that places sections where ``load`` placed them."""
        data = section.data
        if not isinstance(data, bytearray):
            return
        entries = self.bytes_of(header)
        whole = len(entries) // _RELOCATION.size * _RELOCATION.size
        for offset, kind, number, addend in _RELOCATION.iter_unpack(entries[:whole]):
            width = _WIDTH.get(kind)
            if width is None:
                continue  # none that is found in code: R_X86_64_NONE, and those of thread-local storage
            value = self.values[number] if number < len(self.values) else None
            if value is None or offset + width > len(data):
                raise self.error(f"damaged ELF file: a relocation of {section.name!r} leads nowhere")
            value += addend
            if kind in _RELATIVE:
                value -= section.address + offset
            data[offset : offset + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")

    def build_id(self) -> str:
        section = next((s for s in self.sections.values() if s.name == ".note.gnu.build-id"), None)
        return bytes(section.data[16:36]).hex() if section else ""

    def error(self, message: str) -> InputError:
        return InputError(message, self.file)
