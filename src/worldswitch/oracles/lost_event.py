"""``lost-event``: every event has one fate (I-02, I-03, I-06, I-09).

An asynchronous event that arrived sets its latch; one that was set already takes it in (S1-11). The event then is
still latched at the end; or was discarded as the architecture says (S3-13); or left its latch, and a handler ran, an
exit reports it, a fault of its own delivery superseded it (S6-101), or the processor shut down or was reset. What
leaves a latch that is not set was taken twice.

An injected event is delivered once, or reported in EXITINTINFO, or superseded, or rejected (VMEXIT_INVALID), or ends in
shutdown, and never two of these. EXITINTINFO is valid only for an event that was under delivery (S6-70).

Virtual interrupts and virtual NMIs are not followed: their latches are fields of the VMCB, which software may write.
"""

from collections.abc import Iterator
from typing import Final

from worldswitch.core.bits import (
    EVENT_V,
    EXIT_EXCEPTION,
    EXIT_INTR,
    EXIT_INVALID,
    EXIT_NPF,
    EXIT_SHUTDOWN,
    EXIT_TASK_SWITCH,
    EXIT_VINTR,
    TYPE_INTR,
    TYPE_NMI,
    event_type,
)
from worldswitch.core.isa import OP_OUT_SMI
from worldswitch.core.record import KIND_INIT, KIND_INTR, KIND_MCE, KIND_NMI, KIND_SMI, Entry, Exit
from worldswitch.core.state import INIT_RESET, SHUTDOWN
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import Finding

NAME: Final = "lost-event"
KINDS: Final = {"intr": KIND_INTR, "nmi": KIND_NMI, "smi": KIND_SMI, "init": KIND_INIT, "mce": KIND_MCE}
KIND_NAMES: Final = {number: name for name, number in KINDS.items()}
DELIVERY_EXITS: Final = frozenset(
    {*range(EXIT_EXCEPTION, EXIT_EXCEPTION + 32), EXIT_NPF, EXIT_TASK_SWITCH, EXIT_SHUTDOWN}
)

Latch = tuple[int, int]
"""KIND_*, and the vector of an INTR; 0 for the other kinds."""


def applies(run: Run) -> str:
    """It applies to every run."""
    return ""


def judge(run: Run) -> list[Finding]:
    """Arrivals, acknowledged events, injected events, and what EXITINTINFO may say."""
    recorder = run.recorder
    findings = _latches(run)
    if recorder.acknowledged:
        findings += _acknowledged(run)
    for entry in recorder.entries:
        if entry.eventinj & EVENT_V:
            findings += _injected(run, entry)
    for record in recorder.exits:
        if record.exitintinfo & EVENT_V:
            findings += _reported(run, record)
    return findings


def _latches(run: Run) -> list[Finding]:
    """Replay every latch: what set it and what emptied it (I-06)."""
    # (step, whether it left the latch, latch); a step first latches, then takes
    log: list[tuple[int, bool, Latch]] = []
    for name in run.plan.scenario.settings.get("cpu.pending", ()):
        kind, _, vector = name.partition(":")
        log.append((0, False, (KINDS[kind], int(vector, 0) if vector else 0)))
    for number, step in run.arrived.items():
        event = run.plan.scenario.events[number]
        if event.origin == "internal" and (step, KIND_SMI) in run.recorder.discarded:
            continue  # S3-13
        log.append((step, False, (KINDS[event.kind], event.vector if event.kind == "intr" else 0)))
    for step, number, vector in run.recorder.acknowledged:
        log.append((step, True, (number, vector if number == KIND_INTR else 0)))
    if not log:
        return []
    findings = []
    waiting: dict[Latch, int] = {}  # latches that are set, and since when
    for step, left, latch in sorted(log):
        if not left:
            waiting.setdefault(latch, step)
        elif waiting.pop(latch, None) is None and not _set_by_software(run, latch):
            findings.append(_finding(latch, "taken-twice", "left a latch that was not set", step))
    latched = _latched(run)
    for latch, step in waiting.items():
        if latch not in latched and run.cpu.stop not in (SHUTDOWN, INIT_RESET):  # which swallow it
            findings.append(_finding(latch, "vanished", "arrived and left no trace", step))
    for latch in latched:
        if latch not in waiting and not _set_by_software(run, latch):
            findings.append(_finding(latch, "taken-and-kept", "was taken and is still latched", run.cpu.step))
    return findings


def _latched(run: Run) -> list[Latch]:
    """The latches that are set at the end."""
    cpu = run.cpu
    others = ((KIND_NMI, cpu.pend_nmi), (KIND_SMI, cpu.pend_smi), (KIND_INIT, cpu.pend_init), (KIND_MCE, cpu.pend_mce))
    return [*((KIND_INTR, vector) for vector in cpu.irr), *((kind, 0) for kind, pending in others if pending)]


def _set_by_software(run: Run, latch: Latch) -> bool:
    """Whether code of the scenario may have set the latch: then nobody can count what left it."""
    host, guest = run.plan.host, run.plan.guest
    if latch[0] == KIND_SMI and (OP_OUT_SMI in host.code.ops or OP_OUT_SMI in guest.code.ops):
        return True
    return any(field == "cpu.pending" for field, _ in host.assignments)


def _acknowledged(run: Run) -> list[Finding]:
    """What became of each event in the step in which it left its latch."""
    findings = []
    delivered_at = [handler.step for handler in run.recorder.handlers]
    reported_at = [record.step for record in run.recorder.exits]
    superseded_at = _superseded_at(run)
    for step, kind, vector in run.recorder.acknowledged:
        delivered, reported = delivered_at.count(step), reported_at.count(step)
        superseded = step in superseded_at  # by a fault that may never be delivered either
        ended = run.cpu.step == step and run.cpu.stop in (SHUTDOWN, INIT_RESET)
        latch = (kind, vector)
        if not (delivered or reported or superseded or ended):
            findings.append(_finding(latch, "acknowledged-in-vain", "left its latch, and no handler ran", step))
        elif delivered + reported > 1:
            findings.append(_finding(latch, "delivered-and-reported", "was delivered and an exit reports it too", step))
    return findings


def _superseded_at(run: Run) -> list[int]:
    return [step for step, _ in run.recorder.superseded]


def _injected(run: Run, entry: Entry) -> list[Finding]:
    """How many of its legal fates an injected event met (I-09); shutdown supersedes it first (S6-72)."""
    record = _exit_of(run, entry)
    if record is not None and record.code == EXIT_INVALID:
        if not entry.injected_deliveries:
            return []
        return [_injection("injection-doubled", "EVENTINJ was rejected, and delivered all the same", record.step)]
    superseded = entry.step in _superseded_at(run)
    reported = record is not None and record.step == entry.step and bool(record.exitintinfo & EVENT_V)
    fates = entry.injected_deliveries + int(superseded or reported)
    if fates == 0:
        return [_injection("injection-lost", "EVENTINJ was neither delivered nor reported", entry.step)]
    return [_injection("injection-doubled", "EVENTINJ met two of its fates", entry.step)] if fates > 1 else []


def _exit_of(run: Run, entry: Entry) -> Exit | None:
    """The exit that ended the guest's run; None where it still runs."""
    for record in run.recorder.exits:
        if record.entry is entry:
            return record
    return None


def _reported(run: Run, record: Exit) -> Iterator[Finding]:
    """What EXITINTINFO of an exit may say (I-02, I-03, S6-70)."""
    if EXIT_INTR <= record.code <= EXIT_VINTR:
        message = "EXITINTINFO.V=1 on an exit of 60h to 64h, which happen between instructions"
        yield Finding(NAME, "exitintinfo-on-interrupt-exit", "vmexit", message, (record.step,), ("I-03",))
    elif record.code not in DELIVERY_EXITS:
        message = "EXITINTINFO.V=1 on an exit in which no delivery can end"
        yield Finding(NAME, "exitintinfo-on-other-exit", "vmexit", message, (record.step,), ("I-02",))
    elif not _was_under_delivery(run, record):
        message = "EXITINTINFO reports an event that was not under delivery"
        steps = (record.entry.step, record.step)
        yield Finding(NAME, "exitintinfo-of-nothing", "vmexit", message, steps, ("S6-70", "I-09"))


def _was_under_delivery(run: Run, record: Exit) -> bool:
    """Whether the event in EXITINTINFO can have been under delivery; only known to be false of INTR and NMI."""
    entry, word = record.entry, record.exitintinfo
    if record.step == entry.step:
        return bool(entry.eventinj & EVENT_V)
    kind, vector = event_type(word), word & 0xFF
    vmcb = run.cpu.vmcb
    if kind == TYPE_INTR:
        virtual = vector == vmcb.v_intr_vector
        return virtual or (record.step, KIND_INTR, vector) in run.recorder.acknowledged
    if kind == TYPE_NMI:
        return vmcb.v_nmi_enable or any(s == record.step and k == KIND_NMI for s, k, _ in run.recorder.acknowledged)
    return True


def _finding(latch: Latch, cause: str, message: str, step: int) -> Finding:
    name = KIND_NAMES.get(latch[0], "event")
    vector = f" {latch[1]:#x}" if latch[0] == KIND_INTR else ""
    return Finding(NAME, cause, name, f"{name}{vector} {message}", (step,), ("I-06",))


def _injection(cause: str, message: str, step: int) -> Finding:
    return Finding(NAME, cause, "vmrun", message, (step,), ("I-09",))
