"""All oracles on one run, and the findings its path documents set apart."""

from dataclasses import dataclass, field
from types import ModuleType
from typing import Final

from worldswitch.machine.run import Run
from worldswitch.oracles import (
    end_state,
    irq_exposure,
    lockdep_if,
    lockdep_order,
    lost_event,
    nmi_exposure,
    noinstr,
    shadow_bleed,
)
from worldswitch.oracles.finding import Finding

ORACLES: Final[tuple[ModuleType, ...]] = (
    shadow_bleed, lockdep_if, lockdep_order, noinstr, nmi_exposure, irq_exposure, lost_event, end_state,
)  # fmt: skip

NAMES: Final = tuple(str(oracle.NAME) for oracle in ORACLES)


@dataclass(slots=True)
class Verdict:
    """What the oracles say of one run."""

    findings: list[Finding] = field(default_factory=list)
    documented: list[tuple[Finding, str]] = field(default_factory=list)  # with the reason the path's file gives
    not_applicable: dict[str, str] = field(default_factory=dict)  # oracle to reason


def judge(run: Run) -> Verdict:
    """Every oracle's word on ``run``; one finding a signature."""
    verdict = Verdict()
    known = run.plan.path.known if run.plan.path else ()
    signatures = set()
    for oracle in ORACLES:
        reason = oracle.applies(run)
        if reason:
            verdict.not_applicable[str(oracle.NAME)] = reason
            continue
        for finding in oracle.judge(run):
            if finding.signature in signatures:
                continue
            signatures.add(finding.signature)
            entry = next((k for k in known if k.covers(finding.signature, run.kernel.rebooting)), None)
            if entry:
                verdict.documented.append((finding, entry.about))
            else:
                verdict.findings.append(finding)
    return verdict
