"""Open values compute like the values they stand for, and ask only where it matters."""

import doctest
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldswitch.check import values
from worldswitch.check.values import Open, settled

OPERATIONS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda a, b: a & b, lambda a, b: a | b, lambda a, b: a ^ b, lambda a, b: a + b, lambda a, b: a - b,
    lambda a, b: a == b, lambda a, b: a != b, lambda a, b: a < b, lambda a, b: a <= b, lambda a, b: a > b,
    lambda a, b: a >= b,
)  # fmt: skip


def test_the_example() -> None:
    assert doctest.testmod(values).failed == 0


def unasked(name: str) -> None:
    raise AssertionError(f"asked for {name}")


@given(
    st.lists(st.integers(0, 9), min_size=4, max_size=4),
    st.lists(st.integers(0, 9), min_size=2, max_size=2),
    st.integers(0, 9),
)
def test_results_are_tables_of_results(first: list[int], second: list[int], plain: int) -> None:
    a = Open(("x", "y"), tuple(first), (2, 2), unasked)
    b = Open(("y",), tuple(second), (2,), unasked)
    for operation in OPERATIONS:
        for other in (b, plain):
            result = operation(a, other)
            for x, y in product(range(2), range(2)):
                wanted = operation(first[2 * x + y], second[y] if other is b else plain)
                got = result._at({"x": x, "y": y}) if type(result) is Open else result
                assert got == wanted


def test_a_choice_that_does_not_matter_is_not_asked_for() -> None:
    flags = Open(("if", "tf"), (0x202, 0x302, 0x2, 0x102), (2, 2), unasked)
    assert flags & 0x2 == 0x2
    assert bool(flags)
    assert settled(flags) == 0x202


def test_what_matters_is_asked_for_and_the_default_holds() -> None:
    asked: list[str] = []
    flags = Open(("if", "tf"), (0x202, 0x302, 0x2, 0x102), (2, 2), asked.append)
    assert bool(flags & 0x200)
    assert not flags & 0x100
    assert asked == ["if", "tf"]


def test_as_an_index_and_a_key() -> None:
    asked: list[str] = []
    place = Open(("rip",), (1, 2, 0), (3,), asked.append)
    assert "abc"[place] == "b"  # type: ignore[index]  # has __index__
    assert hash(place) == hash(1)
    assert asked == ["rip", "rip"]


def test_both_choices_are_asked_for_where_either_decides() -> None:
    asked: list[str] = []
    either = Open(("x", "y"), (False, True, True, True), (2, 2), asked.append)
    assert not either
    assert asked == ["x", "y"]


def test_the_second_choice_is_not_asked_for_where_only_both_decide() -> None:
    asked: list[str] = []
    both = Open(("x", "y"), (False, False, False, True), (2, 2), asked.append)
    assert not both
    assert asked == ["x"]  # whoever makes that choice is asked for the second


def test_what_it_cannot_do_it_refuses() -> None:
    with pytest.raises(TypeError):
        Open(("x",), (1, 2), (2,), unasked) * 2  # type: ignore[operator]
