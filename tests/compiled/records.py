"""Prints one line a run for a seeded random corpus: everything that it leaves behind. Run by ``test_same_results``.

python records.py SEED CASES
"""

import hashlib
import random
import sys
from typing import Any

from worldswitch.core import compiled
from worldswitch.fuzzing.targets import Configuration, Target, features

PLAIN = (int, str, bytes, type(None))
SKIPPED = frozenset({"plan", "stretches", "trace", "options", "code", "machine"})
"""What goes into a run and not what comes out of it."""

CONFIGURATIONS = (
    Configuration(paths=("linux-6.1", "linux-6.14", "linux-fix-v1")),
    Configuration(profile="qemu-10"),
    Configuration("sequence"),
    Configuration("nested"),
    Configuration("edits"),
)


def plain(value: Any) -> Any:
    """A value as text that is the same for pure and compiled classes."""
    if isinstance(value, bool):
        return int(value)  # a compiled attribute of type int turns a bool into one
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, dict):
        return sorted((plain(key), plain(content)) for key, content in value.items())
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, (list, tuple)):
        return [plain(element) for element in value]
    names = sorted(name for name in dir(value) if not name.startswith("_") and name not in SKIPPED)
    return [
        (name, plain(content))
        for name, content in ((name, getattr(value, name)) for name in names)
        if not callable(content)
    ]


def main() -> None:
    """Execute each case without and with what the fuzz loop leaves out."""
    seed, cases = int(sys.argv[1]), int(sys.argv[2])
    print("compiled" if compiled() else "pure")
    for number, configuration in enumerate(CONFIGURATIONS):
        target = Target(configuration)
        rng = random.Random(seed + number)
        for case in range(cases):
            rare = rng.choice((2, 5, 12))
            data = bytes(rng.randrange(256) if rng.randrange(rare) == 0 else 0 for _ in range(target.codec.length))
            judged = target.run(data)
            loop, hits = target.execute(data)
            text = repr([plain(target.scenario(data)), plain(judged), plain(target.hits(judged)), features(judged),
                         plain(loop), plain(hits)])  # fmt: skip
            print(number, case, hashlib.sha256(text.encode()).hexdigest(), len(text))


main()
