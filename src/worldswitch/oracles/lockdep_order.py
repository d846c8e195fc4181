"""``lockdep-order``: the calls around the world switch, one missing or out of order (S8-42, S8-65).

Lockdep alone misses some omissions: with no lock taken in between, a stale chain key hides a missing
lockdep_hardirqs_on_prepare() (S8-61). The order on entry is tracing, lockdep-prepare, context, lockdep-on; on exit
lockdep-off, context, tracing: lockdep changes while RCU is off, tracing only while it watches.
"""

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
    """Per round: each call once, in order; what is missing is only said of a run that came to its end."""
    findings: dict[str, Finding] = {}
    log = run.kernel.call_log
    rounds = run.plan.scenario.rounds if run.cpu.stop == END else 1
    for ops, place in ((ENTER, "enter"), (EXIT, "exit")):
        made = [(step, op) for step, op in log if op in ops]
        for (step, first), (_, second) in zip(made, made[1:], strict=False):
            if ops.index(second) == (ops.index(first) + 1) % len(ops):
                continue
            if second in [op for _, op in made] and ops.index(second) <= ops.index(first) and second != ops[0]:
                cause = f"{_slug(first)}-before-{_slug(second)}"
                _add(findings, cause, place, f"{k.ORDERED[first]}() is called before {k.ORDERED[second]}()", step)
        if run.cpu.stop != END:
            continue
        for op in ops:
            if sum(1 for _, other in made if other == op) < rounds:
                _add(findings, f"no-{_slug(op)}", place, f"{k.ORDERED[op]}() is not called", 0)
    return list(findings.values())


def _slug(op: int) -> str:
    return k.ORDERED[op].replace("_", "-")


def _add(findings: dict[str, Finding], cause: str, place: str, message: str, step: int) -> None:
    finding = Finding(NAME, cause, place, message, (step,) if step else (), ("S8-42", "S8-61"), "L0")
    findings.setdefault(finding.signature, finding)
