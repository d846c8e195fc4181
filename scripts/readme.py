#!/usr/bin/env python3
"""Writes the output of a real campaign into the README, between its ``campaign`` marks.

The campaign is the one that ``scripts/fuzz`` runs, with its default minute; run this when what it prints changes.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- campaign -->\n", "<!-- /campaign -->\n"
SECONDS = "60"


def main() -> int:
    """Run the campaign and replace the block; the exit code is 0 where the campaign ended with findings."""
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [sys.executable, "-m", "worldswitch.cli", "fuzz", "--time", SECONDS, "--out", "campaign"],
            cwd=scratch, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode != 1:
        print(done.stderr, file=sys.stderr)
        return 2
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}```text\n{done.stdout}```\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
