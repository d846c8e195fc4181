"""Any bytes are a scenario; a scenario that a case can express comes back from its case."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldswitch.errors import InputError
from worldswitch.fuzzing.codec import Codec
from worldswitch.fuzzing.edits import EditsCodec
from worldswitch.fuzzing.mutate import EDITED_EVERY, FRESH, Mutator, slot_groups
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import run_plan
from worldswitch.nested.codec import NestedCodec
from worldswitch.result import as_json, execute, variants
from worldswitch.scenario.model import DEFAULT_GUEST
from worldswitch.scenario.read import read_scenario, read_text
from worldswitch.scenario.write import scenario_text

CODECS: dict[str, Codec | NestedCodec] = {
    "world-switch": Codec("world-switch", "linux-6.1"),
    "sequence": Codec("sequence", ""),
    "nested": NestedCodec("linux-6.1"),
    "edits": EditsCodec(("linux-6.1", "linux-6.14")),
}
CORPUS = Path(__file__).parents[2] / "corpus"
SEEDS = [file for target in CODECS for file in sorted((CORPUS / target).glob("*.toml"))]

codecs = st.sampled_from(sorted(CODECS)).map(CODECS.__getitem__)


@given(codecs, st.binary(max_size=80))
def test_any_bytes_decode_and_run(codec: Codec | NestedCodec, data: bytes) -> None:
    scenario = codec.decode(data)
    run = run_plan(compile_scenario(scenario))
    assert run.cpu.stop


@given(codecs, st.binary(max_size=80))
def test_canonical_bytes_mean_the_same(codec: Codec | NestedCodec, data: bytes) -> None:
    canonical = codec.canonical(data)
    assert len(canonical) == codec.length
    assert all(value < count for value, count in zip(canonical, codec.counts, strict=True))
    assert codec.decode(canonical) == codec.decode(data)


@given(codecs, st.binary(max_size=80))
def test_a_case_and_its_file_run_alike(codec: Codec | NestedCodec, data: bytes) -> None:
    scenario = codec.decode(data)
    again = read_text(scenario_text(scenario))
    first, second = (execute(s, next(variants(s, []))) for s in (scenario, again))
    ours, theirs = as_json(first), as_json(second)
    del ours["scenario"], theirs["scenario"]
    assert ours == theirs


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_zeros_are_the_plainest_case(codec: Codec | NestedCodec) -> None:
    scenario = codec.decode(b"")
    assert not scenario.settings
    assert not scenario.events
    assert scenario.guest.program == DEFAULT_GUEST
    assert scenario.rounds == 1


@given(codecs, st.binary(min_size=60, max_size=60), st.integers(0, 59), st.integers(0, 255))
def test_one_byte_changes_one_choice(codec: Codec | NestedCodec, data: bytes, place: int, value: int) -> None:
    place %= codec.length
    changed = data[:place] + bytes([value]) + data[place + 1 :]
    before, after = codec.chosen(data), codec.chosen(changed)
    assert sum(a != b for a, b in zip(before, after, strict=True)) <= 1


@pytest.mark.parametrize("file", SEEDS, ids=[f"{file.parent.name}/{file.stem}" for file in SEEDS])
def test_every_seed_is_a_case_and_says_why_it_is_there(file: Path) -> None:
    scenario = read_scenario(file)
    codec = CODECS[file.parent.name]
    again = codec.decode(codec.encode(scenario))
    assert scenario.about
    assert again.nested == scenario.nested
    assert (again.settings, again.guest, again.events) == (scenario.settings, scenario.guest, scenario.events)
    assert (again.rounds, again.between) == (scenario.rounds, scenario.between)
    if not scenario.path:
        assert again.host == scenario.host


def test_what_no_case_expresses_is_refused() -> None:
    text = 'format = 1\n[host]\npath = "linux-6.1"\n[vmcb]\nasid = 77\n'
    with pytest.raises(InputError, match=r"vmcb\.asid"):
        CODECS["world-switch"].encode(read_text(text))


@given(codecs, st.binary(max_size=80), st.binary(max_size=80), st.integers(0, (1 << 32) - 1))
def test_mutation_and_crossover_are_pure_and_stay_cases(
    codec: Codec | NestedCodec, data: bytes, other: bytes, seed: int
) -> None:
    mutator = Mutator(codec)
    makers: tuple[Callable[[], bytes], ...] = (
        lambda: mutator.mutate(data, codec.length, seed),
        lambda: mutator.crossover(data, other, codec.length, seed),
    )
    for make in makers:
        result = make()
        assert result == make()
        assert len(result) == codec.length


def test_mutation_reaches_every_choice_of_every_slot() -> None:
    codec = CODECS["world-switch"]
    mutator = Mutator(codec)
    reached = [set() for _ in range(codec.length)]  # type: list[set[int]]
    data = bytes(codec.length)
    for seed in range(60_000):
        for slot, value in zip(reached, mutator.mutate(data, codec.length, seed * 2654435761 % (1 << 32)), strict=True):
            slot.add(value)
    counts = list(codec.counts)
    assert [len(values) for values in reached if len(values) < 40] == [count for count in counts if count < 40]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_groups_hold_every_slot_once(codec: Codec | NestedCodec) -> None:
    groups = slot_groups([slot.name for slot in codec.slots])
    assert sorted(number for group in groups for number in group) == list(range(codec.length))
    assert all(len(group) < codec.length / 2 for group in groups)


def test_groups_are_thinned_each_for_itself() -> None:
    """Of two groups either may be full where the other one is empty."""
    codec = CODECS["world-switch"]
    names = [slot.name for slot in codec.slots]
    gates = [n for n, name in enumerate(names) if name.startswith("idt.")]
    guest = [n for n, name in enumerate(names) if name in {f"guest{k}" for k in range(6)}]
    mutator = Mutator(codec)
    shapes = set()
    for seed in range(400):
        row = mutator.draw(seed)
        shares = [sum(row[n] > 0 for n in group) / len(group) for group in (gates, guest)]
        shapes.add(tuple(share > 0.8 for share in shares if share > 0.8 or share < 0.2))
    assert {(True, False), (False, True), (True, True), (False, False)} <= shapes


def test_rounds_are_never_thinned_and_a_program_is_whole_or_the_plain_one() -> None:
    codec = CODECS["world-switch"]
    names = [slot.name for slot in codec.slots]
    mutator = Mutator(codec)
    rows = [codec.canonical(mutator.draw(seed)) for seed in range(600)]
    one_round = sum(row[names.index("rounds")] == 0 for row in rows)
    assert 600 / 8 * 0.6 < one_round < 600 / 8 * 1.4
    lengths = [
        sum(row[n] > 0 for n, name in enumerate(names) if name in {f"guest{k}" for k in range(6)}) for row in rows
    ]
    assert {0, 6} <= set(lengths) <= {0, 3, 4, 5, 6}
    assert lengths.count(0) > 150


def test_most_cases_are_new_and_some_are_edits() -> None:
    """An edit is near its parent, a new case is not."""
    codec = CODECS["world-switch"]
    mutator, rng = Mutator(codec), random.Random(5)
    parent = codec.canonical(rng.randbytes(codec.length))
    near = 0
    for call in range(FRESH + 800):
        case = codec.canonical(mutator.mutate_or_draw(parent, codec.length, rng.getrandbits(32)))
        distance = sum(a != b for a, b in zip(case, parent, strict=True))
        near += distance <= 10
        assert call >= FRESH or not near
    assert 800 / EDITED_EVERY / 2 < near < 800 / EDITED_EVERY * 2
