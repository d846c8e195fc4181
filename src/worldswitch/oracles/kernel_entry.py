"""``kernel-entry``: the kernel's handlers and helpers do what its entry code promises (S7-08, S8-43, S8-60 to S8-78).

The promises concern the state that an interrupted path finds afterwards:

- an NMI, #DB, #BP or #MC leaves lockdep's view and the context as it found them, whatever IF was (S8-76);
- an interrupt or any other exception leaves lockdep's view at what the interrupted IF was (S8-74);
- an exception that the kernel cannot survive ends in BUG, and one with a fixup while rebooting does not (S7-08);
  every SVM instruction of the path has one, since each may raise #UD then (S7-09);
- an NMI within the NMI handler makes it run once more (S8-78);
- after a call of the path, lockdep's view, the context and the instrumentation are what the call sets (S8-43, S8-44,
  S8-61, S8-62);
- where a path documents that an NMI can come, it comes in kernel context (S8-79);
- at the end of the path no handler is left half done.

It judges what lies outside handlers. After a lockdep WARN lockdep follows nobody (S8-64), and its view is left out.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from worldswitch.core.bits import RFLAGS_IF, VECTOR_BP, VECTOR_DB, VECTOR_DF, VECTOR_MC, VECTOR_NMI, VECTOR_UD
from worldswitch.core.isa import OP_CLGI, OP_STGI, OP_VMLOAD, OP_VMRUN, OP_VMSAVE
from worldswitch.core.record import KIND_EXCEPTION, KIND_INTR, KIND_MCE, KIND_NMI, KIND_SOFT, WORLD_HOST, Handler
from worldswitch.core.state import END, HOST_BUG
from worldswitch.kernel import calls as k
from worldswitch.kernel.entry import FIRST_INTERRUPT_VECTOR
from worldswitch.kernel.state import NMI_NOT_RUNNING, WARN_LOCKDEP
from worldswitch.machine.machine import SEEN_CONTEXT_GUEST, SEEN_GIF, SEEN_LOCKDEP, SEEN_SHIFT
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import HANDLER, REMEMBERED, Finding, boundary_segment, clgi_skipped, segment_of
from worldswitch.program.layout import Layout

NAME: Final = "kernel-entry"

_LIKE_NMI: Final = frozenset({VECTOR_NMI, VECTOR_DB, VECTOR_BP, VECTOR_MC})
_SVM: Final = frozenset({OP_VMRUN, OP_VMLOAD, OP_VMSAVE, OP_STGI, OP_CLGI})
_EXPOSED: Final = SEEN_GIF | SEEN_CONTEXT_GUEST
_TAKEN: Final = frozenset({KIND_EXCEPTION, KIND_INTR, KIND_NMI, KIND_MCE, KIND_SOFT})

# What a call of the path sets: the bit of a boundary, whether it is set, whether lockdep itself has to be at work.
_EFFECTS: Final = {
    k.K_CONTEXT_ENTER: (SEEN_CONTEXT_GUEST, True, False, "S8-43"),
    k.K_CONTEXT_EXIT: (SEEN_CONTEXT_GUEST, False, False, "S8-42"),
    k.K_LOCKDEP_ON: (SEEN_LOCKDEP, True, True, "S8-61"),
    k.K_LOCKDEP_OFF: (SEEN_LOCKDEP, False, True, "S8-62"),
}


def applies(run: Run) -> str:
    """Only hosts with that entry code, on paths that their handlers were written for."""
    if not run.kernel.present:
        return "this host has no Linux entry code"
    return "" if not run.plan.scenario.host.handlers else "the scenario has host handlers of its own"


def judge(run: Run) -> list[Finding]:
    """One finding for each promise that is not kept."""
    handlers = [h for h in run.recorder.handlers if h.world == WORLD_HOST and h.kind in _TAKEN]
    findings = _boundaries(run, handlers)
    if handlers:
        findings += _returns(run, handlers)
        findings += _fixups(run, handlers)
    if run.cpu.stop == END:
        findings += _end(run, handlers)
    return findings


def _boundaries(run: Run, handlers: list[Handler]) -> list[Finding]:
    """The boundary right after a call shows what the call is for; one that is open to NMIs, the context kernel."""
    without_effect, exposed = _at_boundaries(run.plan.host, run.seen)
    return [*_calls(run, handlers, without_effect), *_open_to_nmis(run, exposed)] if without_effect or exposed else []


def _calls(run: Run, handlers: list[Handler], without_effect: tuple[tuple[int, bool, str], ...]) -> Iterator[Finding]:
    interrupted = {handler.rip for handler in handlers}
    for rip, by_lockdep, rule in without_effect:
        if rip not in interrupted and not (by_lockdep and _warned(run)):
            text = run.plan.host.code.texts[rip - 1]
            yield _finding(run, f"no-effect-of-{text.replace('_', '-')}", rip - 1, f"{text}() had no effect", 0, rule)


def _open_to_nmis(run: Run, exposed: tuple[int, ...]) -> Iterator[Finding]:
    path = run.plan.path
    if exposed and path is not None and not clgi_skipped(run):
        for rip in exposed:
            if boundary_segment(run, rip) in path.nmi_segments:  # elsewhere it is no business of an NMI to come at all
                message = "an NMI can come in the context guest"
                yield _finding(run, "nmi-in-guest-context", rip, message, 0, "S8-79", "S8-70", of_path=True)


@lru_cache(maxsize=REMEMBERED)
def _at_boundaries(
    host: Layout, boundaries: frozenset[int]
) -> tuple[tuple[tuple[int, bool, str], ...], tuple[int, ...]]:
    """Boundaries right after a call that do not show its effect, and boundaries open to NMIs in the context guest."""
    without_effect = []
    for seen in sorted(boundaries):
        rip = seen >> SEEN_SHIFT
        op = host.code.ops[rip - 1] if rip else -1
        if rip <= host.end + 1 and op in _EFFECTS:
            bit, wanted, by_lockdep, rule = _EFFECTS[op]
            if bool(seen & bit) != wanted:
                without_effect.append((rip, by_lockdep, rule))
    exposed = [seen >> SEEN_SHIFT for seen in sorted(boundaries) if seen & _EXPOSED == _EXPOSED]
    return tuple(without_effect), tuple(exposed)


def _returns(run: Run, handlers: list[Handler]) -> Iterator[Finding]:
    """The interrupted boundary shows what the handler left behind."""
    silent = _warned(run)
    states = _by_place(run.seen)
    at: dict[int, list[Handler]] = {}
    for handler in handlers:
        at.setdefault(handler.rip, []).append(handler)
    for rip, interrupting in at.items():
        if segment_of(run, rip) == HANDLER:
            continue
        kept = all(handler.vector in _LIKE_NMI for handler in interrupting)
        if not kept and len(interrupting) > 1:
            continue
        for handler in interrupting:
            found, interrupted_if = bool(handler.lockdep), bool(handler.rflags & RFLAGS_IF)
            for seen in states.get(rip, ()):
                lockdep, context = bool(seen & SEEN_LOCKDEP), bool(seen & SEEN_CONTEXT_GUEST)
                if context != bool(handler.context):
                    message = "a handler left another context than it found"
                    yield _finding(run, "handler-changed-context", rip, message, handler.step, "S8-76")
                if not silent and lockdep != found and (kept or lockdep != interrupted_if):
                    cause, rule = ("nmi-changed-lockdep", "S8-76") if kept else ("lockdep-after-handler", "S8-74")
                    message = f"a handler left lockdep {'on' if lockdep else 'off'}"
                    yield _finding(run, cause, rip, message, handler.step, rule)


@lru_cache(maxsize=REMEMBERED)
def _by_place(boundaries: frozenset[int]) -> dict[int, list[int]]:
    """The elements of ``Run.seen`` by their Code index, in order."""
    states: dict[int, list[int]] = {}
    for seen in sorted(boundaries):
        states.setdefault(seen >> SEEN_SHIFT, []).append(seen)
    return states


def _is_fault(handler: Handler) -> bool:
    """Whether the handler is one that looks at the exception table."""
    return handler.vector < FIRST_INTERRUPT_VECTOR and handler.vector not in _LIKE_NMI


def skips(run: Run, handler: Handler) -> bool:
    """Whether a host handler skips the instruction that it interrupts (S7-08): only while rebooting."""
    fixup = run.plan.host.code.fixup
    return run.kernel.rebooting and _is_fault(handler) and fixup[handler.rip] and handler.vector != VECTOR_DF


def _fixups(run: Run, handlers: list[Handler]) -> Iterator[Finding]:
    """S7-08: BUG, or on with the next instruction."""
    kernel = run.kernel
    if any(field == "kernel.kvm_rebooting" for field, _ in run.plan.host.assignments):
        return
    faults = [h for h in handlers if _is_fault(h)]
    fatal = [h for h in faults if not skips(run, h)]
    if fatal and run.cpu.stop == END:
        message = "the kernel went on after an exception that it cannot survive"
        yield _finding(run, "fatal-exception-survived", fatal[0].rip, message, fatal[0].step, "S7-08")
    if faults and not fatal and run.cpu.stop == HOST_BUG:
        message = "the kernel stopped itself at an exception that its exception table covers"
        yield _finding(run, "fixup-not-applied", faults[-1].rip, message, faults[-1].step, "S7-08")
    uncovered = [h for h in fatal if kernel.rebooting and _must_have_fixup(run, h)]
    if uncovered:
        message = "an SVM instruction without an exception-table entry faulted while rebooting"
        yield _finding(run, "no-fixup", uncovered[0].rip, message, uncovered[0].step, "S7-08", "S7-09", of_path=True)
    if kernel.debug_locks:
        yield from _after_fixups(run, [h for h in faults if h not in fatal])


def _must_have_fixup(run: Run, handler: Handler) -> bool:
    """Whether the instruction is an SVM instruction of the path itself, and its exception has a way back."""
    on_path = segment_of(run, handler.rip) not in (HANDLER, "end")
    return on_path and handler.vector == VECTOR_UD and run.plan.host.code.ops[handler.rip] in _SVM


def _after_fixups(run: Run, faults: list[Handler]) -> Iterator[Finding]:
    """After a skipped instruction lockdep's view is what IF was (S8-74)."""
    rips = [h.rip for h in run.recorder.handlers if h.world == WORLD_HOST]
    for handler in faults:
        if handler.rip + 1 in rips or rips.count(handler.rip) > 1:
            continue
        for seen in _by_place(run.seen).get(handler.rip + 1, ()):
            if bool(seen & SEEN_LOCKDEP) != bool(handler.rflags & RFLAGS_IF):
                message = "a skipped exception left lockdep at something else than the interrupted IF"
                yield _finding(run, "lockdep-after-handler", handler.rip, message, handler.step, "S8-74")


def _end(run: Run, handlers: list[Handler]) -> list[Finding]:
    """Nothing is left half done, and every NMI had its run."""
    kernel, end = run.kernel, run.plan.host.end
    findings = []
    nmis = [h for h in handlers if h.vector == VECTOR_NMI]
    if nmis or kernel.nmi_reruns:
        findings += _reruns(run, nmis)
    if kernel.nmi_state != NMI_NOT_RUNNING or kernel.in_nmi or kernel.hardirq_context or kernel.entry_stack:
        message = "the entry code's books are not balanced"
        findings.append(_finding(run, "handler-half-done", end, message, run.cpu.step, "S8-76"))
    if not kernel.context and not kernel.rcu_watching:
        message = "RCU does not watch in kernel context"
        findings.append(_finding(run, "rcu-not-watching", end, message, run.cpu.step, "S8-43"))
    return findings


def _reruns(run: Run, nmis: list[Handler]) -> list[Finding]:
    code, again = run.plan.host.code, run.kernel.nmi_reruns
    first = code.handlers[VECTOR_NMI]
    last = code.ops.index(k.K_EXC_NMI_END, first)
    nested = [h for h in nmis if first < h.rip <= last]
    within = any(segment_of(run, h.rip) == HANDLER for h in nmis)  # perhaps of a handler that interrupted the NMI's
    if (not nested or again) and (not again or within):
        return []
    message = "an NMI within the NMI handler must make it run once more, and nothing else does"
    return [_finding(run, "nmi-rerun", run.plan.host.end, message, nested[0].step if nested else 0, "S8-78")]


def _warned(run: Run) -> bool:
    return not run.kernel.debug_locks or any(w.kind == WARN_LOCKDEP for w in run.kernel.warnings)


def _finding(run: Run, cause: str, rip: int, message: str, step: int, *rules: str, of_path: bool = False) -> Finding:
    return Finding(NAME, cause, segment_of(run, rip), message, (step,) if step else (), rules, of_path=of_path)
