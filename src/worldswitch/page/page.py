"""The page put together."""

from importlib import resources
from typing import Final
from xml.etree.ElementTree import Element

import worldswitch
from worldswitch.errors import InputError
from worldswitch.page import exposure, findings, matrix, timelines
from worldswitch.page.charts import Mark, chart, rates
from worldswitch.page.markup import Children, code, cut, duration, el, figure, grouped, serialise
from worldswitch.page.source import SHOWN_PATHS, Campaign
from worldswitch.paths.catalogue import find
from worldswitch.paths.model import EntryPath

_SECTIONS: Final = (
    ("findings", "Findings"),
    ("exposure", "What the paths expose"),
    ("growth", "Growth"),
    ("matrix", "Verdict matrix"),
    ("campaign", "The campaign"),
)


def page(campaign: Campaign) -> str:
    """The HTML of a campaign's report."""
    style = (resources.files("worldswitch.page") / "style.css").read_text(encoding="utf-8")
    title = f"worldswitch: {verdict(campaign)}"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="generator", content=f"worldswitch {worldswitch.__version__}"),
        el("title", cut(title, 200)),
        el("style", style),
    )
    links = [el("li", el("a", name, href=f"#{anchor}")) for anchor, name in _SECTIONS]
    body = el(
        "body",
        el("a", "Skip to the findings", href="#findings", class_="skip"),
        el(
            "header",
            el("p", "worldswitch campaign report", class_="kicker"),
            el("h1", verdict(campaign)),
            el("p", *_summary(campaign), class_="lead"),
            _figures(campaign),
        ),
        el("nav", el("ul", links), aria_label="Sections"),
        el(
            "main",
            _section("findings", findings.overview(campaign), _legend(campaign), findings.in_full(campaign)),
            _section("exposure", *_exposure(campaign)),
            _section("growth", *_growth(campaign)),
            _section("matrix", matrix.seen(campaign), matrix.catalogue(campaign)),
            _section("campaign", *_campaign(campaign)),
        ),
        el("footer", el("p", f"worldswitch {worldswitch.__version__}. This page is whole: it loads nothing.")),
    )
    return serialise(el("html", head, body, lang="en"))


def verdict(campaign: Campaign) -> str:
    """The campaign in a sentence."""
    if not campaign.executions:
        return "nothing executed yet"
    new = sum(campaign.is_new(record) for record in campaign.records)
    known = len(campaign.records) - new
    if not campaign.records:
        return f"no finding in {figure(campaign.executions, 'case')}"
    said = figure(new, "finding") if new else "no new finding"
    return said + (f", {known} acknowledged" if known else "")


def _summary(campaign: Campaign) -> list[Children]:
    parts: list[Children] = []
    for number, path in enumerate(campaign.paths):
        mine = [record for record in campaign.records if path in record.paths]
        new = [record for record in mine if campaign.status(record, path) != "acknowledged"]
        said = figure(len(new), "finding") if new else "only acknowledged findings" if mine else "no finding"
        parts += ["; " if number else "", el("strong", path), f": {said}"]
    return [*parts, "."]


def _figures(campaign: Campaign) -> Element:
    last = campaign.samples[-1] if campaign.samples else None
    news = max((record.first_second for record in campaign.records), default=None)
    rate = campaign.executions / campaign.seconds if campaign.seconds else 0
    rows = [
        ("cases on each path", grouped(campaign.executions)),
        ("time", duration(campaign.seconds)),
        ("cases a second", f"{rate:.0f}" if rate else "none"),
        ("states reached", grouped(last.points) if last else "not recorded"),
        ("corpus", grouped(last.corpus) if last else "not recorded"),
        ("last new finding", "none" if news is None else f"after {duration(news)}"),
    ]
    return el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in rows], class_="tiles")


def _section(anchor: str, *children: Children) -> Element:
    name = dict(_SECTIONS)[anchor]
    return el("section", el("h2", name, id=f"{anchor}-title"), *children, id=anchor, aria_labelledby=f"{anchor}-title")


def _legend(campaign: Campaign) -> Children:
    if not campaign.records:
        return None
    return el(
        "aside", el("h3", "How to read the timelines"), timelines.legend(), aria_label="How to read the timelines"
    )


def _exposure(campaign: Campaign) -> list[Children]:
    paths: list[EntryPath] = []
    parts: list[Children] = []
    for name in campaign.paths:
        try:
            paths.append(find(name))
        except InputError:
            parts.append(el("p", code(name), " is not in the catalogue, so that there is no map of it."))
    if not paths:
        return [*parts, el("p", "This campaign runs on no entry path that could be mapped.")]
    shown = paths[:SHOWN_PATHS]
    names = " and ".join(path.name for path in shown)
    parts.append(el("p", exposure.LEGEND))
    parts.append(exposure.exposure(shown, f"Exposure of {names}"))
    for path in paths[SHOWN_PATHS:12]:
        parts.append(exposure.exposure([path], f"Exposure of {path.name}"))
    if len(paths) > 12:
        parts.append(el("p", f"Cut: {figure(len(paths) - 12, 'more path')} not mapped.", class_="cut"))
    if len(paths) > 1:
        parts += [el("h3", "What changes for whom"), exposure.aspects(paths[0], paths[1])]
    return parts


def _growth(campaign: Campaign) -> list[Children]:
    if len(campaign.samples) < 2:
        return [el("p", "Too few samples were recorded to draw growth over time.")]
    marks = [
        Mark(record.first_second, str(number), record.signature)
        for number, record in enumerate(campaign.records[: findings.IN_FULL], 1)
    ]
    samples = campaign.samples
    executions = [(sample.second, float(sample.executions)) for sample in samples]
    charts = [
        chart("chart-points", "States reached", [(s.second, float(s.points)) for s in samples], marks),
        chart("chart-corpus", "Corpus", [(s.second, float(s.corpus)) for s in samples]),
        chart("chart-findings", "Findings", [(s.second, float(s.findings)) for s in samples], marks),
        chart("chart-rate", "Cases a second", rates(executions) or executions),
    ]
    note = "Times are of fuzzing, from the campaign's beginning. " + (
        "Dashed lines are findings, by number, when first seen." if marks else ""
    )
    return [el("p", note), el("div", charts, class_="charts")]


def _campaign(campaign: Campaign) -> list[Children]:
    options = ", ".join(f"{name}={value}" for name, value in campaign.options.items())
    rows: list[tuple[str, Children]] = [
        ("directory", code(str(campaign.directory))),
        ("target", campaign.target),
        ("paths", ", ".join(campaign.paths)),
        ("model", campaign.profile + (f", {options}" if options else "")),
        ("cases", grouped(campaign.executions)),
        ("time", duration(campaign.seconds)),
    ]
    parts: list[Children] = [
        el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in rows], class_="facts")
    ]
    stale = campaign.sorting.lines()[len(campaign.sorting.acknowledged) :]
    if stale:
        parts += [el("h3", "Acknowledgements to look at"), el("ul", [el("li", line) for line in stale])]
    return parts
