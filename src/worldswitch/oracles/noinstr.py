"""``noinstr``: an instrumentable call from .noinstr.text outside instrumentation_begin/end (S8-03, S8-41, S8-44)."""

from typing import Final

from worldswitch.kernel.state import WARN_NOINSTR
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import Finding, segment_of

NAME: Final = "noinstr"


def applies(run: Run) -> str:
    """Only hosts with that rule."""
    return "" if run.kernel.present else "this host has no noinstr rule"


def judge(run: Run) -> list[Finding]:
    """objtool's complaints, as far as the run executed the calls."""
    return [
        Finding(
            NAME,
            w.cause,
            segment_of(run, w.rip),
            f"objtool: {w.cause} leaves .noinstr.text",
            (w.step,),
            (w.rule, "S8-03"),
            "L0",
        )
        for w in run.kernel.warnings
        if w.kind == WARN_NOINSTR
    ]
