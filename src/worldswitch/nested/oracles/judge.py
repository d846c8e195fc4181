"""All oracles on one nested run: those of this package, and those of a single level on L0's entry path."""

from copy import copy
from typing import Final, cast

from worldswitch.machine.run import Run
from worldswitch.nested.oracles import (
    benign_claim,
    double_injection,
    l1_sanity,
    shadow_bleed,
    stuck_event,
    vmcb_transfer,
)
from worldswitch.nested.oracles.ledger import ledger
from worldswitch.nested.oracles.provenance import trace
from worldswitch.nested.run import NestedRun
from worldswitch.nested.vcpu import KICK_VECTOR
from worldswitch.oracles import (
    end_state,
    irq_exposure,
    lockdep_if,
    lockdep_order,
    lost_event,
    nmi_exposure,
    noinstr,
)
from worldswitch.oracles.finding import Finding
from worldswitch.oracles.judge import Verdict, documented
from worldswitch.oracles.shadow_bleed import NAME as SHADOW_BLEED
from worldswitch.scenario.model import Arrival
from worldswitch.scenario.places import Place

OF_THE_PATH: Final = (lockdep_if, lockdep_order, noinstr, nmi_exposure, irq_exposure, lost_event, end_state)
"""Oracles that read the processor's records and those of L0's kernel, whoever the guest is."""

NAMES: Final = (
    SHADOW_BLEED, l1_sanity.NAME, stuck_event.NAME, double_injection.NAME, benign_claim.NAME,
    vmcb_transfer.NAME,
    *(str(oracle.NAME) for oracle in OF_THE_PATH),
)  # fmt: skip

NOT_TRACKED: Final = "exitintinfo-of-nothing"
"""A cause of ``lost-event`` that looks at the one VMCB of a single-level run."""


def judge_nested(run: Run) -> Verdict:
    """Every oracle's word on a nested run; one finding a signature and level, the first."""
    nested = cast(NestedRun, run)
    bits = trace(nested)
    book = ledger(nested)
    verdict = Verdict()
    findings = [
        *shadow_bleed.judge(nested, bits),
        *l1_sanity.judge(nested, bits),
        *stuck_event.judge(nested, book),
        *double_injection.judge(nested, book),
        *benign_claim.judge(nested, bits),
        *vmcb_transfer.judge(nested),
    ]
    view = l0_view(nested)
    for oracle in OF_THE_PATH:
        reason = oracle.applies(view)
        if reason:
            verdict.not_applicable[str(oracle.NAME)] = reason
        else:
            findings += [finding for finding in oracle.judge(view) if finding.cause != NOT_TRACKED]
    known: set[tuple[str, str]] = set()
    for finding in findings:
        if (finding.signature, finding.level) in known:
            continue
        known.add((finding.signature, finding.level))
        _place(verdict, view, finding)
    return verdict


def _place(verdict: Verdict, view: Run, finding: Finding) -> None:
    why = documented(view, finding)
    if why:
        verdict.documented.append((finding, why))
    else:
        verdict.findings.append(finding)


def l0_view(run: NestedRun) -> Run:
    """The run as the single-level oracles read it: events for L1 are none of the processor's, L0's kicks are."""
    view = Run(run.machine)
    scenario = copy(run.plan.scenario)
    own = [(number, event) for number, event in enumerate(scenario.events) if event.level == 0]
    kick = Arrival("intr", Place("start"), KICK_VECTOR)
    scenario.events = (*(event for _, event in own), *(kick for _ in run.kicks))
    arrived = {new: run.arrived[number] for new, (number, _) in enumerate(own) if number in run.arrived}
    scenario.rounds = run.rounds
    view.arrived = arrived | {len(own) + index: step for index, step in enumerate(run.kicks)}
    view.plan = run.plan.as_of(scenario)
    return view
