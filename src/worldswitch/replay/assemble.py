"""Machine code for the instructions of a program.

A step of a program becomes one *unit*: code inserted before it (events to raise), the preparation of its own
instruction, that instruction, and what repairs registers after it. A saved RIP up to the instruction's own address is
the step's place; one behind it is the next step's.

Registers hold fixed values in both worlds, since a #VMEXIT switches RAX and RSP alone (S1-63):

====  =============================  ====  ===========================================
R8    scratch                        R13   an address whose access is a nested page fault
R9    400h, for DR7                  R14   an address that is not mapped
R10   the data selector              R15   a non-canonical address; RBP likewise
R11   a page for reads and writes    RDI   a place in it
R12   the local APIC                 RCX   0
====  =============================  ====  ===========================================
"""

from dataclasses import dataclass
from typing import Final

from worldswitch.core import isa
from worldswitch.core.bits import EXIT_CR_WRITE, EXIT_IOIO, EXIT_MSR, VECTOR_GP, VECTOR_PF, VECTOR_SS
from worldswitch.replay import memory


@dataclass(slots=True)
class Unit:
    """The code of one step. ``main`` is None where the whole unit is the step's place (a spin)."""

    insert: bytes = b""
    before: bytes = b""
    main: bytes | None = b""
    after: bytes = b""
    start: int = 0  # addresses, filled in by the layout
    main_at: int = 0
    next: int = 0

    @property
    def code(self) -> bytes:
        """All bytes, in order."""
        return self.insert + self.before + (self.main or b"") + self.after

    @property
    def single(self) -> bool:
        """Nothing but the instruction: no boundary more than the program has."""
        return not (self.insert or self.before or self.after) and self.main is not None


class UnsupportedError(Exception):
    """The image cannot do this; ``str()`` is the reason."""


def u32(value: int) -> bytes:
    """A little-endian 32-bit field."""
    return (value & 0xFFFF_FFFF).to_bytes(4, "little")


def u64(value: int) -> bytes:
    """A little-endian 64-bit field."""
    return (value & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "little")


def load_r8(value: int) -> bytes:
    """MOV R8D, imm32."""
    return b"\x41\xb8" + u32(value)


def load_rax(value: int) -> bytes:
    """MOV RAX, imm64."""
    return b"\x48\xb8" + u64(value)


def call_slot(slot: int) -> bytes:
    """CALL through a pointer at a fixed address."""
    return b"\xff\x14\x25" + u32(slot)


def jump_slot(slot: int) -> bytes:
    """JMP through a pointer at a fixed address."""
    return b"\xff\x24\x25" + u32(slot)


def push(value: int) -> bytes:
    """PUSH imm32."""
    return b"\x68" + u32(value)


def write_icr(command: int) -> bytes:
    """A store to the local APIC's interrupt command register: an IPI to this processor."""
    return b"\x41\xc7\x84\x24" + u32(0x300) + u32(command)


def guarded(counter: int, code: bytes) -> bytes:
    """``code``, executed when the 32-bit counter in memory reaches 0."""
    return b"\xff\x0c\x25" + u32(counter) + bytes([0x75, len(code)]) + code


def software(first: int) -> Unit:
    """The software operations from number ``first`` on."""
    return Unit(main=load_r8(first), after=call_slot(memory.SLOT_SOFTWARE))


NOP: Final = b"\x90"
CLGI: Final = b"\x0f\x01\xdd"
STGI: Final = b"\x0f\x01\xdc"
VMRUN: Final = b"\x0f\x01\xd8"
POPF: Final = b"\x9d"
STI: Final = b"\xfb"
MOV_SS: Final = b"\x41\x8e\xd2"
_SPIN_NOPS: Final = NOP * 4
"""Enough boundaries for everything that can be recognised while nothing changes any more."""

_SIMPLE: Final = {
    isa.OP_STI: STI,
    isa.OP_CLI: b"\xfa",
    isa.OP_MOV_SS: MOV_SS,
    isa.OP_LSS: b"\x45\x0f\xb2\x43\x40",  # LSS R8D, [R11+40h]
    isa.OP_HLT: b"\xf4",
    isa.OP_INT3: b"\xcc",
    isa.OP_INTO: b"\xce",
    isa.OP_ICEBP: b"\xf1",
    isa.OP_UD2: b"\x0f\x0b",
    isa.OP_MOV_DR: b"\x41\x0f\x23\xf9",  # MOV DR7, R9
    isa.OP_RSM: b"\x0f\xaa",
    isa.OP_VMRUN: VMRUN,
    isa.OP_VMLOAD: b"\x0f\x01\xda",
    isa.OP_VMSAVE: b"\x0f\x01\xdb",
    isa.OP_STGI: STGI,
    isa.OP_CLGI: CLGI,
    isa.OP_VMMCALL: b"\x0f\x01\xd9",
    isa.OP_SKINIT: b"\x0f\x01\xde",
    isa.OP_INVLPGA: b"\x0f\x01\xdf",
}

_INTERCEPTED: Final = {
    "cpuid": b"\x0f\xa2",
    "rdtsc": b"\x0f\x31",
    "rdpmc": b"\x0f\x33",
    "invd": b"\x0f\x08",
    "pause": b"\xf3\x90",
    "invlpg": b"\x41\x0f\x01\x3b",
    "rdtscp": b"\x0f\x01\xf9",
    "wbinvd": b"\x0f\x09",
    "monitor": b"\x0f\x01\xc8",
    "mwait": b"\x0f\x01\xc9",
    "rdmsr": b"\x0f\x32",
    "wrmsr": b"\x0f\x30",
    "mov_cr0": b"\x41\x0f\x22\xc0",
    "mov_cr3": b"\x41\x0f\x22\xd8",
    "mov_cr4": b"\x41\x0f\x22\xe0",
    "sidt": b"\x41\x0f\x01\x4b\x20",
    "sgdt": b"\x41\x0f\x01\x43\x20",
    "sldt": b"\x41\x0f\x00\x43\x20",
    "str": b"\x41\x0f\x00\x4b\x20",
    "lidt": b"\x41\x0f\x01\x5b\x20",
    "lgdt": b"\x41\x0f\x01\x53\x20",
    "lldt": b"\x41\x0f\x00\xd0",
    "ltr": b"\x41\x0f\x00\xd8",
    "in": b"\xe4\x80",
    "out": b"\xe6\x80",
}
"""Encodings for a guest whose intercept is set: they never complete."""

_HARMLESS: Final = frozenset({"pause", "wbinvd", "sidt", "sgdt", "out"})
"""Those that may complete as well: they leave all registers alone."""


def assemble(op: int, arg: int, text: str, guest: bool, intercepts: bytes) -> Unit:
    """The unit of one instruction that needs no context; raises ``UnsupportedError``."""
    if op == isa.OP_PLAIN or op >= isa.FIRST_KERNEL_OP:
        return Unit(main=NOP)
    if op in _SIMPLE:
        return Unit(main=_SIMPLE[op])
    if op == isa.OP_INTERCEPTABLE:
        return _interceptable(arg, text.split()[0], guest, intercepts)
    if op == isa.OP_PUSHF:
        return Unit(main=b"\x9c", after=b"\x48\x8d\x64\x24\x08")
    if op == isa.OP_POPF:
        return Unit(before=push(arg), main=POPF)
    if op == isa.OP_INT:
        return Unit(main=bytes([0xCD, arg]))
    if op == isa.OP_MOV_CR8:
        return Unit(before=load_r8(arg), main=b"\x45\x0f\x22\xc0")
    if op == isa.OP_REP:
        return Unit(before=b"\xb9" + u32(arg) + b"\x4c\x89\xdf", main=b"\xf3\xaa", after=b"\x31\xc9")
    if op == isa.OP_ACCESS:
        return Unit(main=_access(arg))
    if op == isa.OP_SPIN and guest:
        escape = load_r8(memory.MAGIC_ESCAPE + memory.STOP_GUEST_IDLE) + load_rax(memory.VMCB) + VMRUN
        return Unit(main=None, after=_SPIN_NOPS + escape)
    if op == isa.OP_SPIN:
        return Unit(main=None, after=_SPIN_NOPS + call_slot(memory.SLOT_IDLE))
    if op == isa.OP_END:  # PUSHF; CLI; POP RDI: what a shadow held until here is taken behind the first of them
        return Unit(main=b"\x9c", after=b"\xfa\x5f" + jump_slot(memory.SLOT_END))
    raise UnsupportedError(f"the image has no encoding for {text!r}")


def _interceptable(code: int, name: str, guest: bool, intercepts: bytes) -> Unit:
    """Not intercepted, these are plain; those with side effects the image would feel become NOP then."""
    if not guest:
        return Unit(main=NOP)
    if not intercepts[code]:
        return Unit(main=_INTERCEPTED[name] if name in _HARMLESS else NOP)
    if name not in _INTERCEPTED:
        raise UnsupportedError(f"{name} needs a feature of the processor beyond SVM")
    return Unit(main=_INTERCEPTED[name])


def _access(meets: int) -> bytes:
    """A store that meets what the program says."""
    if meets == isa.GATE_OK or meets == isa.GATE_TASK:
        return b"\x4d\x89\x03"  # MOV [R11], R8
    if meets == isa.GATE_NPF:
        return b"\x4d\x89\x45\x00"  # MOV [R13], R8
    if meets == VECTOR_PF:
        return b"\x4d\x89\x06"  # MOV [R14], R8
    if meets == VECTOR_GP:
        return b"\x4d\x89\x07"  # MOV [R15], R8
    if meets == VECTOR_SS:
        return b"\x4c\x89\x45\x00"  # MOV [RBP], R8
    raise UnsupportedError(f"no access of a 64-bit program at CPL 0 meets exception {meets}")


def enter(rflags: int, rax: int, tpr: int, triggers: bytes, svme: bool, gif: bool, last: bytes, r8: int = 0) -> bytes:
    """What runs before the host's first instruction, with GIF=0 and IF=0 at first; ``last`` makes a shadow."""
    code = b"\x48\xbc" + u64(memory.HOST_STACK)
    code += load_r8(tpr) + b"\x45\x0f\x22\xc0"
    code += b"\x49\xb9" + u64(0x400) + b"\x49\xba" + u64(0x10) + b"\x49\xbb" + u64(memory.DATA)
    code += b"\x49\xbc" + u64(memory.APIC_BASE)
    code += b"\x49\xbd" + u64(memory.ALIAS + memory.DATA_HOLE) + b"\x49\xbe" + u64(memory.DATA_HOLE)
    code += b"\x49\xbf" + u64(1 << 63) + b"\x48\xbd" + u64(1 << 63)
    code += b"\x48\xbf" + u64(memory.DATA + 0x100) + b"\x31\xc9"
    code += triggers + push(rflags) + POPF
    if gif and not svme:
        code += STGI
    if not svme:
        code += b"\xb9" + u32(0xC000_0080) + b"\x0f\x32\x25" + u32(~0x1000) + b"\x0f\x30\x31\xc9"
    code += load_r8(r8) + load_rax(rax)
    if gif and svme:
        code += STGI
    return code + last


FAULT_INFO: Final = frozenset({EXIT_IOIO, EXIT_MSR, *range(EXIT_CR_WRITE + 16), *range(0x66, 0x6E), 0x79, 0x90})
"""Exits whose EXITINFO describes operands, which the model does not have."""
