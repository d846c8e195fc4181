"""Whole scenarios for property tests: a few edits of the fuzzer's plainest case, so that Hypothesis can undo them."""

from collections.abc import Iterator
from random import Random

from hypothesis import strategies as st

from worldswitch.errors import InputError
from worldswitch.fuzzing.codec import Codec
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import Run, run_plan
from worldswitch.scenario.model import Scenario

PATHS = ("linux-6.1", "linux-6.14")
CODECS = {name: Codec("world-switch", name) for name in PATHS} | {"sequence": Codec("sequence", "")}
EDITS = 12

Edits = list[tuple[int, int]]


def edits() -> st.SearchStrategy[Edits]:
    """Up to ``EDITS`` slots and the choices they take; a slot counts modulo the slots of its codec."""
    return st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), max_size=EDITS)


def decoded(subject: str, changes: Edits) -> Scenario:
    """The scenario of these edits; ``subject`` is a path's name or ``sequence``."""
    codec = CODECS[subject]
    row = bytearray(codec.length)
    for slot, choice in changes:
        row[slot % codec.length] = choice
    return codec.decode(bytes(row))


def injecting(subject: str, changes: Edits) -> Edits:
    """The choices that inject an event, and make it meet a fault, besides the others."""
    names = [slot.name for slot in CODECS[subject].slots]
    return [*changes, (names.index("vmcb.eventinj"), 1), (names.index("idt.0x68"), 1 + len(changes) % 6)]


def random_edits(count: int, seed: int = 1) -> Iterator[Edits]:
    """The same random edits for the same seed, without Hypothesis: for showing that a property can fail."""
    random = Random(seed)
    for _ in range(count):
        yield [(random.randrange(256), random.randrange(256)) for _ in range(random.randint(1, EDITS))]


def execute(scenario: Scenario, profile: str = "amd", overrides: dict[str, str] | None = None) -> Run:
    """One traced run."""
    return run_plan(compile_scenario(scenario, None, profile, overrides), traced=True)


def executes(scenario: Scenario) -> bool:
    """Whether a changed scenario still is one."""
    try:
        compile_scenario(scenario)
    except InputError:
        return False
    return True
