"""``benign-claim``: what Linux commit be45bc4eff33 says of the spurious shadow's consequences (S2-82, S8-92).

The bit arises only during injection; it is transient; it cannot meet HLT; and where KVM asks whether an event is
blocked, it would have to force an immediate exit anyway. Each is checked exactly, at every level; a finding is a run in
which the claim does not hold.
"""

from typing import Final

from worldswitch.nested.oracles.provenance import GUEST, Provenance
from worldswitch.nested.record import Decided, Query
from worldswitch.nested.run import NestedRun
from worldswitch.oracles.finding import Finding

NAME: Final = "benign-claim"


def judge(run: NestedRun, bits: Provenance) -> list[Finding]:
    """One finding for each claim that the run refutes."""
    findings = []
    for sighting in bits.sightings:
        if sighting.how == GUEST:
            step = sighting.ran.entry.step
            text = "the spurious shadow arose outside of event injection"
            findings.append(Finding(NAME, "outside-injection", "vmexit", text, (step,), ("S2-74",), "L0"))
    for ran in bits.under:
        text = "the spurious shadow outlived the event: a guest instruction ran under it"
        findings.append(
            Finding(NAME, "not-transient", "guest", text, (ran.entry.step,), ("S2-81", "S2-82"), f"L{ran.level}")
        )
    for step, vmcb, level in bits.halts:
        text = f"HLT was reached with the spurious shadow in {vmcb}"
        findings.append(Finding(NAME, "met-hlt", "hlt", text, (step,), ("S2-82",), f"L{level}"))
    for query in bits.queries:
        if not harmless(run, query):
            text = f"the spurious shadow in {query.vmcb} changed whether an {query.what} for L1 is blocked"
            findings.append(
                Finding(NAME, "changed-decision", query.what, text, (query.step,), ("S2-82", "S8-92"), "L0")
            )
    return findings


def harmless(run: NestedRun, query: Query) -> bool:
    """The answer is the same without the bit, or no event could be injected whatever it is.

    The latter is so where one waits to be injected again, or for L1 by a VMRUN that has yet to be executed; then an
    immediate exit must be forced for any other that waits.
    """
    if query.blocked == query.without_shadow:
        return True
    if not query.occupied:
        return False
    decision = next((item for item in run.journal.items if isinstance(item, Decided) and item.step >= query.step), None)
    return decision is None or decision.forced or not decision.waiting
