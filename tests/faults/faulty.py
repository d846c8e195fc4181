"""Campaigns in processes of their own, ways to disturb them, and what a campaign is apart from dates."""

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Plan:
    """A small campaign: so many cases in slices of so many."""

    total: int = 1200
    cases: int = 300
    targets: tuple[str, ...] = ("sequence",)
    seed: int = 3
    jobs: int = 1


def coordinator(directory: Path, plan: Plan, **options: Any) -> "subprocess.Popen[str]":
    """Start the campaign; called again, it goes on."""
    words = {"directory": str(directory), **plan.__dict__}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.faulty", json.dumps(words)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,
    )


def finish(directory: Path, plan: Plan, **options: Any) -> tuple[int, str]:
    """Run the campaign to its end, or to what stops it; its exit code and what it said."""
    process = coordinator(directory, plan, **options)
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


def main() -> int:
    """The coordinator's process."""
    from worldswitch.errors import InputError
    from worldswitch.fuzzing.campaign import Campaign
    from worldswitch.fuzzing.lanes import make_lanes
    from worldswitch.paths.catalogue import IMPLEMENTATIONS

    words = argparse.Namespace(**json.loads(sys.argv[1]))
    lanes = make_lanes(words.targets, [IMPLEMENTATIONS], "amd", ())

    def say(text: str) -> None:
        print(text, flush=True)

    try:
        with Campaign(lanes, Path(words.directory), say, slice_cases=words.cases) as campaign:
            campaign.run(total=words.total, seed=words.seed, jobs=words.jobs)
            campaign.reduce()
    except InputError as error:
        print(f"worldswitch: {error}", flush=True)
        return 2
    return 0


@dataclass
class Disturbed:
    """What was done to a campaign, and what it had reported by then."""

    kills: Counter[str] = field(default_factory=Counter)
    reported: set[str] = field(default_factory=set)  # signatures that were printed as new findings
    lost: set[str] = field(default_factory=set)  # of them, those that are not on the disk afterwards
    output: str = ""


def kill_at_random(
    directory: Path, plan: Plan, rng: random.Random, every: float, kills: int, workers: float = 0.4
) -> Disturbed:
    """Run a campaign to its end, with so many kills on the way, each after ``every`` seconds on average."""
    done = Disturbed()
    while True:
        process = coordinator(directory, plan)
        killed = False
        while not killed:
            left = kills - sum(done.kills.values())
            try:
                process.wait(rng.uniform(0.1, 1.9) * every if left > 0 else 600)
            except subprocess.TimeoutExpired:
                children = _children(process.pid)
                if children and rng.random() < workers:
                    done.kills["worker"] += 1
                    os.kill(rng.choice(children), signal.SIGKILL)
                else:
                    done.kills["coordinator"] += 1
                    process.kill()
                    killed = True
            else:
                break
        output, _ = process.communicate(timeout=60)
        done.output += output
        done.reported |= {line.split()[2] for line in output.splitlines() if line.startswith("new finding ")}
        done.lost |= {name for name in done.reported if not _kept(directory, name)}
        if not killed:
            if process.returncode:
                raise AssertionError(f"exit code {process.returncode}: {output[-2000:]}")
            return done


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def _kept(directory: Path, signature: str) -> bool:
    """Whether a finding is in the database, as whoever opens the campaign next will see it."""
    with sqlite3.connect(directory / "campaign.db") as connection:  # also plays back a hot journal
        row = connection.execute("SELECT 1 FROM findings WHERE signature = ?", (signature,)).fetchone()
    connection.close()
    return row is not None


def state(directory: Path) -> dict[str, list[Any]]:
    """What a campaign is, without dates."""
    connection = sqlite3.connect(f"{(directory / 'campaign.db').absolute().as_uri()}?mode=ro", uri=True)
    findings = []
    for data, last, scenario, minimized in connection.execute(
        "SELECT data, last_execution, scenario, minimized FROM findings ORDER BY signature"
    ):
        record = json.loads(data)
        del record["first_seen"], record["first_second"]
        findings.append((record, last, scenario, minimized))
    tables = {
        "counts": "SELECT signature, target, path, cases FROM counts ORDER BY 1, 2, 3",
        "counts of open slices": "SELECT slice, signature, path, cases FROM open_counts ORDER BY 1, 2, 3",
        "slices": "SELECT number, lane, seed, planned, executions, features, state FROM slices ORDER BY 1",
        "lanes": "SELECT name, slices, executions, features, yield FROM lanes ORDER BY 1",
        "inputs": "SELECT target, name, slice FROM units WHERE retired IS NULL ORDER BY 1, 2",
    }
    result = {name: connection.execute(query).fetchall() for name, query in tables.items()}
    connection.close()
    files = sorted(
        str(path.relative_to(directory)) for path in directory.glob("corpus/*/*") if not path.name.startswith(".")
    )
    return {"findings": findings, "files": files, **result}


def differences(first: dict[str, list[Any]], second: dict[str, list[Any]]) -> list[str]:
    """What two campaigns differ in, by name."""
    return [name for name in first if first[name] != second[name]]


if __name__ == "__main__":
    sys.exit(main())
