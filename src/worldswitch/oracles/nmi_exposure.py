"""``nmi-exposure``: where, and in what state, an NMI handler could run (S3-23, S8-70, S8-77).

For one run: the segments in which an NMI could be taken, against those documented for the path, so that a removed CLGI
shows. For two runs of one scenario: whether the two implementations expose NMI handlers to the same states, and what
changes for exception handlers (S8-71, S8-73), which GIF does not block.
"""

from typing import Final, NamedTuple

from worldswitch.core.bits import RFLAGS_IF
from worldswitch.core.record import KIND_EXCEPTION, WORLD_HOST
from worldswitch.machine.machine import (
    SEEN_CONTEXT_GUEST,
    SEEN_GIF,
    SEEN_IF,
    SEEN_LOCKDEP,
    SEEN_NMI_MASKED,
    SEEN_SHIFT,
)
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import Finding, boundary_segment
from worldswitch.program.layout import LANDMARKS

NAME: Final = "nmi-exposure"


class Exposure(NamedTuple):
    """A state in which an outside handler could run."""

    interrupts: bool  # RFLAGS.IF
    lockdep: bool
    context_guest: bool

    def __str__(self) -> str:
        lockdep = "on" if self.lockdep else "off"
        return f"IF={int(self.interrupts)} lockdep={lockdep} context={'guest' if self.context_guest else 'kernel'}"


class Difference(NamedTuple):
    """What one implementation exposes and the other does not."""

    handler: str  # "nmi" or "exception"
    place: str  # a segment, or the instruction that faulted
    first: tuple[Exposure, ...]
    second: tuple[Exposure, ...]
    documented: str  # why this is known; "" where it is not
    rules: tuple[str, ...]


def applies(run: Run) -> str:
    """Only paths: a free program documents no exposure."""
    return "" if run.plan.path else "a free host program documents no exposure"


def judge(run: Run) -> list[Finding]:
    """One finding for each segment in which an NMI could be taken and, by its documentation, must not."""
    path = run.plan.path
    if path is None:
        return []
    return [
        Finding(
            NAME,
            "undocumented",
            segment,
            f"an NMI handler can run after {segment} ({states[0]})",
            (),
            ("S8-70", "S3-23"),
            "L0",
        )
        for segment, states in nmi_states(run).items()
        if segment not in path.nmi_segments
    ]


def nmi_states(run: Run) -> dict[str, list[Exposure]]:
    """Per segment of the path, the states in which an NMI would be taken: GIF=1 and NMIs not masked."""
    found: dict[str, set[Exposure]] = {}
    for seen in run.seen:
        if not seen & SEEN_GIF or seen & SEEN_NMI_MASKED:
            continue
        segment = boundary_segment(run, seen >> SEEN_SHIFT)
        if segment != "handler":
            state = Exposure(bool(seen & SEEN_IF), bool(seen & SEEN_LOCKDEP), bool(seen & SEEN_CONTEXT_GUEST))
            found.setdefault(segment, set()).add(state)
    return {segment: sorted(found[segment]) for segment in LANDMARKS if segment in found}


def exception_states(run: Run) -> dict[str, list[Exposure]]:
    """Per instruction of the host that faulted, the states its exception handler interrupted."""
    found: dict[str, set[Exposure]] = {}
    for handler in run.recorder.handlers:
        if handler.kind == KIND_EXCEPTION and handler.world == WORLD_HOST:
            text = run.plan.host.code.texts[handler.rip]
            state = Exposure(bool(handler.rflags & RFLAGS_IF), handler.lockdep == 1, handler.context == 1)
            found.setdefault(text, set()).add(state)
    return {text: sorted(states) for text, states in sorted(found.items())}


def compare(first: Run, second: Run) -> list[Difference]:
    """What differs between two implementations of the same world switch.

    NMI exposure must be equal wherever CLGI takes effect. Where it does not (kvm_rebooting, S7-15), and for exceptions
    always, a difference is documented.
    """
    differences = []
    rebooting = first.kernel.rebooting
    ours, theirs = nmi_states(first), nmi_states(second)
    for segment in LANDMARKS:
        a, b = ours.get(segment, []), theirs.get(segment, [])
        if a != b:
            reason = "with kvm_rebooting CLGI faults and is skipped, so GIF stays 1" if rebooting else ""
            differences.append(Difference("nmi", segment, tuple(a), tuple(b), reason, ("S8-70", "S7-15")))
    faults_a, faults_b = exception_states(first), exception_states(second)
    for text in sorted({*faults_a, *faults_b}):
        a, b = faults_a.get(text, []), faults_b.get(text, [])
        if a != b:
            reason = "GIF does not block exceptions; the commit states that their handlers now see IF=1"
            differences.append(Difference("exception", text, tuple(a), tuple(b), reason, ("S8-71", "S8-73")))
    return differences
