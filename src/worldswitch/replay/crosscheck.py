"""Random scenarios in the model and on an implementation: every disagreement is a finding, reduced where it can be."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from worldswitch.errors import InputError
from worldswitch.fuzzing.minimize import minimize
from worldswitch.machine.compile import compile_scenario
from worldswitch.replay.answer import cache_directory
from worldswitch.replay.compare import Disagreement, compare
from worldswitch.replay.encode import encode
from worldswitch.replay.generate import scenarios
from worldswitch.replay.observed import HANG, Observed
from worldswitch.replay.record import NotComparable, Record
from worldswitch.replay.run import run_batch
from worldswitch.replay.target import Target
from worldswitch.scenario.model import Scenario

BATCH: Final = 500
"""Runs in one start of the implementation."""

MOST_DRAWN: Final = 50
"""Scenarios drawn for each run asked for, before the check gives up."""

TRIES: Final = {"qemu": 100, "bochs": 30, "kvm": 100}
"""Starts of the implementation that minimising one finding may cost."""

Runner = Callable[[list[Record]], list[Observed | None]]


@dataclass(slots=True)
class Difference:
    """Disagreements of one kind: the first scenario that showed it, minimised where that worked, and how many did."""

    signature: str
    scenario: Scenario
    disagreements: list[Disagreement]
    minimized: Scenario | None = None  # None: alone, in an image of its own, the scenario does not show it
    runs: int = 1


@dataclass(slots=True)
class Crosscheck:
    """The outcome of a check."""

    target: Target
    seed: int
    drawn: int = 0
    runs: int = 0  # compared
    stopped: int = 0  # runs that hung or ended the implementation, as the model says or not
    reasons: Counter[str] = field(default_factory=Counter)  # not comparable, by reason
    differences: list[Difference] = field(default_factory=list)


def crosscheck(
    target: Target,
    runs: int,
    seed: int,
    overrides: tuple[tuple[str, str], ...] = (),
    progress: Callable[[Crosscheck], None] | None = None,
    run: Runner | None = None,
    reduce: bool = True,
) -> Crosscheck:
    """Compare ``runs`` random scenarios; raises ``InputError``.

    ``overrides`` are model options besides the profile's. ``progress`` is called after each batch. ``run`` takes the
    place of the implementation. With ``reduce`` False findings are not minimised.
    """
    put = run or (lambda records: run_batch(records, cache_directory(), target.name))
    result = Crosscheck(target, seed)
    source = scenarios(seed)
    while result.runs < runs and result.drawn < runs * MOST_DRAWN:
        records = list(islice(_records(source, result, runs, overrides), min(BATCH, runs - result.runs)))
        for record, observed in zip(records, put(records), strict=True):
            if observed is None:
                result.reasons["the run ended before this scenario"] += 1
                continue
            result.runs += 1
            result.stopped += not observed.complete
            found = compare(record, observed, target)
            if found:
                _note(result, record.plan.scenario, found)
        for difference in result.differences:
            if reduce and difference.minimized is None and difference.runs:
                difference.minimized = _minimised(difference, target, overrides, put)
        if progress is not None:
            progress(result)
    return result


def signature(target: Target, found: list[Disagreement]) -> str:
    """The name of a kind of disagreement: the implementation, and the observable in which it shows first."""
    kind = found[0].kind.replace("_", "-")
    return f"crosscheck.{target.name}.{kind}"


def _records(
    source: Iterator[Scenario], result: Crosscheck, runs: int, overrides: tuple[tuple[str, str], ...]
) -> Iterator[Record]:
    for scenario in source:
        if result.drawn >= runs * MOST_DRAWN:
            return
        result.drawn += 1
        made = _record(scenario, result.target, overrides)
        if isinstance(made, NotComparable):
            result.reasons[made.reason] += 1
        else:
            yield made


def _record(scenario: Scenario, target: Target, overrides: tuple[tuple[str, str], ...]) -> Record | NotComparable:
    try:
        plan = compile_scenario(scenario, None, target.profile, dict(overrides))
    except InputError as error:
        return NotComparable(error.message)
    return encode(plan, target)


def _note(result: Crosscheck, scenario: Scenario, found: list[Disagreement]) -> None:
    name = signature(result.target, found)
    for difference in result.differences:
        if difference.signature == name:
            difference.runs += 1
            return
    scenario = replace(scenario, profile=result.target.profile)
    result.differences.append(Difference(name, scenario, found))


def _minimised(
    difference: Difference, target: Target, overrides: tuple[tuple[str, str], ...], put: Runner
) -> Scenario | None:
    left = TRIES.get(target.name, 0)

    def shows(candidate: Scenario) -> bool:
        nonlocal left
        made = _record(candidate, target, overrides)
        if isinstance(made, NotComparable) or left <= 0:
            return False
        left -= 1
        (observed,) = put([made])
        if observed is None:
            return False
        if observed.stop == HANG:
            left -= 20  # a hang takes that much longer
        found = compare(made, observed, target)
        return bool(found) and signature(target, found) == difference.signature

    try:
        return minimize(difference.scenario, difference.signature, check=shows)
    except InputError:
        return None
