"""The control flow of functions, and which calls lead from one to VMRUN."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from worldswitch.importer.decode import Decoded, Flow
from worldswitch.importer.image import Symbol
from worldswitch.importer.patch import Code

MAX_NODES: Final = 20_000
"""Instructions of one function; the largest of KVM's have some thousand."""

MAX_FUNCTIONS: Final = 400
"""Functions that are looked through for VMRUN."""

MAX_DEPTH: Final = 6

_RETURN_THUNKS: Final = ("__x86_return_thunk", "srso_return_thunk", "retbleed_return_thunk", "its_return_thunk")
_NEVER_RETURN: Final = frozenset(
    {"__stack_chk_fail", "panic", "make_task_dead", "do_exit", "__ubsan_handle_builtin_unreachable"}
)


@dataclass(slots=True)
class Function:
    """A function's instructions and their successors."""

    entry: int
    name: str
    nodes: dict[int, Decoded] = field(default_factory=dict)
    next: dict[int, tuple[int, ...]] = field(default_factory=dict)  # the way it falls through first
    leaves: set[int] = field(default_factory=set)  # returns and calls in tail position
    calls: dict[int, int] = field(default_factory=dict)  # instruction to the function it calls
    unresolved: list[int] = field(default_factory=list)  # jumps through a register or memory

    def reaching(self, goals: Iterable[int]) -> set[int]:
        """The instructions from which one of ``goals`` can be reached."""
        before: dict[int, list[int]] = {}
        for address, after in self.next.items():
            for successor in after:
                before.setdefault(successor, []).append(address)
        found = set(goals)
        waiting = list(found)
        while waiting:
            for address in before.get(waiting.pop(), ()):
                if address not in found:
                    found.add(address)
                    waiting.append(address)
        return found

    def of(self, mnemonic: str) -> set[int]:
        """The instructions with this mnemonic."""
        return {address for address, instruction in self.nodes.items() if instruction.mnemonic == mnemonic}


def is_return(code: Code, instruction: Decoded) -> bool:
    """A RET, or the jump to a return thunk that stands for one."""
    if instruction.flow is Flow.RETURN:
        return True
    if instruction.flow is not Flow.JUMP or instruction.target is None:
        return False
    return code.image.name_of(instruction.target) in _RETURN_THUNKS


def tail_call(code: Code, function: Symbol | None, instruction: Decoded) -> int | None:
    """The function that a jump calls in place of returning; None for a jump within the function."""
    target = instruction.target
    if instruction.flow is not Flow.JUMP or target is None:
        return None
    if not code.image.is_code(target):
        return target
    symbol = code.image.symbol_at(target)
    if symbol is None or not symbol.is_function or (function is not None and symbol.address == function.address):
        return None
    inside = function is not None and function.size and function.address <= target < function.address + function.size
    return None if inside or symbol.name.endswith(".cold") else target


def is_local_call(code: Code, instruction: Decoded) -> bool:
    """A call of a label: the return address is thrown away, as where the return predictor is filled."""
    target = instruction.target
    if instruction.flow is not Flow.CALL or target is None or not code.image.is_code(target):
        return False
    return code.image.symbol_at(target) is None and 0 <= target - instruction.address < 0x40


def explore(code: Code, entry: int) -> Function:
    """The function at an address, as far as its code can be followed from there."""
    symbol = code.image.symbol_at(entry)
    function = Function(entry, symbol.name if symbol else code.image.shown(entry))
    waiting = [entry]
    while waiting and len(function.nodes) < MAX_NODES:
        address = waiting.pop()
        if address in function.nodes:
            continue
        instruction = code.at(address)
        if instruction is None:
            continue
        function.nodes[address] = instruction
        after = _successors(code, function, symbol, instruction)
        function.next[address] = after
        waiting += reversed(after)
    return function


def _successors(code: Code, function: Function, symbol: Symbol | None, instruction: Decoded) -> tuple[int, ...]:
    address, following = instruction.address, instruction.next
    if is_return(code, instruction):
        function.leaves.add(address)
        return ()
    called = tail_call(code, symbol, instruction)
    if called is not None:
        function.leaves.add(address)
        function.calls[address] = called
        return ()
    match instruction.flow:
        case Flow.END | Flow.FAR:
            return ()
        case Flow.JUMP:
            if instruction.target is None:
                function.unresolved.append(address)
                return ()
            return (instruction.target,)
        case Flow.BRANCH:
            return (following, instruction.target) if instruction.target is not None else (following,)
        case Flow.CALL if instruction.target is not None:
            if is_local_call(code, instruction):
                return (instruction.target,)
            function.calls[address] = instruction.target
            if code.image.name_of(instruction.target) in _NEVER_RETURN:
                return ()
    if symbol is not None and symbol.size and following == symbol.address + symbol.size:
        return ()  # what is called there does not return
    return (following,)


class Functions:
    """Functions, each explored once."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self._known: dict[int, Function] = {}

    def at(self, entry: int) -> Function:
        """The function at an address."""
        if entry not in self._known:
            self._known[entry] = explore(self.code, entry)
        return self._known[entry]

    def forget(self, address: int) -> None:
        """Explore anew what holds an address, whose code has changed."""
        for entry in [entry for entry, function in self._known.items() if address in function.nodes]:
            del self._known[entry]


def ways_to_vmrun(functions: Functions, root: int) -> dict[int, set[int]]:
    """Every function on a shortest way from ``root`` to a function with VMRUN, with those it calls on such a way.

    The functions with VMRUN themselves are in it, and call none. Empty where none can be reached.
    """
    image = functions.code.image
    level, seen = [root], {root}
    levels: list[list[int]] = []
    for _ in range(MAX_DEPTH):
        levels.append(level)
        found = {entry for entry in level if functions.at(entry).of("vmrun")}
        if found:
            return _ways(functions, levels, found)
        level = []
        for entry in levels[-1]:
            for called in functions.at(entry).calls.values():
                if called not in seen and image.is_code(called) and len(seen) < MAX_FUNCTIONS:
                    seen.add(called)
                    level.append(called)
        if not level:
            break
    return {}


def _ways(functions: Functions, levels: list[list[int]], found: set[int]) -> dict[int, set[int]]:
    ways: dict[int, set[int]] = {entry: set() for entry in found}
    wanted = found
    for level in reversed(levels[:-1]):
        callers = set()
        for entry in level:
            on_way = wanted & set(functions.at(entry).calls.values())
            if on_way:
                ways[entry] = on_way
                callers.add(entry)
        wanted = callers
    return ways
