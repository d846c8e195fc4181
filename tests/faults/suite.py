#!/usr/bin/env python3
"""Hundreds of kills, and what came of them; `tox -e faults` runs it after the tests beside it.

    python -m tests.faults.suite [--kills 200] [--minutes 30] [--write docs/campaigns.md]

Small campaigns are killed at random moments, coordinator or worker, and come to their end all the same. Between two
kills passes, on average, a third of the time that the campaign takes undisturbed. Each is then compared with the same
campaign undisturbed: findings with their first cases, reduced scenarios and last executions, counts by path, slices,
inputs. With one job the two must be equal; with two jobs nothing that was reported may be missing, and every slice must
be in the totals exactly once. Prints the counts, and with --write puts them into the page, between its ``faults``
marks. Exit code: 0, or 1 where something was lost, or counted twice, or differs.
"""

import argparse
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.faulty import Plan, differences, finish, kill_at_random, state

PLANS = {
    "one job, one target": Plan(),
    "one job, two targets": Plan(targets=("world-switch", "edits"), cases=200, total=1000),
    "two jobs": Plan(jobs=2, cases=200, total=1600),
}
BEGIN, END = "<!-- faults -->\n", "<!-- /faults -->\n"


def books(directory: Path) -> list[str]:
    """What does not add up in a campaign's books."""
    connection = sqlite3.connect(directory / "campaign.db")
    wrong = [
        f"{lane}: {total} cases, and {summed} in its slices"
        for lane, total, summed in connection.execute(
            "SELECT name, lanes.executions, coalesce(sum(slices.executions), 0) FROM lanes LEFT JOIN slices "
            "ON slices.lane = name AND state != 'open' GROUP BY name"
        )
        if total != summed
    ]
    wrong += [
        f"{signature} on {path}: {cases} cases, more than there were"
        for signature, path, cases, done in connection.execute(
            "SELECT signature, path, cases, (SELECT sum(executions) FROM lanes WHERE lanes.target = counts.target) "
            "FROM counts"
        )
        if cases > done
    ]
    connection.close()
    return wrong


def main() -> int:
    """Kill, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="in all (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=30.0, help="no further campaign after (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", metavar="FILE", default="")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    kills: dict[str, Counter[str]] = {name: Counter() for name in PLANS}
    results: dict[str, Counter[str]] = {name: Counter() for name in PLANS}
    complaints: list[str] = []
    with tempfile.TemporaryDirectory(prefix="worldswitch-faults-") as scratch:
        whole: dict[str, dict[str, list[Any]]] = {}
        every: dict[str, float] = {}
        for name, plan in PLANS.items():
            directory = Path(scratch) / f"whole-{len(whole)}"
            begun = time.monotonic()
            code, output = finish(directory, plan)
            if code:
                print(output, file=sys.stderr)
                return 1
            whole[name], every[name] = state(directory), (time.monotonic() - begun) / 3
        number = 0
        until = time.monotonic() + 60 * arguments.minutes
        while sum(sum(one.values()) for one in kills.values()) < arguments.kills and time.monotonic() < until:
            name, plan = list(PLANS.items())[number % len(PLANS)]
            number += 1
            directory = Path(scratch) / f"killed-{number}"
            disturbed = kill_at_random(directory, plan, rng, every[name], arguments.kills)
            kills[name] += disturbed.kills
            result = results[name]
            result["campaigns"] += 1
            result["reported"] += len(disturbed.reported)
            result["lost"] += len(disturbed.lost)
            wrong = books(directory)
            if plan.jobs == 1:
                differing = differences(whole[name], state(directory))
                result["equal"] += not differing
                wrong += [f"differs in its {', '.join(differing)}"] if differing else []
            result["wrong"] += bool(wrong)
            complaints += [f"{name}: {text}" for text in (*wrong, *(f"{one} was lost" for one in disturbed.lost))]
            print(
                f"{name}: {dict(disturbed.kills)}, {len(disturbed.reported)} reported, {wrong or 'sound'}", flush=True
            )
    lines = [
        "| campaigns | number | coordinator killed | worker killed | findings reported | lost "
        "| equal to the undisturbed one | books wrong |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, plan in PLANS.items():
        result = results[name]
        equal = f"{result['equal']}" if plan.jobs == 1 else "not asked"
        lines.append(
            f"| {name} | {result['campaigns']} | {kills[name]['coordinator']} | {kills[name]['worker']} | "
            f"{result['reported']} | {result['lost']} | {equal} | {result['wrong']} |"
        )
    print("\n".join(lines))
    print(*complaints, sep="\n", file=sys.stderr)
    if arguments.write:
        page = Path(arguments.write)
        before, rest = page.read_text(encoding="utf-8").split(BEGIN)
        page.write_text(f"{before}{BEGIN}" + "\n".join(lines) + f"\n{END}{rest.split(END)[1]}", encoding="utf-8")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
