"""Entry paths for people: the table of all of them, and the listing of one with the state at each boundary."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from worldswitch.core.isa import OP_STI, OP_VMRUN
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import Run, run_plan
from worldswitch.machine.trace import Row
from worldswitch.paths.model import EntryPath
from worldswitch.program.layout import LANDMARKS
from worldswitch.report.columns import WIDE, heads, state
from worldswitch.report.terminal import Screen
from worldswitch.scenario.model import Scenario

_TEXT: Final = 40


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
    """One line a path: name, gap and what it is, its sources below."""
    names = max(len(path.name) for path in paths)
    yield screen.bold(f"{'path'.ljust(names)}  gap  what it is; sources")
    for path in paths:
        between = gap(walk(path))
        first = f"{path.name.ljust(names)}  {'-' if between is None else between:>3}  "
        indent = " " * len(first)
        yield from screen.wrapped(path.about, first, indent)
        for source in path.sources:
            yield from (screen.dim(line) for line in screen.wrapped(source, indent, indent + "  "))
    yield ""
    yield from screen.wrapped("gap: instructions between STI and VMRUN; 0: VMRUN runs in the STI shadow; -: no STI")


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
        "landmarks": {name: layout.where(first) for name, (first, *_) in layout.landmarks.items()},
        "listing": [
            {"place": layout.where(rip), "text": line.instruction.text, "fixup": line.fixup, "noinstr": line.noinstr}
            for rip, line in zip(walked.places, path.lines, strict=True)
        ],
    }
