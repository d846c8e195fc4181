"""What a campaign does beside fuzzing, in a process of its own with low priority: reduction, replay, minimisation.

A chore is a pure function of what it is given. Its process may die at any time; the chore is then done again.
"""

import ctypes
import json
import os
import pickle
import signal
import sys
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from worldswitch.errors import InputError
from worldswitch.fuzzing.minimize import Check, minimize
from worldswitch.fuzzing.targets import Configuration, Target, features
from worldswitch.paths.catalogue import find, names
from worldswitch.paths.model import EntryPath
from worldswitch.result import Variant, execute
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.read import read_text
from worldswitch.scenario.write import scenario_text

NICE: Final = 10
_DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG


@dataclass(frozen=True, slots=True)
class Reduce:
    """Replay the case of a finding, reduce it, and look where the result shows."""

    configuration: Configuration
    signature: str
    case: str
    path: str
    about: str
    directory: str  # of the finding, in which a path of the user's own lies
    reference: str  # how the scenario names its path; "" for its own host program


@dataclass(frozen=True, slots=True)
class Cull:
    """Which inputs of a target's corpus together reach all that the corpus reaches, on every lane."""

    configurations: tuple[Configuration, ...]
    units: tuple[tuple[str, bytes], ...]


Chore = Reduce | Cull


def serve() -> NoReturn:
    """The process: reads chores from standard input, pickled, writes a line of JSON for each."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != int(sys.argv[2]):
        sys.exit(1)  # it died before it could be watched
    os.nice(NICE)
    while True:
        try:
            chore: Chore = pickle.load(sys.stdin.buffer)
        except EOFError:
            sys.exit(0)
        done = reduce(chore) if isinstance(chore, Reduce) else cull(chore)
        sys.stdout.write(json.dumps(done) + "\n")
        sys.stdout.flush()


def reduce(chore: Reduce) -> dict[str, Any]:
    """What :class:`Reduce` asks for: ``minimized`` and the fields of the record, or ``problem``."""
    target = Target(chore.configuration)
    scenario = target.scenario(bytes.fromhex(chore.case))
    path = next((path for path in target.paths if path.name == chore.path), None)
    check = _differs(target, chore.signature) if chore.signature.split(".")[1] == "differs" else None
    try:
        small = minimize(scenario, chore.signature, path, check)
    except InputError:
        return {"problem": "its first case, executed again, does not show it"}
    if chore.reference:
        small.path = chore.reference
    small.about = chore.about
    text = scenario_text(small)
    result: dict[str, Any] = {"minimized": text}
    again = read_text(text, os.path.join(chore.directory, "minimized.toml"))
    if check is None and not _shows(again, Variant("", "", (), None), chore.signature):
        result["problem"] = "its reduced scenario, read back from its text, does not show it"
        return result
    result["shown_on"] = shown_on(again, chore.signature, path, check is not None)
    result["stands_only_on"], result["disputed"] = _rests_on(again, chore.signature)
    return result


def _differs(target: Target, signature: str) -> Check:
    """Whether a scenario shows a finding that takes two runs."""

    def check(scenario: Scenario) -> bool:
        try:
            hits = target.hits(target.run_scenario(scenario))
        except InputError:
            return False
        return any(hit.finding.signature == signature for hit in hits)

    return check


def shown_on(scenario: Scenario, signature: str, own: EntryPath | None, takes_two: bool) -> dict[str, list[str]]:
    """Profile to the paths, of the catalogue and its own, on which the scenario shows the finding."""
    from worldswitch.core.options import PROFILES

    if takes_two:
        return {}
    paths = [""]
    if scenario.path and "~" not in scenario.path:
        paths = list(dict.fromkeys([scenario.path, *names()]))
    shown: dict[str, list[str]] = {}
    for profile in PROFILES:
        for path in paths:
            if _shows(scenario, Variant(path if path != scenario.path else "", profile, (), None), signature):
                shown.setdefault(profile, []).append(own.name if own and path in ("", scenario.path) else path)
    return {profile: [path for path in where if path] for profile, where in shown.items()}


def _shows(scenario: Scenario, variant: Variant, signature: str) -> bool:
    try:
        verdict = execute(scenario, variant).verdict
    except InputError:  # a landmark that the path does not have
        return False
    return any(finding.signature == signature for finding in verdict.findings)


def _rests_on(scenario: Scenario, signature: str) -> tuple[dict[str, list[str]], list[str]]:
    from worldswitch.report.stance import examine

    stance = examine(scenario, Variant("", "", (), None))
    if not any(finding.signature == signature for finding in stance.result.verdict.findings):
        return {}, []
    return stance.needed(signature), stance.disputed(signature)


def cull(chore: Cull) -> dict[str, Any]:
    """``keep``: the names of the inputs to keep.

    As libFuzzer's merge does it: inputs one by one, simple ones first, and one stays that reaches something which none
    before it does. Simple: few slots that differ from their defaults.
    """
    targets = [Target(configuration) for configuration in chore.configurations]
    reached: set[tuple[int, int]] = set()
    keep = []
    for name, data in sorted(chore.units, key=lambda unit: (len(unit[1]) - unit[1].count(0), unit[0])):
        points = {
            (number, point) for number, target in enumerate(targets) for point in features(target.execute(data)[0])
        }
        if not points <= reached:
            reached |= points
            keep.append(name)
    return {"keep": keep, "points": len(reached)}


def reference(path: EntryPath) -> str:
    """How a finding's scenario names its path: one of the user's own is copied beside it."""
    return path.name if path.name in names() and find(path.name) == path else f"{path.name}.toml"
