"""Invariants I-01 to I-11 over whole scenarios, on every profile that claims them (section 11.9)."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from tests.properties.cases import CODECS, Edits, decoded, edits, execute, injecting, random_edits
from tests.properties.invariants import INVARIANTS, UNDEFINED

from worldswitch.core import boundary, shadow, vmexit, vmrun
from worldswitch.core import execute as core_execute
from worldswitch.core.bits import EVENT_V, TYPE_NMI, VECTOR_NMI, event_word
from worldswitch.core.delivery import deliver
from worldswitch.core.options import PROFILES
from worldswitch.core.record import KIND_NMI
from worldswitch.core.state import Cpu
from worldswitch.kernel import lockdep
from worldswitch.machine.run import Run
from worldswitch.scenario.model import Scenario

SUBJECTS = tuple(CODECS)
EXAMPLES = 60

NOT_CLAIMED = {
    "amd": {"I-04": "S2-70: the quirk, which I-05 is about"},
    "amd-noquirk": {},
    "qemu-7.2": {"I-02": "S6-81: EXITINTINFO is a copy of EVENTINJ, on VMEXIT_INVALID too", "I-04": "S10-01: 10.1"},
    "qemu-10": {"I-02": "S6-81: EXITINTINFO is a copy of EVENTINJ, on VMEXIT_INVALID too"},
    "bochs-2.7": {"I-08": "S5-22: the guest's IF opens the gate"},
    "kvm": {},
}  # fmt: skip
"""Profile to the invariants that it breaks, with the fact."""


def complaints(scenario: Scenario, profile: str, names: list[str]) -> list[str]:
    run = execute(scenario, profile)
    return [f"{name}: {text}" for name in names for text in INVARIANTS[name](run)]


def test_every_profile_says_what_it_claims() -> None:
    assert list(NOT_CLAIMED) == list(PROFILES)
    assert {*INVARIANTS, "I-05"} == {f"I-{number:02}" for number in range(1, 12)}


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("profile", PROFILES)
@given(changes=edits())
@settings(max_examples=EXAMPLES)
def test_invariants(subject: str, profile: str, changes: Edits) -> None:
    claimed = [name for name in INVARIANTS if name not in NOT_CLAIMED[profile]]
    assert complaints(decoded(subject, changes), profile, claimed) == []


# --- I-05: the quirk on adds exactly the bit of an injection exit after an adjacent STI


def bleeding(run: Run) -> list[bool]:
    """For each exit: whether VMRUN was in an STI shadow and the exit came during the injection."""
    assert run.trace is not None
    shadows = {row.step: row.shadow for row in run.trace.rows if row.world == "host"}
    return [
        shadows[x.entry.step] == "sti"
        and x.step == x.entry.step
        and bool(x.entry.eventinj & EVENT_V)
        and not x.entry.injected_deliveries
        and x.code not in UNDEFINED
        for x in run.recorder.exits
    ]


def what_the_quirk_breaks(scenario: Scenario, profile: str = "amd") -> list[str]:
    """I-05 up to and including the first exit that differs; what follows has another VMCB to begin with."""
    on = execute(scenario, profile, {"bleed_sti_shadow": "on-injection-exit"})
    off = execute(scenario, profile, {"bleed_sti_shadow": "off"})
    pairs = zip(on.recorder.exits, off.recorder.exits, bleeding(on), strict=False)
    for number, (first, second, bleeds) in enumerate(pairs):
        if first.code in UNDEFINED:
            return []
        seen = (first.code, first.rip, first.exitintinfo, first.int_state & 1)
        if seen != (second.code, second.rip, second.exitintinfo, 1 if bleeds else second.int_state & 1):
            return [f"exit {number}: {seen} with the quirk, int_state {second.int_state} without"]
        if first.int_state != second.int_state:
            return []
    same = len(on.recorder.exits) == len(off.recorder.exits)
    return [] if same else ["the quirk changed the number of exits"]


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("profile", PROFILES)
@given(changes=edits())
@settings(max_examples=EXAMPLES)
def test_i_05(subject: str, profile: str, changes: Edits) -> None:
    """Whatever else a profile has otherwise; biased towards injections that meet a fault."""
    assert what_the_quirk_breaks(decoded(subject, injecting(subject, changes)), profile) == []


# --- each of them can fail

Wrong = Callable[..., Any]


def _handled_with_gif_0(cpu: Cpu) -> bool:
    if cpu.gif or cpu.guest or cpu.nmi_masked:
        return False
    cpu.pend_nmi = False
    cpu.nmi_masked = True
    cpu.recorder.acknowledged.append((cpu.step, KIND_NMI, VECTOR_NMI))
    deliver(cpu, KIND_NMI, event_word(TYPE_NMI, VECTOR_NMI), cpu.regs.rip, False)
    return True


def _twice(cpu: Cpu, real: Wrong = vmrun.inject) -> None:
    real(cpu)
    if cpu.guest:
        real(cpu)


def _trap_in_the_guest(cpu: Cpu, real: Wrong = vmrun.vmrun) -> None:
    real(cpu)
    if cpu.guest:
        cpu.debug_trap = cpu.vmrun_trap


def _always_an_event(cpu: Cpu) -> None:
    cpu.vmcb.exitintinfo = EVENT_V | 0x20


DEFECTS: dict[str, tuple[Any, str, Wrong]] = {
    "I-01": (vmexit, "clear_eventinj", lambda cpu: None),
    "I-02": (vmexit, "clear_exitintinfo", _always_an_event),
    "I-03": (vmexit, "clear_exitintinfo", _always_an_event),
    "I-04": (shadow, "at_exit", lambda cpu: 1),
    "I-06": (boundary, "deliver", lambda *arguments: None),
    "I-07": (boundary, "nmi", _handled_with_gif_0),
    "I-08": (boundary, "intr_unmasked", lambda cpu: True),
    "I-09": (vmrun, "inject", _twice),
    "I-10": (lockdep, "hardirqs_off", lambda *arguments: None),
    "I-11": (core_execute, "vmrun", _trap_in_the_guest),
}  # fmt: skip


@pytest.mark.pure_core
@pytest.mark.parametrize("name", INVARIANTS)
def test_an_invariant_can_fail(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one rule of the model wrong the invariant finds it."""
    module, function, wrong = DEFECTS[name]
    monkeypatch.setattr(module, function, wrong)
    assert finds(lambda scenario: complaints(scenario, "amd-noquirk", [name]))


@pytest.mark.pure_core
def test_i_05_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bleed that needs no STI."""
    monkeypatch.setattr(shadow, "bleeds", lambda cpu: cpu.injecting and cpu.options.bleed_sti_shadow == 1)
    assert finds(what_the_quirk_breaks)


def finds(check: Callable[[Scenario], list[str]], cases: int = 700) -> bool:
    return any(check(decoded(subject, changes)) for changes in random_edits(cases) for subject in SUBJECTS)


@pytest.mark.parametrize(
    ("profile", "name"),
    [("amd", "I-04"), ("qemu-7.2", "I-02"), ("qemu-7.2", "I-04"), ("qemu-10", "I-02")],
)
def test_a_profile_does_break_what_it_does_not_claim(profile: str, name: str) -> None:
    """So that no exception outlives its reason; Bochs' are rare, and have conformance rows."""
    assert name in NOT_CLAIMED[profile]
    assert finds(lambda scenario: complaints(scenario, profile, [name]))
