"""Batches of records: to an implementation and back."""

from collections.abc import Callable, Sequence
from typing import Final

from worldswitch.errors import InputError
from worldswitch.replay import memory
from worldswitch.replay.assemble import u32, u64
from worldswitch.replay.observed import CRASH, Observed, interpret
from worldswitch.replay.record import Record

HEADER: Final = "worldswitch-image 1"
FINISHED: Final = "Z"
MAX_BATCH: Final = 24 << 20
"""Bytes; the image keeps its log above 48 MiB."""


def to_bytes(records: Sequence[Record], numbers: Sequence[int]) -> bytes:
    """The multiboot module of a batch; ``numbers`` name the records in the log."""
    body = b"".join(record.to_bytes(number) for record, number in zip(records, numbers, strict=True))
    return u64(memory.BATCH_MAGIC) + u32(len(records)) + u32(0) + body


def split_log(text: str) -> dict[int, list[str]]:
    """Record number to its log lines, from a serial log; raises ``InputError`` where the image reported a failure.

    A record without a final line was under way when the log ended.
    """
    found: dict[int, list[str]] = {}
    current: list[str] | None = None
    seen_header = False
    for raw in text.splitlines(keepends=True):
        if not raw.endswith("\n"):
            break  # cut off
        line = raw.strip()
        if line == HEADER:
            seen_header = True
        elif line.startswith("!"):
            raise InputError(f"the boot image reports: {line[1:].strip()}")
        elif line.startswith("S ") and seen_header:
            current = found.setdefault(int(line[2:], 16), [])
            current.clear()
        elif line[:2] in ("H ", "X ", "E ", "R ", "T ") and current is not None:
            current.append(line)
            if line[0] in "ERT":
                current = None
    if not seen_header:
        raise InputError("no output of the boot image in the log")
    return found


def observe_log(records: Sequence[Record], text: str) -> list[Observed | None]:
    """What each record did, by a serial log; None for records that the log does not reach."""
    lines = split_log(text)
    return [interpret(record, lines[number]) if number in lines else None for number, record in enumerate(records)]


def run_all(records: Sequence[Record], run: Callable[[bytes], str]) -> list[Observed | None]:
    """Run the records in one batch; where the implementation itself ends, go on behind the record under way.

    ``run`` takes a batch and gives the serial log. A record at which the implementation ended has ``stop`` "crash".
    """
    lines: dict[int, list[str]] = {}
    crashed: set[int] = set()
    first = 0
    while first < len(records):
        end, size = first, 0
        while end < len(records) and size < MAX_BATCH:
            size += records[end].size
            end += 1
        log = run(to_bytes(records[first:end], range(first, end)))
        found = split_log(log)
        lines.update(found)
        if log.rstrip().endswith(FINISHED):
            first = end
            continue
        if not found:
            raise InputError("the implementation ended before the first scenario")
        crashed.add(max(found))
        first = max(found) + 1
    return [
        Observed(CRASH, complete=False) if number in crashed
        else interpret(record, lines[number]) if number in lines
        else None
        for number, record in enumerate(records)
    ]  # fmt: skip
