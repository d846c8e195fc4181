"""``nmi-exposure``: where, and in what state, an NMI handler could run (S3-23, S8-70, S8-77).

An NMI could run a handler at every boundary of the path that was passed with GIF=1 and NMIs not masked; where one ran
is among them. A shadow counts for nothing, as whether it holds an NMI depends on the implementation (S2-32).

- :func:`judge`, of one run: the segments in which an NMI could come, against those documented for the path, so that a
  removed CLGI shows (``undocumented``). Where CLGI faulted and was skipped, GIF stays 1 through no fault of the path
  (``clgi-skipped``, S7-15).
- :func:`compare`, of two runs of one scenario: whether the two implementations expose NMI handlers to the same states,
  and what changes for exception handlers (S8-71, S8-73), which GIF does not block.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from worldswitch.core.bits import RFLAGS_IF
from worldswitch.core.record import KIND_EXCEPTION, WORLD_HOST
from worldswitch.core.state import END
from worldswitch.machine.machine import SEEN_GIF, SEEN_NMI_MASKED, SEEN_SHIFT
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import (
    HANDLER,
    REMEMBERED,
    Finding,
    State,
    boundary_segment,
    clgi_skipped,
    segment_before,
    state_of,
    steps_at,
)
from worldswitch.program.layout import LANDMARKS, Layout

NAME: Final = "nmi-exposure"

CLGI_SKIPPED: Final = "CLGI faulted and was skipped on both, so that GIF stays 1 and IF decides (kvm_rebooting)"
EXCEPTIONS: Final = "GIF does not block exceptions: a handler sees IF=1 wherever the path has set it"


class Difference(NamedTuple):
    """What one implementation exposes and the other does not."""

    handler: str  # "nmi" or "exception"
    place: str  # a segment, or the text of the instruction that the exception interrupted
    first: tuple[State, ...]
    second: tuple[State, ...]
    documented: str  # why this is known; "" where it is not
    rules: tuple[str, ...]

    def __str__(self) -> str:
        sides = " / ".join(", ".join(map(str, states)) or "none" for states in (self.first, self.second))
        return f"{self.handler} handlers at {self.place}: {sides}" + (
            f" ({self.documented})" if self.documented else ""
        )


def applies(run: Run) -> str:
    """Only paths: a free program documents no exposure."""
    return "" if run.plan.path else "a free host program documents no exposure"


def judge(run: Run) -> list[Finding]:
    """One finding for each segment in which an NMI could be taken and, by its documentation, must not."""
    path = run.plan.path
    if path is None:
        return []
    exposed = {
        segment: seen for segment, seen in _exposed(run.plan.host, run.seen).items() if segment not in path.nmi_segments
    }
    if not exposed:
        return []
    skipped = clgi_skipped(run)
    cause, rules = ("clgi-skipped", ("S7-15", "S8-80")) if skipped else ("undocumented", ("S8-70", "S3-23"))
    findings = []
    for segment, seen in exposed.items():
        message = f"an NMI handler can run after {segment}: {_states(seen)}"
        findings.append(Finding(NAME, cause, segment, message, steps_at(run, seen), rules, of_path=True))
    return findings


def nmi_states(run: Run) -> dict[str, list[State]]:
    """Per segment of the path, the states in which an NMI could be taken: GIF=1 and NMIs not masked."""
    return {segment: _unique(seen) for segment, seen in _exposed(run.plan.host, run.seen).items()}


def exception_states(run: Run) -> dict[str, list[State]]:
    """Per instruction of the path at which an exception was taken, the states its handler interrupted."""
    found: dict[str, set[State]] = {}
    for handler in run.recorder.handlers:
        if handler.kind != KIND_EXCEPTION or handler.world != WORLD_HOST:
            continue
        if boundary_segment(run, handler.rip) != HANDLER:
            state = State(bool(handler.rflags & RFLAGS_IF), handler.lockdep == 1, handler.context == 1)
            found.setdefault(run.plan.host.code.texts[handler.rip], set()).add(state)
    return {text: sorted(states) for text, states in sorted(found.items())}


def compare(first: Run, second: Run) -> list[Difference]:
    """What differs between two implementations of the same world switch, in two runs of one scenario.

    NMI exposure must be equal wherever CLGI takes effect. Where it did not (S7-15), and for exceptions always, a
    difference is documented. Of a run that did not come to its end, only what both passed is compared.
    """
    differences = _compare_nmi(first, second)
    faults_a, faults_b = exception_states(first), exception_states(second)
    for text in sorted({*faults_a, *faults_b}):
        a, b = tuple(faults_a.get(text, ())), tuple(faults_b.get(text, ()))
        if a != b:
            differences.append(Difference("exception", text, a, b, EXCEPTIONS, ("S8-71", "S8-73")))
    return differences


def objections(first: Run, second: Run) -> list[Finding]:
    """The differences that are not documented, as findings: exceptions, which always are, need not be looked at."""
    return [
        Finding(NAME, "differs", d.place, f"the two implementations differ: {d}", (), d.rules, of_path=True)
        for d in _compare_nmi(first, second)
        if not d.documented
    ]


def _compare_nmi(first: Run, second: Run) -> list[Difference]:
    complete = first.cpu.stop == END and second.cpu.stop == END
    differ = _segments_that_differ(first.plan.host, first.seen, second.plan.host, second.seen, complete)
    if not differ:
        return []
    reason = CLGI_SKIPPED if clgi_skipped(first) and clgi_skipped(second) else ""
    return [Difference("nmi", segment, a, b, reason, ("S8-70", "S7-15")) for segment, a, b in differ]


@lru_cache(maxsize=REMEMBERED)
def _exposed(host: Layout, boundaries: frozenset[int]) -> dict[str, set[int]]:
    """Per segment, in the order of a path, the elements of ``Run.seen`` at which an NMI could be taken."""
    found: dict[str, set[int]] = {}
    for seen in boundaries:
        if seen & SEEN_GIF and not seen & SEEN_NMI_MASKED:
            found.setdefault(segment_before(host, seen >> SEEN_SHIFT), set()).add(seen)
    return {segment: found[segment] for segment in LANDMARKS if segment in found}


@lru_cache(maxsize=REMEMBERED)
def _segments_that_differ(
    first: Layout, first_seen: frozenset[int], second: Layout, second_seen: frozenset[int], complete: bool
) -> tuple[tuple[str, tuple[State, ...], tuple[State, ...]], ...]:
    """Segments that expose NMI handlers to other states; of runs that are not complete, those that both passed."""
    ours, theirs = _exposed(first, first_seen), _exposed(second, second_seen)
    both = set(LANDMARKS) if complete else _passed(first, first_seen) & _passed(second, second_seen)
    sides = ((name, _unique(ours.get(name, ())), _unique(theirs.get(name, ()))) for name in LANDMARKS if name in both)
    return tuple((name, tuple(a), tuple(b)) for name, a, b in sides if a != b)


def _passed(host: Layout, boundaries: frozenset[int]) -> set[str]:
    return {segment_before(host, seen >> SEEN_SHIFT) for seen in boundaries}


def _unique(seen: Iterable[int]) -> list[State]:
    return sorted({state_of(element) for element in seen})


def _states(seen: Iterable[int]) -> str:
    return ", ".join(str(state) for state in _unique(seen))
