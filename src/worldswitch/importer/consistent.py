"""What the tests on a straight line have told about the fields they test.

Code tests the same field of a structure again and again (is this guest protected, is a nested guest running), and a
line that goes one way here and the other way there is one that no processor takes. Two tests are the same if they
compare the same field, at a distance from some pointer that only a large structure has, with the same number.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from worldswitch.importer.decode import Decoded

_FIELD: Final = re.compile(r"((?:byte|word|dword|qword) ptr )\[\w+ \+ (0x[0-9a-f]+)\]")
_LEAST: Final = 0xE0  # what lies below it in a VMCB, VMRUN changes; on the stack anything does
_SAVE_AREA: Final = range(0x400, 0x700)  # of a VMCB
_WHEN_EQUAL: Final = {"je": True, "jz": True, "jne": False, "jnz": False}


@dataclass(slots=True)
class Tests:
    """The tests seen so far, and how they came out."""

    _known: dict[str, bool] = field(default_factory=dict)  # test to whether it came out equal
    _last: str = ""  # the test whose result the flags hold

    def see(self, instruction: Decoded) -> None:
        """Take note of an instruction that is passed."""
        if instruction.mnemonic == "vmrun":
            self._known = {test: equal for test, equal in self._known.items() if _place(test) not in _SAVE_AREA}
        name = _name(instruction)
        if instruction.mnemonic in ("cmp", "test"):
            self._last = name
        elif name and instruction.mnemonic not in ("push", "call", "jmp") and instruction.operands.startswith(_SIZES):
            written = _place(name)
            self._known = {test: equal for test, equal in self._known.items() if _place(test) != written}

    def outcome(self, branch: Decoded) -> bool | None:
        """Whether a branch is taken by what is known; None where nothing is."""
        equal = self._known.get(self._last)
        when = _WHEN_EQUAL.get(branch.mnemonic)
        return None if equal is None or when is None else equal == when

    def decide(self, branch: Decoded, taken: bool) -> None:
        """Take note of which way a branch goes."""
        when = _WHEN_EQUAL.get(branch.mnemonic)
        if self._last and when is not None:
            self._known[self._last] = taken == when


_SIZES: Final = ("byte", "word", "dword", "qword")


def _name(instruction: Decoded) -> str:
    """The field that an instruction concerns and what it does with it, whatever register points to it; "" if none."""
    found = _FIELD.search(instruction.operands)
    if found is None or int(found[2], 16) < _LEAST:
        return ""
    return f"{instruction.mnemonic} " + _FIELD.sub(r"\1[\2]", instruction.operands)


def _place(name: str) -> int:
    found = re.search(r"\[(0x[0-9a-f]+)\]", name)
    return int(found[1], 16) if found else -1
