"""What came of endurance runs: two campaigns compared, and the curves of one, for docs/campaigns.md."""

import json
import random
import sqlite3
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from tests.faults.faulty import state

from worldswitch.errors import InputError
from worldswitch.fuzzing.view import open_read

PAGE: Final = Path(__file__).parents[1] / "docs" / "campaigns.md"
PICTURE: Final = PAGE.with_name("endurance.svg")
CURVES: Final = "endurance.jsonl"
SETTINGS: Final = "endurance.json"
KILLS: Final = "endurance-kills.jsonl"

ROWS: Final = 15
"""Rows of the table, at the most."""

CASES: Final = 1500
"""Cases that are executed of a lane's early and of its late inputs, to weigh them."""

WEIGHED: Final = (
    "The last two columns are what the lane's inputs themselves cost: cases made from the first and from the last "
    "third of all inputs that it kept, executed in turns in one process after the run."
)

State = dict[str, list[Any]]


def compare(one: Path, two: Path, prefix: bool) -> tuple[bool, list[str]]:
    """Whether two campaigns are equal but for dates, and lines that say so; raises ``InputError``.

    With ``prefix``, whether the one that got less far equals the beginning of the other.
    """
    for directory in (one, two):
        open_read(directory)  # what is no campaign is refused with a line
    if _settings(one) != _settings(two):
        raise InputError(f"was run with {_settings(two)}, and {one} with {_settings(one)}", str(two))
    lines = [f"{directory}: {_killed(directory)}" for directory in (one, two)]
    if prefix:
        equal, words = _compare_prefix(one, two)
        return equal, [*lines, words]
    first, second = state(one), state(two)
    for name, value in first.items():
        verdict = "equal" if value == second[name] else "DIFFERENT"
        lines.append(f"{name}: {len(value)} and {len(second[name])}, {verdict}")
    return first == second, lines


def _settings(directory: Path) -> Any:
    """What the campaign was run with; None for one that was not run by ``endurance.py``."""
    try:
        return json.loads((directory / SETTINGS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _killed(directory: Path) -> str:
    """How often which process of a campaign was killed."""
    try:
        lines = (directory / KILLS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return "never killed"
    kills = Counter(str(json.loads(line)["killed"]) for line in lines)
    return "killed: " + ", ".join(
        f"its {what} {count} time{'s' if count > 1 else ''}" for what, count in sorted(kills.items())
    )


def _compare_prefix(one: Path, two: Path) -> tuple[bool, str]:
    """Compare what both campaigns came to the end of."""
    first, second = state(one), state(two)
    length = min(_whole(first["slices"]), _whole(second["slices"]))
    done = sum(row[4] for row in first["slices"][:length])
    slices = sum(a != b for a, b in zip(first["slices"][:length], second["slices"][:length], strict=True))
    inputs = [_inputs(directory, length) for directory in (one, two)]
    differing = len({*inputs[0]} ^ {*inputs[1]}) or sum(a != b for a, b in zip(*inputs, strict=True))
    found, others = (
        # Without when it was seen last, which the rest of a campaign goes on to change.
        {record["signature"]: (record, *files) for record, _, *files in each["findings"]
         if record["first_execution"] <= done}
        for each in (first, second)
    )  # fmt: skip
    findings = [name for name in {**found, **others} if found.get(name) != others.get(name)]
    equal = length > 0 and not slices and not differing and not findings
    words = (
        f"Of what both came to the end of: {length} slices with {done} cases, of which {slices} differ; "
        f"{len(inputs[0])} inputs kept by them, of which {differing} differ; {len(found)} findings first seen in them, "
        f"of which {len(findings)} differ in their first case, its number, or their reduced scenario"
    )
    return equal, words + (f": {', '.join(findings)}." if findings else ".")


def _whole(slices: list[Any]) -> int:
    """How many slices, from the first, were executed whole; one that the end of a run cut short is not."""
    return next((n for n, row in enumerate(slices) if row[-1] != "closed" or row[4] < row[3]), len(slices))


def _inputs(directory: Path, slices: int) -> list[Any]:
    """What the first so many slices added to the corpora, retired meanwhile or not."""
    connection = sqlite3.connect(f"{(directory / 'campaign.db').absolute().as_uri()}?mode=ro", uri=True)
    query = "SELECT target, name, slice FROM units WHERE slice < ? ORDER BY id"
    rows = connection.execute(query, (slices,)).fetchall()
    connection.close()
    return rows


def write(directory: Path, killed: Path) -> int:
    """Put the curves of a run and its comparison with a killed one into the page, between its ``endurance`` marks.

    Nothing is written where the two differ: returns 1. Raises ``InputError``.
    """
    equal, said = compare(directory, killed, prefix=True)
    print(*said, sep="\n")
    if not equal:
        return 1
    try:
        rows = [json.loads(line) for line in (directory / CURVES).read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        raise InputError(f"has no {CURVES}: it was not measured", str(directory)) from None
    if not rows:
        raise InputError("has no full minute", str(directory / CURVES))
    PICTURE.write_text(picture(rows), encoding="utf-8")
    last = rows[-1]
    alt = (
        f"Over {last['minute']} minutes: cases a second of processor time and by the clock, and the memory of the "
        f"fuzzing process, at most {max(row['worker_mb'] for row in rows)} MB, and of the coordinator, at most "
        f"{max(row['coordinator_mb'] for row in rows)} MB"
    )
    compared = (
        "A second campaign with the same settings was killed meanwhile (`endurance.py kill`; "
        f"{_killed(killed).removeprefix('killed: ')}) and compared with this one (`endurance.py compare --prefix`). "
        f"{said[-1]}"
    )
    lines = [f"![{alt}]({PICTURE.name})", "", *_table(rows), *_by_lane(rows, _weights(directory)), ""]
    for text in (WEIGHED, compared):
        lines += [*textwrap.wrap(text, 120, break_on_hyphens=False, break_long_words=False), ""]
    del lines[-1]
    before, rest = PAGE.read_text(encoding="utf-8").split("<!-- endurance -->\n")
    after = rest.split("<!-- /endurance -->\n")[1]
    text = "\n".join(lines)
    PAGE.write_text(f"{before}<!-- endurance -->\n{text}\n<!-- /endurance -->\n{after}", encoding="utf-8")
    return 0


def picture(rows: list[dict[str, Any]]) -> str:
    """The curves as one SVG."""
    from worldswitch.page.charts import chart, sheet

    drawn = (
        ("rate_cpu", "Cases a second of processor time"),
        ("rate", "Cases a second by the clock"),
        ("worker_mb", "Memory of the fuzzing process, MB"),
        ("coordinator_mb", "Memory of the coordinator, MB"),
    )
    return sheet(
        [(title, chart(key, title, [(60.0 * row["minute"], float(row[key])) for row in rows])) for key, title in drawn]
    )


def _table(rows: list[dict[str, Any]]) -> list[str]:
    step = -(-len(rows) // ROWS)
    lines = [
        "| minute | cases | a second | a second of processor time | worker MB | coordinator MB | points | inputs "
        "| findings |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for number in range(0, len(rows), step):
        group = rows[number : number + step]
        last = group[-1]
        rate = sum(row["rate"] for row in group) / len(group)
        rate_cpu = sum(row["rate_cpu"] for row in group) / len(group)
        lines.append(
            f"| {last['minute']} | {last['executions']} | {rate:.0f} | {rate_cpu:.0f} | "
            f"{max(row['worker_mb'] for row in group)} | {max(row['coordinator_mb'] for row in group)} | "
            f"{last['features']} | {last['corpus']} | {last['findings']} |"
        )
    return lines


def _by_lane(rows: list[dict[str, Any]], weights: dict[str, tuple[float, float]]) -> list[str]:
    """Each lane's rate by processor time in the first and the last third of the run, and with its inputs of each."""
    lines = [
        "",
        "| lane | cases a second of processor time, first third | last third "
        "| of cases made from its first inputs | from its last ones |",
        "|---|---|---|---|---|",
    ]
    third = max(1, len(rows) // 3)
    for name in sorted({name for row in rows for name in row["lanes"]}):
        means = []
        for group in (rows[:third], rows[-third:]):
            values = [row["lanes"][name] for row in group if row["lanes"].get(name)]
            means.append(f"{sum(values) / len(values):.0f} ({len(values)} min)" if values else "no turn")
        weighed = [f"{rate:.0f}" for rate in weights.get(name, ())] or ["", ""]
        lines.append(f"| {name} | {' | '.join([*means, *weighed])} |")
    return lines


def _weights(directory: Path) -> dict[str, tuple[float, float]]:
    """Lane to cases a second of processor time, of cases made from its first and from its last inputs.

    The two are executed in turns in one process: what differs between them is the cases, and nothing else.
    """
    from worldswitch.fuzzing.mutate import Mutator
    from worldswitch.fuzzing.targets import Configuration, Target

    view = open_read(directory)
    connection = sqlite3.connect(f"{(directory / 'campaign.db').absolute().as_uri()}?mode=ro", uri=True)
    weights = {}
    for lane in view.lanes:
        query = "SELECT data FROM units WHERE target = ? ORDER BY id"
        inputs = [bytes(row[0]) for row in connection.execute(query, (lane.target,))]
        third = len(inputs) // 3
        if not third:
            continue
        configuration = Configuration(lane.target, tuple(view.description["lanes"][lane.name]["paths"]))
        # A free host program has no path.
        target = Target(configuration if lane.target != "sequence" else Configuration(lane.target))
        mutator, rng = Mutator(target.codec), random.Random(1)
        groups = inputs[:third], inputs[-third:]
        seconds = [0.0, 0.0]
        for number in range(2 * CASES + 200):
            data = mutator.mutate(rng.choice(groups[number % 2]), 4096, rng.getrandbits(31))
            begun = time.process_time()
            target.execute(data)
            if number >= 200:
                seconds[number % 2] += time.process_time() - begun
        weights[lane.name] = (CASES / seconds[0], CASES / seconds[1])
    connection.close()
    return weights
