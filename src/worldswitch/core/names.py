"""Names of intercepts, exit codes and event words, for files and people."""

from typing import Final

from worldswitch.core.bits import (
    ERROR_CODE_VECTORS,
    EVENT_V,
    EXCEPTION_NAMES,
    EXIT_EXCEPTION,
    EXIT_INVALID,
    TYPE_EXCEPTION,
    TYPE_INTR,
    TYPE_NMI,
    TYPE_SOFT,
    event_error_code,
    event_type,
    event_word,
)

_WORD3: Final = (
    "intr nmi smi init vintr cr0_selective idtr_read gdtr_read ldtr_read tr_read idtr_write gdtr_write ldtr_write "
    "tr_write rdtsc rdpmc pushf popf cpuid rsm iret swint invd pause hlt invlpg invlpga ioio msr task_switch "
    "ferr_freeze shutdown"
).split()  # S1-21, S1-51
_WORD4: Final = (
    "vmrun vmmcall vmload vmsave stgi clgi skinit rdtscp icebp wbinvd monitor mwait mwait_armed xsetbv rdpru "
    "efer_write_trap"
).split()  # S1-22, S1-52
_WORD5: Final = "invlpgb invlpgb_illegal invpcid mcommit tlbsync buslock idle_hlt".split()  # S1-23


def _intercepts() -> dict[str, int]:
    names: dict[str, int] = {}
    for n in range(16):  # S1-20, S1-50
        names[f"cr_read:{n}"] = n
        names[f"cr_write:{n}"] = 0x10 + n
        names[f"dr_read:{n}"] = 0x20 + n
        names[f"dr_write:{n}"] = 0x30 + n
        names[f"cr_write_trap:{n}"] = 0x90 + n
    for vector in range(32):
        names[f"exception:{EXCEPTION_NAMES.get(vector, vector)}"] = EXIT_EXCEPTION + vector
    for base, word in ((0x60, _WORD3), (0x80, _WORD4), (0xA0, _WORD5)):
        for bit, name in enumerate(word):
            names[name] = base + bit
    return names


INTERCEPTS: Final = _intercepts()
"""Intercept name to exit code: ``intr``, ``exception:gp``, ``cr_write:8``, ... (S1-20..S1-23)."""

EXITS: Final = {
    **{code: name.removeprefix("exception:") if name != "exception:nmi" else "exception:2"
       for name, code in INTERCEPTS.items()},
    0x400: "npf", 0x401: "avic_incomplete_ipi", 0x402: "avic_noaccel", 0x403: "vmgexit",
    EXIT_INVALID: "invalid", EXIT_INVALID - 1: "busy", EXIT_INVALID - 2: "idle_required",
    EXIT_INVALID - 3: "invalid_pmc",
}  # fmt: skip
"""Exit code to symbolic name (S1-50..S1-53); exceptions by mnemonic alone (``gp``)."""

EXIT_CODES: Final = {name: code for code, name in EXITS.items()} | {
    name: code for name, code in INTERCEPTS.items() if name.startswith("exception:")
}

VECTORS: Final = {name: vector for vector, name in EXCEPTION_NAMES.items()}
"""Exception mnemonic to vector."""


def exit_name(code: int) -> str:
    """The symbolic name of an exit code, or its hex form where it has none."""
    return EXITS.get(code, hex(code))


def exception_name(vector: int) -> str:
    """``gp`` for 13; the number in hex for a vector without a mnemonic."""
    return EXCEPTION_NAMES.get(vector, f"0x{vector:02x}")


def event_name(word: int) -> str:
    """An event word as scenario files spell it: ``intr:0x68``, ``nmi``, ``gp(0x62)``, ``soft:0x80``, ``none``.

    What the short spelling cannot say exactly (reserved bits or types, an NMI with a vector other than 2, a missing
    or a needless error code) is given as the raw 64-bit value.
    """
    if not word & EVENT_V:
        return "none" if word == 0 else hex(word)
    kind, vector, code = event_type(word), word & 0xFF, event_error_code(word)
    if kind == TYPE_INTR:
        text = f"intr:0x{vector:02x}"
    elif kind == TYPE_NMI:
        text = "nmi"
    elif kind == TYPE_SOFT:
        text = f"soft:0x{vector:02x}"
    elif kind == TYPE_EXCEPTION and vector in EXCEPTION_NAMES and vector != 2:
        text = EXCEPTION_NAMES[vector] + (f"(0x{code:x})" if code >= 0 else "")
    else:
        return hex(word)
    return text if parse_event(text) == word else hex(word)


def parse_event(text: str) -> int:
    """The event word a scenario file means; inverse of :func:`event_name`.

    Accepts ``none``, ``intr:VECTOR``, ``nmi``, ``soft:VECTOR``, an exception's mnemonic with an optional error code
    (``ss``, ``gp(0x62)``; those that push one default to 0), or the raw 64-bit value. Raises ``ValueError``.
    """
    text = text.strip().lower()
    if text == "none":
        return 0
    if text == "nmi":
        return event_word(TYPE_NMI, 2)
    head, _, tail = text.partition(":")
    if head in ("intr", "soft") and tail:
        vector = _number(tail)
        if not 0 <= vector <= 255:
            raise ValueError(f"vector {tail} is not in 0..0xff")
        return event_word(TYPE_INTR if head == "intr" else TYPE_SOFT, vector)
    name, parenthesis, rest = text.partition("(")
    if name in VECTORS and name != "nmi" and (not parenthesis or rest.endswith(")")):
        vector = VECTORS[name]
        if not parenthesis:
            return event_word(TYPE_EXCEPTION, vector, 0 if vector in ERROR_CODE_VECTORS else -1)
        code = _number(rest[:-1])
        if not 0 <= code <= 0xFFFF_FFFF:
            raise ValueError(f"error code {rest[:-1]} does not fit 32 bits")
        return event_word(TYPE_EXCEPTION, vector, code)
    try:
        word = int(text, 0)
    except ValueError:
        raise ValueError(
            f"{text!r} is no event: use none, nmi, intr:VECTOR, soft:VECTOR, an exception such as gp(0x62), "
            "or a 64-bit value"
        ) from None
    if not 0 <= word < 1 << 64:
        raise ValueError(f"{text} does not fit 64 bits")
    return word


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None
