#!/usr/bin/env python3
"""How a campaign holds out: its rate and memory over an hour, and whether being killed changes what it finds.

    benchmarks/endurance.py run --minutes 60 --out DIR [--target all]       one process, measured once a minute
    benchmarks/endurance.py kill --total N --every S --out DIR              the same campaign, killed again and again
    benchmarks/endurance.py compare DIR DIR [--prefix]                      are the two campaigns equal?
    benchmarks/endurance.py write DIR [--compared TEXT]                     the curves, into docs/campaigns.md

``run`` measures cases a second twice: by the clock, which says what else the machine had to do, and by the processor
time of the fuzzing process, which does not. ``kill`` sends SIGKILL to the coordinator, or now and then to the process
that fuzzes, after a random time of ``--every`` seconds on average. ``compare`` says what differs, and is silent about
dates; with ``--prefix``, the second campaign may have ended before the first: its closed slices, and the findings first
seen in them, are looked for in the first. Exit code: 0, or 1 where something differs.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for tests.faults

PAGE = Path(__file__).parents[1] / "docs" / "campaigns.md"
CURVES = "endurance.jsonl"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)
ALL = "world-switch,sequence,nested,edits"


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("run", "kill", "compare", "write"))
    parser.add_argument("directories", metavar="DIR", nargs="*")
    parser.add_argument("--out", metavar="DIR", default="endurance")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--target", default="all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--total", type=int, default=20000)
    parser.add_argument("--cases", type=int, default=None, help="cases of every slice")
    parser.add_argument("--every", type=float, default=10.0, help="0: do not kill")
    parser.add_argument("--compared", default="", help="a line about a comparison, for the page")
    parser.add_argument("--prefix", action="store_true")
    arguments = parser.parse_args()
    return {"run": measure, "kill": kill, "compare": compare, "write": write}[arguments.what](arguments)


def measure(arguments: argparse.Namespace) -> int:
    """Fuzz for so many minutes, with a line of measurements each minute."""
    from worldswitch.fuzzing.campaign import Campaign
    from worldswitch.fuzzing.growth import Progress

    out = Path(arguments.out)
    last: dict[int, tuple[float, int]] = {}
    minute: dict[str, float] = defaultdict(float)
    lanes: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    began = time.monotonic()
    written = began

    def tick(progress: Progress, campaign: Campaign) -> None:
        nonlocal written
        for crew in campaign.crews:
            cpu, done = _cpu(crew.worker.pid), crew.worker.executions
            before = last.get(crew.worker.pid, (cpu, done))
            last[crew.worker.pid] = (cpu, done)
            minute["cpu"] += max(0.0, cpu - before[0])
            minute["cases"] += done - before[1]
            lanes[crew.lane.name][0] += max(0.0, cpu - before[0])
            lanes[crew.lane.name][1] += done - before[1]
            minute["rss"] = max(minute["rss"], crew.rss_mb())
        minute["own"] = max(minute["own"], _rss(os.getpid()))
        now = time.monotonic()
        if now - written >= 60:
            row = {
                "minute": round((now - began) / 60), "executions": progress.executions,
                "rate": round(minute["cases"] / (now - written)),
                "rate_cpu": round(minute["cases"] / minute["cpu"]) if minute["cpu"] else 0,
                "worker_mb": round(minute["rss"]), "coordinator_mb": round(minute["own"]),
                "features": progress.features, "corpus": progress.units, "findings": len(campaign.store.records),
                "lanes": {name: round(cases / cpu) if cpu else 0 for name, (cpu, cases) in lanes.items()},
            }  # fmt: skip
            with open(out / CURVES, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
            print(row, flush=True)
            written = now
            minute.clear()
            lanes.clear()

    with _campaign(arguments, print) as campaign:
        result = campaign.run(seconds=arguments.minutes * 60, seed=arguments.seed, on_tick=tick)
        campaign.reduce()
    print(result)
    return 0


def _campaign(arguments: argparse.Namespace, say: Any) -> Any:
    from worldswitch.fuzzing.campaign import Campaign
    from worldswitch.fuzzing.lanes import make_lanes
    from worldswitch.paths.catalogue import IMPLEMENTATIONS

    lanes = make_lanes(arguments.target.split(","), [IMPLEMENTATIONS], "amd", ())
    return Campaign(lanes, Path(arguments.out), say, slice_cases=arguments.cases)


def _cpu(pid: int) -> float:
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / TICKS


def _rss(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_MB


COORDINATOR = """
import argparse, sys, json
sys.path.insert(0, sys.argv[2])
import endurance
arguments = argparse.Namespace(**json.loads(sys.argv[1]))
with endurance._campaign(arguments, lambda text: None) as campaign:
    campaign.run(total=arguments.total, seed=arguments.seed)
    campaign.reduce()
"""


def kill(arguments: argparse.Namespace) -> int:
    """Run a campaign to its total, killing it at random moments."""
    rng = random.Random(arguments.seed)
    words = [sys.executable, "-c", COORDINATOR, json.dumps(vars(arguments)), str(Path(__file__).parent)]
    kills = {"coordinator": 0, "fuzzing process": 0}
    while True:
        process = subprocess.Popen(words)
        while True:
            try:
                code = process.wait(rng.uniform(0.2, 1.8) * arguments.every if arguments.every else None)
            except subprocess.TimeoutExpired:
                children = _children(process.pid)
                if rng.random() < 0.5 and children:
                    kills["fuzzing process"] += 1
                    os.kill(rng.choice(children), signal.SIGKILL)
                    continue
                kills["coordinator"] += 1
                process.kill()
                process.wait()
                break
            print(f"killed: {kills}")
            return code


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def compare(arguments: argparse.Namespace) -> int:
    """Say whether two campaigns are equal, but for dates."""
    from tests.faults.faulty import state

    first, second = (state(Path(name)) for name in arguments.directories)
    if arguments.prefix:
        return _compare_prefix(first, second)
    differing = [name for name in first if first[name] != second[name]]
    for name, value in first.items():
        print(f"{name}: {len(value)} and {len(second[name])}, {'DIFFERENT' if name in differing else 'equal'}")
    return 1 if differing else 0


def _compare_prefix(first: dict[str, list[Any]], second: dict[str, list[Any]]) -> int:
    closed = [row for row in second["slices"] if row[-1] == "closed"]
    done = sum(row[4] for row in closed)
    seen = [one for one in second["findings"] if one[0]["first_execution"] <= done]
    found = {one[0]["signature"]: (one[0], *one[2:]) for one in first["findings"]}
    missing = [one[0]["signature"] for one in seen if found.get(one[0]["signature"]) != (one[0], *one[2:])]
    more = [
        one[0]["signature"]
        for one in first["findings"]
        if one[0]["first_execution"] <= done and one[0]["signature"] not in {other[0]["signature"] for other in seen}
    ]
    slices = [row for row in closed if row not in first["slices"]]
    print(f"{len(closed)} slices with {done} cases: {len(slices)} differ")
    print(f"{len(seen)} findings first seen in them: {len(missing)} differ, {len(more)} more in the first campaign")
    return 1 if missing or more or slices else 0


def _by_lane(rows: list[dict[str, Any]]) -> list[str]:
    """Each lane's rate by processor time, in the first and the last third of the run."""
    lines = ["", "| lane | cases a second of processor time, first third | last third |", "|---|---|---|"]
    third = len(rows) // 3
    for name in sorted({name for row in rows for name in row["lanes"]}):
        means = []
        for group in (rows[:third], rows[-third:]):
            values = [row["lanes"][name] for row in group if row["lanes"].get(name)]
            means.append(f"{sum(values) / len(values):.0f} ({len(values)} minutes)" if values else "no turn")
        lines.append(f"| {name} | {means[0]} | {means[1]} |")
    return lines


def write(arguments: argparse.Namespace) -> int:
    """Put the curves of a run into the page, between its ``endurance`` marks."""
    directory = Path(arguments.directories[0])
    rows = [json.loads(line) for line in (directory / CURVES).read_text(encoding="utf-8").splitlines()]
    step = max(1, len(rows) // 12)
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
    lines += _by_lane(rows)
    if arguments.compared:
        lines += ["", arguments.compared]
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split("<!-- endurance -->\n")
    after = rest.split("<!-- /endurance -->\n")[1]
    PAGE.write_text(
        f"{before}<!-- endurance -->\n" + "\n".join(lines) + f"\n<!-- /endurance -->\n{after}", encoding="utf-8"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
