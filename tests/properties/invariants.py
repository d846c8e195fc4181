"""The invariants of section 11.9, each as what a run shows against it. No oracle is read."""

from collections import Counter
from collections.abc import Callable, Iterator

from worldswitch.core.bits import (
    EVENT_V,
    EXIT_EXCEPTION,
    EXIT_INIT,
    EXIT_INTR,
    EXIT_INVALID,
    EXIT_NPF,
    EXIT_SHUTDOWN,
    EXIT_TASK_SWITCH,
    EXIT_VINTR,
    RFLAGS_IF,
    RFLAGS_TF,
)
from worldswitch.core.isa import OP_ICEBP, OP_MOV_DR, OP_MOV_SS, OP_MOV_SS_WATCHED, OP_POPF, OP_STI, OP_STORE_WATCHED
from worldswitch.core.record import (
    KIND_EXCEPTION,
    KIND_INIT,
    KIND_INTR,
    KIND_MCE,
    KIND_NMI,
    KIND_SMI,
    WORLD_GUEST,
    WORLD_HOST,
    Entry,
    Exit,
)
from worldswitch.core.state import SHUTDOWN
from worldswitch.machine.run import Run

Complaints = Iterator[str]
MID_DELIVERY = {EXIT_NPF, EXIT_TASK_SWITCH, EXIT_SHUTDOWN, *range(EXIT_EXCEPTION, EXIT_EXCEPTION + 32)}
ASYNCHRONOUS = range(EXIT_INTR, EXIT_VINTR + 1)
UNDEFINED = (EXIT_SHUTDOWN, EXIT_INVALID)


def exits_by_entry(run: Run) -> dict[Entry, Exit]:
    return {record.entry: record for record in run.recorder.exits}


def i_01(run: Run) -> Complaints:
    """After every #VMEXIT: GIF=0, EVENTINJ.V=0, host IF=HIF."""
    for x in run.recorder.exits:
        if x.gif:
            yield "GIF=1 after an exit"
        if x.eventinj & EVENT_V:
            yield "EVENTINJ is valid after an exit"
        if x.host_if != x.entry.hif:
            yield "host IF is not HIF after an exit"


def i_02(run: Run) -> Complaints:
    """EXITINTINFO.V=1 only for an exception, #NPF, a task switch or shutdown."""
    for x in run.recorder.exits:
        if x.exitintinfo & EVENT_V and x.code not in MID_DELIVERY:
            yield f"exit {x.code:#x} reports an event"


def i_03(run: Run) -> Complaints:
    """An exit for an asynchronous event reports none."""
    for x in run.recorder.exits:
        if x.code in ASYNCHRONOUS and x.exitintinfo & EVENT_V:
            yield f"exit {x.code:#x} reports an event"


def i_04(run: Run) -> Complaints:
    """Quirk off: a shadow at the exit is the guest's own, or was loaded and nothing has ended it."""
    for x in run.recorder.exits:
        entry = x.entry
        if not x.int_state & 1 or x.code in UNDEFINED:
            continue
        enabled = entry.last_op == OP_STI and not entry.last_rflags & RFLAGS_IF
        own = enabled or entry.last_op in (OP_MOV_SS, OP_MOV_SS_WATCHED)
        loaded = entry.int_state and not entry.retired and not entry.delivered
        if not own and not loaded:
            yield f"a shadow in int_state of exit {x.code:#x} that nothing explains"


def i_06(run: Run) -> Complaints:
    """An INTR or NMI that left its latch ends in a handler, EXITINTINFO, a fault of its delivery or shutdown."""
    recorder = run.recorder
    handlers = Counter((h.step, h.kind) for h in recorder.handlers)
    reported = {x.step for x in recorder.exits if x.exitintinfo & EVENT_V}
    superseded = {step for step, _ in recorder.superseded}
    taken: Counter[tuple[int, int]] = Counter()
    for step, kind, vector in recorder.acknowledged:
        if kind not in (KIND_INTR, KIND_NMI):
            continue
        taken[kind, vector] += 1
        if not handlers[step, kind] and step not in reported | superseded and run.cpu.stop != SHUTDOWN:
            yield f"event {kind} left its latch in step {step} and is nowhere"
    arrived = [run.plan.scenario.events[number] for number in run.arrived]
    for event in arrived:
        if event.kind == "intr" and not taken[KIND_INTR, event.vector] and event.vector not in run.cpu.irr:
            yield f"the INTR {event.vector:#x} arrived, was not taken and is not pending"
        if event.kind == "nmi" and not taken[KIND_NMI, 2] and not run.cpu.pend_nmi:
            yield "an NMI arrived, was not taken and is not pending"


def i_07(run: Run) -> Complaints:
    """With GIF=0 no asynchronous handler runs."""
    for h in run.recorder.handlers:
        if h.world == WORLD_HOST and not h.gif and h.kind in (KIND_INTR, KIND_NMI, KIND_SMI, KIND_INIT, KIND_MCE):
            yield f"a handler of kind {h.kind} with GIF=0"


def _masked(entry: Entry) -> bool:
    return not entry.hif and entry.v_intr_masking


def i_08(run: Run) -> Complaints:
    """HIF=0 and V_INTR_MASKING=1: no exit 60h, no guest handler of a physical interrupt."""
    recorder = run.recorder
    if any(x.code == EXIT_INTR and _masked(x.entry) for x in recorder.exits):
        yield "exit 60h with host IF=0 and V_INTR_MASKING=1"
    for h in recorder.handlers:
        if h.world == WORLD_GUEST and h.kind == KIND_INTR:
            entry = [entry for entry in recorder.entries if entry.step < h.step][-1]
            if _masked(entry):
                yield "a physical interrupt in the guest with host IF=0 and V_INTR_MASKING=1"


def i_09(run: Run) -> Complaints:
    """An injected event is delivered once, or reported, superseded, rejected, or ends in shutdown."""
    superseded = {step for step, _ in run.recorder.superseded}
    last = exits_by_entry(run)
    for entry in run.recorder.entries:
        x = last.get(entry)
        outcomes = entry.injected_deliveries
        if entry.injected_deliveries > 1:
            yield "an injected event was delivered twice"
        if not entry.eventinj & EVENT_V:
            if outcomes:
                yield "an event was delivered that nobody injected"
            continue
        at_once = x is not None and x.step == entry.step
        if at_once and x is not None:
            reported = x.exitintinfo & EVENT_V and entry.step not in superseded
            if reported and entry.injected_deliveries:
                yield "an injected event was delivered and is reported"
            outcomes += bool(reported or x.code in UNDEFINED)
        outcomes += entry.step in superseded
        if not outcomes and run.cpu.stop != SHUTDOWN:
            yield "an injected event is nowhere"


def i_10(run: Run) -> Complaints:
    """Lockdep's view differs from IF inside noinstr code only, and where an exception has been taken."""
    if not run.kernel.present or run.plan.path is None or run.trace is None:
        return
    if run.kernel.rebooting or any(h.world == WORLD_HOST and h.kind == KIND_EXCEPTION for h in run.recorder.handlers):
        return  # S8-74: the exception on the kvm_rebooting path leaves lockdep off
    code = run.plan.host.code
    places = {run.plan.host.where(rip): code.noinstr[rip] for rip in range(1, run.plan.host.end)}
    for row in run.trace.rows:
        if row.world == "host" and row.lockdep != row.interrupts and places.get(row.where) is False:
            yield f"at {row.where} lockdep has {row.lockdep}, IF is {row.interrupts}"


_STEPS_OR_WATCHES = (OP_POPF, OP_ICEBP, OP_MOV_DR, OP_STORE_WATCHED, OP_MOV_SS_WATCHED)


def i_11(run: Run) -> Complaints:
    """The host's single-step trap of VMRUN is never the guest's: a guest without TF takes no #DB."""
    scenario = run.plan.scenario
    guest = run.plan.guest.code
    own = scenario.settings.get("guest.tf") or any(op in _STEPS_OR_WATCHES for op in guest.ops)
    injected = any(entry.eventinj & EVENT_V for entry in run.recorder.entries)
    if own or injected or any(entry.last_rflags & RFLAGS_TF for entry in run.recorder.entries):
        return
    if any(h.world == WORLD_GUEST and h.kind == KIND_EXCEPTION and h.vector == 1 for h in run.recorder.handlers):
        yield "a #DB in a guest that has no cause for one"
    if any(x.code == EXIT_EXCEPTION + 1 for x in run.recorder.exits):
        yield "exit 41h of a guest that has no cause for one"


INVARIANTS: dict[str, Callable[[Run], Complaints]] = {
    "I-01": i_01, "I-02": i_02, "I-03": i_03, "I-04": i_04, "I-06": i_06, "I-07": i_07, "I-08": i_08, "I-09": i_09,
    "I-10": i_10, "I-11": i_11,
}  # fmt: skip
"""I-05 compares two runs; it is in ``test_invariants``."""
assert EXIT_INIT in ASYNCHRONOUS
