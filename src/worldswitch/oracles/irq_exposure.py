"""``irq-exposure``: interrupts that run where they must not, or can never exit (I-01, I-07, I-08, S5-03, S5-15)."""

from typing import Final

from worldswitch.core.bits import EVENT_V, EXIT_INTR
from worldswitch.core.record import KIND_INIT, KIND_INTR, KIND_NMI, KIND_SMI, WORLD_GUEST, WORLD_HOST, WORLD_SMM, Entry
from worldswitch.core.state import IDLE, LIMIT
from worldswitch.machine.machine import SEEN_GIF, SEEN_IF, SEEN_SHADOW, SEEN_SHIFT
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import Finding, boundary_segment

NAME: Final = "irq-exposure"
ASYNCHRONOUS: Final = frozenset({KIND_INTR, KIND_NMI, KIND_SMI, KIND_INIT})


def applies(run: Run) -> str:
    """It applies to every run; what a path documents is checked on paths only."""
    return ""


def judge(run: Run) -> list[Finding]:
    """All the ways in which an interrupt's exposure can be wrong."""
    findings: dict[str, Finding] = {}

    def add(cause: str, place: str, message: str, steps: tuple[int, ...], *rules: str) -> None:
        finding = Finding(NAME, cause, place, message, steps, rules, "L0")
        findings.setdefault(finding.signature, finding)

    for handler in run.recorder.handlers:
        if handler.kind in ASYNCHRONOUS and not handler.gif and handler.world in (WORLD_HOST, WORLD_SMM):
            place = boundary_segment(run, handler.rip) if handler.world == WORLD_HOST else "smm"
            add("handler-with-gif-clear", place, "an asynchronous handler ran with GIF=0", (handler.step,), "I-07")
        if handler.kind == KIND_INTR and handler.world == WORLD_GUEST:
            entry = _entry_at(run, handler.step)
            if entry and entry.v_intr_masking and not entry.hif:
                add("delivery-despite-hif-clear", "guest", "a physical INTR reached the guest although host IF was 0 at VMRUN",
                    (entry.step, handler.step), "I-08", "S5-03")  # fmt: skip
    for record in run.recorder.exits:
        entry = record.entry
        if record.code == EXIT_INTR and entry.v_intr_masking and not entry.hif:
            add(
                "exit-despite-hif-clear",
                "guest",
                "exit 60h although host IF was 0 at VMRUN",
                (record.step,),
                "I-08",
                "S5-03",
            )
        if record.gif or record.eventinj & EVENT_V or record.host_if != entry.hif:
            add("host-state-after-exit", "vmexit", "after #VMEXIT GIF=0, EVENTINJ.V=0 and host IF as at VMRUN must hold",
                (record.step,), "I-01")  # fmt: skip
    cpu = run.cpu
    if cpu.guest and cpu.stop in (IDLE, LIMIT) and cpu.irr and cpu.vmcb.v_intr_masking and not cpu.hif:
        if cpu.vmcb.intercepts[EXIT_INTR]:
            add("intr-cannot-exit", "guest", "a pending INTR can never leave the guest: host IF was 0 at VMRUN",
                (run.recorder.entries[-1].step,), "S5-03", "S8-66")  # fmt: skip
    _judge_path(run, add)
    return list(findings.values())


def _judge_path(run: Run, add: "_Add") -> None:
    path = run.plan.path
    if path is None:
        return
    if path.hif is not None:
        for entry in run.recorder.entries:
            if entry.hif != path.hif:
                add(f"host-if-{'set' if entry.hif else 'clear'}", "vmrun",
                    f"host IF is {int(entry.hif)} at VMRUN; the path is documented to run with {int(path.hif)}",
                    (entry.step,), "S5-03", "S5-15")  # fmt: skip
    for seen in sorted(run.seen):
        if seen & SEEN_IF and seen & SEEN_GIF and not seen & SEEN_SHADOW:
            segment = boundary_segment(run, seen >> SEEN_SHIFT)
            if segment != "handler" and segment not in path.intr_segments:
                add(
                    "undocumented",
                    segment,
                    f"an INTR handler can run after {segment}: IF=1 with GIF=1",
                    (),
                    "S8-70",
                    "S3-23",
                )


def _entry_at(run: Run, step: int) -> Entry | None:
    """The VMRUN under which a step in the guest ran."""
    return next((entry for entry in reversed(run.recorder.entries) if entry.step <= step), None)


class _Add:
    """The signature of ``add`` above."""

    def __call__(self, cause: str, place: str, message: str, steps: tuple[int, ...], *rules: str) -> None: ...
