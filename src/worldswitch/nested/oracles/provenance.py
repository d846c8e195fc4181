"""Where bit 0 of int_state comes from, VMCB by VMCB, in the order in which it happened.

A shadow bit is explained by the guest's last completed instruction, or by having been written by software of its own
accord. One that an exit wrote and nothing explains has *bled*. Copies and loads carry that along: a bled bit that is
copied to another VMCB, loaded again and kept through a failing delivery is still a bled bit (S9-25, I-04), whatever
software does with the VMCB meanwhile. It is gone where a value of its own is written over it, or where the guest makes
progress.
"""

from dataclasses import dataclass, field

from worldswitch.core.bits import EVENT_V, RFLAGS_IF
from worldswitch.core.isa import OP_REP, OP_STI
from worldswitch.core.record import Entry, Exit
from worldswitch.nested.record import VMCB12, Copied, Halted, NestedExit, Query, Ran, Wrote
from worldswitch.nested.run import NestedRun
from worldswitch.oracles.shadow_bleed import SS_LOADS, UNDEFINED_EXITS

INJECTION = "injection"
RELOADED = "reloaded"
GUEST = "guest"


@dataclass(slots=True)
class Sighting:
    """A physical exit that left a bled bit, and how."""

    ran: Ran
    how: str  # INJECTION, RELOADED or GUEST


@dataclass(slots=True)
class Provenance:
    """What became of the bit."""

    sightings: list[Sighting] = field(default_factory=list)
    reflected: list[int] = field(default_factory=list)  # exits to L1 (from 1) whose int_state is bled
    under: list[Ran] = field(default_factory=list)  # runs in which a guest instruction completed under a bled shadow
    queries: list[Query] = field(default_factory=list)  # questions of L0 that a bled bit took part in
    halts: list[tuple[int, str, int]] = field(default_factory=list)  # (step, VMCB, level): HLT reached with a bled bit
    origins: list[Ran] = field(default_factory=list)  # runs whose exit the bit bled at


def trace(run: NestedRun) -> Provenance:
    """Follow the bit through the whole run."""
    result = Provenance()
    bled: dict[str, bool] = {}
    for item in run.journal.items:
        if isinstance(item, Wrote):
            bled[item.vmcb] = False
        elif isinstance(item, Copied):
            bled[item.target] = bled.get(item.source, False) and bool(item.value & 1)
        elif isinstance(item, NestedExit):
            if item.code not in UNDEFINED_EXITS and item.int_state & 1 and bled.get(VMCB12, False):
                result.reflected.append(item.number)
        elif isinstance(item, Ran):
            bled[item.vmcb] = _ran(run, item, bled.get(item.vmcb, False), result)
        elif isinstance(item, Query):
            if bled.get(item.vmcb, False):
                result.queries.append(item)
        elif isinstance(item, Halted) and bled.get(item.vmcb, False):
            result.halts.append((item.step, item.vmcb, item.level))
    return result


def _ran(run: NestedRun, ran: Ran, loaded: bool, result: Provenance) -> bool:
    """Whether int_state is bled after a run of the processor; ``loaded``: it was before."""
    entry, record = ran.entry, ran.exit
    loaded = loaded and bool(entry.int_state)
    if loaded and entry.retired and not _delivered_first(entry):
        result.under.append(ran)
    if record is None or not record.int_state & 1:
        return False
    if record.code in UNDEFINED_EXITS:
        return loaded  # S6-37, S6-94
    if loaded and kept(entry):
        result.sightings.append(Sighting(ran, RELOADED))
        return True
    if explained(run, ran.level, record):
        return False
    injected = bool(entry.eventinj & EVENT_V) and not entry.delivered and not entry.retired
    result.sightings.append(Sighting(ran, INJECTION if injected else GUEST))
    result.origins.append(ran)
    return True


def _delivered_first(entry: Entry) -> bool:
    """EVENTINJ was delivered before any instruction, and took the shadow away (S2-57)."""
    return bool(entry.injected_deliveries)


def kept(entry: Entry) -> bool:
    """The bit was loaded, and nothing happened in the guest since (S2-50, S2-58)."""
    return bool(entry.int_state) and not entry.retired and not entry.delivered


def explained(run: NestedRun, level: int, record: Exit) -> bool:
    """Whether the guest's own doing, or a bit that was loaded for a reason, explains a shadow at this exit."""
    entry = record.entry
    if entry.last_op == OP_STI:
        return not entry.last_rflags & RFLAGS_IF  # S2-01
    if entry.last_op == OP_REP and run.layout(level).code.ops[record.rip] == OP_REP:
        return True  # S2-24
    return entry.last_op in SS_LOADS or kept(entry)
