"""The report: what it says, that it is whole, that nothing in it can break out, and that it says what it leaves out."""

import dataclasses
import itertools
import json
import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.commands.conftest import Cli, cli
from tests.page.campaigns import BLEED, PATHS, SCENARIO, write_campaign, write_finding
from tests.page.pages import Page

from worldswitch.fuzzing.acknowledged import Entry
from worldswitch.fuzzing.records import Event, FailureRecord, Sample
from worldswitch.page import findings, timelines
from worldswitch.page.charts import chart, sheet
from worldswitch.page.page import page
from worldswitch.page.source import Campaign, read_campaign

__all__ = ["cli"]  # the fixture

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\" ' & \u202e"


@pytest.fixture(scope="module")
def bleed(tmp_path_factory: pytest.TempPathFactory) -> Page:
    directory = write_campaign(tmp_path_factory.mktemp("campaign"))
    write_finding(directory)
    campaign = read_campaign(directory)
    samples = [Sample(n, "", n * 500, 500.0, 300 + n, 90 + n, int(n > 1), {"1": 90}) for n in range(0, 1000, 5)]
    events = [Event(1, "2026-11-25", 3.0, "the clock went back")]
    failures = [FailureRecord(1, "2026-11-25", 3.0, 1, "world-switch", 7, "timeout", "hung", "", "00", "crashes/x")]
    campaign.view = dataclasses.replace(campaign.view, samples=samples, events=events, failures=failures)
    return Page(page(campaign))


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def report(directory: Path, *known: Entry) -> Page:
    return Page(page(read_campaign(directory, known)))


def test_it_says_what_was_found_and_what_differs(bleed: Page) -> None:
    for said in (BLEED, "linux-6.14: no finding", "linux-6.1: shadow-bleed objects", "int_state 1", "int_state 0",
                 "unchanged", "IF=1 lockdep=on guest", "the clock went back", "crashes/x"):  # fmt: skip
        assert said in bleed.text
    assert SCENARIO in bleed.texts["code"]
    for command in ("run", "explain", "replay", "export", "promote", "acknowledge"):
        assert f"worldswitch {command} " in bleed.text


def test_both_paths_stand_beside_each_other(bleed: Page) -> None:
    groups = [attributes for attributes in bleed.all("th") if attributes.get("scope") == "colgroup"]
    assert [group["colspan"] for group in groups] == ["7", "7", "4", "4"]  # timelines, then the exposure map


def test_it_loads_nothing(bleed: Page) -> None:
    assert not bleed.all("script", "link", "img", "iframe", "object", "embed", "audio", "video", "form")
    assert all(href.startswith("#") for href in bleed.attribute("href"))
    assert not bleed.attribute("src")
    assert not bleed.attribute("style")
    style = (Path(findings.__file__).parent / "style.css").read_text()
    assert not re.search(r"url\(|@import|expression\(", style)


def test_its_structure_is_one_that_a_screen_reader_follows(bleed: Page) -> None:
    assert bleed.all("html")[0]["lang"] == "en"
    for landmark in ("header", "nav", "main", "footer", "h1", "title"):
        assert len(bleed.all(landmark)) - (landmark == "title") * len(bleed.all("svg")) == 1
    levels = [int(tag[1]) for tag, _ in bleed.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = bleed.attribute("id")
    assert len(ids) == len(set(ids))
    targets = [href[1:] for href in bleed.attribute("href")]
    targets += [name for value in bleed.attribute("aria-labelledby") for name in value.split()]
    assert set(targets) <= set(ids)
    assert len(bleed.all("caption")) == len(bleed.all("table"))
    assert all(attributes.get("scope") for attributes in bleed.all("th"))
    assert all(attributes["role"] == "img" and "aria-labelledby" in attributes for attributes in bleed.all("svg"))
    assert all(attributes.get("tabindex") == "0" for attributes in bleed.all("pre"))


def test_colour_is_never_the_only_sign(bleed: Page) -> None:
    """Everything that the style sheet paints as good, bad or known says so in words."""
    text = "".join(bleed.texts["span"])
    assert "\N{MULTIPLICATION X} new" in text
    assert "\N{CHECK MARK} ok" in text
    assert " objects" in "".join(bleed.texts["p"])


def test_growth_is_drawn_with_its_figures(bleed: Page) -> None:
    lines = bleed.all("polyline")
    assert len(lines) == 5
    assert all(len(line["points"].split()) <= 400 for line in lines)
    assert "States reached went from 300 to 1\N{NARROW NO-BREAK SPACE}295 in 16 min 35 s." in bleed.text


def test_an_empty_campaign(tmp_path: Path) -> None:
    shown = report(write_campaign(tmp_path, executions=0))
    assert "nothing executed yet" in shown.text
    assert "No finding" in shown.text
    assert "Too few samples" in shown.text


def test_a_campaign_without_findings(tmp_path: Path) -> None:
    assert "no finding in 3\N{NARROW NO-BREAK SPACE}000 cases" in report(write_campaign(tmp_path)).text


def test_a_huge_campaign_says_what_is_cut(tmp_path: Path) -> None:
    directory = write_campaign(tmp_path)
    count = findings.OVERVIEW + 7
    for number in range(count):
        write_finding(directory, f"shadow-bleed.cause-{number}.injection", None, first_execution=number)
    shown = report(directory)
    assert len(shown.all("article")) == findings.IN_FULL
    assert "Cut: 7 more findings not listed" in shown.text
    assert f"Cut: {count - findings.IN_FULL} more findings not shown in full" in shown.text


def test_a_long_timeline_and_a_long_scenario_say_what_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timelines, "ROWS", 10)
    monkeypatch.setattr(findings, "SCENARIO", 30)
    directory = write_campaign(tmp_path)
    write_finding(directory)
    text = report(directory).text
    assert re.search(r"Cut: \d+ more lines of \d+ are not shown", text)
    assert re.search(r"\[\d+ more characters\]", text)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    directory = write_campaign(tmp_path, (*PATHS, HOSTILE))
    about = HOSTILE.replace("\\", "\\\\").replace('"', '\\"')
    write_finding(
        directory, scenario=SCENARIO.replace("EVENTINJ takes #NPF", about).replace("\u202e", ""), message=HOSTILE,
        paths={"linux-6.1": 1, HOSTILE: 2}, first_path=HOSTILE, rules=["S2-70", HOSTILE], disputed=[HOSTILE],
        stands_only_on={HOSTILE: [HOSTILE]}, options={HOSTILE: HOSTILE},
    )  # fmt: skip
    shown = report(directory, Entry("shadow-bleed.*", HOSTILE, "linux-6.1"), Entry("x.*", HOSTILE))
    assert not shown.all("script", "img")
    assert not shown.attribute("onerror")
    assert "<script>alert(1)</script>" in shown.text
    assert "\u202e" not in shown.text


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        (None, "holds no scenario"),
        ("format = 1\nhost.path = 'nowhere'", "not run on"),
        ("format = 1\nnonsense = 3", "nonsense"),
        ("\0", "NUL"),
        ("format = 1\nhost.path = 'linux-6.1'", "does not show the finding"),
    ],
)
def test_a_scenario_that_cannot_be_shown_is_said(tmp_path: Path, scenario: str | None, said: str) -> None:
    directory = write_campaign(tmp_path)
    write_finding(directory, scenario=scenario)
    assert said in report(directory).text


@pytest.mark.parametrize(
    "scenario",
    [
        'format = 1\nhost.program = ["clgi", "sti", "vmrun", "cli", "stgi"]\nvmcb.eventinj = "bp"\n'
        'guest.idt = { 0x03 = "npf" }\n',
        'format = 1\n[l0]\npath = "linux-6.1"\n[l1]\nkind = "hypervisor"\n[vmcb12]\neventinj = "intr:0x68"\n'
        '[npt]\nl1 = ["stack"]\n',
        SCENARIO.replace('"linux-6.1"', '"linux-6.14~move@sti:vmrun"'),
    ],
)
def test_every_kind_of_scenario_has_a_timeline(tmp_path: Path, scenario: str) -> None:
    directory = write_campaign(tmp_path)
    write_finding(directory, scenario=scenario)
    campaign = read_campaign(directory)
    assert "timeline" in Page(page(campaign)).attribute("class")


def test_acknowledged_findings_are_shown_after_those_that_count(tmp_path: Path) -> None:
    directory = write_campaign(tmp_path)
    write_finding(directory)
    write_finding(directory, "shadow-bleed.unexplained-shadow.reloaded", first_execution=99)
    campaign = read_campaign(directory, [Entry(BLEED, "known of old")])
    assert [record.signature for record in campaign.records][1] == BLEED
    shown = Page(page(campaign))
    assert "known of old" in shown.text
    assert "1 finding, 1 acknowledged" in shown.text


def test_the_command(cli: Cli, tmp_path: Path) -> None:
    directory = write_campaign(tmp_path / "campaign")
    write_finding(directory)
    shown = cli("report", directory)
    assert (shown.code, shown.out) == (0, f"{directory}/report.html: 1 finding\n")
    text = (directory / "report.html").read_text(encoding="utf-8")
    assert cli("report", directory, "--out", "-").out == text
    assert text.startswith("<!DOCTYPE html>")
    assert (directory / "report.html").stat().st_mode & 0o777 == 0o666 & ~current_umask()
    assert cli("report", tmp_path).code == 2
    assert cli("report", tmp_path / "nowhere").code == 2
    assert cli("report", directory, "--out", tmp_path / "campaign" / "campaign.json" / "x").code == 2


def test_findings_on_a_path_are_counted_once(tmp_path: Path) -> None:
    directory = write_campaign(tmp_path)
    write_finding(directory, paths={"linux-6.1": 1, "linux-6.14": 2})
    campaign: Campaign = read_campaign(directory, [Entry(BLEED, "known", "linux-6.1")])
    (record,) = campaign.records
    assert [campaign.status(record, path) for path in PATHS] == ["acknowledged", "new"]
    assert campaign.is_new(record)


def test_the_profiles_and_paths_that_show_it_are_told(tmp_path: Path) -> None:
    directory = write_campaign(tmp_path)
    folder = write_finding(directory)
    data = json.loads((folder / "finding.json").read_text())
    data["shown_on"] = {"amd": ["linux-6.1", "xen-4.12"], "qemu-7.2": ["linux-6.1"]}
    (folder / "finding.json").write_text(json.dumps(data))
    assert "on 2 paths, under 2 profiles" in report(directory).text


def test_charts_as_a_file_of_their_own() -> None:
    points = [(60.0, 5.0), (120.0, 7.0)]
    text = sheet([(f"chart {n}", chart(f"c{n}", f"chart {n}", points)) for n in range(3)])
    svg = "{http://www.w3.org/2000/svg}"
    root = ElementTree.fromstring(text)
    assert root.tag == f"{svg}svg"
    width, height = map(int, root.attrib["viewBox"].split()[2:])
    places = [
        tuple(int(one.attrib[name]) for name in ("x", "y", "width", "height")) for one in root.findall(f"{svg}svg")
    ]
    assert len(places) == len(set(places)) == 3
    assert all(x + wide <= width and y + high <= height for x, y, wide, high in places)
    assert len(root.findall(f".//{svg}polyline")) == 3
    assert len({one.attrib["id"] for one in root.iter() if "id" in one.attrib}) == 6  # titles and descriptions
    classes = {one.attrib["class"] for one in root.iter() if "class" in one.attrib}
    style = root.findtext(f"{svg}style") or ""
    assert all(f".{name} " in style for name in classes)  # nothing is black on black
    assert "prefers-color-scheme: dark" in style
