"""The state that the reference keeps, and the comparison with the records of the run."""

from typing import Any, Final, NoReturn

from worldswitch.core.bits import EXIT_INVALID, EXIT_SHUTDOWN, TYPE_EXCEPTION, event_type
from worldswitch.core.names import event_name, exit_name
from worldswitch.core.record import KIND_EXCEPTION, KINDS, WORLD_SMM, Exit, Handler, Recorder
from worldswitch.core.state import Cpu
from worldswitch.machine.machine import Machine
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import boundary_segment

UNSURE: Final = 4
"""Bit of the reference's shadow: whether there is one is not settled (S2-08, S2-24)."""

MASK_UNSURE: Final = 2
"""Value of the reference's NMI mask where nobody knows (S4-08)."""

EXT: Final = 1 << 32
"""EXT of the error code in an event word (S6-96, S6-97)."""

Rules = tuple[str, ...]
Fields = tuple[tuple[str, Rules], ...]

HANDLER: Final[Fields] = (
    ("world", ("S4-03", "S5-07")), ("kind", ("S6-101",)), ("vector", ("S1-43", "S6-101")), ("rip", ("S6-48", "S6-61")),
    ("rflags", ("S2-56", "S7-05")), ("gif", ("S3-02", "S3-03")),
)  # fmt: skip
WRITTEN: Final[Fields] = (
    ("exitinfo2", ("S6-90", "S6-91", "S6-93")), ("nrip", ("S1-71", "S1-72")), ("v-tpr", ("S1-30",)),
    ("v-irq", ("S5-10", "S5-11", "S5-12")), ("vgif", ("S3-30", "S3-31")), ("v-nmi", ("S4-32", "S4-33")),
)  # fmt: skip
SAVED: Final[Fields] = (("rip", ("S6-61",)), ("rflags", ("S6-51",)), ("cr2", ("S6-45", "S6-90")))
ENTRY: Final[Fields] = (
    ("hif", ("S5-20",)), ("rip", ("S6-07",)), ("eventinj", ("S6-06",)), ("int-state", ("S2-50",)),
)  # fmt: skip


class Objection(Exception):  # noqa: N818 - what an oracle says, not an error
    """The run is none that the facts allow."""

    def __init__(self, cause: str, place: str, message: str, step: int, rules: Rules) -> None:
        super().__init__(message)
        self.cause: str = cause
        self.place: str = place
        self.message: str = message
        self.step: int = step
        self.rules: Rules = rules


class LostTrack(Exception):  # noqa: N818 - no error either
    """Nothing more can be said of the run."""


class Reference:
    """What the processor must be in, step by step. The state is held in the model's own data types."""

    __slots__ = (
        "acknowledged", "arrivals", "cpu", "discarded", "entries", "exits", "handlers", "host_nmi_mask", "machine",
        "marks", "next_acknowledged", "next_arrival", "next_discarded", "next_entry", "next_exit", "next_handler",
        "next_mark", "next_superseded", "nmi_mask", "nmi_state", "run", "step", "stopped", "superseded", "vectoring",
    )  # fmt: skip

    def __init__(self, run: Run) -> None:
        recorder: Recorder = run.recorder
        self.run: Run = run
        self.machine: Machine = Machine(run.plan)  # for the state that the scenario starts in, and for `set`
        self.cpu: Cpu = self.machine.cpu
        self.step: int = 0
        self.stopped: bool = False
        self.nmi_mask: int = int(self.cpu.nmi_masked)
        self.host_nmi_mask: int = 0  # at the last VMRUN
        self.nmi_state: int = 0  # of the kernel's NMI entry code (S8-78)
        self.vectoring: int = 0
        self.arrivals: list[tuple[int, int]] = sorted((step, number) for number, step in run.arrived.items())
        self.acknowledged: list[tuple[int, int, int]] = recorder.acknowledged
        self.discarded: list[tuple[int, int]] = recorder.discarded
        self.superseded: list[tuple[int, int]] = recorder.superseded
        self.handlers: list[Handler] = recorder.handlers
        self.exits: list[Exit] = recorder.exits
        self.entries = recorder.entries
        # The steps in which something was recorded or arrived, and the last one.
        self.marks: list[int] = [run.cpu.step, *run.arrived.values()]
        self.marks += [handler.step for handler in recorder.handlers]
        self.marks += [record.step for record in recorder.exits]
        self.marks += [entry.step for entry in recorder.entries]
        self.marks += [step for step, _, _ in recorder.acknowledged]
        self.marks += [step for step, _ in recorder.discarded]
        self.marks.sort()
        self.next_mark: int = 0
        self.next_acknowledged: int = 0
        self.next_arrival: int = 0
        self.next_discarded: int = 0
        self.next_entry: int = 0
        self.next_exit: int = 0
        self.next_handler: int = 0
        self.next_superseded: int = 0

    # What the run recorded in this step, without taking it.

    def sees_exit(self) -> int:
        """The code of the exit recorded next in this step; -1 where there is none."""
        if self.next_exit < len(self.exits) and self.exits[self.next_exit].step == self.step:
            return self.exits[self.next_exit].code
        return -1

    def sees_handler(self, kind: int) -> bool:
        """Whether the handler recorded next in this step is of that kind."""
        if self.next_handler >= len(self.handlers):
            return False
        handler = self.handlers[self.next_handler]
        return handler.step == self.step and handler.kind == kind

    def sees_exception(self, vector: int) -> bool:
        """Whether the instruction at RIP raised that exception in the host: its handler, or a fault of its delivery."""
        if self.next_entry < len(self.entries) and self.entries[self.next_entry].step == self.step:
            return False  # it was a VMRUN, and what happened since happened in the guest
        if self.sees_handler(KIND_EXCEPTION):
            handler = self.handlers[self.next_handler]
            if handler.vector == vector and handler.rip == self.cpu.regs.rip and not handler.guest:
                return True
        word = self.superseded[self.next_superseded][1] if self.sees_superseded() else 0
        return event_type(word) == TYPE_EXCEPTION and word & 0xFF == vector

    def sees_acknowledged(self, kind: int) -> bool:
        """Whether an event of that kind left its latch in this step."""
        number = self.next_acknowledged
        return number < len(self.acknowledged) and self.acknowledged[number][:2] == (self.step, kind)

    def sees_delivery_of(self, word: int) -> bool:
        """Whether the exit or the superseded event recorded next in this step is a delivery of ``word``."""
        if self.next_superseded < len(self.superseded) and self.superseded[self.next_superseded] == (self.step, word):
            return True
        return self.sees_exit() >= 0 and self.exits[self.next_exit].exitintinfo == word

    def sees_discarded(self, kind: int) -> bool:
        """Whether an event of that kind was dropped in this step."""
        number = self.next_discarded
        return number < len(self.discarded) and self.discarded[number] == (self.step, kind)

    def sees_superseded(self) -> bool:
        """Whether another delivery faulted in this step."""
        number = self.next_superseded
        return number < len(self.superseded) and self.superseded[number][0] == self.step

    # Taking records: each must be the one that comes next.

    def acknowledge(self, kind: int, vector: int) -> None:
        """An event leaves its latch."""
        if not self.sees_acknowledged(kind) or self.acknowledged[self.next_acknowledged][2] != vector:
            self.object(f"{KINDS[kind]}-not-acknowledged", "an event that was taken did not leave its latch", "S5-07")
        self.next_acknowledged += 1

    def discard(self, kind: int) -> None:
        """An event is dropped."""
        if not self.sees_discarded(kind):
            self.object(f"{KINDS[kind]}-not-discarded", "an event that GIF=0 discards was kept", "S3-13", "S3-16")
        self.next_discarded += 1

    def supersede(self, word: int) -> int:
        """An event's delivery faults; returns the event as the run recorded it."""
        if not self.sees_superseded():
            self.object("no-fault-of-delivery", f"the delivery of {event_name(word)} had to fault", "S6-72")
        found = self.superseded[self.next_superseded][1]
        if (found ^ word) & ~EXT:
            self.object("fault-of-delivery", f"{event_name(found)} instead of {event_name(word)}", "S6-72", "S6-101")
        self.next_superseded += 1
        return found

    def enter_handler(
        self, kind: int, vector: int, world: int, return_rip: int, error_codes: tuple[int, ...]
    ) -> Handler:
        """A handler is entered; the record, which agrees."""
        number = self.next_handler
        if number >= len(self.handlers) or self.handlers[number].step != self.step:
            self.object("no-handler", f"a handler for {KINDS[kind]} {vector:#x} had to be entered", "S6-72")
        record = self.handlers[number]
        regs = self.cpu.regs
        found = (record.world, record.kind, record.vector, record.rip, record.rflags, record.gif)
        self.agree("handler", HANDLER, found, (world, kind, vector, return_rip, regs.rflags, self.cpu.gif))
        if record.error_code not in error_codes:
            self.same("handler", "error-code", record.error_code, error_codes[0], "S6-48", "S6-96", "S6-104")
        if world != WORLD_SMM and not self.cpu.shadow & UNSURE:
            self.same("handler", "shadow", bool(record.shadow), bool(self.cpu.shadow), "S2-20", "S2-50")
        self.next_handler += 1
        return record

    def take_exit(self, code: int, info1: tuple[int, ...], info2: int, nrip: int, events: tuple[int, ...]) -> Exit:
        """A #VMEXIT; the record, which agrees. ``info1`` and ``events`` list what is allowed (EXITINTINFO)."""
        found = self.sees_exit()
        if found < 0:
            self.object("no-exit", f"an exit {exit_name(code)} had to come", "S6-72", "S6-110")
        record = self.exits[self.next_exit]
        self.next_exit += 1
        if found != code:
            message = f"exit {exit_name(found)} instead of {exit_name(code)}"
            self.object("exit-code", message, "S6-72", "S6-110")
        if code == EXIT_INVALID:
            return record
        vmcb, regs = self.cpu.vmcb, self.cpu.regs
        if record.exitinfo1 not in info1:
            self.same("exit", "exitinfo1", record.exitinfo1, info1[0], "S6-90", "S6-91", "S6-93")
        if record.exitintinfo not in events:
            self.same("exit", "exitintinfo", record.exitintinfo, events[0], "S6-70", "S6-72")
        written = (record.exitinfo2, record.nrip, record.v_tpr, record.v_irq, record.vgif, record.v_nmi)
        self.agree("exit", WRITTEN, written, (info2, nrip, vmcb.v_tpr, vmcb.v_irq, vmcb.vgif, vmcb.v_nmi))
        if code == EXIT_SHUTDOWN:  # S6-94: the guest's state is undefined
            return record
        self.agree("exit", SAVED, (record.rip, record.rflags, record.cr2), (regs.rip, regs.rflags, regs.cr2))
        if not self.cpu.shadow & UNSURE and not self.cpu.injecting:  # then it is for shadow_bleed to say
            stored = bool(record.int_state & 1)
            if stored or not self.vectoring:  # S2-58: a delivery may have cleared it
                self.same("exit", "int-state", stored, bool(self.cpu.shadow), "S2-52", "S2-53", "S2-60")
        return record

    def stop(self, reason: int) -> None:
        """The run had to end here."""
        self.stopped = True
        cpu = self.run.cpu
        if cpu.stop != reason or cpu.step != self.step:
            self.object("no-stop", "the processor had to stop here", "S5-24", "S6-58", "S6-95")

    def take_entry(self) -> None:
        """VMRUN loads a guest."""
        number = self.next_entry
        if number >= len(self.entries) or self.entries[number].step != self.step:
            self.object("no-entry", "VMRUN had to load the guest", "S6-06", "S6-07")
        record, cpu = self.entries[number], self.cpu
        vmcb = cpu.vmcb
        loaded = (cpu.hif, vmcb.save.rip, vmcb.eventinj, vmcb.int_state & 1)
        self.agree("entry", ENTRY, (record.hif, record.rip, record.eventinj, record.int_state), loaded)
        self.next_entry += 1

    def nothing_left(self) -> None:
        """The step is over: everything it recorded has been accounted for."""
        step = self.step
        if self.sees_exit() >= 0:
            self.object("unexpected-exit", f"an exit {exit_name(self.sees_exit())} without a cause", "S6-110")
        if self.next_handler < len(self.handlers) and self.handlers[self.next_handler].step == step:
            kind = KINDS[self.handlers[self.next_handler].kind]
            self.object("unexpected-handler", f"a handler for {kind} without a cause", "S6-72")
        if self.next_entry < len(self.entries) and self.entries[self.next_entry].step == step:
            self.object("unexpected-entry", "VMRUN loaded a guest where it had to fault", "S7-07")
        if (
            self.sees_superseded()
            or (
                self.next_acknowledged < len(self.acknowledged) and self.acknowledged[self.next_acknowledged][0] == step
            )
            or (self.next_discarded < len(self.discarded) and self.discarded[self.next_discarded][0] == step)
        ):
            self.object("unexpected-event", "an event left its latch, or was dropped, without a cause", "I-06")

    def next_record(self) -> int:
        """The step of the next record or arrival after the present one; the run's last where there is none."""
        marks, number = self.marks, self.next_mark
        while marks[number] <= self.step:
            number += 1
        self.next_mark = number
        return marks[number]

    def agree(self, what: str, fields: Fields, found: tuple[Any, ...], wanted: tuple[Any, ...]) -> None:
        """Object where a record differs from what it must be; ``fields`` names the values, with their rules."""
        if found == wanted:
            return
        for (field, rules), value, right in zip(fields, found, wanted, strict=True):
            self.same(what, field, value, right, *rules)

    def same(self, what: str, field: str, found: Any, wanted: Any, *rules: str) -> None:
        """Object where a value is not the one it must be."""
        if found != wanted:
            self.object(f"{what}-{field}", f"{what}: {field} is {_spell(found)} and must be {_spell(wanted)}", *rules)

    def object(self, cause: str, message: str, *rules: str) -> NoReturn:
        """Raise the objection at the present place."""
        cpu = self.cpu
        place = "guest" if cpu.guest else boundary_segment(self.run, cpu.regs.rip)
        raise Objection(cause, place, message, self.step, rules)


def _spell(value: Any) -> str:
    return hex(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)
