"""A finding made ready to hand on: its smallest scenario, and an ``[expect]`` of what it does on each path."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

from worldswitch.errors import InputError
from worldswitch.fuzzing.minimize import minimize
from worldswitch.oracles.finding import Finding
from worldswitch.paths.catalogue import IMPLEMENTATIONS, names
from worldswitch.result import Result, Variant, execute
from worldswitch.scenario.expect import Expect, Expectations
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.read import read_scenario

REDUCED = "minimized.toml"
"""A file of this name has been reduced already."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A finding, its smallest scenario, and that scenario's runs: first on its own path."""

    finding: Finding
    scenario: Scenario
    results: list[Result]


def prepare(file: str, signature: str = "", paths: Sequence[str] = (), reduce: bool = True) -> Prepared:
    """The finding in a scenario file, reduced unless it is, and run on its own path and on ``paths``.

    Without ``paths``, a scenario on one of the two implementations is run on both. Raises ``InputError``: without a
    finding there is nothing to hand on.
    """
    scenario = read_scenario(file)
    scenario.expect = None
    found = execute(scenario, Variant("", "", (), None)).verdict.findings
    named = Path(file).parent.name  # a finding's directory is called as its signature
    signature = signature or next((one.signature for one in found if one.signature == named), "")
    finding = next((one for one in found if signature in ("", one.signature)), None)
    if finding is None:
        raise InputError(f"does not show {signature or 'any finding'} on {scenario.path or 'its program'}", file)
    if reduce and Path(file).name != REDUCED:
        small = minimize(scenario, finding.signature)
        same = small.settings == scenario.settings and small.guest == scenario.guest
        small.file, small.about = file, scenario.about if same and scenario.about else finding.message
        scenario = small
    others = paths or (IMPLEMENTATIONS if scenario.path in IMPLEMENTATIONS else ())
    if others and not scenario.path:
        raise InputError("the scenario has a free host program, not a path", file, field="--path")
    chosen = ["", *(path for path in dict.fromkeys(others) if path != scenario.path)]
    return Prepared(finding, scenario, [execute(scenario, Variant(path, "", (), None)) for path in chosen])


def record(file: str, paths: Sequence[str] = ()) -> Prepared:
    """A scenario as it is, run on its own path and on those for which it states an expectation, and on ``paths``.

    What it shows now is recorded, be it a finding or none. Raises ``InputError``.
    """
    scenario = read_scenario(file)
    stated = list(scenario.expect.path) if scenario.expect else []
    scenario.expect = None
    others = dict.fromkeys([*(scenario.locate(path) for path in stated), *paths])
    chosen = ["", *(path for path in others if path != scenario.path)]
    results = [execute(scenario, Variant(path, "", (), None)) for path in chosen]
    nothing = Finding("", "", "", "")
    return Prepared(next(iter(results[0].verdict.findings), nothing), scenario, results)


def with_expectations(prepared: Prepared, folder: Path | None = None) -> Scenario:
    """The scenario with an ``[expect]`` of what its runs showed; path files are named relative to ``folder``."""
    scenario = copy(prepared.scenario)
    first, *others = prepared.results
    expectations = Expectations(base=_expect(first))
    for result in others:
        path = result.path if result.path in names() else result.run.plan.path.file if result.run.plan.path else ""
        expectations.path[_relative(path, folder)] = _expect(result)
    scenario.expect = expectations
    if _is_file(scenario.path):
        scenario.path = _relative(scenario.locate(scenario.path), folder)
    return scenario


def path_files(prepared: Prepared) -> dict[str, Path]:
    """The path files that the scenario runs on, by their names."""
    found = {}
    for result in prepared.results:
        path = result.run.plan.path
        if path is not None and _is_file(path.file) and path.name not in names():
            found[Path(path.file).name] = Path(path.file)
    return found


def _expect(result: Result) -> Expect:
    """What a run showed: every exit's reason, EXITINTINFO and int_state, and its findings by signature."""
    from worldswitch.machine import observe

    nested = result.scenario.nested is not None
    findings = [f"{one.level}:{one.signature}" if nested else one.signature for one in result.verdict.findings]
    if nested:
        return Expect(findings=findings)
    keys = ("exit_code", "exitintinfo", "int_state")
    exits = [observe.read(observe.EXIT, result.run, record) for record in result.run.recorder.exits]
    return Expect(exits=[{key: one[key] for key in keys} for one in exits], findings=findings)


def _is_file(path: str) -> bool:
    return path.endswith(".toml") or "/" in path


def _relative(path: str, folder: Path | None) -> str:
    import os

    if not _is_file(path):
        return path
    return Path(path).name if folder is None else os.path.relpath(path, folder)
