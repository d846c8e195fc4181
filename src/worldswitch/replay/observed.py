"""What an implementation did with one record, in the keys of ``machine.observe``."""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from worldswitch.core.bits import RFLAGS_IF
from worldswitch.core.names import exit_name
from worldswitch.replay import memory
from worldswitch.replay.record import Places, Record

HANG: Final = "hang"
RESET: Final = "reset"
CRASH: Final = "crash"
_STOPS: Final = {
    memory.STOP_END: "end",
    memory.STOP_HOST_IDLE: "idle",
    memory.STOP_GUEST_IDLE: "idle",
    memory.STOP_LIMIT: "limit",
    memory.STOP_BUG: "bug",
}
SEAM: Final = "(image)"
_HOST, _GUEST, _DRAIN = 0, 1, 2
_WORLDS: Final = ("host", "guest", "drain")


@dataclass(slots=True)
class Observed:
    """The answer to one record."""

    stop: str  # as ``final.stop``; "hang" where it had to be ended, "reset" where the processor reset itself
    exits: list[dict[str, Any]] = field(default_factory=list)
    handlers: list[dict[str, Any]] = field(default_factory=list)
    final: dict[str, Any] = field(default_factory=dict)
    complete: bool = True  # False: a reset or a hang cut the report short


def interpret(record: Record, lines: list[str]) -> Observed:
    """The report of one record, from its log lines: those after ``S`` up to and including ``E`` or ``R``."""
    return _Interpreter(record).read(lines)


class _Held(NamedTuple):
    """Handlers that interrupted one which has not reported yet: its vector, the address of its frame."""

    handlers: list[dict[str, Any]]
    guest: bool
    vector: int
    frame: int


class _Interpreter:
    def __init__(self, record: Record) -> None:
        self.record = record
        self.observed = Observed(HANG, complete=False)
        self.drained: list[tuple[int, int]] = []  # phase, vector
        self.held: list[_Held] = []
        self.unmasked = False  # a handler's IRET has unmasked NMIs before they were looked at
        self.last = 0  # vector and record of the last report
        self.last_handler: dict[str, Any] = {}
        self.unreported: dict[int, tuple[bool, int]] = {}  # frame address: entered as an exit's guest stack tells

    def read(self, lines: list[str]) -> Observed:
        observed = self.observed
        for line in lines:
            kind, *words = line.split()
            numbers = [int(word, 16) for word in words]
            if kind == "H" and len(numbers) == 9:
                self._handler(numbers)
            elif kind == "X" and len(numbers) >= 14:
                self._exit(numbers)
            elif kind in ("E", "R", "T") and len(numbers) == 4:
                self._end(kind, *numbers)
        self._flush({})
        return observed

    def _places(self, guest: bool) -> Places:
        return self.record.guest if guest else self.record.host

    def _where(self, guest: bool, rip: int, operation: int) -> str:
        places = self._places(guest)
        index = places.index(rip)
        if index is None and operation:  # inside a software operation, which counts as done
            for world, place in self.record.operations:
                if world == guest:
                    index = place + 1
        if index is not None:
            return places.layout.where(index)
        return SEAM if memory.IMAGE <= rip < memory.IMAGE_END else f"({rip:#x})"

    def _handler(self, numbers: list[int]) -> None:
        world, vector, rip, rflags, code, frame, saved_rsp, operation, phase = numbers
        if world == _HOST and self._places(False).index(rip) == self.record.plan.host.end + 1:
            world = _DRAIN  # a shadow held it up to the end
            self.unmasked = True
        if world == _DRAIN:
            if vector != memory.PROBE_VECTOR or phase == memory.PHASE_AS_IS:
                self.drained.append((phase, vector))
            return
        guest = world == _GUEST
        if (guest, vector) in self.record.silent:
            return
        if frame in self.unreported and self.unreported[frame] == (guest, vector):
            del self.unreported[frame]
            return
        handler = self._make_handler(guest, vector, rip, rflags, code, operation)
        handlers = self.observed.handlers
        group = [handler]
        for held in [held for held in self.held if held.guest == guest and held.frame == frame]:
            group += held.handlers
            self.held.remove(held)
        waiting = self._places(guest).unreported(rip)
        known = self.unreported.get(saved_rsp) == (guest, waiting) or (guest, waiting) in self.record.silent
        if waiting is not None and not known:
            self.held.append(_Held(group, guest, waiting, saved_rsp))
        elif handler["where"] == SEAM:  # taken while the image noted the last one, at whose start the program is
            handler["where"] = self._start(guest, self.last)
            after = next((held.handlers for held in self.held if self.last_handler in held.handlers), handlers)
            after += group
        else:
            inner = [held.handlers for held in self.held if held.guest == guest and frame < held.frame]
            (inner[-1] if inner else handlers).extend(group)
        self.last, self.last_handler = vector, handler

    def _start(self, guest: bool, vector: int) -> str:
        """The place at which the handler of a vector begins."""
        layout = self._places(guest).layout
        return layout.where(layout.code.handlers.get(vector, layout.code.default_handler))

    def _flush(self, words: dict[int, int]) -> None:
        """Handlers that have not reported before what follows; ``words`` is the guest's stack by address."""
        for held in self.held:
            self.observed.handlers += self._chain(held.guest, held.vector, held.frame, words if held.guest else {})
            self.observed.handlers += held.handlers
        self.held.clear()

    def _chain(self, guest: bool, vector: int, frame: int, words: dict[int, int]) -> list[dict[str, Any]]:
        """The handler with that frame, behind those it interrupted that have not reported either, by their frames."""
        if self.unreported.get(frame) == (guest, vector):
            return []  # known from an earlier exit
        self.unreported[frame] = (guest, vector)
        silent = (guest, vector) in self.record.silent
        at = frame if words.get(frame + 8) == 8 else frame + 8
        if words.get(at + 8) != 8:
            return [] if silent else [{"world": _WORLDS[guest], "vector": vector}]
        code = words[frame] if at != frame else (1 << 64) - 1
        rip, rsp = words[at], words.get(at + 24, 0)
        outer = self._places(guest).unreported(rip)
        chain = self._chain(guest, outer, rsp, words) if outer is not None else []
        if silent:
            return chain
        return [*chain, self._make_handler(guest, vector, rip, words.get(at + 16, 0), code, 0)]

    def _make_handler(
        self, guest: bool, vector: int, rip: int, rflags: int, code: int, operation: int
    ) -> dict[str, Any]:
        return {
            "world": _WORLDS[guest],
            "vector": vector,
            "where": self._where(guest, rip, operation),
            "if": bool(rflags & RFLAGS_IF),
            "error_code": None if code == (1 << 64) - 1 else code & 0xFFFF_FFFF,
        }

    def _exit(self, numbers: list[int]) -> None:
        host_rflags, code, info1, info2, intinfo, eventinj, int_state, rip, rflags, cr2, int_ctl, nrip, _, rsp = (
            numbers[:14]
        )
        stack = numbers[14:]
        if rsp and self._escaped(code, rip):
            self.observed.final["if"] = bool(rflags & RFLAGS_IF)
            self.observed.final["where"] = self._where(True, rip, 0)
            return
        words = {rsp + 8 * number: word for number, word in enumerate(stack)}
        self._flush(words)
        vector = self.record.guest.unreported(rip)
        invalid = code & 0xFFFF_FFFF == 0xFFFF_FFFF  # what it leaves in RIP and RSP is undefined (S6-37)
        if vector is not None and not invalid and 8 in (words.get(rsp + 8), words.get(rsp + 16)):
            self.observed.handlers += self._chain(True, vector, rsp, words)
        where = self._where(True, rip, 0)
        self.observed.exits.append(
            {
                "exit_code": code,
                "name": exit_name(code),
                "exitinfo1": info1,
                "exitinfo2": info2,
                "exitintinfo": intinfo,
                "eventinj": eventinj,
                "int_state": int_state,
                "where": self._start(True, self.last) if where == SEAM else where,
                "nrip": nrip,
                "if": bool(rflags & RFLAGS_IF),
                "cr2": cr2,
                "v_tpr": int_ctl & 0xFF,
                "v_irq": bool(int_ctl >> 8 & 1),
                "vgif": bool(int_ctl >> 9 & 1),
                "v_nmi": bool(int_ctl >> 11 & 1),
                "v_nmi_mask": bool(int_ctl >> 12 & 1),
                "host_if": bool(host_rflags & RFLAGS_IF),
            }
        )

    def _escaped(self, code: int, rip: int) -> bool:
        """An exit by which the image leaves a guest that has nothing left to do."""
        if code != 0x80:
            return False
        places = self.record.guest
        index = places.index(rip)
        if index is None:
            return not places.stubs <= rip < places.stubs + 256 * memory.STUB_SIZE
        return places.units[index].main is None and rip != places.units[index].start

    def _end(self, kind: str, phase: int, stop: int, stop_rip: int, end_rflags: int) -> None:
        observed = self.observed
        final = observed.final
        if kind == "T":
            observed.stop = HANG
            return
        if kind == "R":
            observed.stop = RESET if phase == memory.PHASE_RUN else _STOPS.get(stop, "end")
            return
        observed.complete = True
        observed.stop = _STOPS.get(stop, "?")
        final.setdefault("if", bool(end_rflags & RFLAGS_IF))
        pending = []
        for at, vector in self.drained:
            if vector == memory.PROBE_VECTOR:
                final["gif"] = True
            elif vector == 2:
                if self.record.flags & memory.FLAG_PROBE_NMI:
                    final["nmi_masked"] = at not in (memory.PHASE_NMI_PROBE, memory.PHASE_STGI)
                else:
                    pending.append("nmi")
            else:
                pending.append(f"intr:0x{vector:02x}")
        final.setdefault("gif", False)
        if self.unmasked:
            final.pop("nmi_masked", None)
        final["pending"] = sorted(pending)
