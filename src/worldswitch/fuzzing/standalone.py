"""The ``fuzz/`` files: a target under libFuzzer's own flags, raising on what the verdict matrix does not expect."""

from typing import Final, NoReturn

from worldswitch.fuzzing.counters import Features
from worldswitch.fuzzing.harness import run_target_main
from worldswitch.fuzzing.mutate import Mutator
from worldswitch.fuzzing.projection import SIZE
from worldswitch.fuzzing.targets import PROGRAM, Configuration, Hit, Target, features
from worldswitch.fuzzing.verdicts import shipped
from worldswitch.nested.expected import expected_findings
from worldswitch.scenario.write import scenario_text

OF_PROGRAMS: Final = frozenset(
    {
        "shadow-bleed.unexplained-shadow.injection",  # VMRUN next to STI (S2-70)
        "shadow-bleed.unexplained-shadow.reloaded",
        "irq-exposure.intr-cannot-exit.guest",  # VMRUN with IF=0 (S5-03)
    }
)
"""What a free host program may show without anything being wrong: it does whatever it is told to."""


class UnexpectedFindingError(AssertionError):
    """A finding that the expected verdict matrix does not hold; the message has the scenario."""

    def __init__(self, hit: Hit, scenario: str) -> None:
        super().__init__(f"{hit.path}: {hit.finding.signature}: {hit.finding.message}\n{scenario}")


def main(target_name: str, argv: list[str]) -> NoReturn:
    """Run a target; ends the process."""
    target = Target(Configuration(target_name))
    mutator = Mutator(target.codec)
    points = Features(SIZE)
    buffer = points.buffer
    expected = expected_findings() if target_name == "nested" else {**shipped().paths, PROGRAM: OF_PROGRAMS}

    def one_input(data: bytes) -> None:
        judged, hits = target.execute(data)
        for point in features(judged):
            buffer[point] = 1
        for hit in hits:
            if hit.finding.signature not in expected.get(hit.path, ()):
                raise UnexpectedFindingError(hit, scenario_text(target.scenario(data)))

    run_target_main(argv, one_input, mutator=mutator.mutate, crossover=mutator.crossover, features=points)
