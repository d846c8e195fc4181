"""``lost-event``: every event has one fate (I-02, I-03, I-06, I-09).

An asynchronous event that arrived is still latched; or was discarded as the architecture says; or left its latch, and
then a handler ran, an exit reports it in EXITINTINFO, a fault of its own delivery superseded it, or the processor shut
down. An injected event is delivered once, or reported in EXITINTINFO, or superseded, or rejected, never two of these.
"""

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
)
from worldswitch.core.record import KIND_INIT, KIND_INTR, KIND_MCE, KIND_NMI, KIND_SMI, Exit
from worldswitch.core.state import INIT_RESET, RUNNING, SHUTDOWN
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import Finding

NAME: Final = "lost-event"
KINDS: Final = {"intr": KIND_INTR, "nmi": KIND_NMI, "smi": KIND_SMI, "init": KIND_INIT, "mce": KIND_MCE}
DELIVERY_EXITS: Final = frozenset(
    {*range(EXIT_EXCEPTION, EXIT_EXCEPTION + 32), EXIT_NPF, EXIT_TASK_SWITCH, EXIT_SHUTDOWN}
)


def applies(run: Run) -> str:
    """It applies to every run."""
    return ""


def judge(run: Run) -> list[Finding]:
    """Arrivals, acknowledged events, injected events, and what EXITINTINFO may say."""
    findings: dict[str, Finding] = {}

    def add(cause: str, place: str, message: str, steps: tuple[int, ...], *rules: str) -> None:
        finding = Finding(NAME, cause, place, message, steps, rules, "L0")
        findings.setdefault(finding.signature, finding)

    for number, step in run.arrived.items():
        event = run.plan.scenario.events[number]
        if not _accounted(run, event.kind, event.vector, step):
            add("vanished", event.kind, f"an {event.kind} arrived and left no trace", (step,), "I-06")
    for step, kind, vector in run.recorder.acknowledged:
        if kind in (KIND_INTR, KIND_NMI, KIND_MCE) and not _fate(run, step):
            name = next(name for name, number in KINDS.items() if number == kind)
            add(
                "acknowledged-in-vain",
                name,
                f"{name} vector {vector:#x} left its latch and no handler ran",
                (step,),
                "I-06",
            )
    for record in run.recorder.exits:
        valid = bool(record.exitintinfo & EVENT_V)
        if valid and EXIT_INTR <= record.code <= EXIT_VINTR:
            add(
                "exitintinfo-on-interrupt-exit",
                "vmexit",
                "exits 60h to 64h happen between instructions",
                (record.step,),
                "I-03",
            )
        elif valid and record.code not in DELIVERY_EXITS:
            add("exitintinfo-on-other-exit", "vmexit", "no delivery can end in this exit", (record.step,), "I-02")
        if record.entry.eventinj & EVENT_V:
            fates = _injection_fates(run, record)
            if fates == 0:
                add("injection-lost", "vmrun", "EVENTINJ was neither delivered nor reported", (record.step,), "I-09")
            elif fates > 1:
                add("injection-doubled", "vmrun", "EVENTINJ was both delivered and reported", (record.step,), "I-09")
    return list(findings.values())


def _accounted(run: Run, kind: str, vector: int, step: int) -> bool:
    cpu, recorder = run.cpu, run.recorder
    latched = {
        "intr": vector in cpu.irr,
        "nmi": cpu.pend_nmi,
        "smi": bool(cpu.pend_smi),
        "init": cpu.pend_init,
        "mce": cpu.pend_mce,
    }[kind]
    if latched or (cpu.stop in (SHUTDOWN, INIT_RESET) and cpu.stop != RUNNING):
        return True
    number = KINDS[kind]
    if any(s >= step and k == number and (kind != "intr" or v == vector) for s, k, v in recorder.acknowledged):
        return True
    return any(s >= step and k == number for s, k in recorder.discarded)


def _fate(run: Run, step: int) -> bool:
    """Whether the event taken at ``step`` reached a handler, an exit, a superseding fault or shutdown in that step."""
    recorder = run.recorder
    return (
        any(handler.step == step for handler in recorder.handlers)
        or any(record.step == step for record in recorder.exits)
        or any(s == step for s, _ in recorder.superseded)
        or run.cpu.stop == SHUTDOWN
    )


def _injection_fates(run: Run, record: Exit) -> int:
    """How many of its legal fates an injected event met."""
    entry = record.entry
    if record.code == EXIT_INVALID:
        return 1 if not entry.injected_deliveries else 2
    superseded = any(step == entry.step for step, _ in run.recorder.superseded)
    reported = record.step == entry.step and bool(record.exitintinfo & EVENT_V) and not superseded
    shutdown = record.code == EXIT_SHUTDOWN and record.step == entry.step and not superseded
    return entry.injected_deliveries + superseded + reported + shutdown
