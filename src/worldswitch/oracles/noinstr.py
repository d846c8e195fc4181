"""``noinstr``: what objtool would say of the path's text (S8-03, S8-41, S8-44).

- ``call-to-NAME``: a call from .noinstr.text to an instrumentable function outside instrumentation_begin/end;
- ``instrumentation-left-on``: a path that ends between the two;
- ``instrumentation-end-unmatched``: an end without its begin.

It speaks of the calls that the run executed, and once of each function called. Objtool itself sees all of the text,
whatever is executed.
"""

from typing import Final

from worldswitch.core.state import END
from worldswitch.kernel.state import WARN_NOINSTR
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import Finding, segment_of

NAME: Final = "noinstr"


def applies(run: Run) -> str:
    """Only hosts with that rule."""
    return "" if run.kernel.present else "this host has no noinstr rule"


def judge(run: Run) -> list[Finding]:
    """The calls that leave .noinstr.text, and begin and end that do not match."""
    findings = []
    for warning in run.kernel.warnings:
        if warning.kind == WARN_NOINSTR:
            message = f"objtool: {warning.cause} leaves .noinstr.text"
            place, rules = segment_of(run, warning.rip), (warning.rule, "S8-03")
            findings.append(Finding(NAME, warning.cause, place, message, (warning.step,), rules, of_path=True))
    depth = run.kernel.instrumentation
    if run.cpu.stop == END and depth:
        cause = "instrumentation-left-on" if depth > 0 else "instrumentation-end-unmatched"
        call = "instrumentation_begin()" if depth > 0 else "instrumentation_end()"
        message = f"{call} without its counterpart"
        findings.append(Finding(NAME, cause, "end", message, (run.cpu.step,), ("S8-44",), of_path=True))
    return findings
