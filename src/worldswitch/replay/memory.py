"""Where everything lies in the image's physical memory, and the numbers that both sides of a batch agree on.

The C side of the image reads the same table as a generated ``layout.h``; nothing is written down twice. Virtual
addresses equal physical ones in the host and in the guest, but for the alias of the two pages whose absence makes
faults.
"""

from typing import Final

# Addresses that the processor model uses too (rAX, CR3, where a faulting access or push goes).
GUEST_PML4: Final = 0x1000
VMCB: Final = 0x2000
HSAVE: Final = 0x3000
DATA_HOLE: Final = 0x5000
STACK_HOLE: Final = 0x7000
ALIAS: Final = 0x4000_0000
"""Added to a hole's address: mapped by the page tables, but not by the nested ones, so that an access is an NPF."""

GUEST_PDPT: Final = 0x4000
GUEST_PD: Final = 0x6000
GUEST_PT: Final = 0x8000
GUEST_PD_APIC: Final = 0x9000
GUEST_PD_ALIAS: Final = 0xA000
GUEST_PT_ALIAS: Final = 0xB000
HOST_PML4: Final = 0x1_0000
HOST_PDPT: Final = 0x1_1000
HOST_PD: Final = 0x1_2000
HOST_PT: Final = 0x1_3000
HOST_PD_APIC: Final = 0x1_4000
HOST_PD_ALIAS: Final = 0x1_5000
HOST_PT_ALIAS: Final = 0x1_6000
NESTED_PML4: Final = 0x1_8000
NESTED_PDPT: Final = 0x1_9000
NESTED_PD: Final = 0x1_A000
NESTED_PT: Final = 0x1_B000
NESTED_PD_APIC: Final = 0x1_C000
GUEST_IDT: Final = 0x2_0000
HOST_IDT: Final = 0x2_1000
DRAIN_IDT: Final = 0x2_2000
GDT: Final = 0x2_3000
TSS: Final = 0x2_3100
IOPM: Final = 0x2_4000
MSRPM: Final = 0x2_7000
GUEST_STACK: Final = 0x4_8000  # the tops; 32 KiB each
HOST_STACK: Final = 0x5_0000
DATA: Final = 0x5_0000  # a page that may be read and written
SLOTS: Final = 0x5_1000
OPERATIONS: Final = 0x5_2000
GUEST_PLACES: Final = 0x5_6000
HOST_PLACES: Final = 0x5_A000
GUEST_STUBS: Final = 0x6_0000  # 16 bytes a vector
HOST_STUBS: Final = 0x6_1000
DRAIN_STUBS: Final = 0x6_2000
GUEST_CODE: Final = 0x6_8000
HOST_CODE: Final = 0x7_0000
CODE_SIZE: Final = 0x8000
GUEST_DEFAULT_HANDLER: Final = 0x6_3000
HOST_DEFAULT_HANDLER: Final = 0x6_3100
DRAIN_HANDLER: Final = 0x6_3200
IMAGE: Final = 0x10_0000
IMAGE_END: Final = 0x20_0000
LOG: Final = 0x300_0000
APIC_BASE: Final = 0xFEE0_0000

SLOT_HANDLER: Final = SLOTS
SLOT_EXIT: Final = SLOTS + 8
SLOT_SOFTWARE: Final = SLOTS + 16
SLOT_END: Final = SLOTS + 24
SLOT_IDLE: Final = SLOTS + 32

STUB_SIZE: Final = 16
STUB_LENGTH: Final = 9  # of CLTS and the call to the handler seam; a jump to the handler follows
MAX_ENTRIES: Final = 240  # log entries of one scenario; beyond them it is cut off
MAX_OPERATIONS: Final = 256
MAX_UNDO: Final = 4096
PROBE_VECTOR: Final = 0xFE
MAGIC_ESCAPE: Final = 0x4553_4300  # in R8 at a guest's VMRUN: the guest has nothing left to do

BATCH_MAGIC: Final = 0x3148_4354_4142_5357  # "WSBATCH1", little endian
STATE_MAGIC: Final = 0x4554_4154_5357  # "WSTATE"

FLAG_START_IN_NMI: Final = 1
FLAG_PROBE_GIF: Final = 2
FLAG_PROBE_NMI: Final = 4

# Phases of a scenario in the image.
PHASE_NONE: Final = 0
PHASE_RUN: Final = 1
PHASE_NMI_PROBE: Final = 2  # an NMI sent, GIF as the scenario left it
PHASE_AS_IS: Final = 3  # IF forced to 1 for a moment
PHASE_STGI: Final = 4  # GIF set
PHASE_GIF: Final = 5  # IF forced to 1 once more
PHASE_UNMASK: Final = 6  # after an IRET

STOP_END: Final = 1
STOP_HOST_IDLE: Final = 2
STOP_GUEST_IDLE: Final = 3
STOP_LIMIT: Final = 4
STOP_BUG: Final = 5

# Kinds of software operation; each is four 64-bit words: kind, address or argument, mask, value.
OP_STOP: Final = 0
OP_WRITE: Final = 1
OP_REINJECT: Final = 2
OP_SKIP_GUEST: Final = 3
OP_FRAME_FLAGS: Final = 4
OP_FRAME_NEXT: Final = 5
OP_RFLAGS: Final = 6
OP_RAX: Final = 7
OP_CR8: Final = 8
OP_SVME: Final = 9
OP_GIF: Final = 10
OP_TRIGGER: Final = 11
OP_FIXUP: Final = 12
OP_POINTERS: Final = 13

PLACE_FIXUP: Final = 1 << 63  # in the third word of a place: it has an exception-table entry


def header() -> str:
    """The C header with every number of this module."""
    lines = ["/* Generated from worldswitch/replay/memory.py. */", "#ifndef LAYOUT_H", "#define LAYOUT_H"]
    for name, value in globals().items():
        if name.isupper() and isinstance(value, int):
            lines.append(f"#define {name} {value:#x}")
    return "\n".join([*lines, "#endif", ""])
