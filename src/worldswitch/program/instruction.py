"""One line of a program, parsed: an instruction, a kernel call, or a ``set``."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from worldswitch.core.bits import RFLAGS_FIXED, RFLAGS_IF, RFLAGS_NT, RFLAGS_RF, RFLAGS_TF
from worldswitch.core.isa import GATE_NPF, GATE_OK, GATE_TASK, OP_SET, VOCABULARY
from worldswitch.core.names import VECTORS, exception_name
from worldswitch.errors import InputError
from worldswitch.kernel.calls import CALLS, EXPANSIONS, OPERAND_CALLS

FLAGS: Final = {"if": RFLAGS_IF, "tf": RFLAGS_TF, "rf": RFLAGS_RF, "nt": RFLAGS_NT}
CALL_LENGTH: Final = 5
FAULTS: Final = ("ok", "gp", "np", "ss", "ts", "pf", "npf", "ac", "task-gate", "ud", "cp", "vc")
"""What a memory access or a gate may meet, by name (S6-74)."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; ``text`` is its canonical spelling."""

    op: int
    arg: int
    length: int
    text: str
    assignment: tuple[str, str] | None = None  # of ``set FIELD=VALUE``


def meets_number(name: str) -> int:
    """The GATE_* number or exception vector of a fault name; raises ``InputError``."""
    if name == "ok":
        return GATE_OK
    if name == "npf":
        return GATE_NPF
    if name == "task-gate":
        return GATE_TASK
    if name in FAULTS:
        return VECTORS[name]
    raise InputError(f"{name!r} is nothing a delivery or an access can meet; use one of {', '.join(FAULTS)}")


def meets_name(number: int) -> str:
    """Inverse of :func:`meets_number`."""
    return {GATE_OK: "ok", GATE_NPF: "npf", GATE_TASK: "task-gate"}.get(number) or exception_name(number)


def parse_vector(text: str) -> int:
    """A vector in any TOML spelling of an integer; raises ``InputError``."""
    try:
        vector = int(text, 0)
    except ValueError:
        raise InputError(f"{text!r} is no vector number") from None
    if not 0 <= vector <= 255:
        raise InputError(f"vector {text} is not in 0..0xff")
    return vector


_TWO_WORDS: Final = {"mov ss": "mov_ss", "pop ss": "pop_ss", "mov cr8": "mov_cr8", "mov dr": "mov_dr"}


@lru_cache(maxsize=4096)
def parse_instruction(text: str) -> Instruction:
    """Parse one instruction, kernel call that is a single step, or ``set FIELD=VALUE``; raises ``InputError``."""
    text = " ".join(text.split())
    for two, one in _TWO_WORDS.items():
        if text.lower().startswith(two) and text[len(two) : len(two) + 1] in ("", " "):
            text = one + text[len(two) :]
    words = text.split(None, 1)
    if not words:
        raise InputError("empty instruction")
    name, operand = words[0].lower(), words[1].strip() if len(words) > 1 else ""
    if name == "set":
        field, equals, value = operand.partition("=")
        if not equals or not field.strip() or not value.strip():
            raise InputError(f"{text!r}: expected set FIELD=VALUE")
        assignment = (field.strip().lower(), value.strip().lower())
        return Instruction(OP_SET, 0, 0, f"set {assignment[0]}={assignment[1]}", assignment)
    if name in CALLS:
        if bool(operand) != (name in OPERAND_CALLS):
            raise InputError(
                f"{text!r}: {name} takes {'the name of a C function' if name in OPERAND_CALLS else 'no operand'}"
            )
        return Instruction(CALLS[name].op, 0, CALL_LENGTH, f"{name} {operand}".strip())
    mnemonic = VOCABULARY.get(name)
    if mnemonic is None:
        raise InputError(f"{name!r} is neither an instruction nor a kernel call")
    kind = mnemonic.operand
    if kind == "text":
        return Instruction(mnemonic.op, mnemonic.arg, mnemonic.length, f"{name} {operand}".strip())
    if not kind:
        if operand:
            raise InputError(f"{text!r}: {name} takes no operand")
        return Instruction(mnemonic.op, mnemonic.arg, mnemonic.length, name)
    arg, spelled = _operand(kind, name, operand)
    return Instruction(mnemonic.op, arg, mnemonic.length, f"{name} {spelled}".strip())


def _operand(kind: str, name: str, operand: str) -> tuple[int, str]:
    """The number and the canonical spelling of an operand."""
    if kind == "flags":
        names = [word for word in operand.replace(" ", "").lower().split(",") if word]
        for word in names:
            if word not in FLAGS:
                raise InputError(f"{name} {operand}: {word!r} is no flag; use {', '.join(FLAGS)}")
        kept = [flag for flag in FLAGS if flag in names]
        return RFLAGS_FIXED | sum(FLAGS[flag] for flag in kept), ",".join(kept)
    if not operand:
        raise InputError(f"{name} needs an operand ({kind})")
    if kind == "access":
        return meets_number(operand.lower()), operand.lower()
    if kind == "vector":
        vector = parse_vector(operand)
        return vector, f"0x{vector:02x}"
    limit = 15 if kind == "tpr" else 64
    try:
        number = int(operand, 0)
    except ValueError:
        raise InputError(f"{name} {operand}: not a number") from None
    if not (0 if kind == "tpr" else 1) <= number <= limit:
        raise InputError(f"{name} {operand}: not in {0 if kind == 'tpr' else 1}..{limit}")
    return number, str(number)


def parse_program(texts: list[str]) -> tuple[Instruction, ...]:
    """Parse a program, composite kernel calls expanded; raises ``InputError`` naming the element."""
    program: list[Instruction] = []
    for index, text in enumerate(texts):
        try:
            program.extend(expand(text))
        except InputError as error:
            raise InputError(error.message, field=f"[{index}]") from None
    return tuple(program)


def canonical(text: str) -> str:
    """The canonical spelling of one program line; raises ``InputError``."""
    name = " ".join(text.split()).lower()
    return name if name in EXPANSIONS else parse_instruction(text).text


@lru_cache(maxsize=4096)
def expand(text: str) -> tuple[Instruction, ...]:
    """The instructions of one program line: one, or the steps of a composite kernel call."""
    name = text.strip().lower()
    steps = EXPANSIONS.get(name)
    if steps is None:
        return (parse_instruction(text),)
    if len(steps) == 1:
        return (replace(parse_instruction(steps[0]), text=name),)
    return tuple(parse_instruction(step) for step in steps)
