"""All oracles on one run; what is documented is set apart from what is news.

A finding is documented, with the reason,

- by a ``[[known]]`` entry of the path's file (``paths.model.Known``); or
- where it objects to the path's own doing, by a scenario that does not keep to what the path's file presupposes
  (``scope.outside``).
"""

from types import ModuleType
from typing import Final

from worldswitch.machine.run import Run
from worldswitch.oracles import (
    end_state,
    irq_exposure,
    kernel_entry,
    lockdep_if,
    lockdep_order,
    lost_event,
    nmi_exposure,
    noinstr,
    shadow_bleed,
)
from worldswitch.oracles.architecture import oracle as architecture
from worldswitch.oracles.finding import Finding
from worldswitch.oracles.scope import outside

ORACLES: Final[tuple[ModuleType, ...]] = (
    shadow_bleed, lockdep_if, lockdep_order, noinstr, nmi_exposure, irq_exposure, lost_event, end_state, kernel_entry,
    architecture,
)  # fmt: skip

NAMES: Final = tuple(str(oracle.NAME) for oracle in ORACLES)


class Verdict:
    """What the oracles say of one run."""

    __slots__ = ("documented", "findings", "not_applicable")

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.documented: list[tuple[Finding, str]] = []  # with the reason
        self.not_applicable: dict[str, str] = {}  # oracle to reason


def judge(run: Run) -> Verdict:
    """Every oracle's word on ``run``; one finding a signature, the first."""
    if run.plan.scenario.nested is not None:
        from worldswitch.nested.oracles.judge import judge_nested

        return judge_nested(run)
    verdict = Verdict()
    signatures: set[str] = set()
    for oracle in ORACLES:
        reason = oracle.applies(run)
        if reason:
            verdict.not_applicable[str(oracle.NAME)] = reason
            continue
        for finding in oracle.judge(run):
            if finding.signature in signatures:
                continue
            signatures.add(finding.signature)
            why = documented(run, finding)
            if why:
                verdict.documented.append((finding, why))
            else:
                verdict.findings.append(finding)
    return verdict


def documented(run: Run, finding: Finding) -> str:
    """Why a finding is no news; empty where it is."""
    for known in run.plan.path.known if run.plan.path else ():
        if known.covers(finding.signature, run.kernel.rebooting):
            return f"{known.about} ({known.rule})" if known.rule else known.about
    return outside(run) if finding.of_path else ""
