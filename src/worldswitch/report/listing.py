"""Entry paths for people: the verdict matrix of all of them, and the listing of one with the state at each boundary."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from worldswitch.core.isa import OP_STI, OP_VMRUN
from worldswitch.fuzzing.matrix import DOCUMENTED, FINDING, NOT_APPLICABLE, OK
from worldswitch.fuzzing.matrix import Row as Verdicts
from worldswitch.fuzzing.matrix import row as verdicts_of
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import Run, run_plan
from worldswitch.machine.trace import Row
from worldswitch.oracles.judge import NAMES
from worldswitch.paths.model import EntryPath
from worldswitch.program.layout import LANDMARKS
from worldswitch.report.columns import WIDE, heads, state
from worldswitch.report.terminal import Screen
from worldswitch.scenario.model import Scenario

_TEXT: Final = 40
_HEADS: Final = ("bleed", "ld-if", "ld-ord", "noinstr", "nmi", "irq", "event", "end", "entry", "arch")
"""The columns of the matrix, in the order of ``oracles.judge.NAMES``."""

_CELLS: Final = {OK: "ok", FINDING: "BAD", DOCUMENTED: "doc", NOT_APPLICABLE: "-"}
_ALSO: Final = {
    "noinstr.call-to-trace-hardirqs-on": "local_irq_enable() calls trace_hardirqs_on() out of .noinstr.text (S8-03)",
    "noinstr.call-to-trace-hardirqs-off": "local_irq_disable() calls trace_hardirqs_off() out of it",
}


class Walk(NamedTuple):
    """A path executed once with the plainest scenario: no event, nothing injected, a guest that exits by itself."""

    path: EntryPath
    run: Run
    steps: list[tuple[int, Row]]  # of the path itself, as executed: the Code index and the timeline's row

    @property
    def places(self) -> range:
        """The Code indices of the path."""
        return range(self.run.plan.host.code.start, self.run.plan.host.end)


def walk(path: EntryPath) -> Walk:
    """Execute a path once."""
    run = run_plan(compile_scenario(Scenario(path=path.name), path), traced=True)
    layout = run.plan.host
    index = {layout.where(rip): rip for rip in range(layout.code.start, layout.end)}
    rows = run.trace.rows if run.trace else []
    return Walk(path, run, [(index[row.where], row) for row in rows if row.world == "host" and row.where in index])


def gap(walked: Walk) -> int | None:
    """Instructions executed between STI and VMRUN; 0 means VMRUN in the STI shadow, None that there is no STI."""
    ops = [walked.run.plan.host.code.ops[rip] for rip, _ in walked.steps]
    before = ops[: ops.index(OP_VMRUN)] if OP_VMRUN in ops else []
    return before[::-1].index(OP_STI) if OP_STI in before else None


def table(paths: Sequence[EntryPath], screen: Screen) -> Iterator[str]:
    """The verdict matrix: name, gap and a cell an oracle; why, what the path is, and its sources below."""
    names = max(len(path.name) for path in paths)
    yield screen.bold(f"{'path'.ljust(names)}  gap  {'  '.join(_HEADS)}")
    for path in paths:
        between = gap(walk(path))
        verdicts = verdicts_of(path)
        cells = [_cell(verdicts.cell(name), len(head), screen) for name, head in zip(NAMES, _HEADS, strict=True)]
        yield f"{path.name.ljust(names)}  {'-' if between is None else between:>3}  {'  '.join(cells)}".rstrip()
        yield from screen.wrapped(f"why: {why(between, verdicts)}", "    ", "      ")
        if path.about:
            yield from screen.wrapped(path.about, "    ", "      ")
        for source in path.sources:
            yield from (screen.dim(line) for line in screen.wrapped(source, "      ", "        "))
    yield ""
    yield from screen.wrapped("gap: instructions between STI and VMRUN; 0: VMRUN runs in the STI shadow; -: no STI")
    yield from screen.wrapped(
        "cells, by oracle, of the last check: ok; BAD: a finding; doc: findings, all documented by the path's file; -: "
        "not applicable. Columns: " + ", ".join(f"{h.strip()} = {n}" for h, n in zip(_HEADS, NAMES, strict=True))
    )


def why(between: int | None, verdicts: Verdicts) -> str:
    """One line: why the path bleeds or not, and what else was found."""
    bleeds = any(cause.startswith("shadow-bleed.") for cause in verdicts.findings)
    if between is None:
        reason = "no STI before VMRUN, so that there is no STI shadow" + (
            ", and yet int_state bleeds" if bleeds else ""
        )
    elif between == 0:
        reason = "VMRUN runs in the STI shadow" + (
            ", which bleeds into int_state at an exit during injection (S2-70)" if bleeds else ", and nothing bled"
        )
    else:
        steps = f"{between} instruction{'' if between == 1 else 's'}"
        reason = f"{steps} between STI and VMRUN " + (
            "did not keep int_state from bleeding" if bleeds else "took the shadow (S2-75)"
        )
    others = sorted(cause for cause in verdicts.findings if not cause.startswith("shadow-bleed."))
    return "; ".join([reason, *(_ALSO.get(cause, cause) for cause in others)])


def _cell(verdict: str, width: int, screen: Screen) -> str:
    text = _CELLS[verdict].ljust(width)
    if verdict == FINDING:
        return screen.bad(text)
    return screen.dim(text) if verdict == NOT_APPLICABLE else text


def listing(path: EntryPath, screen: Screen) -> Iterator[str]:
    """One path: where it comes from, and each instruction with the state at the boundary before it."""
    walked = walk(path)
    yield from screen.wrapped(f"{path.name}: {path.about}" if path.about else path.name)
    for source in path.sources:
        yield from screen.wrapped(f"source: {source}", "  ", "    ")
    yield f"  {_gap_in_words(gap(walked))}"
    for kind, segments in (("NMI", path.nmi_segments), ("INTR", path.intr_segments)):
        yield f"  documented: an {kind} may come after {', '.join(_ordered(segments)) or 'nothing'}"
    for known in path.known:
        yield from screen.wrapped(f"documented: {known.signature} ({known.when}): {known.about}", "  ", "    ")
    yield ""
    yield from screen.wrapped(
        "A boundary precedes each instruction: `at` of an event names it by its place. The state is that at the "
        "boundary, with nothing injected and no event. [fixup]: has an exception-table entry; noinstr: in "
        ".noinstr.text."
    )
    yield from _lines(walked, screen)


def _lines(walked: Walk, screen: Screen) -> Iterator[str]:
    layout = walked.run.plan.host
    code = layout.code
    rows = dict(reversed(walked.steps))
    place = max(len("boundary"), *(len(layout.where(rip)) for rip in walked.places))
    yield screen.bold(f"{'boundary'.ljust(place)}  {heads(WIDE)}  instruction")
    previous: Row | None = None
    for rip in walked.places:
        line = walked.path.lines[rip - code.start]
        name = layout.where(rip)
        flags = [f"= {other}" for other, (first, *_) in layout.landmarks.items() if first == rip and other != name]
        flags += [word for word, on in (("[fixup]", line.fixup), ("noinstr", line.noinstr)) if on]
        flags += [f"# {line.comment}"] if line.comment else []
        row = rows.get(rip)
        shown = state(row, previous, WIDE, screen) if row else "not reached".ljust(len(heads(WIDE)))
        yield f"{name.ljust(place)}  {shown}  {code.texts[rip].ljust(_TEXT)}  {'  '.join(flags)}".rstrip()
        previous = row


def _gap_in_words(between: int | None) -> str:
    if between is None:
        return "no STI before VMRUN"
    return f"gap: {between} instruction{'' if between == 1 else 's'} between STI and VMRUN"


def _ordered(segments: frozenset[str]) -> list[str]:
    return sorted(segments, key=LANDMARKS.index)


def path_as_json(path: EntryPath) -> dict[str, Any]:
    """One path of ``paths --json``."""
    walked = walk(path)
    layout = walked.run.plan.host
    verdicts = verdicts_of(path)
    return {
        "name": path.name,
        "file": path.file,
        "about": path.about,
        "sources": list(path.sources),
        "system": path.system,
        "gap": gap(walked),
        "entry": {
            "if": path.entry_if,
            "gif": path.entry_gif,
            "lockdep": path.entry_lockdep,
            "context": path.entry_context,
        },
        "documented": {"nmi": _ordered(path.nmi_segments), "intr": _ordered(path.intr_segments), "hif": path.hif},
        "known": [known._asdict() for known in path.known],
        "verdict": {
            "why": why(gap(walked), verdicts),
            "oracles": {name: verdicts.cell(name) for name in NAMES},
            "findings": sorted(verdicts.findings),
            "documented": sorted(verdicts.documented),
        },
        "landmarks": {name: layout.where(first) for name, (first, *_) in layout.landmarks.items()},
        "listing": [
            {"place": layout.where(rip), "text": line.instruction.text, "fixup": line.fixup, "noinstr": line.noinstr}
            for rip, line in zip(walked.places, path.lines, strict=True)
        ],
    }
