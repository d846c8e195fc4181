"""A small feedback loop of our own: seeded, exact, without libFuzzer.

For `smoke`, which must give the same verdict on every machine and without atheris. It keeps every case that reaches a
new point, mutates kept cases, and now and then starts from scratch.
"""

import random
from collections.abc import Iterator
from typing import Final

from worldswitch.fuzzing.mutate import Mutator
from worldswitch.fuzzing.targets import Judged, Target, features

KEPT_EVERY: Final = 4
"""One case in so many comes from those that were kept; the others are drawn afresh, which finds more."""


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
        elif number % KEPT_EVERY or not kept:
            data = mutator.draw(rng.getrandbits(32))
        elif number % (2 * KEPT_EVERY):
            data = mutator.crossover(rng.choice(kept), rng.choice(kept), length, rng.getrandbits(32))
        else:
            data = mutator.mutate(rng.choice(kept), length, rng.getrandbits(32))
        judged = target.run(data)
        new = set(features(judged)) - reached
        if new:
            reached |= new
            kept.append(data)
        yield data, judged
