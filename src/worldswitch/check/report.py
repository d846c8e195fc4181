"""The verdict of a check, in words and as JSON."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from worldswitch.check.explore import Counterexample, Outcome
from worldswitch.check.reached import Reached
from worldswitch.paths.catalogue import find
from worldswitch.report.terminal import Screen

FORMAT = 1


@dataclass(slots=True)
class PathResult:
    """All parts of a check on one path."""

    path: str  # as it was named
    selected: bool = False  # of the parts only some
    outcomes: list[Outcome] = field(default_factory=list)
    interrupted: bool = False

    @property
    def found(self) -> dict[str, Counterexample]:
        """The smallest counterexample to each signature, over all parts."""
        best: dict[str, Counterexample] = {}
        for outcome in self.outcomes:
            for signature, example in outcome.found.items():
                known = best.get(signature)
                if known is None or (example.cost, example.order) < (known.cost, known.order):
                    best[signature] = example
        return best

    @property
    def reached(self) -> Reached:
        """What the parts reached together."""
        reached = Reached()
        for outcome in self.outcomes:
            reached.join(outcome.reached)
        return reached

    @property
    def finished(self) -> bool:
        """Whether no part was cut short."""
        return not self.interrupted and all(outcome.finished for outcome in self.outcomes)

    @property
    def missing(self) -> list[str]:
        """What a full check reaches and this one did not; of selected parts nothing is expected."""
        return [] if self.selected else self.reached.missing(find(self.path).linux)

    @property
    def scenarios(self) -> int:
        """Scenarios executed and judged."""
        return sum(outcome.progress.runs for outcome in self.outcomes)


def counted(number: int, word: str) -> str:
    """``1 state``, ``1,234 states``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def bound_of(outcome: Outcome) -> str:
    """How far a part went, in words."""
    progress = outcome.progress
    if not outcome.finished:
        return f"cut short: {counted(progress.waiting, 'scenario')} were still waiting"
    if outcome.closed:
        return f"closed: no choice leads to a state that is not known; the longest way has {progress.depth}"
    return f"bounded: every scenario of at most {counted(progress.depth, 'choice')}"


def verdict_of(result: PathResult) -> str:
    """The verdict on a path, in words."""
    found = result.found
    if not result.finished:
        return "no verdict: cut short" + (f", with {counted(len(found), 'finding')} so far" if found else "")
    open_parts = [outcome for outcome in result.outcomes if not outcome.closed]
    closed = len(result.outcomes) - len(open_parts)
    what = f"{counted(closed, 'closed state space')}" if closed else ""
    if open_parts:
        what += (
            " and " if what else ""
        ) + f"every scenario of at most {counted(open_parts[0].progress.depth, 'choice')}"
    return f"{counted(len(found), 'finding') if found else 'no finding'} in {what}"


def lines_of(results: list[PathResult], show: Screen) -> Iterator[str]:
    """The whole report."""
    for number, result in enumerate(results):
        if number:
            yield ""
        yield show.bold(result.path)
        for outcome in result.outcomes:
            progress = outcome.progress
            yield f"  {outcome.space.name.ljust(10)} {outcome.space.about}"
            yield (
                f"             {counted(progress.runs, 'scenario')}, {counted(progress.states, 'state')}; "
                f"with something to choose {progress.visited:,} ({progress.unique:,} unique); {progress.seconds:.1f} s"
            )
            yield f"             {bound_of(outcome)}"
        reached = result.reached
        yield (
            f"  reached    {counted(len(reached.exits), 'kind')} of exit, {counted(len(reached.handlers), 'kind')} of "
            f"handler in {counted(len(reached.contexts), 'context')}, {counted(len(reached.outcomes), 'kind')} of end; "
            f"{counted(len(reached.armed), 'oracle')} had something to judge"
        )
        for name in result.missing:
            yield f"             NOT reached: {name}"
        for signature, example in sorted(result.found.items()):
            yield ""
            yield f"  {show.bad(signature)}"
            yield from show.wrapped(example.finding.message, "    ", "    ")
            yield (
                f"    size {example.cost.instructions}+{example.cost.fields} (events and instructions beyond the path, "
                f"fields): nothing smaller shows it; {counted(example.scenarios, 'scenario')} of its part do"
            )
            if not example.spelled:
                yield f"    no scenario file can say this exactly: {'; '.join(map(str, example.choices))}"
            yield from (f"    {line}".rstrip() for line in example.text.splitlines())
        yield ""
        yield f"  {verdict_of(result)}"
    if len(results) > 1:
        yield ""
        yield from compared(results[0], results[1])


def compared(first: PathResult, second: PathResult) -> Iterator[str]:
    """Where NMI handlers can run, on two paths, over everything explored; runs while rebooting are left out."""
    ours, theirs = first.reached.exposed, second.reached.exposed
    segments = [segment for segment in {**ours, **theirs} if ours.get(segment) != theirs.get(segment)]
    if not segments:
        yield f"NMI handlers can run in the same places and states on {first.path} and {second.path}: {', '.join(ours)}"
    for segment in segments:
        sides = [", ".join(map(str, sorted(side.get(segment, ())))) or "nowhere" for side in (ours, theirs)]
        yield f"NMI handlers can run after {segment}: on {first.path} {sides[0]}; on {second.path} {sides[1]}"


def as_json(results: list[PathResult], depth: int) -> dict[str, Any]:
    """The report for ``--json``."""
    return {"format": FORMAT, "depth": depth, "results": [_path_as_json(result) for result in results]}


def _path_as_json(result: PathResult) -> dict[str, Any]:
    reached = result.reached
    return {
        "path": result.path,
        "verdict": verdict_of(result),
        "finished": result.finished,
        "parts": [
            {
                "name": outcome.space.name,
                "about": outcome.space.about,
                "verdict": outcome.verdict,
                "scenarios": outcome.progress.runs,
                "by_choices": [outcome.by_depth[depth] for depth in range(outcome.progress.depth + 1)],
                "states": outcome.progress.states,
                "visited": outcome.progress.visited,
                "unique": outcome.progress.unique,
                "seconds": round(outcome.progress.seconds, 2),
            }
            for outcome in result.outcomes
        ],
        "reached": {
            "exits": sorted(reached.exits),
            "handlers": sorted(reached.handlers),
            "contexts": [context._asdict() for context in sorted(reached.contexts)],
            "outcomes": sorted(reached.outcomes),
            "oracles": sorted(reached.armed),
            "missing": result.missing,
        },
        "findings": [
            {
                "signature": signature,
                "message": example.finding.message,
                "rules": list(example.finding.rules),
                "size": list(example.cost),
                "choices": [str(choice) for choice in example.choices],
                "spelled": example.spelled,
                "shown_by": example.scenarios,
                "scenario": example.text,
            }
            for signature, example in sorted(result.found.items())
        ],
    }
