"""Random scenarios in the model and on an implementation: every disagreement is a finding, reduced where it can be."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from worldswitch.core.bits import EVENT_V
from worldswitch.errors import InputError
from worldswitch.machine.compile import compile_scenario
from worldswitch.replay.answer import cache_directory
from worldswitch.replay.compare import Disagreement, compare
from worldswitch.replay.encode import encode
from worldswitch.replay.generate import scenarios
from worldswitch.replay.observed import Observed
from worldswitch.replay.record import NotComparable, Record
from worldswitch.replay.reduce import Reduction
from worldswitch.replay.run import run_batch
from worldswitch.replay.target import Target
from worldswitch.scenario.model import Scenario

BATCH: Final = 500
"""Runs in one start of the implementation."""

MOST_DRAWN: Final = 50
"""Scenarios drawn for each run asked for, before the check gives up."""

LOW_SHARE: Final = 0.5
"""Below this share of the drawn scenarios being comparable, the check says so."""

Runner = Callable[[list[Record]], list[Observed | None]]


@dataclass(slots=True)
class Difference:
    """Disagreements of one kind: the first scenario that showed it, minimised where that worked, and how many did."""

    signature: str
    scenario: Scenario
    disagreements: list[Disagreement]
    minimized: Scenario | None = None  # None: alone, in an image of its own, the scenario does not show it
    reduced: bool = False  # it was tried
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
    exits: Counter[str] = field(default_factory=Counter)  # observed in the runs compared, by name
    shown: Counter[str] = field(default_factory=Counter)  # what else was observed in them: ``SHOWN``
    differences: list[Difference] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Of the scenarios drawn, how many were compared: 0 to 1."""
        return self.runs / self.drawn if self.drawn else 0.0

    def count(self, observed: Observed) -> None:
        """Count what an implementation showed in one run, so that agreement about nothing is seen to be that."""
        self.runs += 1
        self.stopped += not observed.complete
        self.exits.update(exit["name"] for exit in observed.exits)
        for exit in observed.exits:
            self.shown[DELIVERY] += bool(exit["exitintinfo"] & EVENT_V)
            self.shown[SHADOW] += exit["int_state"] & 1
        for handler in observed.handlers:
            self.shown[GUEST_HANDLER if handler["world"] == "guest" else HOST_HANDLER] += 1
        self.shown[PENDING] += bool(observed.final.get("pending"))


DELIVERY: Final = "exits that report an event under delivery"
SHADOW: Final = "exits with a shadow in int_state"
GUEST_HANDLER: Final = "handlers in the guest"
HOST_HANDLER: Final = "handlers in the host"
PENDING: Final = "runs that end with an event pending"
SHOWN: Final = (DELIVERY, SHADOW, GUEST_HANDLER, HOST_HANDLER, PENDING)


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
    source = scenarios(seed, target)
    while result.runs < runs and result.drawn < runs * MOST_DRAWN:
        records = list(islice(_records(source, result, runs, overrides), min(BATCH, runs - result.runs)))
        for record, observed in zip(records, put(records), strict=True):
            if observed is None:
                result.reasons["the run ended before this scenario"] += 1
                continue
            result.count(observed)
            found = compare(record, observed, target)
            if found:
                _note(result, record.plan.scenario, found)
        for difference in result.differences:
            if reduce and not difference.reduced:
                difference.reduced = True
                difference.minimized = reduce_difference(difference, target, overrides, put)
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


def reduce_difference(
    difference: Difference, target: Target, overrides: tuple[tuple[str, str], ...], put: Runner
) -> Scenario | None:
    """The smallest scenario that still shows it, put to the implementation by ``put``; None where alone it does not."""

    def shows(record: Record, observed: Observed) -> bool:
        found = compare(record, observed, target)
        return bool(found) and signature(target, found) == difference.signature

    return Reduction(lambda scenario: _record(scenario, target, overrides), put, shows).run(difference.scenario)
