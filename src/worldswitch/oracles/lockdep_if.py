"""``lockdep-if-mismatch``: lockdep's view and RFLAGS.IF disagree where somebody could notice (I-10, S8-60 to S8-67).

Two kinds of evidence: a WARN of lockdep itself, and a boundary where the two disagree although the code there may take a
lock, be traced, or be interrupted. Disagreement inside noinstr code that does none of this is how the world switch works
(S8-04, S8-67), and no finding.
"""

from typing import Final

from worldswitch.core.bits import RFLAGS_IF
from worldswitch.core.record import KIND_INTR, WORLD_HOST
from worldswitch.kernel.calls import K_LOCK_ACQUIRE, K_LOCK_RELEASE, K_TRACEABLE
from worldswitch.kernel.state import WARN_LOCKDEP
from worldswitch.machine.machine import SEEN_GIF, SEEN_IF, SEEN_LOCKDEP, SEEN_SHADOW, SEEN_SHIFT
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import Finding, boundary_segment, segment_of

NAME: Final = "lockdep-if-mismatch"
SENSITIVE_OPS: Final = frozenset({K_TRACEABLE, K_LOCK_ACQUIRE, K_LOCK_RELEASE})


def applies(run: Run) -> str:
    """Only hosts with lockdep."""
    return "" if run.kernel.present else "this host has no lockdep"


def judge(run: Run) -> list[Finding]:
    """Lockdep's warnings, and disagreement at sensitive boundaries."""
    findings = [
        Finding(NAME, w.cause, segment_of(run, w.rip), f"lockdep WARN: {w.cause}", (w.step,), (w.rule, "I-10"), "L0")
        for w in run.kernel.warnings
        if w.kind == WARN_LOCKDEP
    ]
    found: set[tuple[str, str]] = set()
    for seen in sorted(run.seen):
        if bool(seen & SEEN_IF) == bool(seen & SEEN_LOCKDEP):
            continue
        rip = seen >> SEEN_SHIFT
        segment = boundary_segment(run, rip)
        if segment == "handler":
            continue
        if run.plan.host.code.ops[rip] in SENSITIVE_OPS:
            found.add(("disagree-in-traceable-code", segment))
        elif seen & SEEN_IF and seen & SEEN_GIF and not seen & SEEN_SHADOW:
            found.add(("interruptible-with-lockdep-off", segment))
    for handler in run.recorder.handlers:
        interrupted = handler.kind == KIND_INTR and handler.world == WORLD_HOST
        if interrupted and bool(handler.rflags & RFLAGS_IF) != bool(handler.lockdep):
            found.add(("interrupted-with-lockdep-off", boundary_segment(run, handler.rip)))
    findings += [
        Finding(NAME, cause, segment, f"RFLAGS.IF and lockdep disagree ({cause}) after {segment}", (), ("I-10",), "L0")
        for cause, segment in sorted(found)
    ]
    return findings
