"""The page put together."""

from importlib import resources
from typing import Final
from xml.etree.ElementTree import Element

import worldswitch
from worldswitch.errors import InputError
from worldswitch.page import exposure, findings, matrix, timelines
from worldswitch.page.charts import Mark, chart, rates
from worldswitch.page.markup import Children, code, cut, duration, el, figure, grouped, serialise, table
from worldswitch.page.source import SHOWN_PATHS, Campaign
from worldswitch.paths.catalogue import find
from worldswitch.paths.model import EntryPath

ROWS: Final = 50
"""Runs, failures and events that are shown at the most, the latest ones."""

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
    if not campaign.view.totals.executions:
        return "nothing executed yet"
    new = sum(campaign.is_new(record) for record in campaign.records)
    known = len(campaign.records) - new
    if not campaign.records:
        return f"no finding in {figure(campaign.view.totals.executions, 'case')}"
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
    totals = campaign.view.totals
    news = max((record.first_second for record in campaign.records), default=None)
    rate = totals.executions / totals.seconds if totals.seconds else 0
    rows = [
        ("cases", grouped(totals.executions)),
        ("time", duration(totals.seconds)),
        ("cases a second", f"{rate:.0f}" if rate else "none"),
        ("states reached", grouped(totals.features) if totals.features else "not recorded"),
        ("corpus", grouped(totals.corpus) if totals.corpus else "not recorded"),
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
    samples = campaign.view.samples
    if len(samples) < 2:
        return [el("p", "Too few samples were recorded to draw growth over time.")]
    marks = [
        Mark(record.first_second, str(number), record.signature)
        for number, record in enumerate(campaign.records[: findings.IN_FULL], 1)
    ]
    executions = [(sample.second, float(sample.executions)) for sample in samples]
    charts = [
        chart("chart-points", "States reached", [(s.second, float(s.features)) for s in samples], marks),
        chart("chart-corpus", "Corpus", [(s.second, float(s.corpus)) for s in samples]),
        chart("chart-findings", "Findings", [(s.second, float(s.findings)) for s in samples]),
        chart("chart-rate", "Cases a second", rates(executions) or executions),
    ]
    if any(sample.workers for sample in samples):
        memory = [(s.second, float(sum(s.workers.values()))) for s in samples]
        charts.append(chart("chart-memory", "Memory of the workers, MB", memory))
    note = "Times are of fuzzing, from the campaign's beginning. " + (
        "Dashed lines are findings, by number, when first seen." if marks else ""
    )
    return [el("p", note), el("div", charts, class_="charts")]


def _campaign(campaign: Campaign) -> list[Children]:
    view = campaign.view
    options = ", ".join(f"{name}={value}" for name, value in dict(view.description.get("options") or {}).items())
    rows: list[tuple[str, Children]] = [
        ("directory", code(str(campaign.directory))),
        ("model", str(view.description.get("profile") or "amd") + (f", {options}" if options else "")),
        *(("not read", note) for note in view.notes),
    ]
    parts: list[Children] = [
        el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in rows], class_="facts")
    ]
    parts.append(
        table(
            "Targets and their paths",
            ("lane", "target", "paths", "cases", "states reached"),
            [(e.name, e.target, ", ".join(e.paths), grouped(e.executions), grouped(e.features)) for e in view.lanes],
            "prose",
        )
    )
    if view.runs:
        runs = [
            (one.id, one.started, one.outcome or "did not end by itself", grouped(one.executions),
             duration(one.seconds), one.jobs, one.seed, one.version)
            for one in view.runs[-ROWS:]
        ]  # fmt: skip
        heads = ("run", "started", "ended", "cases", "time", "jobs", "seed", "version")
        parts += [table("Runs", heads, runs), _left_out(len(view.runs), "run")]
    if view.failures:
        failures = [
            (one.id, one.wall, one.lane, one.outcome, cut(one.summary, 300), one.file) for one in view.failures[-ROWS:]
        ]
        columns = ("no.", "when", "lane", "outcome", "what", "its input")
        parts += [table("Workers that failed", columns, failures, "prose"), _left_out(len(view.failures), "failure")]
    if view.events:
        events = [(one.id, one.wall, cut(one.text, 300)) for one in view.events[-ROWS:]]
        parts.append(table("What happened to the campaign", ("no.", "when", "what"), events, "prose"))
        parts.append(_left_out(len(view.events), "event"))
    stale = campaign.sorting.lines()[len(campaign.sorting.acknowledged) :]
    if stale:
        parts += [el("h3", "Acknowledgements to look at"), el("ul", [el("li", line) for line in stale])]
    return parts


def _left_out(count: int, noun: str) -> Children:
    return el("p", f"Cut: {figure(count - ROWS, f'earlier {noun}')} not shown.", class_="cut") if count > ROWS else None
