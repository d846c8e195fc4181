"""Deep goals, drawn rather than written, so that nobody's idea of what a fuzzer should find is in them.

A goal is a piece of a run that really was: a #VMEXIT with some of what it reported, handlers entered later, a #VMEXIT
after that with some of what it reported, and how the run ended. The runs are of random cases with few slots set or
many. A goal is *deep*: a million uniformly random cases do not meet it, for what they meet needs no guidance. Of a
*staged* one the first exit alone is rare already; a *broad* one asks for more on its way. `CHOSEN_ON` and `HELD_OUT`
hold the numbers that draw the cases again, of broad goals and of staged ones.

    python benchmarks/goals.py                              prints the goals
    python benchmarks/goals.py --choose 24                  draws numbers anew: prints what CHOSEN_ON should hold
    python benchmarks/goals.py --choose 24 --from 2000000   the same of HELD_OUT
"""

import argparse
import random
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import count, islice
from typing import Final

from worldswitch.core.bits import EVENT_V, RFLAGS_IF, event_type
from worldswitch.core.names import exit_name
from worldswitch.core.record import KINDS, WORLDS, Handler
from worldswitch.core.record import Exit as ExitRecord
from worldswitch.fuzzing.codec import Codec
from worldswitch.machine.compile import compile_scenario, make_options
from worldswitch.machine.observe import STOP_NAMES
from worldswitch.machine.run import Run, run_plan
from worldswitch.machine.stretch import Stretches
from worldswitch.paths.catalogue import find

PATH: Final = "linux-6.1"
CHOSEN_ON: Final = (
    (1788, 10444, 19152, 19420, 34908, 40372, 1297, 2013, 3093, 3169, 7945, 8729, 214, 2494, 3566, 5018, 5726,
     5902, 79, 95, 131, 227, 235, 531),
    (1172, 1212, 5952, 7084, 9148, 21356, 165, 1401, 1589, 1781, 3093, 7673, 1094, 1238, 1530, 2998, 3158, 4118,
     283, 799, 1983, 2155, 3355, 4211),
)  # fmt: skip
HELD_OUT: Final = (
    (2004656, 2005680, 2005944, 2007956, 2026436, 2026692, 2002353, 2003537, 2003593, 2003613, 2005241, 2009321,
     2000354, 2001538, 2002062, 2002378, 2003998, 2004006, 2000043, 2000439, 2000627, 2000899, 2000983, 2001219),
    (2000640, 2000956, 2005680, 2007000, 2007652, 2008544, 2002309, 2003197, 2003537, 2004689, 2006977, 2007253,
     2000794, 2002026, 2002290, 2002334, 2002662, 2003046, 2001367, 2001691, 2002207, 2003311, 2003811, 2003919),
)  # fmt: skip
"""Drawn when mutator and projection were settled, and looked at once."""

SLOTS_SET: Final = (8, 16, 32, 64)
"""Of the slots of a witness, how many are set by chance at most, the others being left at their default."""

SHAPES: Final = ((3, 2, 3), (5, 1, 1))
"""Conditions on the first exit beside its code, handlers, conditions on the second: of broad goals, of staged ones."""

RARE: Final = 20_000
"""Of so many uniformly random cases, at most one has the first exit of a staged goal."""

MISSED_BY: Final = 1_000_000
"""Uniformly random cases that do not meet a deep goal."""

CANDIDATES: Final = 40
"""Drawn for each goal that is wanted."""

PROCESSES: Final = 2


def _type(word: int) -> int:
    return event_type(word) + 1 if word & EVENT_V else 0


TRAITS: Final[dict[str, Callable[[ExitRecord], int]]] = {
    "EVENTINJ": lambda e: _type(e.entry.eventinj),
    "EXITINTINFO": lambda e: _type(e.exitintinfo),
    "int_state": lambda e: e.int_state & 1,
    "int_state loaded": lambda e: e.entry.int_state & 1,
    "instructions": lambda e: min(e.entry.retired, 3),
    "handlers": lambda e: min(e.entry.delivered, 2),
    "V_IRQ": lambda e: int(e.v_irq),
    "V_NMI": lambda e: int(e.v_nmi),
    "V_NMI_MASK": lambda e: int(e.v_nmi_mask),
    "V_TPR": lambda e: int(e.v_tpr > 0),
    "IF": lambda e: int(bool(e.rflags & RFLAGS_IF)),
}
"""What an exit reports: every value is small, and 0 is the plain one."""

Traits = tuple[tuple[str, int], ...]
Entered = tuple[int, int, int]
"""World, kind and vector of a handler."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A piece of a run, in the order of the run."""

    first: int
    """Exit code."""
    first_traits: Traits
    handlers: tuple[Entered, ...]
    second: int
    """Exit code."""
    second_traits: Traits
    stop: int

    def __str__(self) -> str:
        handlers = "; ".join(f"{KINDS[kind]} {vector:#x} in {WORLDS[world]}" for world, kind, vector in self.handlers)
        return (
            f"{_exit(self.first, self.first_traits)}; {handlers}; {_exit(self.second, self.second_traits)}; "
            f"{STOP_NAMES[self.stop]}"
        )

    def first_exit(self, run: Run) -> int | None:
        """The step of the earliest exit that fits the first one; None without."""
        return next((e.step for e in run.recorder.exits if e.code == self.first and _fits(e, self.first_traits)), None)

    def met(self, run: Run) -> bool:
        """Whether ``run`` holds this piece: the earliest fitting exit, the earliest handlers after it, then an exit."""
        if run.cpu.stop != self.stop:
            return False
        exits = run.recorder.exits
        step = self.first_exit(run)
        if step is None:
            return False
        left = list(self.handlers)
        for handler in run.recorder.handlers:
            if left and handler.step > step and _entered(handler) == left[0]:
                step = handler.step
                del left[0]
        return not left and any(
            e.step >= step and e.code == self.second and _fits(e, self.second_traits) for e in exits[1:]
        )


def _entered(handler: Handler) -> Entered:
    return handler.world, handler.kind, handler.vector


def _exit(code: int, traits: Traits) -> str:
    return f"{exit_name(code)} ({', '.join(f'{name} {value}' for name, value in traits)})"


def _fits(record: ExitRecord, traits: Traits) -> bool:
    return all(TRAITS[name](record) == value for name, value in traits)


def _traits(record: ExitRecord, count: int, rng: random.Random) -> Traits:
    """Some of the traits of ``record``, those that are not plain first."""
    values = [(name, trait(record)) for name, trait in TRAITS.items()]
    rng.shuffle(values)
    values.sort(key=lambda pair: not pair[1])
    return tuple(sorted(values[:count]))


class Core:
    """Cases to runs, on one path."""

    def __init__(self) -> None:
        self.codec = Codec("world-switch", PATH)
        self._path, self._options, self._stretches = find(PATH), make_options("amd", {}, None), Stretches()

    def run(self, data: bytes) -> Run:
        """Executes a case."""
        plan = compile_scenario(self.codec.decode(data), self._path, options=self._options)
        return run_plan(plan, stretches=self._stretches)


def witness(number: int, codec: Codec) -> bytes:
    """The case that ``number`` draws."""
    rng = random.Random(number)
    row = bytearray(codec.length)
    for _ in range(SLOTS_SET[number % len(SLOTS_SET)]):
        row[rng.randrange(codec.length)] = rng.randrange(256)
    return bytes(row)


def goal_of(number: int, staged: bool, core: Core) -> Goal | None:
    """The goal that is a piece of witness ``number``'s run; None where the run is too short for one."""
    of_first, entered, of_second = SHAPES[staged]
    rng = random.Random(number)
    run = core.run(witness(number, core.codec))
    exits = run.recorder.exits
    between = [h for h in run.recorder.handlers if len(exits) > 1 and exits[0].step < h.step <= exits[-1].step]
    if len(between) < entered:
        return None
    handlers = [between[index] for index in sorted(rng.sample(range(len(between)), entered))]
    first = rng.choice([e for e in exits if e.step < handlers[0].step])
    second = rng.choice([e for e in exits if e.step >= handlers[-1].step])
    return Goal(
        first.code, _traits(first, of_first, rng), tuple(map(_entered, handlers)),
        second.code, _traits(second, of_second, rng), run.cpu.stop,
    )  # fmt: skip


@cache
def chosen_on() -> tuple[Goal, ...]:
    """Those that projection and mutator were chosen on."""
    return _goals(*CHOSEN_ON)


@cache
def held_out() -> tuple[Goal, ...]:
    """Those that are reported."""
    return _goals(*HELD_OUT)


def _goals(broad: Iterable[int], staged: Iterable[int]) -> tuple[Goal, ...]:
    core = Core()
    drawn = [goal_of(number, False, core) for number in broad] + [goal_of(number, True, core) for number in staged]
    return tuple(goal for goal in drawn if goal)


def _met(numbers: Iterable[int], staged: bool, cases: int, seed: int) -> dict[int, tuple[int, bool]]:
    """How many of ``cases`` uniformly random cases have the first exit of each goal, and whether one met the goal."""
    core, rng = Core(), random.Random(seed)
    goals = [(number, goal) for number in numbers if (goal := goal_of(number, staged, core))]
    firsts = dict.fromkeys(numbers, 0)
    met: set[int] = set()
    for _ in range(cases):
        run = core.run(rng.randbytes(core.codec.length))
        codes = {record.code for record in run.recorder.exits}
        for number, goal in goals:
            if goal.first in codes and goal.first_exit(run) is not None:
                firsts[number] += 1
                if goal.met(run):
                    met.add(number)
    return {number: (firsts[number], number in met) for number in numbers}


def choose(staged: bool, wanted: int, first: int) -> list[int]:
    """The first ``wanted`` numbers from ``first`` on that draw a deep goal, as many of each of `SLOTS_SET`.

    ``first`` is a multiple of the length of `SLOTS_SET`.
    """
    core = Core()
    share = wanted // len(SLOTS_SET)
    candidates: list[int] = []
    for kind in range(len(SLOTS_SET)):
        fitting = (n for n in count(first + kind, len(SLOTS_SET)) if goal_of(n, staged, core))
        candidates += islice(fitting, CANDIDATES * share)
    with ProcessPoolExecutor(PROCESSES) as pool:
        parts = list(pool.map(partial(_met, candidates, staged, MISSED_BY // PROCESSES), range(PROCESSES)))
    deep = [
        n
        for n in candidates
        if not any(part[n][1] for part in parts)
        and (not staged or sum(part[n][0] for part in parts) <= MISSED_BY // RARE)
    ]
    rows = [[n for n in deep if n % len(SLOTS_SET) == kind] for kind in range(len(SLOTS_SET))]
    print(
        "deep, of each number of slots:",
        *(f"{slots}: {len(row)} of {CANDIDATES * share}" for slots, row in zip(SLOTS_SET, rows, strict=True)),
    )
    return [number for row in rows for number in row[:share]]


def main() -> None:
    """Prints the goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choose", type=int, metavar="N", help="draw N of each kind anew")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="NUMBER", help="the first number to try")
    arguments = parser.parse_args()
    if arguments.choose:
        for staged in (False, True):
            print(choose(staged, arguments.choose, arguments.first))
        return
    for title, half in (("chosen on", chosen_on()), ("held out", held_out())):
        print(f"{title}:")
        for goal in half:
            print(f"  {goal}")


if __name__ == "__main__":
    main()
