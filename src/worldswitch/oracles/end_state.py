"""``end-state``: a path ends with GIF=1 and with IF, lockdep, tracing and context as it began (I-06)."""

from typing import Final

from worldswitch.core.state import END
from worldswitch.machine.machine import (
    SEEN_CONTEXT_GUEST,
    SEEN_GIF,
    SEEN_IF,
    SEEN_INSTRUMENTATION,
    SEEN_LOCKDEP,
    SEEN_NMI_MASKED,
    SEEN_SHIFT,
)
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import Finding

NAME: Final = "end-state"
KEPT: Final = (
    (SEEN_IF, "if", "RFLAGS.IF"),
    (SEEN_LOCKDEP, "lockdep", "lockdep's hardirqs_enabled"),
    (SEEN_CONTEXT_GUEST, "context", "the context-tracking state"),
    (SEEN_NMI_MASKED, "nmi-mask", "the NMI mask"),
    (SEEN_INSTRUMENTATION, "instrumentation", "the depth of instrumentation_begin()"),
)


def applies(run: Run) -> str:
    """Only paths that came to their end."""
    if run.plan.path is None:
        return "a free host program may end as it likes"
    return "" if run.cpu.stop == END else "the path did not come to its end"


def judge(run: Run) -> list[Finding]:
    """One finding for each piece of state that is not as it was."""
    last = next((seen for seen in run.seen if seen >> SEEN_SHIFT == run.plan.host.end), 0)
    findings = []
    if not last & SEEN_GIF:
        findings.append(
            Finding(NAME, "gif-clear", "end", "the path ends with GIF=0", (run.cpu.step,), ("I-06", "S3-03"), "L0")
        )
    for bit, cause, name in KEPT:
        if (last ^ run.start_seen) & bit:
            was, now = bool(run.start_seen & bit), bool(last & bit)
            message = f"{name} was {int(was)} at the start and is {int(now)} at the end"
            findings.append(Finding(NAME, f"{cause}-changed", "end", message, (run.cpu.step,), ("I-06",), "L0"))
    if run.kernel.present and run.kernel.hardirqs_traced_on != bool(run.start_seen & SEEN_LOCKDEP):
        message = "the irq tracepoints were told something else at the end than at the start"
        findings.append(Finding(NAME, "tracing-changed", "end", message, (run.cpu.step,), ("I-06", "S8-53"), "L0"))
    return findings
