"""No oracle objects where nothing is wrong: thousands of scenarios on paths and models that are known to be right."""

import re
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from tests.oracles.judging import NEW, OLD
from tests.oracles.random_scenarios import random_scenario

from worldswitch.core.bits import EVENT_V, EXIT_INVALID, EXIT_SHUTDOWN
from worldswitch.core.state import END
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import Run, run_plan
from worldswitch.oracles import nmi_exposure, shadow_bleed
from worldswitch.oracles.judge import NAMES, Verdict, judge
from worldswitch.scenario.model import Scenario

SCENARIOS = 2500
SCENARIOS_WITHOUT_QUIRK = 1000
SIGNATURE = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+\.[a-z0-9-]+")


def scenarios(number: int, seed: int) -> Iterator[Scenario]:
    random = Random(seed)
    return (random_scenario(random) for _ in range(number))


def judged(scenario: Scenario, path: str, profile: str) -> tuple[Run, Verdict]:
    run = run_plan(compile_scenario(scenario, path, profile))
    return run, judge(run)


def test_on_the_processor_with_the_quirk() -> None:
    """The new path shows nothing at all, the old one only the bleed, and both expose NMI handlers alike."""
    seen: Counter[str] = Counter()
    for scenario in scenarios(SCENARIOS, 1):
        old, said_of_old = judged(scenario, OLD, "amd")
        new, said_of_new = judged(scenario, NEW, "amd")
        assert [finding.signature for finding in said_of_new.findings] == []
        assert {finding.oracle for finding in said_of_old.findings} <= {shadow_bleed.NAME}
        assert nmi_exposure.objections(old, new) == []
        assert bled_injections(old) == expected_bleeds(old, scenario)
        for said in (said_of_old, said_of_new):
            for finding, _ in said.documented:
                assert SIGNATURE.fullmatch(finding.signature)
                seen[f"documented {finding.oracle}"] += 1
        seen.update(finding.signature for finding in said_of_old.findings)
        seen.update(f"{name} applied" for name in NAMES if name not in said_of_new.not_applicable)
        seen.update(f"exit {record.code:#x}" for record in new.recorder.exits)
        seen["ended"] += new.cpu.stop == END
    # The silence above is worth something only if there was something to be silent about.
    assert all(seen[f"{name} applied"] > SCENARIOS // 3 for name in NAMES), seen
    assert seen["ended"] > SCENARIOS // 3
    assert seen["shadow-bleed.unexplained-shadow.injection"] > 20
    assert seen["shadow-bleed.unexplained-shadow.reloaded"] > 2
    assert {f"documented {name}" for name in ("nmi-exposure", "irq-exposure", "lockdep-if-mismatch")} <= set(seen)
    assert {"exit 0x60", "exit 0x61", "exit 0x7f", "exit 0x400", "exit 0x4d", "exit 0x48"} <= set(seen)


def bled_injections(run: Run) -> list[int]:
    """The steps of the exits during injection that the oracle objects to."""
    return [finding.steps[-1] for finding in shadow_bleed.judge(run) if finding.place == "injection"]


def expected_bleeds(run: Run, scenario: Scenario) -> list[int]:
    """I-05: exactly the exits during injection, of a VMRUN in the STI shadow, into a VMCB loaded without one.

    A single-step trap between STI and VMRUN takes the shadow away (S2-23, S2-36).
    """
    if scenario.settings.get("cpu.tf"):
        return []
    return [
        record.step
        for record in run.recorder.exits
        if record.step == record.entry.step
        and record.entry.eventinj & EVENT_V
        and not record.entry.delivered
        and not record.entry.int_state
        and record.code not in (EXIT_INVALID, EXIT_SHUTDOWN)
    ]


@pytest.mark.parametrize("path", [OLD, NEW])
def test_without_the_quirk_nothing_is_ever_said(path: str) -> None:
    for scenario in scenarios(SCENARIOS_WITHOUT_QUIRK // 2, 2):
        _, said = judged(scenario, path, "amd-noquirk")
        assert [finding.signature for finding in said.findings] == []


@pytest.mark.parametrize(
    "switch",
    ["shadow_blocks_nmi=none", "guest_shadow_blocks_intercepted_intr=on", "delivery_clears_loaded_shadow_on_exit=clear",
     "gif0_breakpoint_db=deliver", "nmi_mask_across_vmrun=shared", "mce_gif0=shutdown", "rep_iteration_ends_shadow=no",
     "bleed_on_invalid_exit=yes", "exitintinfo_on_df_exit=invalid", "eventinj_reserved_exception_vectors=deliver"],
)  # fmt: skip
def test_what_is_disputed_is_held_against_nobody(switch: str) -> None:
    """Model options for disputed points, each set otherwise: the new path stays clean."""
    name, _, value = switch.partition("=")
    for scenario in scenarios(100, 3):
        run = run_plan(compile_scenario(scenario, NEW, "amd", {name: value}))
        assert [finding.signature for finding in judge(run).findings] == []
