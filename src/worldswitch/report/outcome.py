"""What follows a timeline: exits, findings, what was expected, and how two implementations differ."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worldswitch.machine.run import Run
from worldswitch.machine.trace import STOPS
from worldswitch.oracles.finding import Finding, State
from worldswitch.oracles.nmi_exposure import Difference, compare
from worldswitch.report.terminal import Screen
from worldswitch.result import Result, as_json


def outcome(result: Result, screen: Screen) -> Iterator[str]:
    """The lines of one run: how it ended, its exits, and everything the oracles say."""
    run, verdict = result.run, result.verdict
    yield f"  ended: {STOPS[run.cpu.stop]}"
    observed = as_json(result)
    for record in observed["exits"]:
        yield from screen.wrapped(f"exit {record['round']}: {_exit(record)}", "  ", "      ")
    for record in observed.get("vmcb12", ()):
        yield from screen.wrapped(f"exit {record['number']} to L1: {_exit(record)}", "  ", "      ")
    for finding in verdict.findings:
        yield screen.bad(f"  finding: {finding.signature}")
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


def differences(results: Sequence[Result]) -> Iterator[tuple[Result, Result, list[Difference]]]:
    """How each later run differs from the first in what it exposes to handlers.

    Only runs on two different paths are compared: these are two implementations.
    """
    first = results[0]
    for other in results[1:]:
        if first.run.plan.path and other.run.plan.path and other.path != first.path:
            yield first, other, compare(first.run, other.run)


def difference_lines(results: Sequence[Result], screen: Screen) -> Iterator[str]:
    """``differences`` as text."""
    for first, other, found in differences(results):
        yield screen.bold(f"{first.path} and {other.path}")
        for handler in ("nmi", "exception"):
            own = [difference for difference in found if difference.handler == handler]
            if not own:
                yield f"  {handler} handlers: exposed to the same states"
            for difference in own:
                where = f"after {difference.place}" if handler == "nmi" else f"from {difference.place}"
                states = f"{_states(difference.first)} on {first.path}, {_states(difference.second)} on {other.path}"
                known = f"documented: {difference.documented}" if difference.documented else "not documented"
                text = f"{handler} handlers {where}: {states} ({known}; {', '.join(difference.rules)})"
                yield from screen.wrapped(text, "  ", "      ")


def difference_as_json(other: str, difference: Difference) -> dict[str, object]:
    """One difference from the run on path ``other``."""
    return {
        "compared_with": other,
        "handler": difference.handler,
        "place": difference.place,
        "there": [str(state) for state in difference.first],
        "here": [str(state) for state in difference.second],
        "documented": difference.documented or None,
        "rules": list(difference.rules),
    }


def _exit(record: Mapping[str, Any]) -> str:
    """One exit, from its entry in the JSON document."""
    parts = [f"{record['name']} ({record['exit_code']}) at {record['where']}"]
    int_state = int(record["int_state"], 16)
    parts.append(f"int_state {int_state if int_state < 10 else record['int_state']}")
    if record["exitintinfo"] != "0x0":
        parts.append(f"EXITINTINFO {record['exitintinfo_name']} ({record['exitintinfo']})")
    parts += [f"{key.upper()} {record[key]}" for key in ("exitinfo1", "exitinfo2") if record[key] != "0x0"]
    return ", ".join(parts)


def evidence(run: Run, finding: Finding) -> str:
    """The rules a finding rests on, and the steps that show it."""
    rows = run.trace.rows if run.trace else []
    places = {row.step: row.where for row in rows}
    steps = [f"{step} ({places[step]})" if step in places else str(step) for step in dict.fromkeys(finding.steps)]
    shown = [f"rules {', '.join(finding.rules)}"] if finding.rules else []
    if steps:
        shown.append(f"step{'s' if len(steps) > 1 else ''} {', '.join(steps)}")
    if finding.level:
        shown.append(f"seen by {finding.level}")
    return "; ".join(shown)


def _states(states: tuple[State, ...]) -> str:
    return " or ".join(f"[{state}]" for state in states) or "never"
