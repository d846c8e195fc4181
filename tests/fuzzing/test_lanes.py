"""Which lane gets the next slice: the one that yields, and every one now and then."""

import pytest

from worldswitch.errors import InputError
from worldswitch.fuzzing.lanes import FLOOR, Lane, choose, describe, make_lanes

PAIR = ("linux-6.1", "linux-6.14")
REST = 5


@pytest.fixture
def lanes() -> list[Lane]:
    return make_lanes(["world-switch", "sequence", "edits"], [PAIR], "amd", ())


def spend(lanes: list[Lane], yields: dict[str, float], slices: int) -> dict[str, float]:
    """Give out slices of 1000 cases; a lane yields so many points for each of them. Returns the time each got."""
    for _ in range(slices):
        lane = choose(lanes, {}, REST)
        assert lane is not None
        gained = lane.features + int(yields[lane.name])
        lane.recent = lane.reward(1000, gained, 0)
        lane.features = gained
        lane.executions += 1000
        lane.slices += 1
    return {lane.name: lane.executions * lane.cost for lane in lanes}


def test_the_lane_that_yields_gets_what_the_floor_leaves(lanes: list[Lane]) -> None:
    spent = spend(lanes, {"world-switch": 0, "sequence": 50, "edits": 0}, 400)
    total = sum(spent.values())
    for name in ("world-switch", "edits"):
        assert FLOOR / len(lanes) * 0.9 <= spent[name] / total <= FLOOR / len(lanes) * 1.3
    assert spent["sequence"] > 0.8 * total


def test_lanes_that_yield_nothing_share_the_time(lanes: list[Lane]) -> None:
    spent = spend(lanes, dict.fromkeys(("world-switch", "sequence", "edits"), 0), 400)
    assert max(spent.values()) < 1.1 * min(spent.values())


def test_a_lane_that_yields_again_is_noticed(lanes: list[Lane]) -> None:
    spend(lanes, {"world-switch": 0, "sequence": 50, "edits": 0}, 100)
    before = {lane.name: lane.executions for lane in lanes}
    spend(lanes, {"world-switch": 0, "sequence": 0, "edits": 50}, 100)
    got = {lane.name: lane.executions - before[lane.name] for lane in lanes}
    assert max(got, key=lambda name: got[name]) == "edits"


def test_a_finding_counts_like_points(lanes: list[Lane]) -> None:
    lane = lanes[0]
    assert lane.reward(1000, 0, 1) == lane.reward(1000, 10, 0) > lane.reward(1000, 0, 0) == 0


def test_lanes_that_fail_rest(lanes: list[Lane]) -> None:
    lanes[0].failures = lanes[1].failures = REST
    assert choose(lanes, {}, REST) is lanes[2]
    lanes[2].failures = REST
    assert choose(lanes, {}, REST) is None


def test_what_is_being_executed_counts_as_spent(lanes: list[Lane]) -> None:
    first = choose(lanes, {}, REST)
    assert first is not None
    second = choose(lanes, {first.name: 4096}, REST)
    assert second is not None
    assert second is not first


def test_every_target_on_every_pair() -> None:
    lanes = make_lanes(["all"], [PAIR, ("xen-4.12", "xen-4.21")], "amd", ())
    assert [lane.name for lane in lanes] == [
        "world-switch:linux-6.1+linux-6.14", "world-switch:xen-4.12+xen-4.21", "sequence",
        "nested:linux-6.1+linux-6.14", "nested:xen-4.12+xen-4.21", "edits",
    ]  # fmt: skip
    described = describe(lanes, "amd", ())
    assert described["lanes"]["edits"]["paths"] == ["linux-6.1", "linux-6.14", "xen-4.12", "xen-4.21"]


def test_one_pair_needs_no_longer_names() -> None:
    assert [lane.name for lane in make_lanes(["nested"], [PAIR], "amd", ())] == ["nested"]


@pytest.mark.parametrize(
    ("targets", "pairs", "words"),
    [
        (["world"], [PAIR], "unknown target 'world'"),
        (["world-switch"], [PAIR, PAIR], "is given twice"),
        (["world-switch"], [("linux-9",)], "unknown path 'linux-9'"),
    ],
)
def test_lanes_that_do_not_exist(targets: list[str], pairs: list[tuple[str, ...]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_lanes(targets, pairs, "amd", ())


def test_slices_grow_and_outweigh_what_they_load(lanes: list[Lane]) -> None:
    lane = lanes[0]
    lengths = []
    for lane.slices in range(6):
        lengths.append(lane.length(0))
    assert lengths == [4096, 8192, 16384, 32768, 32768, 32768]
    assert lane.length(10_000) == 160_000
