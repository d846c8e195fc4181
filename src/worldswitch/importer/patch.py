"""The code as booting leaves it.

The kernel patches its code before it runs it: alternatives that the processor's features choose, branches that static
keys make jumps or NOPs, calls through ``pv_ops`` that become the instruction itself, and calls of the tracer, which
become NOPs. :class:`Code` reads an image through these patches; a ``Site`` is one place with its choices.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from worldswitch.importer import pv_ops
from worldswitch.importer.decode import MAX_LENGTH, Decoded, Flow, decode
from worldswitch.importer.features import Features
from worldswitch.importer.image import Image
from worldswitch.importer.tables import (
    Alternative,
    Jump,
    ParavirtCall,
    read_alternatives,
    read_fixups,
    read_jumps,
    read_paravirt_calls,
)

FEATURE: Final = "alternative"
KEY: Final = "static key"
PARAVIRT: Final = "paravirt call"
TRACER: Final = "tracer's call"

AS_BUILT: Final = "as built"
MAX_DECODED: Final = 200_000
"""Instructions that are decoded before the search is given up; KVM's module has a third of that."""

_LONGEST_NOP: Final = 8
_SHORT_JUMP: Final = 2  # bytes: a static branch has these or five, and is one instruction in any case
_NOPS: Final = tuple(
    bytes.fromhex(text)
    for text in (
        "",
        "90",
        "6690",
        "0f1f00",
        "0f1f4000",
        "0f1f440000",
        "660f1f440000",
        "0f1f8000000000",
        "0f1f840000000000",
    )
)
_TRACERS: Final = frozenset({"__fentry__", "mcount"})


class Option(NamedTuple):
    """One way in which a site may be patched."""

    name: str  # ``AS_BUILT``, or what must hold for it
    data: bytes  # all of the site
    possible: bool = True  # on some machine with SVM


@dataclass(slots=True)
class Site:
    """A place that is patched, and the ways in which it may be."""

    address: int
    kind: str
    about: str
    options: list[Option]
    chosen: int = 0
    unknown: str = ""  # a feature that has no name here

    @property
    def end(self) -> int:
        """The address after it."""
        return self.address + len(self.options[0].data)


class Span(NamedTuple):
    """Where a site lies, and how it is read when it is needed: a kernel has tens of thousands."""

    address: int
    length: int
    read: Callable[[], Site | None]


@dataclass(slots=True)
class Code:
    """An image's code, patched."""

    image: Image
    spans: list[Span]
    fixups: Mapping[int, int]  # address to where its fixup begins
    remarks: list[str] = field(default_factory=list)  # tables that could not be read
    _starts: list[int] = field(default_factory=list)
    _sites: dict[int, Site | None] = field(default_factory=dict)  # by the address of their span
    _decoded: dict[int, Decoded | None] = field(default_factory=dict)
    _count: int = 0  # of instructions decoded

    def __post_init__(self) -> None:
        first: dict[int, Span] = {}
        for span in self.spans:
            first.setdefault(span.address, span)
        self.spans = sorted(first.values(), key=lambda span: span.address)
        self._starts = [span.address for span in self.spans]

    def site(self, address: int) -> Site | None:
        """The site that an address lies in."""
        number = bisect_right(self._starts, address) - 1
        if number < 0:
            return None
        span = self.spans[number]
        if address >= span.address + span.length:
            return None
        if span.address not in self._sites:
            self._sites[span.address] = span.read()
        return self._sites[span.address]

    def at(self, address: int) -> Decoded | None:
        """The instruction at an address; None where there is none."""
        if address not in self._decoded:
            self._count += 1
            if self._count > MAX_DECODED:
                raise self.image.complaint(f"more than {MAX_DECODED} instructions would have to be looked through")
            site = self.site(address)
            if site is None:
                data = self.image.read(address, MAX_LENGTH) if self.image.is_code(address) else b""
            else:
                data = site.options[site.chosen].data[address - site.address :]
            self._decoded[address] = decode(data, address) if data else None
        return self._decoded[address]

    def choose(self, site: Site, option: int) -> None:
        """Patch a site in another way."""
        site.chosen = option
        for address in range(site.address, site.end):
            self._decoded.pop(address, None)


def patched(image: Image, xen: bool, features: Features, keys: Mapping[str, bool], version: str) -> Code:
    """The code for a processor with these features, with ``keys`` switched on or off by name."""
    remarks = []
    spans = []
    alternatives = read_alternatives(image, xen)
    if alternatives is None:
        remarks.append(".altinstructions has an unknown layout: the code is taken as built")
    for group in _groups(alternatives or []):
        length = max(alternative.length for alternative in group)
        spans.append(Span(group[0].address, length, partial(_alternative_site, image, group, length, features)))
    if not xen:
        jumps = read_jumps(image)
        if jumps is None:
            remarks.append("__jump_table has an unknown layout: static branches are taken as built")
        for jump in (jumps or {}).values():
            spans.append(Span(jump.address, _SHORT_JUMP, partial(_jump_site, image, jump, keys)))
        for call in read_paravirt_calls(image):
            spans.append(Span(call.address, call.length, partial(_paravirt_site, image, call, version)))
    fixups = read_fixups(image)
    if fixups is None:
        remarks.append("__ex_table has an unknown layout: no instruction is marked [fixup]")
    return Code(image, spans, {fixup.address: fixup.resume for fixup in (fixups or {}).values()}, remarks)


def _groups(alternatives: list[Alternative]) -> list[list[Alternative]]:
    """The alternatives of each place, in the order in which they are applied."""
    groups: dict[int, list[Alternative]] = {}
    for alternative in alternatives:
        groups.setdefault(alternative.address, []).append(alternative)
    return list(groups.values())


def _alternative_site(image: Image, group: list[Alternative], length: int, features: Features) -> Site | None:
    address = group[0].address
    original = image.read(address, length)
    if not length or len(original) < length:
        return None
    site = Site(address, FEATURE, "", [])
    fixed = [_fixed(features.name(alternative.feature), alternative.inverted) for alternative in group]
    site.options.append(Option(AS_BUILT, _short_nops(original, address), True not in fixed))
    wanted = []
    for number, alternative in enumerate(group):
        name = features.name(alternative.feature)
        condition = f"not {name}" if alternative.inverted else name
        wanted.append(condition)
        if not features.known(alternative.feature):
            site.unknown = name
        applies = not features.as_built and features.has(alternative.feature) != alternative.inverted
        if alternative.direct_call:  # of what the pointer holds by then: the call as built, as far as the code goes
            site.chosen = 0 if applies else site.chosen
            continue
        possible = fixed[number] is not False and True not in fixed[number + 1 :]
        site.options.append(Option(condition, _replaced(image, alternative, length), possible))
        if applies:
            site.chosen = len(site.options) - 1  # of several that apply, the last has the say
    site.about = ", ".join(dict.fromkeys(wanted))
    return site


def _fixed(feature: str, inverted: bool) -> bool | None:
    """Whether a condition holds on every machine that runs guests with SVM, or on none; None where it depends."""
    value = {"ALWAYS": True, "XENPV": False}.get(feature)
    return None if value is None else value != inverted


def _replaced(image: Image, alternative: Alternative, length: int) -> bytes:
    """The replacement, moved to the place of what it replaces, and padded."""
    data = bytearray(image.read(alternative.replacement, alternative.replacement_length))
    moved = alternative.replacement - alternative.address
    end = alternative.replacement + len(data)
    position = 0
    while position < len(data):
        instruction = decode(bytes(data[position:]), alternative.replacement + position)
        if instruction is None:
            break
        outside = instruction.target if instruction.target is not None else _relative(instruction)
        if outside is not None and not alternative.replacement <= outside < end and len(instruction.data) >= 5:
            _move(data, position, instruction, outside, moved)
        position += len(instruction.data)
    data += b"\x90" * (length - len(data))
    return _short_nops(bytes(data[:length]), alternative.address)


def _relative(instruction: Decoded) -> int | None:
    """The address of an operand that is given relative to RIP."""
    return instruction.memory if "rip" in instruction.operands else None


def _move(data: bytearray, position: int, instruction: Decoded, target: int, moved: int) -> None:
    """Let an instruction's 32-bit displacement reach the same target from ``moved`` bytes further down."""
    old = (target - instruction.next & 0xFFFF_FFFF).to_bytes(4, "little")
    place = bytes(instruction.data).rfind(old)
    if place >= 0:
        start = position + place
        data[start : start + 4] = (int.from_bytes(old, "little") + moved & 0xFFFF_FFFF).to_bytes(4, "little")


def _short_nops(data: bytes, address: int) -> bytes:
    """The same with runs of NOPs as booting writes them: as few as there can be."""
    result = bytearray()
    run = position = 0
    while position < len(data):
        instruction = decode(data[position:], address + position)
        size = len(instruction.data) if instruction else len(data) - position
        if instruction is not None and instruction.mnemonic == "nop":
            run += size
        else:
            result += _nops(run) + data[position : position + size]
            run = 0
        position += size
    return bytes(result + _nops(run))


def _nops(size: int) -> bytes:
    return _NOPS[_LONGEST_NOP] * (size // _LONGEST_NOP) + _NOPS[size % _LONGEST_NOP]


def _jump_site(image: Image, jump: Jump, keys: Mapping[str, bool]) -> Site | None:
    built = decode(image.read(jump.address, MAX_LENGTH), jump.address)
    if built is None or len(built.data) not in (2, 5):
        return None
    size = len(built.data)
    distance = jump.target - jump.address - size
    if size == 2:
        taken = b"\xeb" + (distance & 0xFF).to_bytes(1, "little")
    else:
        taken = b"\xe9" + (distance & 0xFFFF_FFFF).to_bytes(4, "little")
    is_jump = built.flow is Flow.JUMP
    key = image.name_of(jump.key) or image.shown(jump.key)
    on, off = (_NOPS[size], taken) if jump.likely else (taken, _NOPS[size])
    site = Site(jump.address, KEY, key, [Option("off", off), Option("on", on)])
    # As built, code is right for the value that its key starts with.
    site.chosen = int(keys.get(key, is_jump != jump.likely))
    return site


def _paravirt_site(image: Image, paravirt: ParavirtCall, version: str) -> Site | None:
    address, length = paravirt
    original = image.read(address, length)
    call = decode(original, address)
    if call is None or len(original) < length or not call.indirect or call.memory is None:
        return None
    function = pv_ops.function(image, call.memory, version)
    native = pv_ops.NATIVE.get(function)
    if native is None or len(native) > length:
        return None
    data = _short_nops(native + b"\x90" * (length - len(native)), address)
    return Site(address, PARAVIRT, f"pv_ops.{function}", [Option(AS_BUILT, original), Option("bare machine", data)], 1)


def is_tracer(image: Image, instruction: Decoded) -> bool:
    """A call of the function tracer, which is a NOP while nobody traces."""
    return (
        instruction.flow is Flow.CALL
        and instruction.target is not None
        and image.name_of(instruction.target) in _TRACERS
    )
