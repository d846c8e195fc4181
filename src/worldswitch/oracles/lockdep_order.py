"""``lockdep-order``: the calls around the world switch, one missing, misplaced or out of order (S8-42, S8-65).

Lockdep alone misses some omissions: with no lock taken in between, a stale chain key hides a missing
lockdep_hardirqs_on_prepare() (S8-61), and nobody at all warns of a missing context switch or tracepoint. The order on
entry is tracing, lockdep-prepare, context, lockdep-on; on exit lockdep-off, context, tracing: lockdep changes while RCU
is off, tracing only while it watches. The first four belong before VMRUN, the other three after it, each once a round.
"""

from functools import lru_cache
from itertools import pairwise
from typing import Final

from worldswitch.core.isa import OP_VMRUN
from worldswitch.core.record import WORLD_HOST
from worldswitch.core.state import END
from worldswitch.kernel import calls as k
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import REMEMBERED, Finding
from worldswitch.oracles.kernel_entry import skips

NAME: Final = "lockdep-order"
ENTER: Final = (k.K_TRACE_ON_PREPARE, k.K_LOCKDEP_ON_PREPARE, k.K_CONTEXT_ENTER, k.K_LOCKDEP_ON)
_VMRUN: Final = -1  # among calls
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
    calls = run.kernel.call_log
    entries = [entry.step for entry in run.recorder.entries]
    if run.kernel.rebooting and run.recorder.handlers:
        entries += _skipped(run)
    rounds = run.plan.scenario.rounds if run.cpu.stop == END else 0
    # Only the order counts, and it is nearly always the same. A call and a VMRUN are never of the same step.
    log = tuple([op for _, op in sorted(calls + [(step, _VMRUN) for step in entries])])
    objections = _objections(log, rounds)
    if not objections:
        return []
    steps = [*sorted([*(step for step, _ in calls), *entries]), run.cpu.step]
    return [finding._replace(steps=(steps[finding.steps[0]],)) for finding in objections]


def _skipped(run: Run) -> list[int]:
    """The steps of VMRUNs that the exception table skipped: a round has one VMRUN, executed or skipped (S7-08)."""
    ops = run.plan.host.code.ops
    return [
        handler.step
        for handler in run.recorder.handlers
        if handler.world == WORLD_HOST and ops[handler.rip] == OP_VMRUN and skips(run, handler)
    ]


@lru_cache(maxsize=REMEMBERED)
def _objections(log: tuple[int, ...], rounds: int) -> tuple[Finding, ...]:
    """What a log of calls and VMRUNs shows; the findings' steps are indices into it, or its length for the end.

    ``rounds`` is 0 of a run that did not come to its end.
    """
    made: dict[int, list[int]] = {op: [] for op in k.ORDERED}  # where each was made
    entries: list[int] = []
    for index, op in enumerate(log):
        (entries if op == _VMRUN else made[op]).append(index)
    findings: dict[str, Finding] = {}
    for number, entry in enumerate(entries, 1):
        _count(findings, made, ENTER, entry, number, number)
        # A surplus call of the exit side: only in the first round it is known to be of this round, and too early.
        _count(findings, made, EXIT, entry, number - 1, 0 if number == 1 else None)
    if rounds:
        _count(findings, made, (*ENTER, *EXIT), len(log), rounds, rounds)
    for ops in (ENTER, EXIT):
        for first, second in pairwise(ops):
            wrong = next((b for a, b in zip(made[first], made[second], strict=False) if b < a), -1)
            if wrong >= 0 and len(made[first]) == len(made[second]):  # else one is missing, which is said already
                cause = f"{_slug(second)}-before-{_slug(first)}"
                _add(findings, cause, second, f"{_name(second)} is called before {_name(first)}", wrong)
    return tuple(findings.values())


def _count(
    findings: dict[str, Finding],
    made: dict[int, list[int]],
    ops: tuple[int, ...],
    until: int,
    least: int,
    most: int | None,
) -> None:
    """Each of ``ops`` must have been made from ``least`` to ``most`` times by ``until``."""
    for op in ops:
        steps = [step for step in made[op] if step <= until]
        if len(steps) < least:
            _add(findings, f"no-{_slug(op)}", op, f"{_name(op)} is missing", until)
        elif most is not None and len(steps) > most:
            surplus = "too-often" if most else "before-vmrun"
            message = f"{_name(op)} is called {'once too often' if most else 'before VMRUN'}"
            _add(findings, f"{_slug(op)}-{surplus}", op, message, steps[most])


def _name(op: int) -> str:
    return f"{k.ORDERED[op]}()"


def _slug(op: int) -> str:
    return k.ORDERED[op].replace("_", "-")


def _add(findings: dict[str, Finding], cause: str, op: int, message: str, step: int) -> None:
    place = "enter" if op in ENTER else "exit"
    finding = Finding(NAME, cause, place, message, (step,), ("S8-42", "S8-61"), of_path=True)
    findings.setdefault(finding.signature, finding)
