"""``shadow-bleed``: a shadow that nothing explains, and which level sees it (I-04, I-05, S9-24 to S9-26).

Places: those of the single-level oracle for L0, who sees vmcb01, vmcb02 and the cache that KVM_GET_NESTED_STATE shows;
``reflected``: vmcb12 has it, and L1 sees it; ``under-shadow``: a guest executed an instruction under it, which held
back what it should have taken.
"""

from typing import Final

from worldswitch.nested.oracles.provenance import Provenance
from worldswitch.nested.run import NestedRun
from worldswitch.oracles.finding import Finding
from worldswitch.oracles.shadow_bleed import CAUSE, NAME, PLACES

REFLECTED: Final = "reflected"
UNDER: Final = "under-shadow"


def judge(run: NestedRun, bits: Provenance) -> list[Finding]:
    """One finding for each way in which, and each level at which, it is seen."""
    findings = []
    for sighting in bits.sightings:
        ran = sighting.ran
        message = f"{ran.vmcb}.int_state says that the guest is in an interrupt shadow, and nothing explains it: "
        steps = (ran.entry.step, ran.exit.step if ran.exit else ran.step)
        text = message + PLACES[sighting.how]
        findings.append(Finding(NAME, CAUSE, sighting.how, text, tuple(dict.fromkeys(steps)), ("S2-70", "I-04"), "L0"))
    for number in bits.reflected:
        record = run.journal.exits[number - 1]
        text = f"exit {number} to L1: vmcb12.int_state has the shadow that bled into vmcb02"
        findings.append(Finding(NAME, CAUSE, REFLECTED, text, (record.step,), ("S9-24", "S2-83", "I-04"), "L1"))
    for ran in bits.under:
        text = "a guest instruction ran under a shadow that bled from L0's STI"
        findings.append(Finding(NAME, CAUSE, UNDER, text, (ran.entry.step,), ("S2-81", "I-04"), f"L{ran.level}"))
    return findings
