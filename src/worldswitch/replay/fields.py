"""Scenario fields as bits in the image's memory."""

from typing import Any, Final

from worldswitch.core.bits import INTERCEPT_BITS
from worldswitch.core.state import Registers, Vmcb
from worldswitch.replay import memory

Write = tuple[int, int, int]
"""Address, mask, value: 64 bits each."""

_ALL: Final = (1 << 64) - 1

CONTROL_BITS: Final[dict[str, tuple[int, int, int]]] = {
    "v_tpr": (0x60, 0, 8),
    "v_irq": (0x60, 8, 1),
    "vgif": (0x60, 9, 1),
    "v_nmi": (0x60, 11, 1),
    "v_nmi_mask": (0x60, 12, 1),
    "v_intr_prio": (0x60, 16, 4),
    "v_ign_tpr": (0x60, 20, 1),
    "v_intr_masking": (0x60, 24, 1),
    "vgif_enable": (0x60, 25, 1),
    "v_nmi_enable": (0x60, 26, 1),
    "v_intr_vector": (0x60, 32, 8),
    "int_state": (0x68, 0, 64),
    "asid": (0x58, 0, 32),
    "np_enable": (0x90, 0, 1),
    "eventinj": (0xA8, 0, 64),
}
"""VMCB field to its quadword's offset, lowest bit and width (section 1.2)."""

SAVE_QUADS: Final = {
    "efer": 0x4D0, "cr4": 0x548, "cr3": 0x550, "cr0": 0x558, "dr7": 0x560, "dr6": 0x568, "rflags": 0x570, "rax": 0x5F8,
    "cr2": 0x640,
}  # fmt: skip
"""Register to its offset in the VMCB (S1-60)."""

RFLAGS_BITS: Final = {"if": 1 << 9, "tf": 1 << 8, "rf": 1 << 16, "iopl": 3 << 12}


def control_write(name: str, value: int) -> Write:
    """The write that sets one field of the control area."""
    offset, shift, width = CONTROL_BITS[name]
    mask = ((1 << width) - 1) << shift
    return memory.VMCB + offset, mask & _ALL, (int(value) << shift) & mask


def intercept_words(intercepts: bytes) -> bytes:
    """The 24 bytes of intercept words: bit number equals exit code (S1-54)."""
    bits = sum(1 << code for code in range(INTERCEPT_BITS) if intercepts[code])
    return bits.to_bytes(24, "little")


def control_area(vmcb: Vmcb) -> list[Write]:
    """The writes of a whole control area, intercepts and bitmap addresses included."""
    writes = [control_write(name, getattr(vmcb, name)) for name in CONTROL_BITS]
    words = intercept_words(vmcb.intercepts)
    for offset in range(0, 24, 8):
        writes.append((memory.VMCB + offset, _ALL, int.from_bytes(words[offset : offset + 8], "little")))
    writes.append((memory.VMCB + 0x40, _ALL, vmcb.iopm_base_pa or memory.IOPM))
    writes.append((memory.VMCB + 0x48, _ALL, vmcb.msrpm_base_pa or memory.MSRPM))
    writes.append((memory.VMCB + 0x58, 0xFF << 32, 1 << 32))  # TLB_CONTROL: flush all; pages come and go
    return writes


def save_area(save: Registers) -> list[Write]:
    """The writes of the save area's registers; RIP, RSP apart."""
    writes = [(memory.VMCB + offset, _ALL, getattr(save, name)) for name, offset in SAVE_QUADS.items()]
    attributes = 0x89B | save.cs_long << 9 | save.cs_big << 10
    writes.append((memory.VMCB + 0x410, _ALL, 0xFFFF_FFFF << 32 | attributes << 16 | 8))
    writes.append((memory.VMCB + 0x4C8, 0xFF << 24, save.cpl << 24))
    return writes


def merge(writes: list[Write]) -> list[tuple[int, int]]:
    """The quadwords that a list of writes makes of zeroed memory."""
    quads: dict[int, int] = {}
    for address, mask, value in writes:
        quads[address] = (quads.get(address, 0) & ~mask) | (value & mask)
    return sorted(quads.items())


def settings_writes(name: str, value: Any) -> list[Write] | None:
    """What ``set NAME=VALUE`` writes to the VMCB; None where it is no plain field of it."""
    table, _, key = name.partition(".")
    if table == "vmcb":
        if key == "intercepts":
            words = intercept_words(value)
            return [(memory.VMCB + at, _ALL, int.from_bytes(words[at : at + 8], "little")) for at in range(0, 24, 8)]
        if key in ("iopm_base_pa", "msrpm_base_pa"):
            default = memory.IOPM if key == "iopm_base_pa" else memory.MSRPM
            return [(memory.VMCB + (0x40 if key == "iopm_base_pa" else 0x48), _ALL, value or default)]
        return [control_write(key, value)] if key in CONTROL_BITS else None
    if table == "guest":
        if key in SAVE_QUADS:
            return [(memory.VMCB + SAVE_QUADS[key], _ALL, value)]
        if key in RFLAGS_BITS:
            bit = RFLAGS_BITS[key]
            return [(memory.VMCB + 0x570, bit, value << 12 if key == "iopl" else bit if value else 0)]
        if key == "svme":
            return [(memory.VMCB + 0x4D0, 1 << 12, 1 << 12 if value else 0)]
    return None
