"""``end-state``: a path ends with GIF=1 and with IF, lockdep, tracing and context as it began (I-06).

Only then is an event that is still pending there rightly pending. It speaks of runs that came to the path's end. After
a lockdep WARN lockdep's view is frozen (S8-64) and not compared.
"""

from typing import Final

from worldswitch.core.bits import RFLAGS_IF
from worldswitch.core.state import END
from worldswitch.kernel.state import CONTEXTS
from worldswitch.machine.machine import SEEN_CONTEXT_GUEST, SEEN_IF, SEEN_LOCKDEP
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import Finding

NAME: Final = "end-state"


def applies(run: Run) -> str:
    """Only paths that came to their end."""
    if run.plan.path is None:
        return "a free host program may end as it likes"
    return "" if run.cpu.stop == END else "the path did not come to its end"


def judge(run: Run) -> list[Finding]:
    """One finding for each piece of state that is not as it was."""
    cpu, kernel, start = run.cpu, run.kernel, run.start_seen
    findings = []
    if not cpu.gif:
        findings.append(_finding(run, "gif-clear", "the path ends with GIF=0", "S3-03"))
    began, ends = bool(start & SEEN_IF), bool(cpu.regs.rflags & RFLAGS_IF)
    if began != ends:
        findings.append(
            _finding(run, "if-changed", f"RFLAGS.IF was {int(began)} at the start and is {int(ends)} at the end")
        )
    if not kernel.present:
        return findings
    lockdep = bool(start & SEEN_LOCKDEP)
    if kernel.debug_locks and lockdep != kernel.hardirqs_enabled:
        message = (
            f"lockdep took interrupts for {_on(lockdep)} at the start and takes them for {_on(not lockdep)} at the end"
        )
        findings.append(_finding(run, "lockdep-changed", message))
    if lockdep != kernel.hardirqs_traced_on:
        message = f"the irq tracepoints last said that interrupts are {_on(kernel.hardirqs_traced_on)}"
        findings.append(_finding(run, "tracing-changed", message, "S8-53"))
    context = bool(start & SEEN_CONTEXT_GUEST)
    if context != bool(kernel.context):
        message = f"the context was {CONTEXTS[context]} at the start and is {CONTEXTS[kernel.context]} at the end"
        findings.append(_finding(run, "context-changed", message))
    return findings


def _on(value: bool) -> str:
    return "on" if value else "off"


def _finding(run: Run, cause: str, message: str, *rules: str) -> Finding:
    return Finding(NAME, cause, "end", message, (run.cpu.step,), ("I-06", *rules), of_path=True)
