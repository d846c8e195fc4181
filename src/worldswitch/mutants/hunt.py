"""The fuzzer on one mutant: how many executions until a verdict differs from the expected one."""

import statistics
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from typing import Final

from worldswitch.fuzzing.local import explore
from worldswitch.fuzzing.targets import PROGRAM, Configuration, Target
from worldswitch.fuzzing.verdicts import shipped
from worldswitch.mutants.model import SEQUENCE, Mutant
from worldswitch.mutants.planting import planted
from worldswitch.mutants.registry import find_mutant, path_of

CASES: Final = 20_000
"""Executions that a mutant gets with each seed."""

ABSENT_AFTER: Final = 1500
"""Executions after which a signature that the subject always shows by then counts as missing."""

SEEDS: Final = 3


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one seed saw of a mutant. ``executions`` is 0 where it saw nothing."""

    seed: int
    executions: int
    seconds: float
    signatures: tuple[str, ...] = ()  # those of the first case that showed any; the missing one

    @property
    def oracles(self) -> tuple[str, ...]:
        """Who objected; ``smoke`` where a signature is missing."""
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
    def seconds(self) -> float:
        """Median seconds to detection, likewise."""
        return statistics.median(sighting.seconds for sighting in self.seen) if self.seen else 0.0

    @property
    def oracles(self) -> list[str]:
        """The oracles that objected first, in any seed, most frequent first."""
        names = [name for sighting in self.seen for name in sighting.oracles]
        return sorted(set(names), key=lambda name: (-names.count(name), name))


@cache
def expected(subject: str) -> frozenset[str]:
    """The signatures that a subject shows without a mutant planted in the model."""
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
    "sti-before-lockdep-on": frozenset({"lockdep-if-mismatch.on-with-irqs-enabled.sti"}),
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
    return Target(Configuration("world-switch", ()), (replace(path, name=mutant.subject),))


def hunt(mutant: Mutant, seed: int, cases: int = CASES) -> Sighting:
    """Fuzz one mutant with one seed until an oracle says something new, or ``cases`` executions are over."""
    usual = expected(mutant.subject)
    missing = bool(mutant.missing)
    with planted(mutant) if mutant.replacements else nullcontext():
        target = target_of(mutant)
        cases = ABSENT_AFTER if missing else cases
        loop = explore(target, cases, seed, [])
        started = time.perf_counter()
        for number in range(1, cases + 1):
            try:
                _, judged = next(loop)
            except Exception as error:  # the model does not survive its own defect: a crash, as any fuzzer sees it
                return Sighting(
                    seed, number, time.perf_counter() - started, (f"crash.{type(error).__name__.lower()}.model",)
                )
            found = dict.fromkeys(hit.finding.signature for hit in target.hits(judged))
            if missing and mutant.missing in found:
                return Sighting(seed, 0, time.perf_counter() - started)
            new = tuple(signature for signature in found if signature not in usual)
            if new and not missing:
                return Sighting(seed, number, time.perf_counter() - started, new)
        seconds = time.perf_counter() - started
    return (
        Sighting(seed, cases, seconds, (f"smoke.missing.{mutant.missing}",)) if missing else Sighting(seed, 0, seconds)
    )


def hunt_all(mutants: Iterable[Mutant], seeds: int = SEEDS, cases: int = CASES, jobs: int = 1) -> Iterator[Result]:
    """Every mutant with every seed, ``jobs`` processes at a time; in the order given, the same whatever ``jobs`` is."""
    names = [mutant.name for mutant in mutants]
    if jobs == 1:
        yield from (_task(name, seeds, cases) for name in names)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_task, names, [seeds] * len(names), [cases] * len(names))


def _task(name: str, seeds: int, cases: int) -> Result:
    mutant = find_mutant(name)
    return Result(name, cases, tuple(hunt(mutant, seed, cases) for seed in range(1, seeds + 1)))


__all__ = ["PROGRAM", "Result", "Sighting", "expected", "hunt", "hunt_all", "target_of"]
