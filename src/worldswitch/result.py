"""Results: a scenario executed on its paths, judged, and compared with what it expects."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from worldswitch.core.options import PROFILES, profile, set_option
from worldswitch.errors import InputError
from worldswitch.machine import observe
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import Run, run_plan
from worldswitch.oracles.finding import Finding
from worldswitch.oracles.judge import Verdict, judge
from worldswitch.scenario.expect import Expect, Unmet, unmet
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.places import Place

FORMAT = 1


class Variant(NamedTuple):
    """One way to run a scenario. ``path`` and ``profile`` are "" for the scenario's own."""

    path: str
    profile: str
    options: tuple[tuple[str, str], ...]
    expect: Expect | None


@dataclass(slots=True)
class Result:
    """One run of one scenario on one path."""

    scenario: Scenario
    path: str
    profile: str
    options: dict[str, str]
    run: Run
    verdict: Verdict
    expect: Expect | None
    unmet: list[Unmet] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """An expectation is not met; without one, there is a finding."""
        return bool(self.unmet) if self.expect else bool(self.verdict.findings)


def variants(
    scenario: Scenario, paths: list[str], profile_name: str = "", overrides: tuple[tuple[str, str], ...] = ()
) -> Iterator[Variant]:
    """How a file is to be run: as the command line says, or in every way that it states an expectation for.

    ``[expect]`` itself speaks of the scenario's own path, profile and options only.
    """
    expectations = scenario.expect
    own = expectations.base if expectations else None
    if not paths and not profile_name and not overrides:
        yield Variant("", "", (), own)
        if expectations:
            for path, expect in expectations.path.items():
                if path != scenario.path:
                    yield Variant(scenario.locate(path), "", (), expect)
            for name, expect in expectations.profile.items():
                yield Variant("", name, (), expect)
            for pair, expect in expectations.options.items():
                yield Variant("", "", (pair,), expect)
        return
    for path in paths or [""]:
        yield Variant(path, profile_name, overrides, _expected(scenario, path, profile_name, overrides))


def _expected(
    scenario: Scenario, path: str, profile_name: str, overrides: tuple[tuple[str, str], ...]
) -> Expect | None:
    """The table that speaks of exactly this variant."""
    expectations = scenario.expect
    if expectations is None:
        return None
    own_path = path in ("", scenario.path)
    own_profile = profile_name in ("", scenario.profile)
    if own_profile and not overrides:
        return expectations.path.get(path, expectations.base if own_path else None)
    if own_path and not overrides:
        return expectations.profile.get(profile_name)
    if own_path and own_profile and len(overrides) == 1:
        return expectations.options.get(overrides[0])
    return None


def execute(scenario: Scenario, variant: Variant, traced: bool = False) -> Result:
    """Run one variant and judge it; raises ``InputError``."""
    try:
        plan = compile_scenario(scenario, variant.path or None, variant.profile or None, dict(variant.options))
    except InputError as error:
        raise error.at(scenario.file) from None
    run = run_plan(plan, traced)
    verdict = judge(run)
    result = Result(
        scenario=scenario,
        path=plan.path_name,
        profile=variant.profile or scenario.profile,
        options={**(scenario.options if not variant.profile else {}), **dict(variant.options)},
        run=run,
        verdict=verdict,
        expect=variant.expect,
    )
    if variant.expect:
        findings = [names_of(finding, scenario.nested is not None) for finding in verdict.findings]
        result.unmet = unmet(variant.expect, run, findings)
    return result


def names_of(finding: Finding, nested: bool) -> tuple[str, ...]:
    """What ``[expect]`` may call a finding: its oracle, its signature, and in the nested world each with its level."""
    names = (finding.oracle, finding.signature)
    return (*names, *(f"{finding.level}:{name}" for name in names)) if nested else names


def check_options(profile_name: str, overrides: tuple[tuple[str, str], ...]) -> None:
    """Raise ``InputError`` for a profile or a switch that does not exist."""
    try:
        options = profile(profile_name or next(iter(PROFILES)))
        for name, value in overrides:
            set_option(options, name, value)
    except ValueError as error:
        raise InputError(str(error)) from None


def as_json(result: Result) -> dict[str, Any]:
    """One entry of ``run --json``."""
    run = result.run
    return {
        "scenario": result.scenario.file,
        "path": result.path,
        "profile": result.profile,
        "options": result.options,
        **_observed(run),
        "findings": [
            {
                "oracle": finding.oracle,
                "signature": finding.signature,
                "message": finding.message,
                "steps": list(finding.steps),
                "rules": list(finding.rules),
                "level": finding.level,
            }
            for finding in result.verdict.findings
        ],
        "documented": [
            {"signature": finding.signature, "message": finding.message, "because": reason}
            for finding, reason in result.verdict.documented
        ],
        "not_applicable": result.verdict.not_applicable,
        "unreached": [
            {
                "event": number,
                "kind": run.plan.scenario.events[number].kind,
                "at": _at(run.plan.scenario.events[number].at),
            }
            for number in run.unreached
        ],
        "expect": None
        if result.expect is None
        else {"met": not result.unmet, "unmet": [str(failure) for failure in result.unmet]},
    }


def _observed(run: Run) -> dict[str, Any]:
    if run.plan.scenario.nested is not None:
        from worldswitch.nested.observe import as_json as nested_as_json

        return nested_as_json(run)
    recorder = run.recorder
    return {
        "exits": [observe.spell(observe.read(observe.EXIT, run, record)) for record in recorder.exits],
        "handlers": [observe.spell(observe.read(observe.HANDLER, run, record)) for record in recorder.handlers],
        "final": observe.spell(observe.read_final(run)),
        "warnings": [observe.read(observe.WARNING, run, record) for record in run.kernel.warnings],
    }


def _at(place: Place) -> str:
    return str(place)
