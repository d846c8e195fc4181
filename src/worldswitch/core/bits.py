"""Architectural numbers of AMD64 and SVM, by the names of the manual."""

from typing import Final

# --- RFLAGS (S1-01) ---------------------------------------------------------------------
RFLAGS_FIXED: Final = 0x2
RFLAGS_TF: Final = 1 << 8
RFLAGS_IF: Final = 1 << 9
RFLAGS_IOPL: Final = 3 << 12
RFLAGS_NT: Final = 1 << 14
RFLAGS_RF: Final = 1 << 16
RFLAGS_VM: Final = 1 << 17

# --- EFER (S1-02), CR0 and CR4 (S1-03) --------------------------------------------------
EFER_SCE: Final = 1 << 0
EFER_LME: Final = 1 << 8
EFER_LMA: Final = 1 << 10
EFER_NXE: Final = 1 << 11
EFER_SVME: Final = 1 << 12
EFER_DEFINED: Final = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_SVME | 0xE000 | (1 << 17) | (7 << 18)
CR0_PE: Final = 1 << 0
CR0_WP: Final = 1 << 16
CR0_NW: Final = 1 << 29
CR0_CD: Final = 1 << 30
CR0_PG: Final = 1 << 31
CR4_PAE: Final = 1 << 5
CR4_MCE: Final = 1 << 6
CR4_CET: Final = 1 << 23
CR4_DEFINED: Final = 0x00F7_1FFF
"""What AMD64 defines: bits 0-12, 16-18, 20-23. The others, VMXE among them, must be zero."""

# --- Debug registers (S1-04) ------------------------------------------------------------
DR6_B0: Final = 1 << 0
DR6_B1: Final = 1 << 1
DR6_BD: Final = 1 << 13
DR6_BS: Final = 1 << 14
DR6_RESET: Final = 0xFFFF_0FF0
DR7_L0: Final = 1 << 0
DR7_L1: Final = 1 << 2
DR7_GD: Final = 1 << 13
DR7_RESET: Final = 0x400

# --- Exceptions, by vector --------------------------------------------------------------
VECTOR_DE: Final = 0
VECTOR_DB: Final = 1
VECTOR_NMI: Final = 2
VECTOR_BP: Final = 3
VECTOR_OF: Final = 4
VECTOR_BR: Final = 5
VECTOR_UD: Final = 6
VECTOR_DF: Final = 8
VECTOR_TS: Final = 10
VECTOR_NP: Final = 11
VECTOR_SS: Final = 12
VECTOR_GP: Final = 13
VECTOR_PF: Final = 14
VECTOR_AC: Final = 17
VECTOR_MC: Final = 18
VECTOR_CP: Final = 21
VECTOR_VC: Final = 29
VECTOR_SX: Final = 30

EXCEPTION_NAMES: Final = {
    0: "de", 1: "db", 2: "nmi", 3: "bp", 4: "of", 5: "br", 6: "ud", 7: "nm", 8: "df",
    10: "ts", 11: "np", 12: "ss", 13: "gp", 14: "pf", 16: "mf", 17: "ac", 18: "mc", 19: "xf",
    21: "cp", 28: "hv", 29: "vc", 30: "sx",
}  # fmt: skip
"""Vector to the lower-case mnemonic without ``#``."""

ERROR_CODE_VECTORS: Final = frozenset({8, 10, 11, 12, 13, 14, 17, 21, 29, 30})
"""Exceptions that push an error code."""

# --- Event words: EVENTINJ and EXITINTINFO (S1-40..S1-44) ---------------------------------
EVENT_V: Final = 1 << 31
EVENT_EV: Final = 1 << 11
EVENT_RESERVED: Final = 0x7FFF_F000
TYPE_INTR: Final = 0
TYPE_NMI: Final = 2
TYPE_EXCEPTION: Final = 3
TYPE_SOFT: Final = 4


def event_word(kind: int, vector: int, error_code: int = -1) -> int:
    """The 64-bit EVENTINJ/EXITINTINFO value, V=1 (S1-40).

    ``kind`` is a TYPE_* number (0-7), ``vector`` 0-255; ``error_code`` 0-0xffffffff, or -1 for EV=0.
    """
    word = EVENT_V | (kind << 8) | vector
    if error_code >= 0:
        word |= EVENT_EV | (error_code << 32)
    return word


def event_type(word: int) -> int:
    """TYPE, bits 10:8 (S1-40)."""
    return (word >> 8) & 7


def event_error_code(word: int) -> int:
    """The error code, bits 63:32; -1 where EV=0 (S1-40, S6-80)."""
    return (word >> 32) & 0xFFFF_FFFF if word & EVENT_EV else -1


# --- Exit codes (S1-50..S1-53) and intercepts ---------------------------------------------
# S1-54: an intercept's exit code is 8 x (byte offset of its dword in the VMCB) + its bit number, so the
# intercept words are one vector of 0xc0 bits whose index *is* the exit code. The model stores it that way.
INTERCEPT_BITS: Final = 0xC0
EXIT_CR_READ: Final = 0x00
EXIT_CR_WRITE: Final = 0x10
EXIT_DR_READ: Final = 0x20
EXIT_DR_WRITE: Final = 0x30
EXIT_EXCEPTION: Final = 0x40
EXIT_INTR: Final = 0x60
EXIT_NMI: Final = 0x61
EXIT_SMI: Final = 0x62
EXIT_INIT: Final = 0x63
EXIT_VINTR: Final = 0x64
EXIT_PUSHF: Final = 0x70
EXIT_POPF: Final = 0x71
EXIT_RSM: Final = 0x73
EXIT_IRET: Final = 0x74
EXIT_SWINT: Final = 0x75
EXIT_PAUSE: Final = 0x77
EXIT_HLT: Final = 0x78
EXIT_INVLPGA: Final = 0x7A
EXIT_IOIO: Final = 0x7B
EXIT_MSR: Final = 0x7C
EXIT_TASK_SWITCH: Final = 0x7D
EXIT_SHUTDOWN: Final = 0x7F
EXIT_VMRUN: Final = 0x80
EXIT_VMMCALL: Final = 0x81
EXIT_VMLOAD: Final = 0x82
EXIT_VMSAVE: Final = 0x83
EXIT_STGI: Final = 0x84
EXIT_CLGI: Final = 0x85
EXIT_SKINIT: Final = 0x86
EXIT_ICEBP: Final = 0x88
EXIT_NPF: Final = 0x400
EXIT_INVALID: Final = 0xFFFF_FFFF_FFFF_FFFF

# --- The interrupt shadow ------------------------------------------------------------------
# The VMCB has one bit for both kinds (S1-06); inside the processor they differ in what they block
# (S2-32, S2-33, S2-37). A shadow loaded from a VMCB may be either, so it counts as both.
SHADOW_NONE: Final = 0
SHADOW_STI: Final = 1
SHADOW_MOVSS: Final = 2
SHADOW_LOADED: Final = SHADOW_STI | SHADOW_MOVSS

PHYSICAL_LIMIT: Final = 1 << 48
"""First unsupported physical address of the modelled processor."""
