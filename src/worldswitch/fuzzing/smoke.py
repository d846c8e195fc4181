"""The smoke check for CI: bounded, seeded, the same verdict every time.

It runs the ``world-switch`` target on every path of the verdict matrix and on a planted defect. The verdict is

- *as expected*: each path shows exactly the findings that the matrix lists for it;
- *unexpected findings*: a path shows one that its row does not list;
- *no verdict*: the run was blind. It missed a floor, or a finding that is known to be there, or the planted defect.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from worldswitch.core.bits import EVENT_V
from worldswitch.core.isa import OP_CLGI
from worldswitch.core.names import exit_name
from worldswitch.core.record import KINDS, WORLDS
from worldswitch.fuzzing.acknowledged import Entry, Sorted, sort
from worldswitch.fuzzing.local import explore
from worldswitch.fuzzing.targets import Configuration, Target, features
from worldswitch.fuzzing.verdicts import Verdicts
from worldswitch.machine.observe import STOP_NAMES
from worldswitch.machine.run import Run
from worldswitch.oracles.judge import NAMES, Verdict
from worldswitch.paths.catalogue import find
from worldswitch.paths.model import EntryPath
from worldswitch.program.instruction import parse_instruction

CASES: Final = 4000
SEED: Final = 1

PLANTED_PATH: Final = "linux-6.14"
PLANTED: Final = "planted"
PLANTED_FINDINGS: Final = frozenset({"nmi-exposure.undocumented.enter", "irq-exposure.undocumented.sti"})
"""What taking CLGI out of a clean path must show."""

EXIT_AS_EXPECTED: Final = 0
EXIT_UNEXPECTED: Final = 1
EXIT_BLIND: Final = 3


@dataclass(slots=True)
class Smoke:
    """The counts and the verdict of one smoke run."""

    cases: int = 0
    found: dict[str, Counter[str]] = field(default_factory=dict)  # path to signatures and how many cases showed each
    exits: Counter[str] = field(default_factory=Counter)
    handlers: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    armed: Counter[str] = field(default_factory=Counter)  # oracles, and runs to which each applied
    injection_exits: int = 0
    points: int = 0
    messages: dict[str, str] = field(default_factory=dict)  # of each signature, as first seen
    rules: dict[str, tuple[str, ...]] = field(default_factory=dict)  # likewise
    sorting: Sorted = field(default_factory=Sorted)  # what the matrix does not list: new, or acknowledged
    unexpected: list[str] = field(default_factory=list)
    blind: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 as expected, 1 unexpected findings, 3 no verdict."""
        if self.unexpected:
            return EXIT_UNEXPECTED
        return EXIT_BLIND if self.blind else EXIT_AS_EXPECTED


def planted() -> EntryPath:
    """A clean path with CLGI replaced by a NOP: what the oracles must object to."""
    path = find(PLANTED_PATH)
    nop = parse_instruction("nop")
    lines = tuple(replace(line, instruction=nop) if line.instruction.op == OP_CLGI else line for line in path.lines)
    return replace(path, name=PLANTED, lines=lines)


def smoke(
    verdicts: Verdicts,
    profile: str = "amd",
    options: tuple[tuple[str, str], ...] = (),
    cases: int = CASES,
    seed: int = SEED,
    acknowledged: Sequence[Entry] = (),
) -> Smoke:
    """Run the check; raises ``InputError`` for paths and options that do not exist."""
    result = Smoke()
    target = Target(Configuration("world-switch", tuple(verdicts.paths), profile, options), (planted(),))
    result.found = {name: Counter() for name in target.path_names}
    reached: set[int] = set()
    for _, judged in explore(target, cases, seed, []):
        result.cases += 1
        reached.update(features(judged))
        for name, run, verdict in judged:
            for finding in verdict.findings:
                result.found[name][finding.signature] += 1
                result.messages.setdefault(finding.signature, finding.message)
                result.rules.setdefault(finding.signature, finding.rules)
            _count(result, name, run, verdict)
    result.points = len(reached)
    _decide(result, verdicts, acknowledged)
    return result


def _count(result: Smoke, name: str, run: Run, verdict: Verdict) -> None:
    if name == PLANTED:
        return
    for record in run.recorder.exits:
        result.exits[exit_name(record.code)] += 1
        if record.step == record.entry.step and record.exitintinfo & EVENT_V:
            result.injection_exits += 1
    for handler in run.recorder.handlers:
        result.handlers[f"{WORLDS[handler.world]} {KINDS[handler.kind]}"] += 1
    result.outcomes[STOP_NAMES[run.cpu.stop]] += 1
    result.armed.update(oracle for oracle in NAMES if oracle not in verdict.not_applicable)


def _decide(result: Smoke, verdicts: Verdicts, acknowledged: Sequence[Entry]) -> None:
    surplus = [
        (signature, name)
        for name, expected in verdicts.paths.items()
        for signature in sorted(set(result.found[name]) - expected)
    ]
    result.sorting = sort(surplus, acknowledged)
    result.unexpected = [f"{name}: {signature}" for signature, name in result.sorting.new]
    for name, expected in verdicts.paths.items():
        found = set(result.found[name])
        result.blind += [
            f"{name}: {signature} is known to be there and was not found" for signature in sorted(expected - found)
        ]
    for signature in sorted(PLANTED_FINDINGS - set(result.found[PLANTED])):
        result.blind.append(f"the planted defect ({PLANTED_PATH} without CLGI) did not show {signature}")
    floors = verdicts.floors
    for kind, wanted, reached in (
        ("exit", floors.exits, result.exits),
        ("handler", floors.handlers, result.handlers),
        ("outcome", floors.outcomes, result.outcomes),
    ):
        result.blind += [f"no {kind} {name} was reached" for name in sorted(wanted - set(reached))]
    result.blind += [f"oracle {name} never applied" for name in NAMES if not result.armed[name]]
    if result.injection_exits < floors.injection_exits:
        result.blind.append(f"{result.injection_exits} exits during injection; the floor is {floors.injection_exits}")
    if result.points < floors.points:
        result.blind.append(f"{result.points} points of guidance; the floor is {floors.points}")


def text(result: Smoke) -> str:
    """The verdict in words; no time and no rate, so that two runs print the same."""
    lines = [f"{result.cases} cases on {len(result.found) - 1} paths and a planted defect"]
    for name, found in result.found.items():
        signatures = ", ".join(f"{signature} ({count})" for signature, count in sorted(found.items())) or "no finding"
        lines.append(f"  {name}: {signatures}")
    lines.append(
        f"reached: {len(result.exits)} kinds of exit, {len(result.handlers)} kinds of handler, "
        f"{result.injection_exits} exits during injection, {result.points} points"
    )
    lines += result.sorting.lines()
    lines += [f"UNEXPECTED {line}" for line in result.unexpected]
    lines += [f"BLIND {line}" for line in result.blind]
    lines.append(
        {EXIT_AS_EXPECTED: "as expected", EXIT_UNEXPECTED: "unexpected findings", EXIT_BLIND: "no verdict"}[
            result.exit_code
        ]
    )
    return "\n".join(lines)


def as_json(result: Smoke) -> dict[str, Any]:
    """The verdict for ``--json``."""
    return {
        "format": 1,
        "cases": result.cases,
        "found": {name: dict(sorted(found.items())) for name, found in result.found.items()},
        "reached": {
            "exits": dict(sorted(result.exits.items())),
            "handlers": dict(sorted(result.handlers.items())),
            "outcomes": dict(sorted(result.outcomes.items())),
            "armed": dict(sorted(result.armed.items())),
            "injection_exits": result.injection_exits,
            "points": result.points,
        },
        "unexpected": result.unexpected,
        "acknowledged": result.sorting.as_json(),
        "blind": result.blind,
        "exit_code": result.exit_code,
    }
