"""Machine instructions to the words of path files."""

import re
from typing import Final, NamedTuple

from worldswitch.core.isa import VOCABULARY
from worldswitch.importer.decode import Decoded

OTHER: Final = "other" if "other" in VOCABULARY else "nop"
"""The word for an instruction without a role in sequencing that has none of its own."""

_ALIASES: Final = {
    "pushfq": "pushf", "popfq": "popf", "iretq": "iret", "int1": "icebp", "movabs": "mov", "movsx": "mov",
    "movsxd": "mov", "movq": "mov", "movd": "mov", "movups": "movaps", "movdqa": "movaps", "movdqu": "movaps",
    "sal": "shl", "jb": "jc", "jnae": "jc", "jae": "jnc", "jnb": "jnc", "insb": "in", "insd": "in", "insw": "in",
    "outsb": "out", "outsd": "out", "outsw": "out", "xsaves": "xsave", "xsaveopt": "xsave", "xsavec": "xsave",
    "xrstors": "xrstor", "fxsave64": "fxsave", "fxrstor64": "fxrstor", "xsave64": "xsave", "xrstor64": "xrstor",
    "mwaitx": "mwait", "monitorx": "monitor",
}  # fmt: skip
_FAMILIES: Final = (("cmov", "cmov"), ("set", "setz"))
_STRING: Final = re.compile(r"(?:stos|movs|lods|scas|cmps|ins|outs)[bwdq]")
_CONTROL: Final = re.compile(r"cr(\d+), ")
_UNKNOWN_WHEN_PRIVILEGED: Final = frozenset(
    {"swapgs", "invpcid", "invlpgb", "tlbsync", "xgetbv", "lmsw", "clts", "smsw"}
)
_FLAG_SETTERS: Final = frozenset({"popf", "int", "int3", "into", "icebp", "iret", "hlt", "rep", "mov_cr8"})


class Word(NamedTuple):
    """A line of a listing, and what it leaves open."""

    text: str
    doubt: str = ""


def word_for(instruction: Decoded, operands: str) -> Word:
    """The line for an instruction that is no call; ``operands`` as a reader wants to see them."""
    name = instruction.mnemonic
    if name in ("mov", "pop") and instruction.operands.startswith("ss"):
        return Word("mov_ss")
    if name == "mov":
        return _move(instruction, operands)
    if instruction.prefix.startswith("rep") and _STRING.fullmatch(name):
        return Word("rep 1", f"how often {instruction.prefix} {name} repeats is not known: taken as once")
    if _STRING.fullmatch(name) and name[:3] not in ("ins", "out"):
        return Word(_with("mov", operands))
    alias = _ALIASES.get(name, name)
    for start, family in _FAMILIES:
        if name.startswith(start) and family in VOCABULARY:
            alias = family
    if alias in VOCABULARY and alias not in _FLAG_SETTERS:
        return Word(_with(alias, operands))
    if instruction.privileged and name not in _UNKNOWN_WHEN_PRIVILEGED:
        return Word(OTHER, f"{instruction.text}: no word stands for it")
    return Word(_with(OTHER, f"{name} {operands}"))


def _move(instruction: Decoded, operands: str) -> Word:
    control = _CONTROL.match(instruction.operands)
    if control is not None:
        if control[1] == "8":
            return Word(_with("mov", operands), "the task priority that MOV to CR8 sets is not known: left as it is")
        word = f"mov_cr{control[1]}"
        return Word(_with(word, operands) if word in VOCABULARY else _with("mov", operands))
    if instruction.operands.startswith("dr"):
        return Word("mov_dr")
    return Word(_with("mov", operands))


def _with(word: str, operands: str) -> str:
    """A word with operands, where it takes any."""
    takes = VOCABULARY[word].operand == "text"
    return f"{word} {operands}".strip() if takes and operands else word
