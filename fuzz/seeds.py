#!/usr/bin/env python3
"""Writes for each libFuzzer target its seed corpus and its options, in OSS-Fuzz's form.

    fuzz/seeds.py DIR

``TARGET_seed_corpus.zip`` holds the scenarios of ``corpus/``, as inputs; the same files give the same bytes.
``TARGET.options`` says how long an input is at the most.
"""

import sys
import zipfile
from pathlib import Path
from typing import Final

from worldswitch.fuzzing.targets import Configuration, Target
from worldswitch.scenario.read import read_scenario

CORPUS: Final = Path(__file__).parents[1] / "corpus"

TARGETS: Final = {
    "fuzz_world_switch": "world-switch",
    "fuzz_sequence": "sequence",
    "fuzz_nested": "nested",
    "fuzz_path_edits": "edits",
}
"""The files of ``fuzz/`` by the target whose cases they execute; its seeds are in ``corpus/NAME``."""


def main() -> int:
    """Write the files of every target; the exit code is 2 without a directory to write them to."""
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        print("usage: fuzz/seeds.py DIR", file=sys.stderr)
        return 2
    out = Path(sys.argv[1])
    for program, name in TARGETS.items():
        codec = Target(Configuration(name)).codec
        with zipfile.ZipFile(out / f"{program}_seed_corpus.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted((CORPUS / name).glob("*.toml")):
                archive.writestr(zipfile.ZipInfo(file.stem), codec.encode(read_scenario(str(file))))
        (out / f"{program}.options").write_text(f"[libfuzzer]\nmax_len = {codec.length}\n", encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
