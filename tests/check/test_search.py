"""What a search finds, in which order, and what it says of how far it went."""

import time
from dataclasses import replace
from importlib import resources
from typing import NamedTuple

import pytest
from tests.oracles.judging import variant

from worldswitch.check.choices import EVENT, Choice, Choices, Cost, cost_after, cost_of, scenario_of
from worldswitch.check.explore import Explorer, Outcome
from worldswitch.check.space import (
    AGAIN,
    EVENTS,
    EVERYTHING,
    FIELDS,
    GATES,
    INJECTION,
    REBOOTING,
    SEQUENCE,
    VIRTUAL,
    Space,
    only,
)
from worldswitch.fuzzing.minimize import size
from worldswitch.fuzzing.smoke import planted
from worldswitch.fuzzing.verdicts import from_file, shipped
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import run_plan
from worldswitch.oracles.judge import judge
from worldswitch.paths.catalogue import find, names
from worldswitch.paths.model import EntryPath
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.places import Place
from worldswitch.scenario.read import read_text

INJECTED = "shadow-bleed.unexplained-shadow.injection"
RELOADED = "shadow-bleed.unexplained-shadow.reloaded"
DELIVERY = replace(INJECTION, fields=only("vmcb.eventinj"), intercepts=False)
"""Injected events and what their delivery meets; it closes within a few hundred scenarios."""


def search(space: Space, path: str | EntryPath, profile: str = "amd") -> Outcome:
    return Explorer(space, find(path) if isinstance(path, str) else path, profile).run()


@pytest.mark.parametrize("path", ["linux-6.1", "xen-4.12"])
def test_the_smallest_bleed(path: str) -> None:
    outcome = search(DELIVERY, path)
    assert outcome.verdict == "closed"
    example = outcome.found[INJECTED]
    assert list(outcome.found) == [INJECTED]
    assert [str(choice) for choice in example.choices] == ["vmcb.eventinj = bp", "gate 0x03 meets npf"]
    assert example.cost == (0, 2)


@pytest.mark.parametrize("path", ["linux-6.14", "xen-4.21", "linux-5.9"])
def test_no_bleed_where_an_instruction_separates_sti_from_vmrun(path: str) -> None:
    outcome = search(DELIVERY, path)
    assert outcome.verdict == "closed"
    assert not outcome.found


def test_no_bleed_without_the_quirk() -> None:
    assert not search(DELIVERY, "linux-6.1", "amd-noquirk").found


def test_sti_moved_next_to_vmrun_bleeds() -> None:
    path = variant(variant("linux-6.14", "mov guest GPRs", "nop\nsti"), "raw_local_irq_enable", "nop")
    assert search(DELIVERY, path).found[INJECTED].cost == (0, 2)


def test_the_smallest_reload_takes_one_more_round_and_three_fields() -> None:
    outcome = search(AGAIN, "linux-6.1")
    assert outcome.closed
    assert outcome.found[RELOADED].cost == (1, 3)
    assert outcome.found[RELOADED].scenario.rounds == 2
    assert not search(AGAIN, "linux-6.14").found


@pytest.mark.parametrize(
    "space",
    [EVENTS, replace(REBOOTING, fields=only("kernel.kvm_rebooting", "cpu.svme")), replace(VIRTUAL, events=())],
    ids=lambda space: space.name,
)
def test_parts_close_and_the_fixed_path_is_clean(space: Space) -> None:
    outcome = search(space, "linux-6.14")
    assert outcome.verdict == "closed"
    assert not outcome.found


def test_everything_together_agrees_with_the_matrix() -> None:
    for path in ("linux-6.1", "linux-fix-v1"):
        expected = shipped().paths[path]
        outcome = search(EVERYTHING.bounded(2), path)
        assert outcome.verdict == "bounded"
        assert set(outcome.found) == expected - {RELOADED}  # which takes three choices


def test_every_path_of_the_catalogue_agrees_with_the_matrix() -> None:
    injected = {"vmcb.eventinj": FIELDS["vmcb.eventinj"][:1], **only("guest.rip")}
    space = Space("bleed", "", fields=injected, gates=(GATES[2],), between=((),), rounds=2)
    with resources.as_file(resources.files("worldswitch.fuzzing") / "verdicts-all.toml") as file:
        expected = from_file(str(file)).paths
    assert set(expected) == set(names())
    for path, findings in expected.items():
        outcome = search(space, path)
        assert outcome.verdict == "closed"
        assert set(outcome.found) == findings, path


def test_a_path_without_clgi_is_found_out_at_once() -> None:
    outcome = search(EVERYTHING.bounded(0), planted())
    assert {"nmi-exposure.undocumented.enter", "irq-exposure.undocumented.sti"} <= set(outcome.found)
    assert outcome.progress.runs == 1


def test_a_path_without_sti_takes_an_interrupt_that_cannot_exit() -> None:
    path = variant("linux-6.14", "raw_local_irq_enable", "nop")
    space = Space("spin", "", 2, events=("intr",), words=("spin",))
    example = search(space, path).found["irq-exposure.intr-cannot-exit.guest"]
    assert example.cost == (2, 0)
    assert {choice.kind for choice in example.choices} == {EVENT, "word"}
    assert "irq-exposure.intr-cannot-exit.guest" not in search(space, "linux-6.14").found


class Everything(NamedTuple):
    """All choices together, to two of them, on the fixed path."""

    outcome: Outcome
    costs: list[Cost]  # of the scenarios, in the order in which they were judged
    choices: list[Choices]  # that were made, some more than once


@pytest.fixture(scope="module")
def everything() -> Everything:
    costs, made = [], []

    class Noting(Explorer):
        def scenario(self, choices: Choices) -> Scenario:
            made.append(choices)
            return super().scenario(choices)

    explorer = Noting(EVERYTHING.bounded(2), find("linux-6.14"))
    outcome = explorer.run(tick=lambda progress: costs.append(progress.cost))
    return Everything(outcome, costs, made)


def test_scenarios_come_in_the_order_of_size(everything: Everything) -> None:
    assert everything.costs == sorted(everything.costs)
    assert len(everything.costs) == everything.outcome.progress.runs - 1  # all but the plain one


def test_costs_are_the_order_of_size(everything: Everything) -> None:
    assert {choice.kind for choices in everything.choices for choice in choices} == {
        "field", "intercept", "gate", "handler", "word", "event", "round",
    }  # fmt: skip
    for choices in everything.choices[::20]:
        whole = scenario_of(choices, "linux-6.14")
        assert cost_of(whole) == size(whole)[:2]
        if choices:
            before = scenario_of(choices[:-1], "linux-6.14")
            assert cost_after(cost_of(before), before, choices[-1]) == cost_of(whole)


def test_no_set_of_choices_comes_up_twice(everything: Everything) -> None:
    judged = [frozenset(choices) for choices in everything.choices if len(choices) == 2]
    assert len(judged) == len(set(judged)) == everything.outcome.by_depth[2]


def test_two_choices_reach_all_that_two_choices_can(everything: Everything) -> None:
    missing = everything.outcome.reached.missing(linux=True)
    assert missing == ["exit df", "exit np", "exit pf", "exit shutdown", "exit ss", "exit sx", "exit task_switch",
                       "handler host intr"]  # fmt: skip


def test_the_text_of_a_counterexample_shows_the_finding() -> None:
    for signature, example in search(AGAIN, "linux-6.1").found.items():
        assert example.spelled
        verdict = judge(run_plan(compile_scenario(read_text(example.text))))
        assert signature in {finding.signature for finding in verdict.findings}


def test_a_later_passage_is_not_spelled() -> None:
    first, later = (Choice(EVENT, "nmi", passage, Place("clgi")) for passage in (1, 2))
    assert first.spelled
    assert not later.spelled
    assert str(later) == "nmi arrives at clgi, passage 2"
    assert scenario_of((later,), "linux-6.14").events[0].at == Place("clgi")


def test_a_deadline_leaves_it_unfinished() -> None:
    outcome = Explorer(EVERYTHING, find("linux-6.14")).run(deadline=time.monotonic() + 0.1)
    assert outcome.verdict == "unfinished"
    assert outcome.progress.waiting > 0


def test_free_host_programs_bleed_with_interrupts_off_at_first() -> None:
    outcome = Explorer(replace(SEQUENCE, events=(), words=(), host_words=(), intercepts=False), None).run()
    example = outcome.found[INJECTED]
    assert example.scenario.host.program == ("clgi", "sti", "vmrun", "cli", "stgi")
    assert sorted(example.scenario.settings) == ["cpu.if", "vmcb.eventinj"]
