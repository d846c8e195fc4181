"""``lockdep-order``: the calls around the world switch, one missing, misplaced or out of order (S8-42, S8-65).

Lockdep alone misses some omissions: with no lock taken in between, a stale chain key hides a missing
lockdep_hardirqs_on_prepare() (S8-61), and nobody at all warns of a missing context switch or tracepoint. The order on
entry is tracing, lockdep-prepare, context, lockdep-on; on exit lockdep-off, context, tracing: lockdep changes while RCU
is off, tracing only while it watches. The first four belong before VMRUN, the other three after it, each once a round.
"""

from itertools import pairwise
from typing import Final

from worldswitch.core.state import END
from worldswitch.kernel import calls as k
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import Finding

NAME: Final = "lockdep-order"
ENTER: Final = (k.K_TRACE_ON_PREPARE, k.K_LOCKDEP_ON_PREPARE, k.K_CONTEXT_ENTER, k.K_LOCKDEP_ON)
EXIT: Final = (k.K_LOCKDEP_OFF, k.K_CONTEXT_EXIT, k.K_TRACE_OFF_FINISH)


def applies(run: Run) -> str:
    """Only kernels that make these calls around VMRUN."""
    if not run.kernel.present:
        return "this host has no lockdep"
    if run.plan.path is None or not any(line.instruction.op in k.ORDERED for line in run.plan.path.lines):
        return "this path makes none of the calls whose order is prescribed"
    return ""


def judge(run: Run) -> list[Finding]:
    """Each call as often as the run got to its place, in order."""
    made: dict[int, list[int]] = {op: [] for op in k.ORDERED}  # the steps at which each was made
    for step, op in run.kernel.call_log:
        made[op].append(step)
    findings: dict[str, Finding] = {}
    for number, entry in enumerate(run.recorder.entries, 1):
        _count(findings, made, ENTER, entry.step, number, "too-often")
        _count(findings, made, EXIT, entry.step, number - 1, "before-vmrun")
    if run.cpu.stop == END:
        _count(findings, made, (*ENTER, *EXIT), run.cpu.step, run.plan.scenario.rounds, "too-often")
    for ops in (ENTER, EXIT):
        for first, second in pairwise(ops):
            wrong = next((b for a, b in zip(made[first], made[second], strict=False) if b < a), 0)
            if wrong and len(made[first]) == len(made[second]):  # else one is missing, which is said already
                cause = f"{_slug(second)}-before-{_slug(first)}"
                _add(findings, cause, second, f"{_name(second)} is called before {_name(first)}", wrong)
    return list(findings.values())


def _count(
    findings: dict[str, Finding],
    made: dict[int, list[int]],
    ops: tuple[int, ...],
    until: int,
    wanted: int,
    surplus: str,
) -> None:
    """Each of ``ops`` must have been made ``wanted`` times by the step ``until``; ``surplus`` is what too many are."""
    for op in ops:
        steps = [step for step in made[op] if step <= until]
        if len(steps) < wanted:
            _add(findings, f"no-{_slug(op)}", op, f"{_name(op)} is missing", until)
        elif len(steps) > wanted:
            message = f"{_name(op)} is called {surplus.replace('-', ' ')}"
            _add(findings, f"{_slug(op)}-{surplus}", op, message, steps[wanted])


def _name(op: int) -> str:
    return f"{k.ORDERED[op]}()"


def _slug(op: int) -> str:
    return k.ORDERED[op].replace("_", "-")


def _add(findings: dict[str, Finding], cause: str, op: int, message: str, step: int) -> None:
    place = "enter" if op in ENTER else "exit"
    finding = Finding(NAME, cause, place, message, (step,), ("S8-42", "S8-61"), of_path=True)
    findings.setdefault(finding.signature, finding)
