"""The goals of the guidance benchmark: each can be met, and needs all of its parts."""

import random
from dataclasses import replace

import pytest
from benchmarks import goals

CORE = goals.Core()
DRAWN = [(n, staged) for drawn in (goals.CHOSEN_ON, goals.HELD_OUT) for staged in (False, True) for n in drawn[staged]]


@pytest.mark.parametrize(("number", "staged"), DRAWN)
def test_a_goal_is_met_by_its_witness(number: int, staged: bool) -> None:
    goal = goals.goal_of(number, staged, CORE)
    assert goal is not None
    run = CORE.run(goals.witness(number, CORE.codec))
    assert goal.met(run)


def test_the_two_sets_are_of_one_size_and_share_nothing() -> None:
    chosen, held = goals.chosen_on(), goals.held_out()
    assert len(chosen) == len(held) == len(DRAWN) // 2
    assert not set(chosen) & set(held)


def test_every_part_of_a_goal_counts() -> None:
    """One condition changed, and the witness does not meet it any more."""
    for number, staged in DRAWN:
        goal = goals.goal_of(number, staged, CORE)
        assert goal is not None
        run = CORE.run(goals.witness(number, CORE.codec))
        name, _ = goal.first_traits[0]
        assert not replace(goal, stop=goal.stop + 1).met(run)
        assert not replace(goal, first=goal.first + 0x1000).met(run)
        assert not replace(goal, second=goal.second + 0x1000).met(run)
        assert not replace(goal, first_traits=((name, 99), *goal.first_traits[1:])).met(run)
        name, _ = goal.second_traits[0]
        assert not replace(goal, second_traits=((name, 99), *goal.second_traits[1:])).met(run)
        assert not replace(goal, handlers=((1, 99, 0), *goal.handlers[1:])).met(run)


def test_uniformly_random_cases_do_not_meet_them() -> None:
    rng = random.Random(3)
    deep = [*goals.chosen_on(), *goals.held_out()]
    for _ in range(300):
        run = CORE.run(rng.randbytes(CORE.codec.length))
        assert not any(goal.met(run) for goal in deep)
