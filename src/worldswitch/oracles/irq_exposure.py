"""``irq-exposure``: interrupts that run where they must not, or can never exit.

Of the processor, in every run: no asynchronous handler with GIF=0 (I-07); with host IF=0 at VMRUN and V_INTR_MASKING=1
no exit 60h and no physical INTR in the guest (I-08), so that an interrupt which only that keeps pending can never be
taken (``intr-cannot-exit``, S5-03); after every #VMEXIT GIF=0, EVENTINJ.V=0 and host IF as it was at VMRUN (I-01).

Of a path: host RFLAGS.IF at VMRUN is what the path's file documents (S5-15), and an INTR can be taken (IF=1, GIF=1, no
shadow) only in segments for which it documents that (``undocumented``; ``clgi-skipped`` where CLGI faulted, S7-15).
"""

from functools import lru_cache
from typing import Final

from worldswitch.core.bits import EVENT_V, EXIT_INTR
from worldswitch.core.record import (
    KIND_INTR,
    KIND_MCE,
    KIND_NMI,
    KIND_SMI,
    KIND_VIRQ,
    KIND_VNMI,
    WORLD_GUEST,
    WORLD_HOST,
    WORLDS,
    Entry,
)
from worldswitch.core.state import IDLE, LIMIT
from worldswitch.machine.machine import SEEN_GIF, SEEN_IF, SEEN_SHADOW, SEEN_SHIFT
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import (
    HANDLER,
    REMEMBERED,
    Finding,
    boundary_segment,
    clgi_skipped,
    segment_before,
    state_of,
    steps_at,
)
from worldswitch.program.layout import Layout

NAME: Final = "irq-exposure"
ASYNCHRONOUS: Final = frozenset({KIND_INTR, KIND_NMI, KIND_SMI, KIND_MCE, KIND_VIRQ, KIND_VNMI})


def applies(run: Run) -> str:
    """It applies to every run; what a path documents is checked on paths only."""
    return ""


def judge(run: Run) -> list[Finding]:
    """All the ways in which an interrupt's exposure can be wrong."""
    return [*_handlers(run), *_exits(run), *_stuck(run), *_host_flag(run), *_windows(run)]


def _handlers(run: Run) -> list[Finding]:
    """Handlers that no asynchronous event may have run (I-07, I-08)."""
    findings = []
    for handler in run.recorder.handlers:
        if handler.kind in ASYNCHRONOUS and not handler.gif:
            place = boundary_segment(run, handler.rip) if handler.world == WORLD_HOST else WORLDS[handler.world]
            message = "an asynchronous handler ran with GIF=0"
            findings.append(Finding(NAME, "handler-with-gif-clear", place, message, (handler.step,), ("I-07", "S3-23")))
        if handler.kind == KIND_INTR and handler.world == WORLD_GUEST:
            entry = _entry_at(run, handler.step)
            if entry and entry.v_intr_masking and not entry.hif:
                message = "a physical INTR reached the guest although host IF was 0 at VMRUN"
                steps = (entry.step, handler.step)
                findings.append(Finding(NAME, "delivery-despite-hif-clear", "guest", message, steps, ("I-08", "S5-03")))
    return findings


def _exits(run: Run) -> list[Finding]:
    """Exits that must not be, and what must hold after each (I-08, I-01)."""
    findings = []
    for record in run.recorder.exits:
        entry = record.entry
        if record.code == EXIT_INTR and entry.v_intr_masking and not entry.hif:
            message = "exit 60h although host IF was 0 at VMRUN"
            steps = (entry.step, record.step)
            findings.append(Finding(NAME, "exit-despite-hif-clear", "guest", message, steps, ("I-08", "S5-03")))
        for cause, wrong, message in (
            ("gif-set-by-exit", record.gif, "GIF=1 after #VMEXIT"),
            ("eventinj-kept-by-exit", record.eventinj & EVENT_V, "EVENTINJ.V=1 after #VMEXIT"),
            (
                "host-if-changed-by-exit",
                record.host_if != entry.hif,
                "#VMEXIT restored another host IF than VMRUN saved",
            ),
        ):
            if wrong:
                findings.append(Finding(NAME, cause, "vmexit", message, (record.step,), ("I-01",)))
    return findings


def _stuck(run: Run) -> list[Finding]:
    """An interrupt that host IF=0 at VMRUN, and nothing else, keeps from ever being taken."""
    cpu = run.cpu
    if not cpu.guest or cpu.stop not in (IDLE, LIMIT) or not cpu.vmcb.v_intr_masking or cpu.hif:
        return []
    if not cpu.gif or not any(vector >> 4 > cpu.tpr for vector in cpu.irr):
        return []
    message = "a pending INTR can never leave the guest: host IF was 0 at VMRUN"
    return [Finding(NAME, "intr-cannot-exit", "guest", message, (run.recorder.entries[-1].step,), ("S5-03", "S8-66"))]


def _host_flag(run: Run) -> list[Finding]:
    path = run.plan.path
    if path is None or path.hif is None:
        return []
    findings = []
    for entry in run.recorder.entries:
        if entry.hif != path.hif:
            cause = "host-if-set" if entry.hif else "host-if-clear"
            message = f"host IF is {int(entry.hif)} at VMRUN; the path is documented to run with {int(path.hif)}"
            rules = ("S5-03", "S5-15")
            findings.append(Finding(NAME, cause, "vmrun", message, (entry.step,), rules, of_path=True))
    return findings


def _windows(run: Run) -> list[Finding]:
    """Segments in which an INTR can be taken and, by the path's documentation, must not."""
    path = run.plan.path
    if path is None:
        return []
    windows = {
        segment: seen for segment, seen in _open(run.plan.host, run.seen).items() if segment not in path.intr_segments
    }
    if not windows:
        return []
    skipped = clgi_skipped(run)
    cause, rules = ("clgi-skipped", ("S7-15",)) if skipped else ("undocumented", ("S8-70", "S3-23"))
    findings = []
    for segment, states in sorted(windows.items()):
        message = f"an INTR handler can run after {segment}: {_states(states)}"
        findings.append(Finding(NAME, cause, segment, message, steps_at(run, states), rules, of_path=True))
    return findings


@lru_cache(maxsize=REMEMBERED)
def _open(host: Layout, boundaries: frozenset[int]) -> dict[str, set[int]]:
    """Per segment the elements of ``Run.seen`` at which an INTR could be taken, those of handlers apart."""
    found: dict[str, set[int]] = {}
    for seen in boundaries:
        if seen & SEEN_IF and seen & SEEN_GIF and not seen & SEEN_SHADOW:
            segment = segment_before(host, seen >> SEEN_SHIFT)
            if segment != HANDLER:
                found.setdefault(segment, set()).add(seen)
    return found


def _states(seen: set[int]) -> str:
    return ", ".join(str(state) for state in sorted({state_of(element) for element in seen}))


def _entry_at(run: Run, step: int) -> Entry | None:
    """The VMRUN under which a step in the guest ran."""
    return next((entry for entry in reversed(run.recorder.entries) if entry.step <= step), None)
