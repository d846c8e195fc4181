"""A nested run as text: the timeline with a lane a level, and what follows it.

The lanes show who runs: ``*`` in the lane of that level, ``|`` in those of the levels above it, which wait.
"""

from collections.abc import Iterator, Sequence
from typing import Final, cast

from worldswitch.core.names import event_name, exit_name
from worldswitch.core.record import Exit
from worldswitch.machine.trace import Row
from worldswitch.nested.record import NestedExit
from worldswitch.nested.run import STOP_TEXTS, NestedRun
from worldswitch.nested.trace import SOFTWARE, NestedTrace
from worldswitch.report.columns import MARK, NARROW, NARROW_LEGEND, heads, state
from worldswitch.report.outcome import difference_lines, evidence
from worldswitch.report.terminal import Screen, wrapped
from worldswitch.report.timeline import mark, title
from worldswitch.result import Result

LANES: Final = ("L0", "L1", "L2")
LEGEND: Final = (
    "Lanes: * the level that runs, | a level above it that waits. (C code): L0 between executions of its path."
)


def nested_lines(results: Sequence[Result], screen: Screen, full: bool) -> Iterator[str]:
    """The timelines and outcomes of traced runs of one scenario, one after another; ``full`` leaves out nothing."""
    yield from screen.wrapped(NARROW_LEGEND)
    yield from screen.wrapped(LEGEND)
    for result in results:
        yield ""
        yield screen.bold(title(result))
        yield from timeline(result, screen, full)
        yield ""
        yield from outcome(result, screen)
    compared = list(difference_lines(results, screen))
    if compared:
        yield ""
        yield from compared


def timeline(result: Result, screen: Screen, full: bool) -> Iterator[str]:
    """One line a step; steps of L0's path that cause nothing are left out unless ``full``."""
    mark(result)
    trace = cast(NestedTrace, result.run.trace)
    place = max([len("place"), *(len(row.where) for row in trace.rows)])
    head = f"   step  {'  '.join(LANES)}  {heads(NARROW)}  {'place'.ljust(place)}  "
    yield screen.bold(head + "what runs, and what it causes")
    note = " " * len(head)
    previous: Row | None = None
    skipped = 0
    for level, row in zip(trace.levels, trace.rows, strict=True):
        software = row.where == SOFTWARE
        if not full and level == 0 and not software and not row.notes and not row.marks:
            skipped += 1
            continue
        if skipped:
            yield note + screen.dim(f"... {skipped} step{'s' if skipped > 1 else ''} of L0's path")
            skipped = 0
        marks = [] if software else row.marks
        gutter = screen.bad(MARK) if marks else "  "
        cells = " " * len(heads(NARROW)) if software else state(row, previous, NARROW, screen)
        step = " " * 4 if software else f"{row.step:>4}"
        yield f"{gutter} {step}  {_lanes(level)}  {cells}  {row.where.ljust(place)}  {row.text}"
        for text in row.notes:
            yield from wrapped(text, screen.width, note, note + "   ")
        if row.pending and row.pending != (previous.pending if previous else ""):
            yield f"{note}pending: {row.pending}"
        for name in marks:
            yield note + screen.bad(f"{MARK} {name}")
        previous = previous if software else row


def _lanes(level: int) -> str:
    return "  ".join(("*" if lane == level else "|" if lane < level else " ").ljust(2) for lane in range(len(LANES)))


def outcome(result: Result, screen: Screen) -> Iterator[str]:
    """The lines of one run: how it ended, its exits at both boundaries, and everything the oracles say."""
    run, verdict = cast(NestedRun, result.run), result.verdict
    yield f"  ended: {STOP_TEXTS[run.stop_name]}; {run.rounds} executions of the path, {run.vcpu.vmruns} of L1's VMRUN"
    for record in run.recorder.exits:
        level = run.level_at(record.entry.step)
        yield from screen.wrapped(
            f"exit {record.entry.number} of L{level} to L0: {_exit(run, level, record)}", "  ", "      "
        )
    for nested in run.journal.exits:
        how = ", made up by L0" if nested.synthesised else ""
        text = f"exit {nested.number} of L2 to L1, vmcb12: {_exit(run, 2, nested)}{how}"
        yield from screen.wrapped(text, "  ", "      ")
    for assertion in run.journal.assertions:
        yield screen.bad(f"  L1 asserts on its exit {assertion.number}: {assertion.text}")
    for finding in verdict.findings:
        yield screen.bad(f"  finding: {finding.level} {finding.signature}")
        yield from screen.wrapped(finding.message, "      ", "      ")
        yield screen.dim(f"      {evidence(run, finding)}")
    if not verdict.findings:
        yield "  findings: none"
    for finding, reason in verdict.documented:
        yield f"  documented for this path: {finding.signature}"
        yield from screen.wrapped(f"{finding.message}; {reason}", "      ", "      ")
    for name, reason in verdict.not_applicable.items():
        yield screen.dim(f"  not applicable: {name}: {reason}")
    for number in run.unreached:
        event = run.plan.scenario.events[number]
        yield screen.bold(f"  never reached: event[{number}], {event.kind} at {event.at}")
    if result.expect is not None:
        if not result.unmet:
            yield screen.good("  expect: met")
        for failure in result.unmet:
            yield from (screen.bad(line) for line in screen.wrapped(f"expect: not met: {failure}", "  ", "      "))


def _exit(run: NestedRun, level: int, record: Exit | NestedExit) -> str:
    place = run.place(level, record.rip)
    parts = [f"{exit_name(record.code)} ({record.code:#x}) at {place}", f"int_state {record.int_state:#x}"]
    if record.exitintinfo:
        parts.append(f"EXITINTINFO {event_name(record.exitintinfo)} ({record.exitintinfo:#x})")
    for name, value in (("EXITINFO1", record.exitinfo1), ("EXITINFO2", record.exitinfo2)):
        if value:
            parts.append(f"{name} {value:#x}")
    return ", ".join(parts)
