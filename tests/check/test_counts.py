"""Exact counts of small explorations, each counted by hand in the comment beside it."""

from tests.helpers import linux

from worldswitch.check.explore import Explorer
from worldswitch.check.space import FIELDS, Space
from worldswitch.program.instruction import meets_number
from worldswitch.scenario.model import GateSpec

BP = {"vmcb.eventinj": FIELDS["vmcb.eventinj"][:1]}
NPF = (GateSpec(meets_number("npf")),)


def counts(space: Space, listing: str) -> tuple[int, int, int, int, int]:
    """Scenarios, visited states, unique ones, scenarios that ended in a known state, depth."""
    outcome = Explorer(space, linux(listing)).run()
    assert outcome.closed
    progress = outcome.progress
    return progress.runs, progress.visited, progress.unique, progress.merged, progress.depth


def test_one_injected_event_and_what_its_gate_meets() -> None:
    # Three scenarios: the plain one; #BP injected; #BP injected, and its gate meets #NPF. Only VMRUN asks for the
    # event, and only delivery for the gate.
    #
    # States with something to choose are those in the guest, those in the host with GIF=1, and before VMRUN and the end.
    # Plain: before STI, before VMRUN, before NOP, before VMMCALL, at the end: 5, all new. (CLI has GIF=0.)
    # #BP: its handler's IRET, NOP, VMMCALL: 3 new, as the oracles remember that something was injected. The end: known.
    # #NPF: nothing of the guest runs. The end: known.
    space = Space("injection", "", fields=BP, gates=NPF)
    assert counts(space, "sti\nvmrun\ncli\n") == (3, 5 + 4 + 1, 5 + 3, 2, 2)


def test_an_nmi_at_every_boundary() -> None:
    # Boundaries: before each NOP and at the end: 3 new. An NMI at each: 3 more scenarios, each with the five steps of
    # the NMI handler (exc_nmi_begin, irqentry_nmi_enter, irqentry_nmi_exit, exc_nmi_end, iret), new since they will
    # return to different places, and then the boundary that was interrupted, in the state in which it is known.
    # No event arrives within a handler, as nesting is 0.
    space = Space("events", "", events=("nmi",), nesting=0)
    assert counts(space, "nop\nnop\n") == (1 + 3, 3 + 3 * (5 + 1), 3 + 3 * 5, 3, 1)


def test_a_masked_event_is_latched_once() -> None:
    # IF=0: an INTR is held at all 3 boundaries; where it arrives makes no difference, so it is offered at the last one
    # alone, and that scenario comes to no new state with anything left to choose.
    space = Space("events", "", events=("intr",), nesting=0)
    assert counts(space, "nop\nnop\n") == (2, 3, 3, 0, 1)


def test_two_rounds() -> None:
    # One round: before VMRUN, before NOP and VMMCALL in the guest, at the end: 4 states. A second round is one choice and
    # one scenario more. It begins at the end of the first, which has been visited; the guest is still at its VMMCALL, as
    # nobody stepped over it: that boundary and the end are new, with one VMRUN more behind them.
    space = Space("rounds", "", between=((),), rounds=2)
    assert counts(space, "vmrun\n") == (2, 4 + 2, 4 + 2, 0, 1)


def test_nothing_to_choose() -> None:
    # One scenario, three boundaries with GIF=1.
    assert counts(Space("nothing", ""), "nop\nnop\n") == (1, 3, 3, 0, 0)
