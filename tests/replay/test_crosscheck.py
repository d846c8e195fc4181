"""The crosscheck: what it draws, that it finds a wrong rule of the model and reduces it, and a small one on QEMU."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from tests.replay.marks import needs_bochs, needs_qemu
from tests.replay.standins import ModelAsImplementation

from worldswitch.core import delivery, shadow
from worldswitch.core.bits import EXIT_NPF
from worldswitch.fuzzing.minimize import size
from worldswitch.replay import qemu
from worldswitch.replay.answer import cache_directory, target_of
from worldswitch.replay.crosscheck import SHOWN, Crosscheck, Difference, crosscheck, reduce_difference
from worldswitch.replay.generate import scenarios
from worldswitch.replay.observed import Observed
from worldswitch.replay.record import Record
from worldswitch.replay.reduce import MOST_STARTS
from worldswitch.replay.target import TARGETS
from worldswitch.scenario.read import read_scenario
from worldswitch.scenario.write import scenario_text

QEMU = TARGETS["qemu"]
RUNS = 150
GOLDEN = Path(__file__).parents[2] / "corpus" / "golden.toml"


def test_the_same_seed_draws_the_same_scenarios() -> None:
    first, again, other = ([scenario_text(s) for s in islice(scenarios(seed, QEMU), 60)] for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_the_fuzzers_cases_are_among_them() -> None:
    drawn = list(islice(scenarios(1, QEMU), 300))
    paths = {scenario.path for scenario in drawn[::2]}
    assert paths == {"linux-6.1", "linux-6.14", ""}
    assert any("lock_acquire" in scenario.host.program for scenario in drawn), "a word of the codec alone"
    assert any("rdtsc" in scenario.guest.program for scenario in drawn), "a word of the samples alone"


def test_agreement_is_no_finding() -> None:
    runner = ModelAsImplementation("qemu-7.2")
    result = crosscheck(QEMU, RUNS, 1, run=runner)
    assert (result.differences, result.runs, runner.records) == ([], RUNS, RUNS)
    assert result.drawn == RUNS + sum(result.reasons.values())


def found(result: Crosscheck) -> dict[str, Difference]:
    return {difference.signature: difference for difference in result.differences}


def test_a_wrong_option_is_found_and_reduced() -> None:
    """The implementation is the profile; the model has one option at its default."""
    runner = ModelAsImplementation("qemu-7.2")
    differences = found(crosscheck(QEMU, 300, 1, (("eventinj_of_br", "invalid-in-64-bit"),), run=runner))
    small = differences["crosscheck.qemu.exits.exit-code"].minimized
    assert small is not None
    assert small.settings["vmcb.eventinj"] & 0x7FF in (0x304, 0x305)
    assert not small.events
    assert small.profile == "qemu-7.2"


def test_reducing_asks_about_many_scenarios_at_once() -> None:
    """The smallest scenario for a profile that lacks the quirk is the golden one but for its event."""
    starts = []

    def run(records: list[Record]) -> list[Observed | None]:
        starts.append(len(records))
        return runner(records)

    runner = ModelAsImplementation("qemu-7.2")
    scenario = read_scenario(str(GOLDEN))
    overrides = (("bleed_sti_shadow", "off"),)
    difference = Difference("crosscheck.qemu.exits.int-state", scenario, [])
    small = reduce_difference(difference, QEMU, overrides, run)
    assert small is not None
    assert size(small) <= size(replace(scenario, expect=None))
    assert (small.path, len(small.events), small.rounds) == ("linux-6.1", 0, 1)
    assert max(starts) > 10
    assert len(starts) <= MOST_STARTS


def test_a_disagreement_of_a_batch_alone_is_kept_unreduced() -> None:
    """An answer that depends on the scenarios before it: put alone, each agrees."""

    def run(records: list[Record]) -> list[Observed | None]:
        answers = runner(records)
        if len(records) > 1:
            for answer in answers:
                assert answer is not None
                for record in answer.exits:
                    record["int_state"] ^= 1
        return answers

    runner = ModelAsImplementation("qemu-7.2")
    (difference,) = crosscheck(QEMU, 30, 1, run=run).differences
    assert (difference.signature, difference.minimized) == ("crosscheck.qemu.exits.int-state", None)


def test_what_was_observed_is_counted() -> None:
    result = crosscheck(QEMU, RUNS, 1, run=ModelAsImplementation("qemu-7.2"))
    assert set(result.shown) == set(SHOWN)
    assert all(result.shown[name] for name in SHOWN)
    assert {"npf", "vmmcall", "intr", "invalid"} <= set(result.exits)
    assert result.share == result.runs / result.drawn


def test_samples_leave_out_what_the_implementation_lacks() -> None:
    drawn = list(islice(scenarios(1, TARGETS["bochs"]), 400))[1::2]
    assert not any(
        scenario.settings.get("vmcb.vgif_enable") or scenario.settings.get("vmcb.v_irq") for scenario in drawn
    )
    assert not any(event.kind == "smi" for scenario in drawn for event in scenario.events)
    assert any(scenario.settings.get("vmcb.vgif_enable") for scenario in list(islice(scenarios(1, QEMU), 400))[1::2])


def test_an_implementation_that_never_answers_is_no_agreement() -> None:
    result = crosscheck(QEMU, 5, 1, run=lambda records: [None] * len(records))
    assert result.runs == 0
    assert result.reasons["the run ended before this scenario"] > 0


WRONG: dict[str, tuple[Any, str, Any]] = {
    "STI makes no shadow": (shadow, "after_sti", lambda cpu, rflags: 0),
    "a shadow never reaches int_state": (shadow, "at_exit", lambda cpu: 0),
    "a #NPF of a delivery is a #PF": (delivery, "EXIT_NPF", EXIT_NPF - 0x400 + 0x4E),
}
"""Rules of the model replaced by wrong ones."""


@needs_qemu
@pytest.mark.parametrize("name", WRONG)
def test_qemu_contradicts_a_wrong_rule(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, function, wrong = WRONG[name]
    monkeypatch.setattr(module, function, wrong)
    result = crosscheck(target_of("qemu"), 200, 1, reduce=False)
    assert result.differences


@needs_qemu
def test_qemu_agrees_with_its_profile() -> None:
    if qemu.profile() != "qemu-7.2":
        pytest.skip(f"the profile of QEMU {qemu.version()} is not measured")
    result = crosscheck(target_of("qemu"), 200, 1)
    assert [(d.signature, [str(x) for x in d.disagreements]) for d in result.differences] == []
    assert result.runs == 200


@needs_bochs
@pytest.mark.parametrize("wrong", [False, True])
def test_bochs_agrees_with_its_profile_alone(wrong: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TERM", raising=False)  # as under tox
    if wrong:
        monkeypatch.setattr(shadow, "after_sti", lambda cpu, rflags: 0)
    result = crosscheck(target_of("bochs"), 100, 1, reduce=False)
    assert bool(result.differences) is wrong


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    assert cache_directory().is_relative_to(tmp_path_factory.getbasetemp())
