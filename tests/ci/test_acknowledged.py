"""Acknowledged findings: what they cover, when they end, and that nothing is hidden."""

import datetime
import json
from pathlib import Path

import pytest
from tests.commands.conftest import Cli, cli
from tests.page.campaigns import write_campaign, write_finding

from worldswitch.errors import InputError
from worldswitch.fuzzing import smoke
from worldswitch.fuzzing.acknowledged import Entry, entry_text, parse, read_acknowledged, sort
from worldswitch.fuzzing.verdicts import Floors, Verdicts
from worldswitch.text.read import loads

__all__ = ["cli"]  # the fixture

BLEED = "shadow-bleed.unexplained-shadow.injection"
TODAY = datetime.date(2026, 11, 25)
DAY = datetime.timedelta(days=1)
NONE = Floors(frozenset(), frozenset(), frozenset(), 0, 0)


def entry(signature: str = BLEED, path: str = "", until: datetime.date | None = None) -> Entry:
    return Entry(signature, "known", path, until=until)


@pytest.mark.parametrize(
    ("given", "covered"),
    [
        (entry(), True),
        (entry(path="linux-6.1"), True),
        (entry(path="linux-6.14"), False),
        (entry("shadow-bleed.*"), True),
        (entry("shadow-bleed"), False),
        (entry("nmi-exposure.*"), False),
        (entry(until=TODAY), True),
    ],
)
def test_what_an_entry_covers(given: Entry, covered: bool) -> None:
    result = sort([(BLEED, "linux-6.1")], [given], TODAY)
    assert bool(result.acknowledged) is covered
    assert bool(result.new) is not covered
    assert bool(result.unmatched) is not covered


def test_an_expired_entry_makes_the_finding_new_and_is_said() -> None:
    result = sort([(BLEED, "linux-6.1")], [entry(until=TODAY - DAY)], TODAY)
    assert result.new == [(BLEED, "linux-6.1")]
    assert not result.unmatched
    (line,) = result.lines()
    assert BLEED in line
    assert "2026-11-24" in line


def test_of_two_entries_the_one_in_force_counts() -> None:
    result = sort([(BLEED, "linux-6.1")], [entry(until=TODAY - DAY), entry("shadow-bleed.*")], TODAY)
    assert not result.new
    assert not result.unmatched


def test_an_entry_for_what_is_not_seen_is_said() -> None:
    document = loads(f"format = 1\n\n{entry_text(entry(path='linux-6.14'))}", "known.toml")
    (line,) = sort([(BLEED, "linux-6.1")], parse(document), TODAY).lines()
    assert line.startswith("known.toml:3: ")
    assert "linux-6.14" in line


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "format"),
        ("format = 2", "format 1"),
        ("format = 1\nacknowledged = 3", "tables"),
        ("format = 1\n[[acknowledged]]\nsignature = 'a.b.c'", "missing"),
        ("format = 1\n[[acknowledged]]\nreason = 'x'", "missing"),
        ("format = 1\n[[acknowledged]]\nsignature = 'a.b.c'\nreason = ' '", "not empty"),
        ("format = 1\n[[acknowledged]]\nsignature = '*'\nreason = 'x'", "beginning of one"),
        ("format = 1\n[[acknowledged]]\nsignature = 'a.*.c'\nreason = 'x'", "beginning of one"),
        ("format = 1\n[[acknowledged]]\nsignature = 'a.b.c'\nreason = 'x'\nuntil = '2026-01-01'", "a date"),
        ("format = 1\n[[acknowledged]]\nsignature = 'a.b.c'\nreason = 'x'\nutnil = 2026-01-01", "unknown field"),
    ],
)
def test_bad_files_are_one_clear_line(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        parse(loads(text, "known.toml"))
    assert "known.toml" in str(caught.value)


def test_what_is_written_is_read_again() -> None:
    given = Entry("a.b.*", 'he said "no"\n\ttwice \x7f \\ ä', "a path", "me", TODAY, TODAY + DAY)
    (read,) = parse(loads(f"format = 1\n{entry_text(given)}", ""))
    assert read == given._replace(line=read.line)


def test_the_command_adds_an_entry_and_keeps_what_is_there(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "acknowledged.toml"
    assert cli("acknowledge", BLEED, "--reason", "first", "--file", file).code == 0
    file.write_text(file.read_text() + "# a comment\n")
    assert cli("acknowledge", f"somewhere/{BLEED}/", "--path", "linux-6.1", "--reason", "x", "--file", file).code == 0
    assert "# a comment" in file.read_text()
    assert [(e.signature, e.path) for e in read_acknowledged(str(file))] == [(BLEED, ""), (BLEED, "linux-6.1")]
    again = cli("acknowledge", BLEED, "--reason", "twice", "--file", file)
    assert again.code == 2
    assert "already" in again.err
    assert cli("acknowledge", BLEED, "--reason", "x", "--until", "soon", "--file", file).code == 2
    assert cli("acknowledge", "Not a signature", "--reason", "x", "--file", file).code == 2


def test_smoke_passes_with_an_acknowledged_finding_and_shows_it() -> None:
    declared_clean = Verdicts({"linux-6.1": frozenset()}, NONE)
    found = smoke.smoke(declared_clean, cases=400)
    assert found.exit_code == 1
    known = [entry("shadow-bleed.unexplained-shadow.*", "linux-6.1")]
    result = smoke.smoke(declared_clean, cases=400, acknowledged=known)
    assert not result.unexpected
    assert result.found == found.found
    assert f"acknowledged: {BLEED} on linux-6.1: known" in smoke.text(result)


def test_smoke_acknowledges_nothing_for_another_path(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "acknowledged.toml"
    file.write_text(f"format = 1\n{entry_text(entry(path='linux-6.14'))}")
    shown = json.loads(cli("smoke", "--cases", 50, "--acknowledged", file, "--json").out)
    assert shown["acknowledged"]["unmatched"] == [{"signature": BLEED, "path": "linux-6.14"}]


def test_status_and_report_show_it_and_only_new_ones_count(cli: Cli, tmp_path: Path) -> None:
    directory = write_campaign(tmp_path / "campaign")
    write_finding(directory)
    file = tmp_path / "acknowledged.toml"
    assert cli("status", directory).code == 1
    file.write_text(f"format = 1\n{entry_text(entry(path='linux-6.1'))}")
    shown = cli("status", directory, "--acknowledged", file)
    assert shown.code == 0
    assert f"acknowledged: {BLEED} on linux-6.1: known" in shown.out
    assert "acknowledged" in cli("report", directory, "--acknowledged", file).out
    document = json.loads(cli("status", directory, "--acknowledged", file, "--json").out)
    assert document["acknowledged"]["new"] == []
    file.write_text(f"format = 1\n{entry_text(entry(until=TODAY - 9999 * DAY))}")
    assert cli("status", directory, "--acknowledged", file).code == 1


def test_a_campaign_with_acknowledged_findings_alone_succeeds(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="fuzzing needs atheris")
    file, sarif_file, junit_file = (tmp_path / name for name in ("acknowledged.toml", "f.sarif", "f.xml"))
    words = ("fuzz", "--runs", 600, "--out", tmp_path / "campaign", "--seeds", "corpus/world-switch",
             "--sarif", sarif_file, "--junit", junit_file)  # fmt: skip
    assert cli(*words).code == 1
    assert 'failures="1"' in junit_file.read_text()
    file.write_text(f"format = 1\n{entry_text(entry('shadow-bleed.*'))}")
    shown = cli(*words, "--acknowledged", file)
    assert shown.code == 0
    assert f"acknowledged: {BLEED} on linux-6.1: known" in shown.out
    results = json.loads(sarif_file.read_text())["runs"][0]["results"]
    assert results
    assert all(result["suppressions"] for result in results)
