"""A scenario as the boot image takes it: bytes by address, and what its answer is understood with."""

from dataclasses import dataclass, field

from worldswitch.machine.compile import Plan
from worldswitch.machine.run import Run
from worldswitch.program.layout import Layout
from worldswitch.replay import memory
from worldswitch.replay.assemble import Unit, u32


@dataclass(frozen=True, slots=True)
class NotComparable:
    """Why an implementation cannot be asked about a scenario."""

    reason: str


@dataclass(slots=True)
class Places:
    """Addresses of one world's code and the Code index each stands for."""

    layout: Layout
    units: list[Unit]
    stubs: int
    default_handler: int
    code: int
    late: dict[int, int] = field(default_factory=dict)  # vector to first Code index

    def index(self, address: int) -> int | None:
        """The Code index of a saved RIP; None where it is no place of the program."""
        if address >> 47 not in (0, 0x1FFFF):
            return 0
        code = self.layout.code
        if self.stubs <= address < self.stubs + 256 * memory.STUB_SIZE:
            vector = (address - self.stubs) // memory.STUB_SIZE
            return code.handlers.get(vector, code.default_handler) + (vector in self.late)
        if self.default_handler <= address < self.default_handler + 4:
            return code.default_handler
        if not self.units[1].start <= address < self.units[-1].next:
            return code.start if self.code <= address < self.units[1].start else None
        low, high = 1, len(self.units) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self.units[middle].start <= address:
                low = middle
            else:
                high = middle - 1
        return low if address <= self.units[low].main_at else low + 1

    def unreported(self, address: int) -> int | None:
        """The vector of the handler that was entered but cannot have reported yet, with its RIP there."""
        if self.stubs <= address < self.stubs + 256 * memory.STUB_SIZE:
            return (address - self.stubs) // memory.STUB_SIZE
        for vector, index in self.late.items():
            if self.units[index].start <= address < self.units[index].next:
                return vector
        return None

    def at(self, index: int) -> int:
        """The address at which control enters a step."""
        return self.units[index].start if index else 1 << 63

    def table(self) -> bytes:
        """For the image: first address, last address, next instruction of each step."""
        words = [len(self.units) - 1]
        first = self.code
        for index, unit in enumerate(self.units):
            if index:
                fixup = memory.PLACE_FIXUP if self.layout.code.fixup[index] else 0
                next_at = unit.next if index + 1 < len(self.units) else unit.start
                words += [first, unit.main_at, next_at | fixup]
                first = unit.main_at + 1
        return b"".join(word.to_bytes(8, "little") for word in words)


@dataclass(slots=True)
class Record:
    """One scenario for the image, and what is needed to understand its answer."""

    plan: Plan
    run: Run
    flags: int
    pokes: list[tuple[int, bytes]]
    host: Places
    guest: Places
    late: dict[tuple[bool, int], int] = field(default_factory=dict)  # (guest, vector): handlers that report late
    silent: set[tuple[bool, int]] = field(default_factory=set)  # of these, those whose first instruction is IRET
    operations: list[tuple[bool, int]] = field(default_factory=list)  # software operations: first entry, place

    @property
    def size(self) -> int:
        """Bytes of the record, about."""
        return 16 + sum(16 + len(data) for _, data in self.pokes)

    def to_bytes(self, number: int) -> bytes:
        """The record as the image reads it."""
        body = b""
        for address, data in self.pokes:
            body += u32(address) + u32(len(data)) + data + bytes(-len(data) % 8)
        return u32(16 + len(body)) + u32(number) + u32(self.flags) + u32(len(self.pokes)) + body
