"""Every rule is implemented, follows from others, or is left out with a reason: never two of them, never none."""

from collections.abc import Callable
from pathlib import Path

import pytest

from worldswitch.errors import InputError
from worldswitch.rules import evidence
from worldswitch.rules.evidence import LEFT_OUT, UNACCOUNTED, all_evidence, problems, status
from worldswitch.rules.facts import rules
from worldswitch.rules.left_out import FILE, Group, LeftOut, left_out
from worldswitch.rules.table import format_left_out

Checkout = Callable[[dict[str, str]], Path]


def test_every_rule_is_accounted_for(root: Path) -> None:
    assert problems(root) == []


def test_nothing_that_is_unaccounted_for_is_counted_as_left_out(root: Path) -> None:
    found = all_evidence(root)
    words = {rule: status(found[rule]) for rule in rules()}
    assert UNACCOUNTED not in words.values()
    assert {rule for rule, word in words.items() if word == LEFT_OUT} == {r for g in left_out().groups for r in g.rules}


def changed(monkeypatch: pytest.MonkeyPatch, book: LeftOut) -> None:
    monkeypatch.setattr(evidence, "left_out", lambda: book)


def test_a_rule_both_cited_and_left_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = (*left_out().groups, Group("no", "reason", ("S2-70",)))
    changed(monkeypatch, left_out()._replace(groups=groups))
    assert any(line.startswith("S2-70 is cited by core/") for line in problems())


def test_a_rule_neither_cited_nor_left_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    first = left_out().groups[0]
    changed(monkeypatch, left_out()._replace(groups=left_out().groups[1:]))
    for rule in first.rules:
        assert f"{rule} is neither cited by the model's code nor listed in left_out.toml" in problems()


def test_a_rule_listed_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = left_out().groups[0].rules[0]
    changed(monkeypatch, left_out()._replace(follows={**left_out().follows, rule: ("S2-70",)}))
    assert f"left_out.toml: {rule} is listed twice" in problems()


def test_an_unknown_rule_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    changed(monkeypatch, left_out()._replace(partly={**left_out().partly, "S2-99": "no such rule"}))
    assert "left_out.toml: S2-99 is no rule" in problems()


def test_a_consequence_without_ground_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rule, left = next(iter(left_out().follows)), left_out().groups[0].rules[0]
    changed(monkeypatch, left_out()._replace(follows={**left_out().follows, rule: (left,)}))
    assert f"{rule} is to follow from {left}, which no code cites" in problems()


def test_part_of_an_uncited_rule_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = left_out().groups[0].rules[0]
    changed(monkeypatch, left_out()._replace(partly={**left_out().partly, rule: "half"}))
    assert f"{rule} is modelled in part, says left_out.toml, but no code cites it" in problems()


def test_an_id_that_does_not_exist_is_found_in_scenarios(make_checkout: Checkout) -> None:
    checkout = make_checkout({"corpus/seed.toml": "\n# S2-99\n"})
    assert problems(checkout) == ["corpus/seed.toml:2: S2-99 does not exist"]


def test_the_file_is_in_its_canonical_form() -> None:
    assert FILE.read_text(encoding="utf-8") == format_left_out(left_out())


def test_formatting_loses_nothing(tmp_path: Path) -> None:
    book = LeftOut((Group('a "title"', "back\\slash", ("S1-01", "S1-02")),), {"S2-10": ("S2-01",)}, {"S1-03": "é"}, {})
    path = tmp_path / "left_out.toml"
    path.write_text(format_left_out(book), encoding="utf-8")
    assert left_out(path) == book


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[[left_out", "left_out.toml: "),
        ("[other]\n", "left_out.toml: other: no such table"),
        ("left_out = 1\n", "left_out.toml: left_out: expected [[left_out]] tables"),
        ("left_out = [1]\n", "left_out.toml: left_out: expected [[left_out]] tables"),
        ("follows = 1\n", "left_out.toml: follows: expected a table"),
        ('[[left_out]]\nrules = ["S1-01"]\nreason = "r"\n', "left_out.toml: left_out: every group needs a title"),
        ('[[left_out]]\ntitle = "t"\nrules = ["S1-01"]\n', "left_out.toml: left_out: every group needs a reason"),
        ('[[left_out]]\ntitle = "t"\nreason = "r"\n', "left_out.toml: t: expected a list of rule ids"),
        ('[follows]\nS2-10 = "S2-01"\n', "left_out.toml: S2-10: expected a list of rule ids"),
        ("[follows]\nS2-10 = []\n", "left_out.toml: S2-10: expected a list of rule ids"),
        ("[partly]\nS2-10 = 1\n", "left_out.toml: partly.S2-10: expected a reason"),
        ('[options]\nx = ""\n', "left_out.toml: options.x: expected a reason"),
    ],
)
def test_a_malformed_file(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "left_out.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        left_out(path)
    assert str(caught.value).startswith(complaint)


def test_an_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.toml"):
        left_out(tmp_path / "absent.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"bytes\.toml"):
        left_out(tmp_path / "bytes.toml")
