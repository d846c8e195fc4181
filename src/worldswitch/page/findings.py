"""The findings: an overview, and of each what happened, how to reproduce it and what it rests on."""

import shlex
from typing import Final
from xml.etree.ElementTree import Element

from worldswitch.core.options import BY_NAME
from worldswitch.fuzzing.records import Record
from worldswitch.page.markup import Children, code, cut, details, duration, el, figure, grouped, listing, prose, table
from worldswitch.page.source import Campaign, Evidence, evidence
from worldswitch.page.timelines import timelines
from worldswitch.result import as_json

OVERVIEW: Final = 1000
"""Rows of the overview at the most."""

IN_FULL: Final = 40
"""Findings that are shown with their timelines at the most."""

EXITS: Final = 20
"""Exits of one run that are shown at the most."""

SCENARIO: Final = 20_000
"""Characters of a scenario that are shown at the most."""

_STATUS: Final = {"new": "\N{MULTIPLICATION X} new", "acknowledged": "\N{CHECK MARK} acknowledged",
                  "expired": "\N{MULTIPLICATION X} acknowledgement expired"}  # fmt: skip


def overview(campaign: Campaign) -> list[Children]:
    """One row a finding."""
    if not campaign.records:
        return [el("p", "No finding: in no case did an oracle object.")]
    rows = []
    for number, record in enumerate(campaign.records[:OVERVIEW], 1):
        link: Children = record.signature
        if number <= IN_FULL:
            link = el("a", record.signature, href=f"#finding-{number}")
        shown = [el("li", f"{path}: {figure(max(1, count), 'case')}") for path, count in record.paths.items()]
        status = dict.fromkeys(campaign.status(record, path) for path in record.paths)
        says = [el("span", _STATUS[word], class_="known" if word == "acknowledged" else "bad") for word in status]
        rests = ", ".join(record.disputed) or "nothing disputed"
        rows.append([number, link, says, el("ul", shown, class_="plain"), duration(record.first_second), rests])
    heads = ("no.", "signature", "status", "paths that show it", "first after", "rests on")
    parts: list[Children] = [table("Findings, those that count first", heads, rows, "prose")]
    if len(campaign.records) > OVERVIEW:
        parts.append(el("p", f"Cut: {figure(len(campaign.records) - OVERVIEW, 'more finding')} not listed; "
                        f"they are in {campaign.directory}/findings.", class_="cut"))  # fmt: skip
    return parts


def in_full(campaign: Campaign) -> list[Children]:
    """The findings one after another."""
    parts: list[Children] = [
        _finding(campaign, record, number) for number, record in enumerate(campaign.records[:IN_FULL], 1)
    ]
    left = len(campaign.records) - IN_FULL
    if left > 0:
        parts.append(el("p", f"Cut: {figure(left, 'more finding')} not shown in full; their scenarios are in "
                        f"{campaign.directory}/findings, and worldswitch run shows each.", class_="cut"))  # fmt: skip
    return parts


def _finding(campaign: Campaign, record: Record, number: int) -> Element:
    found = evidence(campaign, record)
    name = f"finding-{number}"
    parts: list[Children] = [
        el("h3", f"{number}. ", el("span", record.signature, class_="signature"), id=f"{name}-title"),
        el("p", cut(record.message, 2000), class_="lead"),
        _facts(campaign, record),
        _elsewhere(record, number),
        [
            el("p", cut(line, 1000), class_="trouble")
            for line in ([record.problem] if record.problem else []) + found.trouble
        ],
    ]
    if found.scenario is not None:
        about = found.scenario.about
        parts.append(el("h4", "The scenario"))
        parts.append(el("p", cut(about, 2000)) if about and about != record.message else None)
        parts.append(listing(f"Scenario of finding {number}", cut(found.text, SCENARIO)))
    if found.results:
        parts += [
            el("h4", "What happened"),
            _exits(found, record, number),
            timelines(found.results, f"Timelines of finding {number}, beside each other"),
        ]
    if found.file is not None:
        parts += [el("h4", "How to reproduce it"), *_commands(campaign, record, found)]
    parts += [el("h4", "What it rests on"), *_rests_on(record)]
    return el("article", parts, id=name, aria_labelledby=f"{name}-title")


def _facts(campaign: Campaign, record: Record) -> Element:
    paths = [f"{path} ({figure(max(1, count), 'case')})" for path, count in record.paths.items()]
    silent = [path for path in campaign.paths if path not in record.paths]
    rows: list[tuple[str, Children]] = [
        ("shown by", ", ".join(paths)),
        ("not seen on", ", ".join(silent) or "no path of this campaign"),
        ("first seen", f"{_moment(record.first_seen)}after {figure(record.first_execution, 'execution')}, "
                       f"{duration(record.first_second)} into the campaign, on {record.first_path}"),
        ("last seen", _last(campaign, record)),
        ("model", record.profile + "".join(f", {name}={value}" for name, value in record.options.items())),
        ("reduced", "yes" if record.minimized else "not yet"),
        ("replayed", "yes: the scenario shows it again" if record.replayed else "not yet"),
    ]  # fmt: skip
    for path in record.paths:
        entry = campaign.sorting.acknowledged.get((record.signature, path))
        if entry:
            rows.append((f"acknowledged on {path}", str(entry)))
        entry = campaign.sorting.expired.get((record.signature, path))
        if entry:
            rows.append((f"acknowledgement expired on {path}", str(entry)))
    return el("dl", [el("div", el("dt", term), el("dd", says)) for term, says in rows], class_="facts")


def _elsewhere(record: Record, number: int) -> Children:
    """Under which profiles, on which paths of the catalogue, the reduced scenario shows the finding."""
    if not record.shown_on:
        return None
    count = len({path for on in record.shown_on.values() for path in on})
    rows = [(name, ", ".join(on) or "no path") for name, on in record.shown_on.items()]
    label = f"Profiles and paths that show finding {number}"
    summary = f"The reduced scenario shows it on {figure(count, 'path')}, under {figure(len(rows), 'profile')}"
    return details(summary, table(label, ("profile", "paths"), rows, "prose"))


def _moment(date: str) -> str:
    return f"{date}, " if date else ""


def _last(campaign: Campaign, record: Record) -> str:
    """When a finding was last seen, and for how long it has not been since."""
    if not record.last_execution:
        return "not recorded"
    since = max(0, campaign.view.totals.executions - record.last_execution)
    return (
        f"{_moment(record.last_seen)}after {figure(record.last_execution, 'execution')}; {figure(since, 'case')} since"
    )


def _commands(campaign: Campaign, record: Record, found: Evidence) -> list[Children]:
    file = shlex.quote(str(found.file))
    folder = shlex.quote(str(found.file.parent)) if found.file else ""
    paths = ",".join(result.path for result in found.results)
    beside = f" --path {shlex.quote(paths)}" if len(found.results) > 1 else ""
    commands: list[tuple[str, str]] = [
        ("step by step", f"worldswitch run {file}{beside}"),
        ("why", f"worldswitch explain {folder}"),
        ("on QEMU's SVM", f"worldswitch replay {folder} --on qemu"),
        ("as a file for pytest", f"worldswitch export {folder} --to pytest"),
        ("kept as a regression", f"worldswitch promote {folder}"),
        ("known, with a reason", f"worldswitch acknowledge {shlex.quote(record.signature)} --reason TEXT"),
    ]
    return [
        el("p", "Save the scenario above as a file, or use the one in the campaign: ", code(str(found.file)), "."),
        el("dl", [el("div", el("dt", about), el("dd", code(text))) for about, text in commands], class_="facts"),
    ]


def _exits(found: Evidence, record: Record, number: int) -> Element:
    """The exits on every path that is shown, as a table."""
    keys = ("name", "where", "int_state", "exitintinfo_name", "exitinfo1", "exitinfo2")
    heads = ("path", "exit", "reason", "at", "int_state", "EXITINTINFO", "EXITINFO1", "EXITINFO2", "finding")
    rows: list[list[Children]] = []
    for result in found.results:
        shows = any(finding.signature == record.signature for finding in result.verdict.findings)
        says = el("strong", "shows it", class_="bad") if shows else "does not show it"
        exits = as_json(result)["exits"]
        for at, entry in enumerate(exits[:EXITS], 1):
            rows.append([result.path, at, *(str(entry[key]) for key in keys), says])
        if len(exits) > EXITS:
            rows.append([result.path, f"{len(exits) - EXITS} more", *[""] * len(keys), says])
        if not exits:
            rows.append([result.path, "none", *[""] * len(keys), says])
    return table(f"Exits of finding {number}", heads, rows, "exits")


def _rests_on(record: Record) -> list[Children]:
    from worldswitch.errors import InputError
    from worldswitch.report.stance import rule_as_json

    items = []
    for name in record.rules:
        try:
            rule = rule_as_json(name)
        except InputError:
            items.append(el("li", el("strong", name), ": a rule that this version does not know"))
            continue
        items.append(el("li", el("strong", rule["id"]), f" ({rule['confidence']}): ", prose(rule["text"])))
    parts: list[Children] = [el("ul", items)] if items else []
    if not record.stands_only_on:
        parts.append(el("p", f"It stands under every value of all {grouped(len(BY_NAME))} model options."))
        return parts
    options = [
        el("li", code(name), f": gone with {' or '.join(map(str, values))}",
           ". " + BY_NAME[name].about if name in BY_NAME else "",
           el("strong", " The sources dispute this or leave it open.") if name in record.disputed else None)
        for name, values in record.stands_only_on.items()
    ]  # fmt: skip
    parts += [el("p", "It stands only on these model options, and on no other:"), el("ul", options)]
    return parts
