"""The verdict matrix: what every oracle says of every path, in this campaign and in the last check of the catalogue."""

from typing import Final
from xml.etree.ElementTree import Element

from worldswitch.errors import InputError
from worldswitch.fuzzing.matrix import DOCUMENTED, FINDING, NOT_APPLICABLE, OK, shipped
from worldswitch.oracles.judge import NAMES
from worldswitch.page.markup import Children, details, el, figure, table
from worldswitch.page.source import Campaign
from worldswitch.paths.catalogue import find
from worldswitch.report.listing import gap, walk, why

_WORDS: Final = {
    OK: ("\N{CHECK MARK} ok", "good"),
    FINDING: ("\N{MULTIPLICATION X} finding", "bad"),
    DOCUMENTED: ("\N{CHECK MARK} documented", "known"),
    NOT_APPLICABLE: ("n/a", "dim"),
}


def seen(campaign: Campaign) -> Element:
    """What this campaign found: a row a path, a column an oracle."""
    oracles = list(dict.fromkeys([*NAMES, *(record.oracle for record in campaign.records)]))
    rows = []
    for path in campaign.paths:
        row: list[Children] = [path]
        for oracle in oracles:
            mine = [record for record in campaign.records if record.oracle == oracle and path in record.paths]
            new = [record for record in mine if campaign.status(record, path) != "acknowledged"]
            if new:
                row.append(el("span", f"\N{MULTIPLICATION X} {figure(len(new), 'finding')}", class_="bad"))
            elif mine:
                row.append(el("span", f"\N{CHECK MARK} {len(mine)} acknowledged", class_="known"))
            else:
                row.append(el("span", "none seen", class_="dim"))
        rows.append(row)
    label = "Findings of this campaign, by path and oracle"
    return table(label, ("path", *oracles), rows, "matrix")


def catalogue(campaign: Campaign) -> Element:
    """The last check of the campaign's paths, and folded away that of all others."""
    stored = shipped()
    own = [name for name in campaign.paths if name in stored]
    others = [name for name in stored if name not in own]
    parts: list[Children] = []
    if own:
        parts.append(_checked(own, "Last check of these paths in the catalogue"))
    rest = _checked(others, "Last check of all other paths in the catalogue")
    parts.append(details(f"All other {len(others)} paths of the catalogue", rest))
    return el("div", parts)


def _checked(names: list[str], label: str) -> Element:
    rows: list[list[Children]] = []
    for name in names:
        row = shipped()[name]
        try:
            reason = why(gap(walk(find(name))), row)
        except InputError as error:
            reason = str(error)
        words = [_WORDS[row.cell(oracle)] for oracle in NAMES]
        rows.append([name, *(el("span", text, class_=class_) for text, class_ in words), reason])
    return table(label, ("path", *NAMES, "why"), rows, "matrix")
