"""One instruction, decoded with capstone, and what is asked about it."""

import re
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from worldswitch.importer.image import Image

if TYPE_CHECKING:
    from capstone import Cs

MAX_LENGTH: Final = 15
_SHOWN: Final = 60
_NUMBER: Final = re.compile(r"0x[0-9a-f]{8,16}")
_PREFIXES: Final = frozenset({"lock", "rep", "repe", "repz", "repne", "repnz", "bnd", "notrack", "data16"})
_ENDS: Final = frozenset({"ud0", "ud1", "ud2", "int3"})
_FAR: Final = frozenset(
    {"retf", "retfq", "ljmp", "lcall", "iret", "iretd", "iretq", "sysret", "sysretq", "sysexit", "rsm"}
)


class Flow(Enum):
    """How an instruction goes on."""

    NEXT = auto()
    JUMP = auto()
    BRANCH = auto()
    CALL = auto()
    RETURN = auto()
    FAR = auto()  # leaves by a way that is not followed
    END = auto()  # traps, and is not meant to go on


@dataclass(frozen=True, slots=True)
class Decoded:
    """An instruction at its address."""

    address: int
    data: bytes
    mnemonic: str  # without prefixes
    prefix: str
    operands: str
    flow: Flow
    target: int | None = None  # of a direct jump, branch or call
    memory: int | None = None  # the address of a memory operand that no register but RIP takes part in
    segment: str = ""  # of that operand
    indirect: bool = False  # a jump or call through a register or memory
    privileged: bool = False  # touches more than registers and memory

    @property
    def next(self) -> int:
        """The address after it."""
        return self.address + len(self.data)

    @property
    def text(self) -> str:
        """The instruction as capstone prints it, without prefix."""
        return f"{self.mnemonic} {self.operands}".strip()


@cache
def _capstone() -> "Cs":
    import capstone

    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.detail = True
    return engine


def decode(data: bytes, address: int) -> Decoded | None:
    """The first instruction in ``data``, which stands at ``address``; None where there is none."""
    found = next(_capstone().disasm(data[:MAX_LENGTH], address, 1), None)
    return None if found is None else _describe(found)


def _describe(found: Any) -> Decoded:
    from capstone import x86

    *prefixes, mnemonic = found.mnemonic.split()
    while not mnemonic.isalnum() or (mnemonic in _PREFIXES and prefixes):
        mnemonic = prefixes.pop() if prefixes else "unknown"
    target = memory = None
    segment = ""
    operands = found.operands
    for operand in operands:
        if operand.type == x86.X86_OP_MEM:
            base, index = operand.mem.base, operand.mem.index
            segment = found.reg_name(operand.mem.segment) or "" if operand.mem.segment else ""
            if base == x86.X86_REG_RIP and not index:
                memory = (found.address + found.size + operand.mem.disp) & (1 << 64) - 1
            elif not base and not index:
                memory = operand.mem.disp & (1 << 64) - 1
    flow = _flow(found, mnemonic)
    branches = flow in (Flow.JUMP, Flow.BRANCH, Flow.CALL)
    if branches and operands and operands[0].type == x86.X86_OP_IMM:
        target = operands[0].imm & (1 << 64) - 1
    privileged = any(
        found.group(group) for group in (x86.X86_GRP_PRIVILEGE, x86.X86_GRP_VM, x86.X86_GRP_INT, x86.X86_GRP_IRET)
    )
    return Decoded(
        found.address,
        bytes(found.bytes),
        mnemonic,
        " ".join(prefixes),
        found.op_str,
        flow,
        target,
        memory,
        segment,
        branches and target is None,
        privileged,
    )


def _flow(found: Any, mnemonic: str) -> Flow:
    from capstone import x86

    if mnemonic in _ENDS:
        return Flow.END
    if mnemonic in _FAR:
        return Flow.FAR
    if found.group(x86.X86_GRP_RET):
        return Flow.RETURN
    if found.group(x86.X86_GRP_CALL):
        return Flow.CALL
    if mnemonic == "jmp":
        return Flow.JUMP
    if found.group(x86.X86_GRP_JUMP) or found.group(x86.X86_GRP_BRANCH_RELATIVE):
        return Flow.BRANCH
    return Flow.NEXT


def shown(instruction: Decoded, image: Image) -> str:
    """The instruction for a reader: what its operands refer to by name, one line, no longer than a line may be."""
    operands = instruction.operands.replace(" ptr ", " ").replace(" + ", "+").replace(" - ", "-").replace(" * ", "*")
    if instruction.target is not None:
        operands = image.name_of(instruction.target) or image.shown(instruction.target)
    elif instruction.memory is not None:
        name = image.name_of(instruction.memory)
        start, end = operands.find("["), operands.find("]")
        if name and 0 <= start < end:
            operands = f"{operands[:start]}[{name}]{operands[end + 1 :]}"
    operands = _NUMBER.sub(lambda number: _named(number[0], image), operands)
    text = " ".join(part for part in (instruction.prefix, instruction.mnemonic, operands) if part)
    return _plain(text)


def _named(number: str, image: Image) -> str:
    """A large number as the name of the address that it is, where it is one."""
    value = int(number, 16) & (1 << 64) - 1
    return image.name_of(value) or number if image.is_address(value) else number


def _plain(text: str) -> str:
    """Text that may stand in a listing: one line, no comment sign and no quotes in it."""
    kept = "".join(c if c.isascii() and c.isprintable() and c not in "#'\"\\" else "_" for c in text)
    return kept if len(kept) <= _SHOWN else kept[: _SHOWN - 3] + "..."
