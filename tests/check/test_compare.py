"""Reduction reaches the smallest scenario there is, for every finding of the shipped matrix."""

from dataclasses import replace

import pytest

from worldswitch.check.compare import Comparison, compare
from worldswitch.check.explore import Explorer
from worldswitch.check.report import PathResult
from worldswitch.check.space import AGAIN, EVERYTHING
from worldswitch.fuzzing.verdicts import shipped
from worldswitch.paths.catalogue import find
from worldswitch.scenario.model import Scenario


@pytest.fixture(scope="module")
def bleeding() -> list[Comparison]:
    return compare(PathResult("linux-6.1", outcomes=[Explorer(AGAIN, find("linux-6.1")).run()]), "amd", {})


def check(comparisons: list[Comparison], path: str) -> None:
    assert {comparison.signature for comparison in comparisons} == shipped().paths[path]
    for comparison in comparisons:
        assert comparison.reduced
        assert comparison.equal == len(comparison.reduced), str(comparison)
        assert str(comparison).endswith(f"reduced from {len(comparison.reduced)} cases: {comparison.equal} as small")


def test_a_bleed_ends_at_the_smallest(bleeding: list[Comparison]) -> None:
    check(bleeding, "linux-6.1")


def test_a_defect_of_the_path_itself_ends_at_the_plain_scenario() -> None:
    result = PathResult("linux-fix-v1", outcomes=[Explorer(EVERYTHING.bounded(0), find("linux-fix-v1")).run()])
    check(compare(result, "amd", {}, cases=100), "linux-fix-v1")


def test_what_reduction_leaves_too_large_shows(bleeding: list[Comparison]) -> None:
    whole = bleeding[-1]
    comparison = replace(whole, reduced=[*whole.reduced, Scenario(path="linux-6.1", rounds=9)])
    assert comparison.equal == len(comparison.reduced) - 1
    assert comparison.worst is comparison.reduced[-1]
    assert "the largest 8+0" in str(comparison)
    assert comparison.as_json()["equal"] == comparison.equal


def test_nothing_found_nothing_compared() -> None:
    result = PathResult("linux-6.14", outcomes=[Explorer(EVERYTHING.bounded(0), find("linux-6.14")).run()])
    assert compare(result, "amd", {}) == []
