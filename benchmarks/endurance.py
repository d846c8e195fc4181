#!/usr/bin/env python3
"""How a campaign holds out: its rate and memory over an hour, and whether being killed changes what it finds.

    benchmarks/endurance.py run  [--minutes 60] [--total N] --out DIR   one process, measured once a minute
    benchmarks/endurance.py kill [--minutes 60] [--total N] --out DIR   the same campaign, killed again and again
    benchmarks/endurance.py compare DIR DIR [--prefix]              are the two campaigns equal?
    benchmarks/endurance.py write DIR KILLED_DIR                    curves and comparison, into docs/campaigns.md

``run`` measures cases a second twice: by the clock, which says what else the machine had to do, and by the processor
time of the fuzzing process, which does not. ``kill`` sends SIGKILL to the coordinator, or as often to one of its
processes, after a random time of ``--every`` seconds on average, and notes each kill in the campaign's directory. Both
have the same settings by default; ``compare`` refuses two campaigns that had not. It says what differs, and is silent
about dates; with ``--prefix``, the campaign that got less far is compared with the beginning of the other one. Exit
code: 0, 1 where something differs, or 2 for bad input.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]  # for tests.faults, and for the coordinator's process

import endurance_report  # noqa: E402
from endurance_report import CURVES, KILLS, SETTINGS  # noqa: E402

if TYPE_CHECKING:
    from worldswitch.fuzzing.campaign import Campaign
    from worldswitch.fuzzing.growth import Progress

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)
ROW_SECONDS = 60.0
"""Between two lines of measurements."""


def main() -> int:
    """Do what the command line says."""
    from worldswitch.errors import InputError

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("run", "kill", "compare", "write"))
    parser.add_argument("directories", metavar="DIR", nargs="*")
    parser.add_argument("--out", metavar="DIR", default="endurance")
    parser.add_argument("--minutes", type=float, default=60.0, help="of run and kill (default: %(default)s)")
    parser.add_argument("--total", type=int, default=None, help="cases after which run and kill end too")
    parser.add_argument("--target", default="all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=None, help="cases of every slice")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between kills (default: %(default)s)")
    parser.add_argument("--prefix", action="store_true")
    arguments = parser.parse_intermixed_args()
    directories = [Path(name) for name in arguments.directories]
    try:
        if arguments.what == "run":
            return measure(arguments)
        if arguments.what == "kill":
            return kill(arguments)
        if len(directories) != 2:
            raise InputError(f"{arguments.what} takes two directories")
        if arguments.what == "write":
            return endurance_report.write(*directories)
        equal, lines = endurance_report.compare(*directories, prefix=arguments.prefix)
        print(*lines, sep="\n")
        return 0 if equal else 1
    except InputError as error:
        print(f"endurance: {error}", file=sys.stderr)
        return 2


def new(arguments: argparse.Namespace) -> Path:
    """The directory of a campaign that is to begin, with its settings noted; raises ``InputError`` if it is there."""
    from worldswitch.errors import InputError

    out = Path(arguments.out)
    if out.exists() and any(out.iterdir()):
        raise InputError("is there already, and what is measured is a campaign from its beginning", str(out))
    out.mkdir(parents=True, exist_ok=True)
    settings = {"target": arguments.target, "seed": arguments.seed, "cases": arguments.cases}
    (out / SETTINGS).write_text(json.dumps(settings) + "\n", encoding="utf-8")
    return out


def open_campaign(arguments: argparse.Namespace, say: Any) -> "Campaign":
    """The campaign, new or to go on with."""
    from worldswitch.fuzzing.campaign import Campaign
    from worldswitch.fuzzing.lanes import make_lanes
    from worldswitch.paths.catalogue import IMPLEMENTATIONS

    lanes = make_lanes(arguments.target.split(","), [IMPLEMENTATIONS], "amd", ())
    return Campaign(lanes, Path(arguments.out), say, slice_cases=arguments.cases)


def measure(arguments: argparse.Namespace) -> int:
    """Fuzz for so many minutes, with a line of measurements each minute."""
    curves = Curves(new(arguments) / CURVES)
    with open_campaign(arguments, print) as campaign:
        result = campaign.run(
            seconds=arguments.minutes * 60, total=arguments.total, seed=arguments.seed, on_tick=curves.tick
        )
        campaign.reduce()
    print(result)
    return 0


class Curves:
    """What is measured of a campaign while it runs, a line a minute."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._began = self._written = time.monotonic()
        self._last: dict[int, tuple[float, int]] = {}  # process to its processor time and cases
        self._minute: dict[str, float] = defaultdict(float)
        self._lanes: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])  # processor time and cases

    def tick(self, progress: "Progress", campaign: "Campaign") -> None:
        """Measure; twice a second."""
        for crew in campaign.crews:
            pid = crew.worker.pid
            cpu, done = _cpu(pid), crew.worker.executions
            before = self._last.get(pid, (cpu, done))
            self._last[pid] = (max(cpu, before[0]), done)
            sums = self._lanes[crew.lane.name]
            sums[0] += max(0.0, cpu - before[0])
            sums[1] += done - before[1]
            self._minute["rss"] = max(self._minute["rss"], crew.rss_mb())
        self._minute["own"] = max(self._minute["own"], _rss(os.getpid()))
        now = time.monotonic()
        if now - self._written < ROW_SECONDS:
            return
        cpu = sum(lane[0] for lane in self._lanes.values())
        cases = sum(lane[1] for lane in self._lanes.values())
        row = {
            "minute": round((now - self._began) / 60), "executions": progress.executions,
            "rate": round(cases / (now - self._written)), "rate_cpu": round(cases / cpu) if cpu else 0,
            "worker_mb": round(self._minute["rss"]), "coordinator_mb": round(self._minute["own"]),
            "features": progress.features, "corpus": progress.units, "findings": len(campaign.store.records),
            "lanes": {name: round(cases / cpu) if cpu else 0 for name, (cpu, cases) in self._lanes.items()},
        }  # fmt: skip
        with open(self._file, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        print(row, flush=True)
        self._written = now
        self._minute.clear()
        self._lanes.clear()


def _cpu(pid: int) -> float:
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / TICKS


def _rss(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_MB


COORDINATOR = "import sys; sys.path[:0] = sys.argv[2:]; import endurance; endurance.coordinate(sys.argv[1])"


def coordinate(words: str) -> None:
    """The coordinator's process under ``kill``: the campaign goes on for what is left of its time."""
    arguments = argparse.Namespace(**json.loads(words))
    with open_campaign(arguments, lambda _text: None) as campaign:
        if arguments.seconds > 0:
            campaign.run(seconds=arguments.seconds, total=arguments.total, seed=arguments.seed)
        campaign.open()
        campaign.reduce()


def kill(arguments: argparse.Namespace) -> int:
    """Run a campaign for so many minutes, killing it at random moments."""
    out = new(arguments)
    rng = random.Random(arguments.seed)
    began = time.monotonic()
    kills: Counter[str] = Counter()
    while True:
        left = arguments.minutes * 60 - (time.monotonic() - began)
        words = json.dumps({**vars(arguments), "seconds": left})
        process = subprocess.Popen([sys.executable, "-c", COORDINATOR, words, str(ROOT), str(ROOT / "benchmarks")])
        killed = ""
        while killed != "coordinator":
            try:
                code = process.wait(rng.uniform(0.2, 1.8) * arguments.every)
            except subprocess.TimeoutExpired:
                killed = _kill_one(process, rng)
                if not killed:
                    continue
                kills[killed] += 1
                line = {"second": round(time.monotonic() - began, 1), "killed": killed}
                with open(out / KILLS, "a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")
            else:
                print(f"killed: {dict(kills)}")
                return code


def _kill_one(process: "subprocess.Popen[bytes]", rng: random.Random) -> str:
    """Kill the coordinator or one of its processes; returns which, or "" where that one had just ended."""
    children = _children(process.pid)
    if children and rng.random() < 0.5:
        child = rng.choice(children)
        try:
            fuzzes = b"worldswitch.fuzzing.harness" in Path(f"/proc/{child}/cmdline").read_bytes()
            os.kill(child, signal.SIGKILL)
        except OSError:  # it has just ended
            return ""
        return "fuzzing process" if fuzzes else "helper"
    process.kill()
    process.wait()
    return "coordinator"


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main())
