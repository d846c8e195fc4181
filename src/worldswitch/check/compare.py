"""Reduction measured against the truth: what ``minimize`` makes of fuzzed cases, and the smallest scenario there is.

The enumeration goes by the order of size that reduction uses, so for each signature it knows the smallest scenario of
its space. Reduction is given cases of a short, seeded fuzzing run, each with all the incidental choices that fuzzing
makes.
"""

from dataclasses import dataclass
from typing import Any, Final

from worldswitch.check.report import PathResult
from worldswitch.fuzzing.local import explore
from worldswitch.fuzzing.minimize import minimize, size
from worldswitch.fuzzing.targets import Configuration, Target
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.read import read_text

CASES: Final = 3000
"""Cases executed to look for some that show a finding."""

STARTS: Final = 5
"""Cases reduced for each signature, evenly spread over those found."""

SEED: Final = 1


@dataclass(slots=True)
class Comparison:
    """One signature: the smallest scenario there is, and what reduction makes of cases that show it."""

    path: str
    signature: str
    smallest: Scenario
    reduced: list[Scenario]

    @property
    def equal(self) -> int:
        """How many of the reduced scenarios are as small as the smallest."""
        return sum(size(scenario) == size(self.smallest) for scenario in self.reduced)

    @property
    def worst(self) -> Scenario | None:
        """The largest of the reduced scenarios; None where there is none."""
        return max(self.reduced, key=size, default=None)

    def __str__(self) -> str:
        text = f"  {self.path} {self.signature}: smallest {shown(self.smallest)}; "
        if self.worst is None:
            return text + f"no case of {CASES:,} showed it"
        text += f"reduced from {len(self.reduced)} cases: {self.equal} as small"
        return text if self.equal == len(self.reduced) else text + f", the largest {shown(self.worst)}"

    def as_json(self) -> dict[str, Any]:
        """The comparison for ``--json``."""
        return {
            "path": self.path,
            "signature": self.signature,
            "smallest": list(size(self.smallest)),
            "reduced": [list(size(scenario)) for scenario in self.reduced],
            "equal": self.equal,
        }


def shown(scenario: Scenario) -> str:
    """A size in words."""
    instructions, fields, characters, _ = size(scenario)
    return f"{instructions}+{fields} ({characters} characters)"


def compare(result: PathResult, profile: str, options: dict[str, str], cases: int = CASES) -> list[Comparison]:
    """Each signature found on a path; the same every time."""
    found = result.found
    if not found:
        return []
    target = Target(Configuration("world-switch", (result.path,), profile, tuple(options.items())))
    showing: dict[str, list[bytes]] = {signature: [] for signature in found}
    for data, judged in explore(target, cases, SEED, []):
        for hit in target.hits(judged):
            if hit.finding.signature in showing:
                showing[hit.finding.signature].append(data)
    comparisons = []
    for signature, example in sorted(found.items()):
        every = max(1, len(showing[signature]) // STARTS)
        starts = [target.scenario(data) for data in showing[signature][::every][:STARTS]]
        for scenario in starts:
            scenario.path = example.scenario.path
        reduced = [minimize(scenario, signature) for scenario in starts]
        comparisons.append(Comparison(result.path, signature, read_text(example.text), reduced))
    return comparisons
