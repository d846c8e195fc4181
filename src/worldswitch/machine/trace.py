"""The rows of the timeline: what each step found, did and caused."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from worldswitch.core.bits import RFLAGS_IF, SHADOW_MOVSS, SHADOW_STI
from worldswitch.core.names import event_name, exception_name, exit_name
from worldswitch.core.record import KIND_EXCEPTION, KIND_INJECTED, KIND_INTR, KIND_VIRQ, KINDS, WORLDS, Exit, Handler
from worldswitch.core.state import END, HOST_BUG, IDLE, INIT_RESET, LIMIT, SHUTDOWN, Cpu
from worldswitch.kernel.state import CONTEXTS, WARN_KINDS

if TYPE_CHECKING:
    from worldswitch.machine.machine import Machine

STOPS: Final = {
    END: "returned to its caller",
    SHUTDOWN: "the processor shut down",
    INIT_RESET: "INIT reset the processor",
    HOST_BUG: "the kernel stopped: BUG",
    IDLE: "nothing left that could happen",
    LIMIT: "cut off: step limit",
}
"""Why a run ended, in words."""

SHADOWS: Final = {0: "-", SHADOW_STI: "sti", SHADOW_MOVSS: "movss", SHADOW_STI | SHADOW_MOVSS: "loaded"}


@dataclass(slots=True)
class Row:
    """One step. The state is that at the boundary before it."""

    step: int
    world: str
    where: str
    text: str
    interrupts: bool  # RFLAGS.IF
    shadow: str
    gif: bool
    nmi_masked: bool
    lockdep: bool | None  # None on a path without lockdep
    context: str
    pending: str
    notes: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)  # oracles that objected to this step


class Trace:
    """Builds the rows while a machine runs."""

    __slots__ = ("_counts", "rows")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._counts: tuple[int, ...] = (0,) * 7

    def before(self, machine: "Machine") -> None:
        """A boundary, after arrivals."""
        cpu, kernel = machine.cpu, machine.kernel
        layout = machine.plan.guest if cpu.guest else machine.plan.host
        rip = cpu.regs.rip
        row = Row(
            step=cpu.step,
            world="guest" if cpu.guest else "host",
            where=layout.where(rip),
            text="(halted)" if cpu.halted else layout.code.texts[rip],
            interrupts=bool(cpu.regs.rflags & RFLAGS_IF),
            shadow=SHADOWS[cpu.shadow],
            gif=cpu.gif,
            nmi_masked=cpu.nmi_masked,
            lockdep=kernel.hardirqs_enabled if kernel.present else None,
            context=CONTEXTS[kernel.context] if kernel.present else "",
            pending=" ".join(pending_names(cpu)),
        )
        for number, step in machine.arrived.items():
            if step == cpu.step:
                event = machine.plan.scenario.events[number]
                vector = f":0x{event.vector:02x}" if event.kind == "intr" else ""
                row.notes.append(f"«{event.kind}{vector}» arrives")
        self.rows.append(row)
        self._counts = self._measure(machine)

    def _measure(self, machine: "Machine") -> tuple[int, ...]:
        recorder, kernel = machine.cpu.recorder, machine.kernel
        return (
            len(recorder.handlers), len(recorder.exits), len(recorder.entries), len(kernel.warnings),
            len(recorder.discarded), kernel.redundant, len(recorder.superseded),
        )  # fmt: skip

    def after(self, machine: "Machine") -> None:
        """The step is done: note what it caused."""
        row, recorder, cpu = self.rows[-1], machine.cpu.recorder, machine.cpu
        handlers, exits, entries, warnings, discarded, redundant, superseded = self._counts
        new_handlers = recorder.handlers[handlers:]
        asynchronous = [
            h for h in new_handlers if h.kind not in (KIND_EXCEPTION, KIND_INJECTED) and h.kind < len(KINDS)
        ]
        if asynchronous and KINDS[asynchronous[0].kind] != "soft":
            row.text = f"«{handler_name(asynchronous[0])}»"
        if recorder.entries[entries:]:
            entry = recorder.entries[-1]
            text = "enters the guest"
            if entry.eventinj:
                text += f", EVENTINJ {event_name(entry.eventinj)}"
            row.notes.append(text)
        for _, word in recorder.superseded[superseded:]:
            row.notes.append(f"delivery of {event_name(word)} faults")
        for handler in new_handlers:
            row.notes.append(f"-> {WORLDS[handler.world]} handler {handler_name(handler)}")
        for record in recorder.exits[exits:]:
            if row.world == "guest" and not row.notes and cpu.vmcb.nrip == 0:
                row.text = f"({row.text})"
            row.notes.append(exit_text(record))
        for warning in machine.kernel.warnings[warnings:]:
            row.notes.append(f"{WARN_KINDS[warning.kind]} WARN: {warning.cause}")
        if machine.kernel.redundant > redundant:
            row.notes.append("lockdep: redundant")
        if len(recorder.discarded) > discarded:
            row.notes.append("discarded (GIF=0)")
        if cpu.stop in STOPS:
            row.notes.append(STOPS[cpu.stop])


def exit_text(record: Exit) -> str:
    """One #VMEXIT in a line."""
    text = f"<- #VMEXIT {exit_name(record.code)}"
    if record.exitintinfo:
        text += f", EXITINTINFO {event_name(record.exitintinfo)}"
    return text + f", int_state {record.int_state}"


def handler_name(handler: Handler) -> str:
    """``nmi``, ``intr:0x20``, ``#gp``, ``soft:0x80``."""
    kind = KINDS[handler.kind]
    if handler.kind in (KIND_INTR, KIND_VIRQ) or kind == "soft":
        return f"{kind}:0x{handler.vector:02x}"
    if handler.kind == KIND_EXCEPTION:
        return "#" + exception_name(handler.vector)
    if handler.kind == KIND_INJECTED:
        return f"injected:0x{handler.vector:02x}"
    return kind


def pending_names(cpu: Cpu) -> list[str]:
    """What is latched and not yet taken, as ``cpu.pending`` spells it; virtual events as ``virq`` and ``vnmi``."""
    names = [f"intr:0x{vector:02x}" for vector in cpu.irr]
    for name, pending in (("nmi", cpu.pend_nmi), ("smi", cpu.pend_smi), ("init", cpu.pend_init), ("mce", cpu.pend_mce)):
        if pending:
            names.append(name)
    if cpu.guest:
        if cpu.vmcb.v_irq:
            names.append("virq")
        if cpu.vmcb.v_nmi and cpu.vmcb.v_nmi_enable:
            names.append("vnmi")
    return names
