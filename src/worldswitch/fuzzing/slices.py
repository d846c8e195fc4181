"""The fuzzing process of a slice: executes its cases and says, all along, what each signature's count is.

Counts are sent as sums since the slice began, together with the number of cases they are the sums of: whichever message
arrived last is the whole truth of that moment, and a message that is lost with its process is lost with the cases that
it counted.
"""

from typing import Final

from worldswitch.fuzzing.harness import Harness, Send
from worldswitch.fuzzing.mutate import Mutator
from worldswitch.fuzzing.projection import SIZE
from worldswitch.fuzzing.targets import COVERAGE, JOINT, Configuration, Target, features

PULSE: Final = 128
"""Cases between two messages with counts."""


def build(send: Send, configuration: Configuration, cases: int) -> Harness:
    """The harness of a slice of so many cases, in the fuzzing process."""
    from worldswitch.fuzzing.counters import Features

    target = Target(configuration)
    mutator = Mutator(target.codec)
    joint = configuration.guidance != COVERAGE
    points = Features(SIZE)
    buffer = points.buffer
    counts: dict[tuple[str, str], list[int]] = {}  # signature and path to cases and the last of them
    executions = 0

    def one_input(data: bytes) -> None:
        nonlocal executions
        executions += 1
        judged, hits = target.execute(data)
        if joint:
            for point in features(judged):
                buffer[point] = 1
        shown = set()
        for path, finding in hits:
            key = (finding.signature, path)
            if key in shown:
                continue
            shown.add(key)
            count = counts.get(key)
            if count is None:
                count = counts[key] = [0, 0]
                send(
                    {
                        "new": finding.signature,
                        "path": path,
                        "oracle": finding.oracle,
                        "message": finding.message,
                        "rules": list(finding.rules),
                        "case": target.codec.canonical(data).hex(),
                        "execution": executions,
                    }
                )
            count[0] += 1
            count[1] = executions
        if executions % PULSE == 0 or executions >= cases:
            send({"at": executions, "counts": [[*key, *count] for key, count in counts.items()]})

    return Harness(
        one_input, mutator.mutate_or_draw, mutator.cross_or_draw, points if joint else None,
        coverage=configuration.guidance != JOINT,
    )  # fmt: skip
