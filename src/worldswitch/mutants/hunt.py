"""The fuzzer on one mutant: how many executions until a verdict differs from the expected one."""

import statistics
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from typing import Final

from worldswitch.fuzzing.local import explore
from worldswitch.fuzzing.targets import Configuration, Target
from worldswitch.fuzzing.verdicts import shipped
from worldswitch.mutants.model import NESTED, SEQUENCE, Mutant
from worldswitch.mutants.planting import planted
from worldswitch.mutants.registry import CONTROL, control, find_mutant, path_of
from worldswitch.nested.expected import expected_findings

CASES: Final = 20_000
"""Executions that a mutant gets with each seed."""

ABSENT_AFTER: Final = 1500
"""Executions after which a signature that the subject always shows by then counts as missing."""

SEEDS: Final = 3

CRASH: Final = "crash"
"""Who objects where the model itself fails."""

MISSING: Final = "smoke.missing"
"""Who objects where a finding that is known to be there is not."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one seed saw of a mutant. ``executions`` is 0 where it saw nothing; ``seconds`` are of processor time."""

    seed: int
    executions: int
    seconds: float
    signatures: tuple[str, ...] = ()  # those of the first case that showed any; the missing one
    expected: int = 0  # executions until the oracle that should object did

    @property
    def oracles(self) -> tuple[str, ...]:
        """Who objected; ``smoke`` where a signature is missing, ``crash`` where the model did not survive."""
        return tuple(dict.fromkeys(signature.partition(".")[0] for signature in self.signatures))


@dataclass(frozen=True, slots=True)
class Result:
    """A mutant and what the seeds saw."""

    name: str
    cases: int
    sightings: tuple[Sighting, ...]

    @property
    def seen(self) -> list[Sighting]:
        """The seeds that caught it."""
        return [sighting for sighting in self.sightings if sighting.executions]

    @property
    def caught(self) -> bool:
        """Every seed caught it."""
        return len(self.seen) == len(self.sightings)

    @property
    def executions(self) -> float:
        """Median executions to detection, of the seeds that caught it."""
        return statistics.median(sighting.executions for sighting in self.seen) if self.seen else 0.0

    @property
    def expected(self) -> float:
        """Median executions until the oracle that should object did, of the seeds in which it did; 0: in none."""
        numbers = [sighting.expected for sighting in self.seen if sighting.expected]
        return statistics.median(numbers) if numbers else 0.0

    @property
    def seconds(self) -> float:
        """Median seconds to detection, likewise."""
        return statistics.median(sighting.seconds for sighting in self.seen) if self.seen else 0.0

    @property
    def oracles(self) -> list[str]:
        """The oracles that objected first, in any seed, most frequent first."""
        names = [name for sighting in self.seen for name in sighting.oracles]
        return sorted(set(names), key=lambda name: (-names.count(name), name))


@cache
def expected(subject: str, nested: bool = False) -> frozenset[str]:
    """The signatures that a subject shows without a mutant planted in the model."""
    if nested:
        return expected_findings()[subject]
    if subject == SEQUENCE:
        return PROGRAM_FINDINGS
    matrix = shipped().paths
    if subject in matrix:
        return matrix[subject]
    return PLANTED_FINDINGS[subject]


PROGRAM_FINDINGS: Final = frozenset({
    "irq-exposure.intr-cannot-exit.guest",
    "shadow-bleed.unexplained-shadow.injection",
    "shadow-bleed.unexplained-shadow.reloaded",
})  # fmt: skip
"""What free host programs show: they are random, and some are wrong."""

PLANTED_FINDINGS: Final = {
    "sti-before-enter": frozenset({
        "lockdep-if-mismatch.irqs-on-with-lockdep-off.sti", "lockdep-if-mismatch.on-prepare-with-irqs-enabled.sti",
        "lockdep-if-mismatch.assert-irqs-disabled.sti",  # after a #DB, whose end told lockdep (S8-74)
    }),
    "sti-before-lockdep-on": frozenset({
        "lockdep-if-mismatch.on-with-irqs-enabled.sti",
        "lockdep-if-mismatch.irqs-on-with-lockdep-off.sti",  # where something comes between the two
    }),
    "lock-in-gap": frozenset({
        "lockdep-if-mismatch.unannotated-irqs-off.enter", "end-state.tracing-changed.end",
    }),
    "prepare-missing-lock-held": frozenset({
        "lockdep-if-mismatch.on-chain-key.enter", "lockdep-order.no-lockdep-hardirqs-on-prepare.enter",
        "end-state.tracing-changed.end",
    }),
    "cli-missing": frozenset({
        "lockdep-if-mismatch.off-with-irqs-enabled.exit", "end-state.if-changed.end", "end-state.tracing-changed.end",
        *(f"irq-exposure.clgi-skipped.{place}" for place in ("clgi", "cli", "end", "enter", "exit", "start", "stgi")),
        *(f"irq-exposure.undocumented.{place}" for place in ("end", "start", "stgi")),
    }),
}  # fmt: skip
"""What path mutants show that serve as subjects themselves."""


def target_of(mutant: Mutant) -> Target:
    """The fuzz target on which a mutant is hunted."""
    if mutant.subject == SEQUENCE:
        return Target(Configuration(SEQUENCE))
    path = mutant.path() if mutant.path else path_of(mutant.subject)
    kind = "nested" if mutant.family == NESTED else "world-switch"
    return Target(Configuration(kind, ()), (replace(path, name=mutant.subject),))


def hunt(mutant: Mutant, seed: int, cases: int = CASES) -> Sighting:
    """Fuzz one mutant with one seed until the oracle that it is for objects, or ``cases`` executions are over."""
    if mutant.missing:
        return _hunt_missing(mutant, seed, cases)
    usual = expected(mutant.subject, mutant.family == NESTED)
    first: Sighting | None = None
    started = time.process_time()
    with closing(_shown(mutant, cases, seed)) as shown:
        for number, found in shown:
            new = tuple(signature for signature in found if signature not in usual)
            if new and first is None:
                first = Sighting(seed, number, time.process_time() - started, new)
            if first and (mutant.oracle in _oracles(new) or _oracles(new) == {CRASH}):
                return replace(first, expected=number)
    return first or Sighting(seed, 0, time.process_time() - started)


def _hunt_missing(mutant: Mutant, seed: int, cases: int) -> Sighting:
    """Whether a signature that the subject shows with this seed is gone; nothing is caught where it shows none."""
    right = _first_shown(control(mutant), mutant.missing, seed, cases)
    budget = min(cases, max(ABSENT_AFTER, right))
    started = time.process_time()
    gone = right > 0 and not _first_shown(mutant, mutant.missing, seed, budget)
    seconds = time.process_time() - started
    if not gone:
        return Sighting(seed, 0, seconds)
    return Sighting(seed, budget, seconds, (f"{MISSING}.{mutant.missing}",), budget)


def _first_shown(mutant: Mutant, signature: str, seed: int, cases: int) -> int:
    """Executions until a mutant shows a signature; 0 where it does not."""
    with closing(_shown(mutant, cases, seed)) as shown:
        return next((number for number, found in shown if signature in found), 0)


def _shown(mutant: Mutant, cases: int, seed: int) -> Generator[tuple[int, dict[str, None]], None, None]:
    """Execution by execution, the signatures that a mutant shows; ends where the model does not survive its defect."""
    with planted(mutant) if mutant.replacements else nullcontext():
        target = target_of(mutant)
        loop = explore(target, cases, seed, [])
        for number in range(1, cases + 1):
            try:
                _, judged = next(loop)
            except Exception as error:  # a crash, as any fuzzer sees it
                yield number, {f"{CRASH}.{type(error).__name__.lower()}.model": None}
                return
            yield number, dict.fromkeys(hit.finding.signature for hit in target.hits(judged))


def _oracles(signatures: Iterable[str]) -> set[str]:
    return {signature.partition(".")[0] for signature in signatures}


def hunt_all(mutants: Iterable[Mutant], seeds: int = SEEDS, cases: int = CASES, jobs: int = 1) -> Iterator[Result]:
    """Every mutant with every seed, ``jobs`` processes at a time; in the order given, the same whatever ``jobs`` is."""
    names = [mutant.name for mutant in mutants]
    if jobs == 1:
        yield from (_task(name, seeds, cases) for name in names)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_task, names, [seeds] * len(names), [cases] * len(names))


def budget(mutant: Mutant, cases: int) -> int:
    """Executions a seed: of ``cases``, a mutant that must stay silent gets a tenth, a control a quarter."""
    if not mutant.equivalent:
        return cases
    return max(1, cases // (4 if mutant.name.startswith(CONTROL) else 10))


def _task(name: str, seeds: int, cases: int) -> Result:
    mutant = find_mutant(name)
    cases = budget(mutant, cases)
    return Result(name, cases, tuple(hunt(mutant, seed, cases) for seed in range(1, seeds + 1)))
