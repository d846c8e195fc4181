"""A campaign finds the bleed, keeps what it found, and goes on where it stopped."""

import json
from pathlib import Path

import pytest

from worldswitch.errors import InputError
from worldswitch.fuzzing.files import read_finding_files
from worldswitch.fuzzing.store import Store, write_whole
from worldswitch.scenario.read import read_scenario

pytest.importorskip("atheris", reason="fuzzing needs atheris")

from worldswitch.fuzzing.campaign import Campaign
from worldswitch.fuzzing.lanes import make_lanes
from worldswitch.paths.catalogue import IMPLEMENTATIONS

BLEED = "shadow-bleed.unexplained-shadow.injection"


def campaign(directory: Path, paths: tuple[str, ...] = IMPLEMENTATIONS) -> Campaign:
    return Campaign(make_lanes(["world-switch"], [paths], "amd", ()), directory, lambda _text: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    with campaign(tmp_path_factory.mktemp("campaign") / "out") as result:
        result.run(runs=4096)  # one whole slice: nothing is done again afterwards
        result.reduce()
    return result


def test_the_bleed_is_found_on_the_old_path_alone(finished: Campaign) -> None:
    record = finished.store.records[BLEED]
    assert set(record.paths) == {"linux-6.1"}
    assert not any("linux-6.14" in record.paths for record in finished.store.records.values())


def test_the_reduced_scenario_is_written_and_replays(finished: Campaign) -> None:
    directory = finished.store.finding_directory(BLEED)
    assert {path.name for path in directory.iterdir()} == {"scenario.toml", "minimized.toml", "finding.json"}
    small = read_scenario(directory / "minimized.toml")
    assert small.path == "linux-6.1"
    assert set(small.settings) == {"vmcb.eventinj"}
    data = json.loads((directory / "finding.json").read_text())
    assert data["signature"] == BLEED
    assert data["minimized"]
    assert data["replayed"]


def test_a_second_run_goes_on(finished: Campaign) -> None:
    with campaign(finished.directory) as again:
        again.run(runs=1000)
        assert again.ledger.executions == 5096
        assert BLEED in again.store.records
        assert BLEED not in again.new


def test_another_campaign_in_the_same_directory_is_refused(finished: Campaign) -> None:
    with campaign(finished.directory, ("linux-6.14",)) as other, pytest.raises(InputError, match="another"):
        other.run(runs=1)


def test_the_same_seed_gives_the_same_corpus(tmp_path: Path) -> None:
    corpora = []
    for name in ("a", "b"):
        with campaign(tmp_path / name) as one:
            one.run(runs=1500, seed=7)
        corpora.append(sorted(path.read_bytes() for path in (tmp_path / name / "corpus").rglob("*") if path.is_file()))
    assert corpora[0] == corpora[1]
    assert corpora[0]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 9}', '{"format": 1, "description": {}, "totals": 3}'])
def test_a_damaged_state_file_is_one_clear_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "campaign.json").write_text(content)
    with pytest.raises(InputError) as caught:
        Store(tmp_path).open({}, {})
    assert "campaign.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_finding_is_one_clear_line(tmp_path: Path) -> None:
    write_whole(tmp_path / "findings" / "x.y.z" / "finding.json", '{"format": 1, "signature": "x.y.z"}')
    with pytest.raises(InputError, match=r"finding\.json"):
        read_finding_files(tmp_path)
