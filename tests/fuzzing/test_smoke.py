"""The smoke check: its three verdicts, and that it says the same every time."""

from dataclasses import replace

import pytest

from worldswitch.fuzzing import smoke
from worldswitch.fuzzing.verdicts import Verdicts, read_verdicts, shipped
from worldswitch.paths.catalogue import find
from worldswitch.text.read import loads


@pytest.fixture(scope="module")
def expected() -> smoke.Smoke:
    return smoke.smoke(shipped())


def test_the_shipped_expectations_hold(expected: smoke.Smoke) -> None:
    assert not expected.unexpected
    assert not expected.blind
    assert expected.exit_code == 0


def test_two_runs_print_the_same(expected: smoke.Smoke) -> None:
    assert smoke.text(smoke.smoke(shipped())) == smoke.text(expected)


def test_a_path_with_the_bug_declared_clean_is_unexpected() -> None:
    paths = {**shipped().paths, "linux-6.1": frozenset[str]()}
    result = smoke.smoke(replace(shipped(), paths=paths), cases=1000)
    assert any("shadow-bleed" in line for line in result.unexpected)
    assert result.exit_code == 1


def test_without_the_quirk_there_is_no_verdict() -> None:
    result = smoke.smoke(shipped(), profile="amd-noquirk")
    assert not result.unexpected
    assert any("known to be there" in line for line in result.blind)
    assert result.exit_code == 3


def test_too_few_cases_give_no_verdict() -> None:
    result = smoke.smoke(shipped(), cases=5)
    assert any("planted" in line or "was reached" in line for line in result.blind)
    assert result.exit_code == 3


def test_a_clean_planted_path_gives_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = replace(find(smoke.PLANTED_PATH), name=smoke.PLANTED)
    monkeypatch.setattr(smoke, "planted", lambda: clean)
    result = smoke.smoke(shipped())
    assert [line for line in result.blind if "planted" in line]
    assert result.exit_code == 3


def test_a_silenced_oracle_gives_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    from worldswitch.oracles import shadow_bleed

    monkeypatch.setattr(shadow_bleed, "judge", lambda run: [])
    assert smoke.smoke(shipped()).exit_code == 3


def test_every_expected_path_exists_and_every_floor_is_named() -> None:
    verdicts = shipped()
    assert isinstance(verdicts, Verdicts)
    assert set(verdicts.paths) >= {"linux-6.1", "linux-6.14"}
    assert verdicts.floors.exits
    assert verdicts.floors.handlers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("format = 2", "format"),
        ("format = 1", "paths"),
        ('format = 1\n[paths.x]\nfindings = "a"', "paths"),
        ("format = 1\n[paths.x]\nfindings = []", "floors"),
    ],
)
def test_a_bad_matrix_is_refused(text: str, message: str) -> None:
    from worldswitch.errors import InputError

    with pytest.raises(InputError, match=message):
        read_verdicts(loads(text, "m.toml"))
