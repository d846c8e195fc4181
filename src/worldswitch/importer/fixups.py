"""What the fixup of an instruction does: how a fault of it is survived, and where execution goes on.

The fixups of SVM instructions look at ``kvm_rebooting`` and go on if it is set (S7-08), in code of their own or in
kvm_spurious_fault(). One that is UD2 survives nothing.
"""

from typing import Final, NamedTuple

from worldswitch.importer.decode import Decoded, Flow
from worldswitch.importer.patch import Code

_ALIKE: Final = 16
"""Instructions after which copied code must have come together again."""

_REBOOTING: Final = ("kvm_rebooting", "virt_rebooting")
_SPURIOUS_FAULT: Final = "kvm_spurious_fault"


class Fixup(NamedTuple):
    """What is known of a fixup."""

    survived: bool
    remark: str = ""
    doubt: str = ""


def resolve(code: Code, start: int, after: int | None) -> Fixup:
    """The fixup that begins at ``start``, of an instruction that the path goes on from at ``after``."""
    image = code.image
    first = code.at(start)
    place = image.shown(start)
    if first is None:
        return Fixup(False, doubt=f"its fixup at {place} is no code")
    if first.flow is Flow.END:
        return Fixup(False, f"a fault goes to {first.mnemonic} at {place}")
    onward: int | None = start
    if first.memory is not None and image.name_of(first.memory) in _REBOOTING:
        branch = code.at(first.next)
        onward = branch.target if branch is not None else None
    elif first.flow is Flow.CALL and first.target is not None:
        onward = first.next if image.name_of(first.target) == _SPURIOUS_FAULT else None
    if _meet(code, onward, after):
        return Fixup(True)
    where = image.shown(onward) if onward is not None else f"the code at {place}"
    return Fixup(True, doubt=f"a fault goes on at {where}, which is not the next instruction of the path")


def _meet(code: Code, address: int | None, other: int | None) -> bool:
    """Whether two places go on alike: compilers copy the code after a call, and jump past what does nothing."""
    if address is not None and address == other:
        return True
    first, second = _settled(code, address), _settled(code, other)
    for _ in range(_ALIKE):
        if first is None or second is None:
            return False
        if first.address == second.address:
            return True
        if first.flow is Flow.BRANCH and second.flow is Flow.BRANCH:
            return {first.next, first.target} == {second.next, second.target}
        if (first.mnemonic, first.operands) != (second.mnemonic, second.operands):
            return False
        first, second = _settled(code, first.next), _settled(code, second.next)
    return False


def _settled(code: Code, address: int | None) -> Decoded | None:
    """The first instruction from an address on that does something."""
    for _ in range(_ALIKE):
        instruction = code.at(address) if address is not None else None
        if instruction is None:
            return None
        if instruction.flow is Flow.JUMP and instruction.target is not None:
            address = instruction.target
        elif instruction.mnemonic == "nop":
            address = instruction.next
        else:
            return instruction
    return None
