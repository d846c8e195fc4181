"""Random scenarios for a crosscheck: cases of the fuzzer's own codecs and mutators, and samples that suit the image.

A case of the fuzzer is seldom comparable: it uses SMIs, breakpoints, other modes and kernel state that an image cannot
follow. ``replay.sample`` draws from the part that it can, so that more questions are asked in a run.
"""

from collections.abc import Iterator
from random import Random
from typing import Final

from worldswitch.fuzzing.codec import Codec
from worldswitch.fuzzing.mutate import Mutator
from worldswitch.paths.catalogue import IMPLEMENTATIONS
from worldswitch.replay.sample import sample
from worldswitch.replay.target import Target
from worldswitch.scenario.model import Scenario

POOL: Final = 64
"""Cases that mutation goes on from, for each codec."""

_MOST_MUTATIONS: Final = 6


class _Source:
    """One codec, and the cases that it made lately."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.mutator = Mutator(codec)
        self.pool: list[bytes] = [bytes(codec.length)]

    def next(self, random: Random) -> Scenario:
        """A case some mutations away from an earlier one, or from the plainest."""
        length = self.codec.length
        data = random.choice(self.pool) if random.random() < 0.5 else bytes(length)
        for _ in range(random.randint(1, _MOST_MUTATIONS)):
            data = self.mutator.mutate(data, length, random.getrandbits(48))
        if random.random() < 0.2:
            data = self.mutator.crossover(data, random.choice(self.pool), length, random.getrandbits(48))
        if len(self.pool) < POOL:
            self.pool.append(data)
        else:
            self.pool[random.randrange(POOL)] = data
        return self.codec.decode(data)


def scenarios(seed: int, target: Target) -> Iterator[Scenario]:
    """Random scenarios without end, the same for the same ``seed``: half of them the fuzzer's cases, half samples.

    The samples leave out what ``target`` does not have.
    """
    random = Random(seed)
    sources = [*(_Source(Codec("world-switch", path)) for path in IMPLEMENTATIONS), _Source(Codec("sequence", ""))]
    while True:
        for source in sources:
            yield source.next(random)
            yield sample(random, target)
