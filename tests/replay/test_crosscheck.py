"""The crosscheck: what it draws, that it finds a wrong rule of the model and reduces it, and a small one on QEMU."""

import shutil
from itertools import islice
from typing import Any

import pytest
from tests.replay.standins import ModelAsImplementation

from worldswitch.core import delivery, shadow
from worldswitch.core.bits import EXIT_NPF
from worldswitch.replay import bochs, qemu
from worldswitch.replay.answer import cache_directory, target_of
from worldswitch.replay.crosscheck import Crosscheck, Difference, crosscheck
from worldswitch.replay.generate import scenarios
from worldswitch.replay.target import TARGETS
from worldswitch.scenario.write import scenario_text

QEMU = TARGETS["qemu"]
RUNS = 150

needs_qemu = pytest.mark.skipif(
    shutil.which(qemu.PROGRAM) is None or shutil.which("gcc") is None,
    reason=f"{qemu.PROGRAM} (package {qemu.PACKAGE}) or gcc is not on PATH: nothing is crosschecked",
)


def test_the_same_seed_draws_the_same_scenarios() -> None:
    first, again, other = ([scenario_text(s) for s in islice(scenarios(seed), 60)] for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_the_fuzzers_cases_are_among_them() -> None:
    drawn = list(islice(scenarios(1), 300))
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


@pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("bochs", "grub-mkrescue", "xorriso", "gcc"))
    or not bochs.ROM.exists(),
    reason="bochs, grub-mkrescue, xorriso or gcc is not on PATH (scripts/packages-replay): nothing is crosschecked",
)
@pytest.mark.parametrize("wrong", [False, True])
def test_bochs_agrees_with_its_profile_alone(wrong: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if wrong:
        monkeypatch.setattr(shadow, "after_sti", lambda cpu, rflags: 0)
    result = crosscheck(target_of("bochs"), 100, 1, reduce=False)
    assert bool(result.differences) is wrong


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    assert cache_directory().is_relative_to(tmp_path_factory.getbasetemp())
