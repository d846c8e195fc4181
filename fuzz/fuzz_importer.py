#!/usr/bin/env python3
"""Fuzzes the importer: mutated object files are imported, or refused with an ``InputError`` of one line.

    fuzz/fuzz_importer.py [--runs N] [--seed N] [--seconds S] [--out DIR] [FILE...]

FILEs are the objects to begin with, packed or not; without any, those that scripts/fetch-binaries fetched. Each case is
one of them after a few mutations, mostly of what a reader trusts: headers, tables, symbols, relocations, and the code
around VMRUN. The same seed gives the same cases.

Prints how many cases were imported and refused, and the slowest. Exit code: 1 if something else was raised, a case took
longer than ``--slow`` seconds, or an imported path could not be read back; the case is kept in ``--out``.
"""

import argparse
import os
import random
import struct
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from worldswitch.errors import InputError
from worldswitch.importer.container import read_object, unpack
from worldswitch.importer.importing import Request, import_content

INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, (1 << 63) - 1, (1 << 64) - 1)
_ELF_HEADER = 64
_SECTION_HEADER = 64


def mutate(data: bytes, rng: random.Random) -> bytes:
    """``data`` after one to six mutations."""
    result = bytearray(data)
    regions = _regions(data)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        if not result:
            break
        start, size = rng.choice(regions) if rng.random() < 0.85 else (0, len(result))
        place = min(start + rng.randrange(max(size, 1)), len(result) - 1)
        kind = rng.random()
        if kind < 0.3:
            result[place] ^= 1 << rng.randrange(8)
        elif kind < 0.65:
            width = rng.choice((1, 2, 4, 8))
            place -= place % width
            value = rng.choice(INTERESTING) if rng.random() < 0.7 else rng.getrandbits(64)
            result[place : place + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
        elif kind < 0.8:
            other, length = rng.choice(regions)[0], rng.randrange(1, 65)
            result[place : place + length] = result[other : other + length]
        elif kind < 0.9:
            result[place : place + 8] = rng.randbytes(8)
        elif kind < 0.95:
            del result[rng.randrange(len(result)) :]
        else:
            del result[place : place + rng.randrange(1, 65)]
    return bytes(result)


def _regions(data: bytes) -> list[tuple[int, int]]:
    """What a reader of an ELF or PE file looks at: headers, and each loaded section; offset and size."""
    try:
        return _elf_regions(data) if data.startswith(b"\x7fELF") else _pe_regions(data)
    except (struct.error, IndexError):
        return [(0, max(len(data), 1))]


def _elf_regions(data: bytes) -> list[tuple[int, int]]:
    (start,) = struct.unpack_from("<Q", data, 40)
    (count,) = struct.unpack_from("<H", data, 60)
    regions = [(0, _ELF_HEADER), (start, count * _SECTION_HEADER)]
    for number in range(count):
        offset, size = struct.unpack_from("<QQ", data, start + number * _SECTION_HEADER + 24)
        if size > 0 and offset + size <= len(data):
            regions.append((offset, size))
    vmrun = data.find(b"\x0f\x01\xd8")
    if vmrun >= 0:
        regions += [(max(vmrun - 48, 0), 96)] * 3
    return regions


def _pe_regions(data: bytes) -> list[tuple[int, int]]:
    (start,) = struct.unpack_from("<I", data, 0x3C)
    symbols, count = struct.unpack_from("<II", data, start + 12)
    vmrun = max(data.find(b"\x0f\x01\xd8"), 0)
    return [(0, 64), (start, 0x200), (symbols, count * 18), (max(vmrun - 96, 0), 192), (symbols + count * 18, 256)]


def check(content: bytes) -> str:
    """Import one case; returns ``imported`` or ``refused``, and raises whatever is wrong."""
    try:
        result = import_content(unpack(content, "case"), Request("case", fold=True))
    except InputError as error:
        if len(str(error).splitlines()) != 1 or not str(error).isprintable():
            raise AssertionError(f"not one printable line: {str(error)!r}") from error
        return "refused"
    if not result.path.lines:
        raise AssertionError("an imported path without lines")
    return "imported"


def fetched() -> list[str]:
    """What scripts/fetch-binaries fetched."""
    cache = Path(os.environ.get("WORLDSWITCH_BINARIES") or Path(__file__).parents[1] / ".cache" / "binaries")
    return sorted(str(file) for file in cache.glob("*/*") if file.name != "package")


def main() -> int:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", metavar="FILE", nargs="*")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=600.0, help="stop after so long (default: %(default)s)")
    parser.add_argument("--slow", type=float, default=20.0, help="a case may take so long (default: %(default)s)")
    parser.add_argument("--out", default="importer-crashes", metavar="DIR")
    arguments = parser.parse_args()
    files = arguments.files or fetched()
    if not files:
        parser.error("name a FILE, or fetch some with scripts/fetch-binaries")
    seeds = [read_object(name) for name in files]
    outcomes: Counter[str] = Counter()
    slowest = (0.0, 0)
    started = time.monotonic()
    for number in range(arguments.runs):
        if time.monotonic() - started > arguments.seconds:
            break
        rng = random.Random(f"{arguments.seed}:{number}")
        case = mutate(rng.choice(seeds), rng)
        before = time.monotonic()
        try:
            outcomes[check(case)] += 1
        except Exception:
            traceback.print_exc()
            outcomes["crashed"] += 1
            keep(Path(arguments.out), number, case)
        spent = time.monotonic() - before
        slowest = max(slowest, (spent, number))
        if spent > arguments.slow:
            outcomes["slow"] += 1
            keep(Path(arguments.out), number, case)
    tried = outcomes["imported"] + outcomes["refused"] + outcomes["crashed"]
    counts = ", ".join(f"{outcomes[name]} {name}" for name in ("imported", "refused", "crashed", "slow"))
    print(f"{tried} cases: {counts}; the slowest took {slowest[0]:.1f} s (case {slowest[1]})")
    return 1 if outcomes["crashed"] or outcomes["slow"] else 0


def keep(folder: Path, number: int, case: bytes) -> None:
    """Write a case that failed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"case-{number}").write_bytes(case)
    print(f"kept in {folder / f'case-{number}'}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
