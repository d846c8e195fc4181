"""All parts of a check on several paths, each path in a process of its own."""

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

from worldswitch.check.explore import Explorer, Progress
from worldswitch.check.report import PathResult
from worldswitch.check.space import EVERYTHING, PARTS
from worldswitch.errors import InputError
from worldswitch.paths.catalogue import find

LINE_EVERY: Final = 2.0
"""Seconds between two lines of progress of one path."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to check on one path."""

    path: str  # a name or a path file
    depth: int
    profile: str
    options: dict[str, str]
    parts: tuple[str, ...]  # names; all where empty
    deadline: float | None  # of ``time.time()``, which processes share


def part_names(given: list[str]) -> tuple[str, ...]:
    """The parts that words on a command line name; raises ``InputError``."""
    known = [space.name for space in PARTS]
    names = tuple(dict.fromkeys(word.strip() for text in given for word in text.split(",")))
    for name in names:
        if name not in known:
            raise InputError(f"unknown part {name!r}; there are {', '.join(known)}", field="--part")
    return names


def check_paths(requests: list[Request], jobs: int) -> list[PathResult]:
    """The results, in order; with one job or one path in this process."""
    if jobs < 2 or len(requests) < 2:
        return [check_path(request) for request in requests]
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(check_path, request) for request in requests]
        interrupted = False
        while True:
            try:
                results = [future.result() for future in futures]
                break
            except KeyboardInterrupt:  # the processes were interrupted too, and return what they have
                interrupted = True
    for result in results:
        result.interrupted |= interrupted
    return results


def check_path(request: Request) -> PathResult:
    """All parts on one path; what there is of them where the deadline or an interruption cuts them short."""
    result = PathResult(request.path, bool(request.parts))
    try:
        for space in PARTS:
            if request.parts and space.name not in request.parts:
                continue
            bounded = space.bounded(request.depth) if space is EVERYTHING else space
            explorer = Explorer(bounded, find(request.path), request.profile, request.options)
            result.outcomes.append(explorer.outcome)
            left = None if request.deadline is None else request.deadline - time.time()
            explorer.run(None if left is None else time.monotonic() + left, _Display(request.path, space.name).tick)
    except KeyboardInterrupt:
        result.interrupted = True
    return result


class _Display:
    """A line of progress on standard error now and then."""

    def __init__(self, path: str, part: str) -> None:
        self.title = f"{path}, {part}"
        self.last = time.monotonic()
        self.states = 0

    def tick(self, progress: Progress) -> None:
        """Show where the search is."""
        now = time.monotonic()
        if now - self.last < LINE_EVERY:
            return
        rate = (progress.states - self.states) / (now - self.last)
        self.last, self.states = now, progress.states
        print(
            f"{self.title}: {progress.states:,} states ({progress.unique:,} unique with a choice), "
            f"depth {progress.depth}, size {progress.cost.instructions}+{progress.cost.fields}, {rate:,.0f} states/s; "
            f"{progress.runs:,} scenarios, {progress.waiting:,} waiting",
            file=sys.stderr,
            flush=True,
        )
