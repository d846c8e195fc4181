"""Two sets of nested page tables: L0's own, and the one that L1 keeps for L2.

A page is ``("idt", VECTOR)``: what delivery through that vector reads first; ``("stack", 0)``: what every delivery
writes; ``("memory", 0)``: what ``load npf`` and ``store npf`` touch. A fault of L2 on a page that L1's table misses is
L1's, if L1 uses nested paging for L2; every other fault is L0's own (S9-11, S9-12, S9-25).
"""

from worldswitch.core.bits import TYPE_NMI, VECTOR_NMI, event_type
from worldswitch.core.execute import DATA_ADDRESS
from worldswitch.core.isa import GATE_NPF, GATE_OK, OP_ACCESS
from worldswitch.core.state import Gate, Vmcb, World
from worldswitch.errors import InputError
from worldswitch.nested.model import MEMORY, STACK, Nested
from worldswitch.program.instruction import parse_vector
from worldswitch.scenario.model import Program

Page = tuple[str, int]

OF_L0 = 0
OF_L1 = 1


def parse_page(text: str) -> tuple[int, Page]:
    """The level whose page it is (1 or 2), and the page; raises ``InputError``."""
    level, rest = (1, text[3:]) if text[:3].upper() == "L1." else (2, text[3:] if text[:3].upper() == "L2." else text)
    rest = rest.strip().lower()
    if rest in (STACK, MEMORY):
        return level, (rest, 0)
    if rest.startswith("idt:"):
        return level, ("idt", parse_vector(rest[4:]))
    raise InputError(f"{text!r} is no page; use idt:VECTOR, stack or memory, and L1. before it for L1's own")


def page_name(level: int, page: Page) -> str:
    """The canonical spelling."""
    name = f"idt:0x{page[1]:02x}" if page[0] == "idt" else page[0]
    return f"L1.{name}" if level == 1 else name


class Memory:
    """Which pages are missing where."""

    __slots__ = ("_gates", "missing0", "missing1", "worlds")

    def __init__(self, nested: Nested, worlds: dict[int, World]) -> None:
        self.worlds: dict[int, World] = worlds
        self.missing0: set[tuple[int, Page]] = {parse_page(text) for text in nested.npt0}
        self.missing1: set[Page] = {parse_page(text)[1] for text in nested.npt1}
        self._gates: dict[int, dict[int, Gate]] = {}
        for level, program in ((1, nested.l1), (2, nested.l2)):
            self._claim(level, program)
            self._refresh(level)

    def _claim(self, level: int, program: Program) -> None:
        """What the IDT and the program meet as ``npf`` and no list names: L1's page where it is L2's, else L0's."""
        world = self.worlds[level]
        pages: list[Page] = [("idt", vector) for vector, gate in world.idt.items() if gate.outcome == GATE_NPF]
        code = world.code
        if any(op == OP_ACCESS and arg == GATE_NPF for op, arg in zip(code.ops, code.args, strict=True)):
            pages.append((MEMORY, 0))
        for page in pages:
            if (level, page) in self.missing0 or (level == 2 and page in self.missing1):
                continue
            if level == 2:
                self.missing1.add(page)
            else:
                self.missing0.add((level, page))
        self._gates[level] = {
            vector: Gate(GATE_OK if gate.outcome == GATE_NPF else gate.outcome, gate.trap, gate.dpl)
            for vector, gate in world.idt.items()
        }

    def _missing(self, level: int, page: Page) -> bool:
        return (level, page) in self.missing0 or (level == 2 and page in self.missing1)

    def _refresh(self, level: int) -> None:
        """Make the world's IDT and memory say what is missing."""
        world = self.worlds[level]
        stack = self._missing(level, (STACK, 0))
        plain = self._gates[level]
        absent = {page[1] for page in self._pages(level) if page[0] == "idt"}
        world.idt = {
            vector: Gate(
                GATE_NPF if vector in absent or (stack and gate.outcome == GATE_OK) else gate.outcome,
                gate.trap,
                gate.dpl,
            )
            for vector in {*plain, *absent}
            for gate in (plain.get(vector, Gate()),)
        }
        world.default_gate = Gate(GATE_NPF if stack else GATE_OK)
        world.accesses_ok = not self._missing(level, (MEMORY, 0))

    def _pages(self, level: int) -> set[Page]:
        own = {page for at, page in self.missing0 if at == level}
        return own | self.missing1 if level == 2 else own

    def set_gate(self, level: int, vector: int, outcome: int) -> None:
        """Software changes what delivery through a vector meets; ``npf`` makes the page missing again."""
        old = self._gates[level].get(vector, Gate())
        page: Page = ("idt", vector)
        self.missing0.discard((level, page))
        self.missing1.discard(page)
        if outcome == GATE_NPF:
            if level == 2:
                self.missing1.add(page)
            else:
                self.missing0.add((level, page))
            outcome = GATE_OK
        self._gates[level][vector] = Gate(outcome, old.trap, old.dpl)
        self._refresh(level)

    def fault(self, level: int, vmcb: Vmcb, l1_paging: bool) -> tuple[Page, int]:
        """The page behind an exit 400h, and whose fault it is: OF_L0 or OF_L1."""
        if vmcb.exitinfo2 == DATA_ADDRESS:
            page: Page = (MEMORY, 0)
        else:
            word = vmcb.exitintinfo
            vector = VECTOR_NMI if event_type(word) == TYPE_NMI else word & 0xFF
            page = ("idt", vector)
            if not self._missing(level, page):
                page = (STACK, 0)
        return page, OF_L1 if level == 2 and l1_paging and page in self.missing1 else OF_L0

    def map0(self, level: int, page: Page) -> None:
        """L0 maps a page in its own tables; without nested paging for L2, L1 has no table that could miss it."""
        self.missing0.discard((level, page))
        self._refresh(level)

    def map1(self, page: Page) -> None:
        """L1 maps a page for L2."""
        self.missing1.discard(page)
        self._refresh(2)

    def map_all(self, level: int) -> None:
        """Every page is there from now on."""
        self.missing0 = {item for item in self.missing0 if item[0] != level}
        if level == 2:
            self.missing1.clear()
        self._refresh(level)

    def lift_l1(self) -> None:
        """L1 does not use nested paging: its table misses nothing."""
        self.missing0 |= {(2, page) for page in self.missing1}
        self.missing1.clear()
        self._refresh(2)
