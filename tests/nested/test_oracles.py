"""The oracles of the nested world object to what they are there for: L0 broken on purpose, the bit round by round."""

from collections.abc import Callable
from typing import Any

import pytest

from worldswitch.fuzzing.local import explore
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import run_plan
from worldswitch.mutants.hunt import target_of
from worldswitch.mutants.planting import planted
from worldswitch.mutants.registry import find_mutant
from worldswitch.nested import events, kvm, queues, reflect, windows
from worldswitch.nested.vcpu import Vcpu
from worldswitch.oracles.finding import Finding
from worldswitch.oracles.judge import judge
from worldswitch.scenario.read import read_text

L0 = 'format = 1\n[l0]\npath = "linux-6.1"\n'
INJECTS = L0 + '[vmcb12]\neventinj = "intr:0x68"\n'
OWN_FAULT = INJECTS + '[npt]\nl0 = ["stack"]\n'
FOR_L1 = '[[event]]\nkind = "intr"\nat = "L1.vmrun"\nfor = "L1"\n'


def findings(text: str, path: str = "linux-6.1") -> list[Finding]:
    return judge(run_plan(compile_scenario(read_text(text), path))).findings


def names(text: str, path: str = "linux-6.1") -> set[str]:
    return {f"{finding.level}:{finding.signature}" for finding in findings(text, path)}


def forgets(rule: Callable[..., Any]) -> Callable[..., Any]:
    def broken(vcpu: Vcpu) -> None:
        rule(vcpu)
        queues.clear_queues(vcpu)

    return broken


def test_an_event_that_is_not_queued_again_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "complete_interrupts", forgets(queues.complete_interrupts))
    assert "L1:stuck-event.vanished.intr" in names(OWN_FAULT)


def test_an_event_that_is_queued_again_although_delivered_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = queues.complete_interrupts

    def believes_eventinj(vcpu: Vcpu) -> None:
        rule(vcpu)
        if vcpu.machine.path_round != 2:
            return
        vcpu.interrupt_injected, vcpu.interrupt_nr, vcpu.request_event = True, 0x68, True

    monkeypatch.setattr(kvm, "complete_interrupts", believes_eventinj)
    text = INJECTS + '[l2]\nprogram = ["cpuid", "vmmcall"]\n'
    assert "L1:double-injection.taken-twice.intr" in names(text)


def test_an_interrupt_without_a_window_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        L0 + '[l1]\nif = false\nprogram = ["cli", "nop", "sti", "nop", "spin"]\n' + FOR_L1.replace("vmrun", "start+1")
    )
    assert not names(text)
    monkeypatch.setattr(windows, "set_vintr", lambda vcpu: None)
    assert names(text) == {"L1:stuck-event.not-taken.intr"}


def test_an_exit_that_l1_did_not_ask_for_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflect, "HOST_FIRST", frozenset())
    monkeypatch.setattr(reflect, "bool", lambda value: True, raising=False)
    text = L0 + '[l2]\nprogram = ["cpuid", "vmmcall"]\n'
    assert "L1:l1-sanity.exit-not-intercepted.vmcb12" in names(text)


def test_l1_that_goes_on_with_gif_set_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflect, "set_gif", lambda vcpu, value: None)
    assert "L1:l1-sanity.gif-set.vmcb12" in names(L0 + "vgif = false\n")


def test_a_pending_vmrun_that_holds_nothing_back_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = INJECTS.replace("[vmcb12]", '[vmcb12]\nintercepts = ["intr", "vmrun", "vmmcall"]') + FOR_L1
    assert not names(text, "linux-6.14")
    monkeypatch.setattr(events, "check_nested_events", lambda vcpu: _without_pending(vcpu, events_rule))
    assert any(name.startswith(("L1:stuck-event", "L1:l1-sanity", "L1:double")) for name in names(text, "linux-6.14"))


events_rule = events.check_nested_events


def _without_pending(vcpu: Vcpu, rule: Callable[[Vcpu], int]) -> int:
    vcpu.nested_run_pending = False
    return rule(vcpu)


@pytest.mark.parametrize("rounds", [2, 3, 4])
def test_a_bled_bit_is_not_laundered_by_loading_it_again(rounds: int) -> None:
    """L1 keeps injecting into the same hole: every exit is bled, the later ones because the bit was loaded."""
    between = '["set vmcb12.eventinj=exitintinfo"]'
    text = INJECTS + f'[l1]\nrounds = {rounds}\nbetween = {between}\n[npt]\nl1 = ["stack"]\n'
    assert names(text) >= {
        "L0:shadow-bleed.unexplained-shadow.injection",
        "L0:shadow-bleed.unexplained-shadow.reloaded",
        "L1:shadow-bleed.unexplained-shadow.reflected",
    }
    assert not names(text, "linux-6.14")


@pytest.mark.parametrize("value", [1, 3])
def test_a_bit_that_l1_wrote_is_l1s_own(value: int) -> None:
    text = INJECTS + f'int_state = {value}\n[npt]\nl1 = ["stack"]\n'
    assert not names(text, "linux-6.14")


def test_a_bit_that_l1_clears_is_gone() -> None:
    between = '["set vmcb12.eventinj=exitintinfo", "set vmcb12.int_state=0", "set npt.all=ok"]'
    text = INJECTS + f'[l1]\nrounds = 2\nbetween = {between}\n[npt]\nl1 = ["stack"]\n'
    assert {name.rpartition(".")[2] for name in names(text)} == {"injection", "reflected", "vmcb12"}


def test_the_claims_hold_where_l0_alone_is_concerned() -> None:
    assert not [finding for finding in findings(OWN_FAULT) if finding.oracle == "benign-claim"]


@pytest.mark.pure_core
@pytest.mark.parametrize(
    ("mutant", "cause"),
    [
        ("int-state-not-loaded", "entry-int-state.vmcb02"),
        ("v-irq-not-loaded", "entry-v-irq.vmcb02"),
        ("l1-intercepts-not-merged", "entry-intercepts.vmcb02"),
        ("gif-not-set-for-l2", "entry-vgif.vmcb02"),
        ("vmrun-needs-no-permission", "vmrun-not-permitted.vmcb02"),
        ("vmcb12-not-checked", "vmrun-inconsistent.vmcb02"),
        ("int-state-not-reflected", "exit-int-state.vmcb12"),
        ("exitintinfo-without-error-code", "exit-exitintinfo.vmcb12"),
        ("v-nmi-mask-not-reflected", "exit-v-nmi-mask.vmcb12"),
        ("no-exit-reflected", "exit-not-reflected.vmcb12"),
        ("host-interrupts-reflected", "host-event-reflected.vmcb12"),
        ("intr-exit-before-nmi", "exit-out-of-order.vmcb12"),
        ("l1-resumes-at-vmrun", "resumed-elsewhere.vmcb01"),
        ("l1-single-step-lost", "no-single-step-trap.vmcb01"),
        ("shadow-survives-emulation", "shadow-after-skip.vmcb02"),
        ("requeued-with-other-vector", "injected-again-otherwise.vmcb02"),
        ("reinjection-holds-nothing", "exit-while-injecting.vmcb12"),
        ("gif-opens-nothing", "not-injected.vmcb01"),
        ("intr-injected-with-gif-clear", "injected-with-gif-clear.vmcb01"),
        ("intr-injected-with-if-clear", "injected-with-if-clear.vmcb01"),
        ("events-injected-in-shadow", "injected-in-shadow.vmcb01"),
    ],
)
def test_each_cause_of_vmcb_transfer_is_found(mutant: str, cause: str) -> None:
    """S2-54, S4-23, S4-44, S8-90, S8-91, S9-01 to S9-21, each broken once."""
    defect = find_mutant(mutant)
    with planted(defect):
        target = target_of(defect)
        assert any(
            hit.finding.signature == f"vmcb-transfer.{cause}"
            for _, judged in explore(target, 3000, 1, [])
            for hit in target.hits(judged)
        )
