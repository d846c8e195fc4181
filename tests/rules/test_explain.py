import json
from collections.abc import Callable
from pathlib import Path

import pytest

from worldswitch.errors import InputError
from worldswitch.rules.explain import explain_rule, rule_as_json
from worldswitch.rules.facts import invariants, known_ids, rows, rules
from worldswitch.rules.left_out import left_out

Checkout = Callable[[dict[str, str]], Path]

FILES = {
    "tests/scenarios/t-098.toml": "[expect]\n",
    "tests/test_a.py": "def test_algorithm():\n    '''S6-72, I-04'''\n",
}


def unwrapped(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("name", ["S2-70", "S6-72", "S9-20", "S2-75", "S6-09", "T-098", "T-120", "I-04"])
def test_lines_fit(name: str, make_checkout: Checkout) -> None:
    text = explain_rule(name, make_checkout(FILES))
    assert text == text.rstrip()
    assert all(len(line) <= 100 and line == line.rstrip() for line in text.splitlines())


def test_a_rule(make_checkout: Checkout) -> None:
    checkout = make_checkout(FILES)
    rule = rules()["S6-72"]
    text = unwrapped(explain_rule("s6-72", checkout))
    assert text.startswith("S6-72 certain (section 6.5, EXITINTINFO)")
    assert rule.text in text
    assert "source: APM2 §15.7.3 APM2: AMD64 APM vol. 2 (24593)" in text
    assert "status: implemented code: core/delivery.py:" in text
    assert "tests: tests/test_a.py:2 test_algorithm" in text
    assert "T-098 tests/scenarios/t-098.toml" in text


def test_the_options_that_rest_on_a_rule(make_checkout: Checkout) -> None:
    text = unwrapped(explain_rule("S2-70", make_checkout({})))
    assert "bleed_sti_shadow = off | on-injection-exit (default) | qemu-old: What a host STI shadow" in text
    assert "options:" not in explain_rule("S2-01", make_checkout({}))


def test_a_rule_without_tests_says_so(make_checkout: Checkout) -> None:
    assert "tests: none" in unwrapped(explain_rule("S2-70", make_checkout({})))
    assert "T-098 no test" in unwrapped(explain_rule("S6-72", make_checkout({})))


def test_a_rule_that_is_left_out_says_why(make_checkout: Checkout) -> None:
    group = left_out().groups[0]
    assert f"status: left out: {group.reason}" in unwrapped(explain_rule(group.rules[0], make_checkout({})))


def test_a_rule_that_follows_names_its_ground(make_checkout: Checkout) -> None:
    rule, ground = next(iter(left_out().follows.items()))
    text = unwrapped(explain_rule(rule, make_checkout({})))
    assert f"status: needs no code of its own: it follows from {', '.join(ground)}" in text


def test_a_rule_that_is_implemented_in_part_says_what_is_missing(make_checkout: Checkout) -> None:
    rule, missing = next(iter(left_out().partly.items()))
    assert f"status: implemented in part: {missing}" in unwrapped(explain_rule(rule, make_checkout({})))


def test_a_row(make_checkout: Checkout) -> None:
    text = unwrapped(explain_rule("T-098", make_checkout(FILES)))
    assert text.startswith("T-098 certain / likely (section 11.5")
    assert "start: EVENTINJ #SS, IDT[12] invalid, #GP intercepted operations: VMRUN expected: exit 4Dh" in text
    assert "rests on: S6-72 It describes the aggregate" in text
    assert "tests: tests/scenarios/t-098.toml:1" in text


def test_an_invariant(make_checkout: Checkout) -> None:
    text = unwrapped(explain_rule("I-04", make_checkout(FILES)))
    assert invariants()["I-04"].text in text
    assert "tests: tests/test_a.py:2 test_algorithm" in text
    assert "see also: S6-94, S2-79" in text


@pytest.mark.parametrize("explain", [explain_rule, rule_as_json])
def test_an_unknown_id(explain: object) -> None:
    assert callable(explain)
    with pytest.raises(InputError, match=r"S2-99.*near it: .*S2-86"):
        explain("S2-99")


def test_rule_as_json(make_checkout: Checkout) -> None:
    result = rule_as_json("S6-72", make_checkout(FILES))
    assert json.loads(json.dumps(result)) == result
    assert {key: result[key] for key in ("format", "id", "kind", "confidence", "section", "status")} == {
        "format": 1,
        "id": "S6-72",
        "kind": "rule",
        "confidence": "certain",
        "section": "6.5",
        "status": "implemented",
    }
    assert result["tests"] == [{"file": "tests/test_a.py", "line": 2, "place": "test_algorithm"}]
    tested = [row for row in result["rows"] if row["tests"]]
    assert tested == [{"id": "T-098", "tests": [{"file": "tests/scenarios/t-098.toml", "line": 1, "place": None}]}]
    assert {"file", "line", "place"} == set(result["code"][0])


def test_row_and_invariant_as_json(make_checkout: Checkout) -> None:
    checkout = make_checkout(FILES)
    row = rule_as_json("T-098", checkout)
    assert (row["kind"], row["expected"], row["rules"]) == ("row", rows()["T-098"].expected, ["S6-72"])
    assert rule_as_json("I-04", checkout)["kind"] == "invariant"


def test_every_id_can_be_explained(root: Path) -> None:
    for name in list(known_ids())[::29]:
        assert explain_rule(name, root).startswith(name)
