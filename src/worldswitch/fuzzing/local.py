"""A small feedback loop of our own: seeded, exact, without libFuzzer.

For `smoke`, which must give the same verdict on every machine and without atheris. It keeps every case that reaches a
new point, mutates kept cases, and now and then starts from scratch.
"""

import random
from collections.abc import Iterator
from typing import Final

from worldswitch.fuzzing.mutate import Mutator
from worldswitch.fuzzing.targets import Judged, Target, features

FRESH_EVERY: Final = 4
"""Every so many cases one is drawn afresh instead of mutated."""

SET_ONE_IN: Final = 4
"""A fresh case sets one slot in so many; the rest keep their defaults."""


def explore(target: Target, cases: int, seed: int, seeds: list[bytes]) -> Iterator[tuple[bytes, list[Judged]]]:
    """Executes ``cases`` cases, the seeds first; yields each with its judged runs."""
    rng = random.Random(seed)
    mutator = Mutator(target.codec)
    length = target.codec.length
    kept: list[bytes] = []
    reached: set[int] = set()
    queue = [bytes(length), *seeds]
    for number in range(cases):
        if queue:
            data = queue.pop(0)
        elif number % FRESH_EVERY == 0 or not kept:
            data = bytes(rng.randrange(256) if rng.randrange(SET_ONE_IN) == 0 else 0 for _ in range(length))
        elif number % FRESH_EVERY == 1:
            data = mutator.crossover(rng.choice(kept), rng.choice(kept), length, rng.getrandbits(32))
        else:
            data = mutator.mutate(rng.choice(kept), length, rng.getrandbits(32))
        judged = target.run(data)
        new = set(features(judged)) - reached
        if new:
            reached |= new
            kept.append(data)
        yield data, judged
