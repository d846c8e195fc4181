"""Where code that raises an event is inserted, so that the event arrives at the boundary the scenario names.

A real processor raises an event on itself by an instruction, which ends a shadow. The instruction can stand right
before the boundary's own instruction only where no shadow and no single-step is live. Elsewhere the event is raised
earlier, at a boundary from which on it stays masked: to the processor that is the same, since a latched event has no
age (S1-10).
"""

from dataclasses import dataclass, field
from typing import Final

from worldswitch.core.isa import OP_NONCANONICAL, OP_SPIN
from worldswitch.machine.compile import Plan
from worldswitch.replay import memory
from worldswitch.replay.assemble import CLGI, STGI, UnsupportedError, guarded, write_icr
from worldswitch.replay.steps import Step, bypasses
from worldswitch.scenario.model import Arrival

COUNTERS: Final = memory.DATA + 0x800
_NMI: Final = 0x400
_SMI: Final = 0x200
_INIT: Final = 0x4500


def command(kind: str, vector: int) -> int:
    """The interrupt command that raises an event on this processor; raises ``UnsupportedError``."""
    if kind == "intr":
        return vector | 0x4_0000  # shorthand: self
    if kind == "nmi":
        return _NMI
    if kind == "smi":
        return _SMI
    if kind == "init":
        return _INIT
    raise UnsupportedError("no instruction raises a machine check")


@dataclass(slots=True)
class Placed:
    """Code to insert, by world and Code index, and what to do before the first instruction."""

    inserts: dict[tuple[bool, int], bytes] = field(default_factory=dict)
    at_start: bytes = b""
    counters: list[int] = field(default_factory=list)


def place_events(plan: Plan, steps: list[Step]) -> Placed:
    """Place every event that arrived; raises ``UnsupportedError``."""
    placed = Placed()
    chosen: dict[int, list[int]] = {}
    for at, step in enumerate(steps):
        for number in step.arrivals:
            event = plan.scenario.events[number]
            chosen.setdefault(_earliest_fit(plan, steps, at, event), []).append(number)
    for at, numbers in sorted(chosen.items()):
        if at < 0:
            placed.at_start += b"".join(_raise(plan.scenario.events[number]) for number in numbers)
        else:
            _insert(plan, steps, at, numbers, placed)
    return placed


def _raise(event: Arrival) -> bytes:
    return write_icr(command(event.kind, event.vector))


def masked(step: Step, event: Arrival) -> bool:
    """Whether an event of this kind, pending at that boundary, is certainly not recognised there."""
    if not step.gif:
        return True
    if event.kind == "nmi":
        return step.nmi_masked
    if event.kind == "intr":
        if step.guest and step.v_intr_masking:
            return not step.hif and not step.interrupts
        return not step.interrupts
    return False


def insertable(plan: Plan, steps: list[Step], at: int, own: bool) -> bool:
    """Whether code may precede the instruction of this step; ``own``: an event arrives at this very boundary."""
    step = steps[at]
    op = (plan.guest if step.guest else plan.host).code.ops[step.rip]
    if step.halted or step.shadow or step.tf or op == OP_NONCANONICAL or bypasses(steps, at):
        return False
    return own or not step.recognised


def _earliest_fit(plan: Plan, steps: list[Step], at: int, event: Arrival) -> int:
    """The step to raise the event at; -1 for before the first instruction."""
    if event.origin != "external":
        raise UnsupportedError("an SMI of internal origin comes from the chipset")
    step = steps[at]
    crowded = step.recognised and step.pending  # perhaps taken before code inserted here begins
    alone = not step.guest or len(step.arrivals) == 1 or _is_last(plan, step, event)
    if insertable(plan, steps, at, True) and not crowded and alone:
        return at
    for earlier in range(at - 1, -1, -1):
        if not masked(steps[earlier], event):
            break
        if insertable(plan, steps, earlier, False):
            return earlier
    else:
        return -1
    raise UnsupportedError(f"{event.kind} arrives at {event.at}, where no instruction can raise it")


def _is_last(plan: Plan, step: Step, event: Arrival) -> bool:
    """Of several arrivals at one guest boundary: at most one is not masked, so they may be raised one by one."""
    return sum(not masked(step, plan.scenario.events[number]) for number in step.arrivals) <= 1


def _insert(plan: Plan, steps: list[Step], at: int, numbers: list[int], placed: Placed) -> None:
    step = steps[at]
    events = [plan.scenario.events[number] for number in numbers]
    events.sort(key=lambda event: not masked(step, event))
    code = b"".join(map(_raise, events))
    if sum(not masked(step, event) for event in events) > 1:
        if step.guest or not step.svme or not step.gif:
            raise UnsupportedError("several events arrive at one boundary, where no single instruction raises them")
        code = CLGI + code + STGI
    key = (step.guest, step.rip)
    op = (plan.guest if step.guest else plan.host).code.ops[step.rip]
    if op != OP_SPIN:
        counter = COUNTERS + 4 * len(placed.counters)
        placed.counters.append(_passes(steps, at))
        code = guarded(counter, code)
    placed.inserts[key] = placed.inserts.get(key, b"") + code


def _passes(steps: list[Step], at: int) -> int:
    """How often control passes the code inserted at this step's place, up to and including this step."""
    step = steps[at]
    passes = 0
    returned = False
    for number in range(at + 1):
        other = steps[number]
        if (other.guest, other.rip) != (step.guest, step.rip) or other.halted or bypasses(steps, number):
            continue
        fires = number == at or bool(other.arrivals)
        if other.recognised and not fires:
            continue  # taken before the inserted code began
        if not returned:
            passes += 1
        returned = other.recognised  # the interrupted code goes on behind what raised the event
    return passes
