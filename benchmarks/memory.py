"""Whether the loop's memory grows: resident memory of one process that runs the loop of a campaign for long.

    python benchmarks/memory.py --cases 10000000 --write docs/performance.md

A campaign starts its processes anew with every slice, which hides a leak; this one does not. The core is the one that
is installed.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))

from document import replace

from worldswitch import __version__
from worldswitch.core import compiled
from worldswitch.fuzzing.engine import fuzz
from worldswitch.fuzzing.harness import Harness, Send
from worldswitch.fuzzing.slices import build as build_slice
from worldswitch.fuzzing.targets import Configuration

SAMPLES: Final = 20
BEGIN: Final = "<!-- benchmarks/memory.py: memory -->"
END: Final = "<!-- end of memory -->"
PAGES_TO_MB: Final = resource.getpagesize() / (1 << 20)


def build(send: Send, target: str, cases: int) -> Harness:
    """A campaign's harness that also sends executions, resident MB and processor seconds now and then."""
    harness = build_slice(lambda message: None, Configuration(target), cases)
    inner, every, executions = harness.one_input, max(1, cases // SAMPLES), 0

    def one_input(data: bytes) -> None:
        nonlocal executions
        inner(data)
        executions += 1
        if executions % every == 0:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            send((executions, round(pages * PAGES_TO_MB), time.process_time()))

    return Harness(one_input, harness.mutator, harness.crossover, harness.features)


def measure(target: str, cases: int) -> list[tuple[int, int, float]]:
    """Executions, resident MB and processor seconds, at equal distances."""
    rows: list[tuple[int, int, float]] = []

    def message(value: Any) -> None:
        rows.append(value)
        print(f"{value[0]} cases: {value[1]} MB", flush=True)

    with tempfile.TemporaryDirectory() as name:
        fuzz(
            build, (target, cases), corpus=Path(name, "corpus"), artifacts=Path(name, "artifacts"), runs=cases,
            max_len=256, on_message=message,
        )  # fmt: skip
    return rows


def table(rows: list[tuple[int, int, float]]) -> str:
    """A row a sample."""
    lines = [
        f"worldswitch {__version__}, {'compiled' if compiled() else 'pure Python'} core, one process.",
        "",
        "| cases | resident MB | cases a second of processor time |",
        "|---|---|---|",
    ]
    before = (0, 0, 0.0)
    for row in rows:
        rate = (row[0] - before[0]) / max(row[2] - before[2], 0.01)
        lines.append(f"| {row[0]} | {row[1]} | {rate:.0f} |")
        before = row
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="world-switch")
    parser.add_argument("--cases", type=int, default=10_000_000)
    parser.add_argument("--write", type=Path, help="the document whose table to replace")
    arguments = parser.parse_args()
    text = table(measure(arguments.target, arguments.cases))
    if arguments.write:
        replace(arguments.write, BEGIN, END, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
