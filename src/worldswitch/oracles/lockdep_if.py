"""``lockdep-if-mismatch``: lockdep's view and RFLAGS.IF disagree where somebody could notice (I-10, S8-60 to S8-67).

Two kinds of evidence: a WARN of lockdep itself, and a boundary of the path where the two disagree although

- IF=1 while lockdep is off (``irqs-on-with-lockdep-off``): never right, since lockdep is told before STI and after CLI;
- the code there may take a lock or be traced (``disagree-in-traceable-code``).

IF=0 while lockdep is on, in noinstr code that does none of this, is how the world switch works (S8-04, S8-67). After a
WARN lockdep stops following (S8-64): what it believes then proves nothing, and the WARN alone is reported.
"""

from functools import lru_cache
from typing import Final

from worldswitch.kernel.calls import K_LOCK_ACQUIRE, K_LOCK_RELEASE, K_TRACEABLE
from worldswitch.kernel.state import WARN_LOCKDEP, Warning
from worldswitch.machine.machine import SEEN_GIF, SEEN_IF, SEEN_LOCKDEP, SEEN_SHADOW, SEEN_SHIFT
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import HANDLER, REMEMBERED, Finding, segment_before, segment_of, state_of, steps_at
from worldswitch.program.layout import Layout

NAME: Final = "lockdep-if-mismatch"
SENSITIVE_OPS: Final = frozenset({K_TRACEABLE, K_LOCK_ACQUIRE, K_LOCK_RELEASE})

IRQS_ON: Final = "irqs-on-with-lockdep-off"
TRACEABLE: Final = "disagree-in-traceable-code"


def applies(run: Run) -> str:
    """Only hosts with lockdep."""
    return "" if run.kernel.present else "this host has no lockdep"


def judge(run: Run) -> list[Finding]:
    """Lockdep's warning, or disagreement where it matters."""
    warnings = [w for w in run.kernel.warnings if w.kind == WARN_LOCKDEP]
    if warnings:
        return [_warned(run, warning) for warning in warnings]
    findings = []
    for (cause, segment), states in _disagree(run.plan.host, run.seen).items():
        message = _message(cause, segment, states)
        findings.append(Finding(NAME, cause, segment, message, steps_at(run, states), ("I-10", "S8-65"), of_path=True))
    return findings


@lru_cache(maxsize=REMEMBERED)
def _disagree(host: Layout, boundaries: frozenset[int]) -> dict[tuple[str, str], set[int]]:
    """By cause and segment, the elements of ``Run.seen`` at which lockdep and IF disagree where it matters."""
    found: dict[tuple[str, str], set[int]] = {}
    for seen in boundaries:
        if bool(seen & SEEN_IF) == bool(seen & SEEN_LOCKDEP):
            continue
        rip = seen >> SEEN_SHIFT
        segment = segment_before(host, rip)
        if segment == HANDLER:
            continue  # entry code makes the two agree step by step (S8-74, S8-76)
        if seen & SEEN_IF:
            found.setdefault((IRQS_ON, segment), set()).add(seen)
        elif host.code.ops[rip] in SENSITIVE_OPS:
            found.setdefault((TRACEABLE, segment), set()).add(seen)
    return dict(sorted(found.items()))


def _warned(run: Run, warning: Warning) -> Finding:
    place = segment_of(run, warning.rip)
    message = f"lockdep WARN: {warning.cause}"
    return Finding(NAME, warning.cause, place, message, (warning.step,), (warning.rule, "I-10"), of_path=True)


def _message(cause: str, segment: str, states: set[int]) -> str:
    where = f"after {segment}: {', '.join(sorted({str(state_of(seen)) for seen in states}))}"
    if cause == TRACEABLE:
        return f"code that may take a lock or be traced runs where RFLAGS.IF and lockdep disagree, {where}"
    taken = any(seen & SEEN_GIF and not seen & SEEN_SHADOW for seen in states)
    return f"interrupts are on and lockdep says they are off, {where}" + (
        ", and they can be taken there" if taken else ""
    )
