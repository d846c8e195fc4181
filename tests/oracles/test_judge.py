import importlib
import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from tests.oracles.judging import INTERCEPTS, NEW, OLD, PLAIN, REBOOTING, TRACED, mutant, run, signatures, verdict

from worldswitch.oracles.finding import Finding, boundary_segment, steps_at
from worldswitch.oracles.judge import NAMES, ORACLES, judge
from worldswitch.oracles.scope import outside
from worldswitch.paths.catalogue import find
from worldswitch.paths.model import Known
from worldswitch.paths.mutate import mutants
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.read import read_text
from worldswitch.sources import docstring

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "oracles.md"
SIGNATURE = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+\.[a-z0-9-]+")
WORDS = re.compile(r"linux|xen|amd|qemu|bochs|kvm|l0|l1|l2|6\.1|0x")


def test_every_oracle_has_its_name_its_scope_and_its_documentation() -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8")
    for oracle in ORACLES:
        module = importlib.import_module(oracle.__name__)
        assert docstring(module).startswith(f"``{oracle.NAME}``: ")
        assert f"\n## {oracle.NAME}\n" in text
    assert len(set(NAMES)) == len(NAMES)


def test_every_cause_is_documented() -> None:
    """What the mutants of the shipped paths show; in the documentation a word in capitals stands for any name.

    The causes of the two oracles that follow a run step by step are as many as its records have fields.
    """
    named = re.findall(r"`([A-Za-z-]+)`", DOCUMENTATION.read_text(encoding="utf-8"))
    known = [re.compile(re.sub(r"[A-Z]+", "[a-z0-9-]+", name)) for name in named if name != name.upper()]
    causes = {finding.cause for finding in all_findings() if finding.oracle not in ("kernel-entry", "architecture")}
    assert len(causes) > 20
    assert {cause for cause in causes if not any(pattern.fullmatch(cause) for pattern in known)} == set()


def all_findings() -> list[Finding]:
    paths = [found.path for name in (OLD, NEW) for found in mutants(find(name))]
    return [finding for path in paths for finding in verdict(PLAIN, path).findings]


def test_signatures_name_no_path_no_profile_and_no_level() -> None:
    found = all_findings()
    assert all(SIGNATURE.fullmatch(finding.signature) for finding in found)
    assert [finding.signature for finding in found if WORDS.search(finding.signature)] == []


def test_a_signature_is_found_once() -> None:
    """Three rounds with the same defect."""
    text = PLAIN.replace("[vmcb]", "rounds = 3\n[vmcb]")
    for edit in ("remove clgi", "remove exit+1", "remove sti", "remove exit+2"):
        found = signatures(text, mutant(NEW, edit))
        assert len(found) == len(set(found))
        assert set(found) >= set(signatures(PLAIN, mutant(NEW, edit)))


def test_the_order_of_irrelevant_input_changes_nothing() -> None:
    events = ['kind = "nmi"\nat = "clgi+1"', 'kind = "intr"\nat = "enter"', 'kind = "smi"\nat = "cli"']
    settings = ['eventinj = "intr:0x68"', "v_tpr = 3", INTERCEPTS]
    gates = ['0x68 = "npf"', '0x20 = "gp"', '0x0d = "np"']
    path = mutant(OLD, "remove clgi")
    found = set()
    for order in permutations(range(3)):
        text = f'[host]\npath = "{OLD}"\n[guest]\nidt = {{ {", ".join(gates[i] for i in order)} }}\n'
        text += "[vmcb]\n" + "\n".join(settings[i] for i in order) + "\n"
        text += "".join(f"[[event]]\n{events[i]}\n" for i in order)
        found.add(tuple(signatures(text, path)))
    (only,) = found
    assert "shadow-bleed.unexplained-shadow.injection" in only
    assert "nmi-exposure.undocumented.sti" in only


def test_an_exposure_has_a_step_in_traced_runs() -> None:
    """The timeline marks the first boundary at which an oracle objects."""
    ended = run(PLAIN, mutant(NEW, "remove clgi"), traced=True)
    assert ended.trace is not None
    steps = {finding.place: finding.steps for finding in judge(ended).findings if finding.oracle == "nmi-exposure"}
    firsts = {place: ended.trace.rows[step - 1].where for place, (step,) in steps.items()}
    assert firsts == {"clgi": "clgi+1", "enter": "enter+1", "sti": "sti+1"}
    assert steps_at(run(PLAIN, mutant(NEW, "remove clgi")), set()) == ()


def test_the_boundary_before_the_first_instruction_belongs_to_the_start() -> None:
    ended = run(PLAIN)
    code = ended.plan.host.code
    assert boundary_segment(ended, code.start) == "start"
    assert boundary_segment(ended, code.handlers[2]) == "handler"
    assert boundary_segment(ended, code.handlers[2] + 1) == "handler"
    clgi = ended.plan.host.landmarks["clgi"][0]
    assert [boundary_segment(ended, clgi + offset) for offset in (0, 1)] == ["start", "clgi"]


# --- what a path's file documents


def test_a_known_finding_is_documented_with_reason_and_rule() -> None:
    known = Known("noinstr.call-to-trace-hardirqs-on.sti", "always", "S8-03", "the first version of the fix")
    judged = verdict(PLAIN, replace(find(TRACED), known=(known,)))
    assert [finding.signature for finding in judged.findings] == ["noinstr.call-to-trace-hardirqs-off.cli"]
    ((finding, why),) = judged.documented
    assert finding.signature == known.signature
    assert why == "the first version of the fix (S8-03)"


def test_what_is_known_while_rebooting_is_news_otherwise() -> None:
    known = Known("noinstr.*", "kvm_rebooting", "S8-03", "anything")
    path = replace(find(TRACED), known=(*find(TRACED).known, known))
    assert len(verdict(PLAIN, path).findings) == 2
    assert verdict(REBOOTING + PLAIN, path).findings == []


@pytest.mark.parametrize("path", [OLD, NEW, TRACED])
def test_what_the_shipped_paths_document_does_occur(path: str) -> None:
    """No entry is stale: each covers a finding of a reboot, single-stepped or not."""
    runs = [run(REBOOTING + PLAIN, path), run(REBOOTING.replace("svme", "tf = true\nsvme") + PLAIN, path)]
    found = {finding.signature for ended in runs for finding, _ in judge(ended).documented}
    for known in find(path).known:
        assert any(known.covers(signature, True) for signature in found), known.signature


# --- scenarios that do not keep to what a path presupposes


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("[cpu]\nif = true\n", "another IF"),
        ("[cpu]\ngif = false\n", "another GIF"),
        ("[kernel]\nlockdep = true\n", "another lockdep"),
        ('[kernel]\ncontext = "guest"\n', "another context"),
    ],
)
def test_another_entry_state(more: str, reason: str) -> None:
    """S8-40: a caller that breaks the contract; what follows is shown, with the reason, and is no news of the path."""
    judged = verdict(more + PLAIN, mutant(NEW, "remove stgi"))
    assert reason in outside(run(more + PLAIN, NEW))
    assert judged.findings == []
    assert {why for _, why in judged.documented} == {outside(run(more + PLAIN, NEW))}


def test_the_entry_state_said_again_is_no_other() -> None:
    more = "[cpu]\nif = false\ngif = true\n[kernel]\nlockdep = false\n"
    assert outside(run(more + PLAIN, NEW)) == ""
    assert verdict(more + PLAIN, mutant(NEW, "remove cli")).findings


@pytest.mark.parametrize(
    "code", ["sti", "cli", "set kernel.lockdep=true", "clgi", "guest_context_enter_irqoff", "popf if"]
)
def test_host_code_of_the_scenario_that_meddles(code: str) -> None:
    text = PLAIN.replace("[vmcb]", f'rounds = 2\nbetween = ["{code}"]\n[vmcb]')
    assert "between the rounds" in outside(run(text, NEW))
    assert verdict(text, NEW).findings == []


@pytest.mark.parametrize(
    "code", ["set vmcb.eventinj=nmi", "set guest.rip=next", "lock_acquire", "traceable printk", "nop"]
)
def test_host_code_of_the_scenario_that_does_not(code: str) -> None:
    text = PLAIN.replace("[vmcb]", f'rounds = 2\nbetween = ["{code}"]\n[vmcb]')
    assert outside(run(text, NEW)) == ""
    assert verdict(text, NEW).findings == []
    assert verdict(text, mutant(NEW, "remove cli")).findings


def test_host_code_between_rounds_that_never_runs() -> None:
    assert outside(run(PLAIN.replace("[vmcb]", 'between = ["sti"]\n[vmcb]'), NEW)) == ""


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ('handlers = { 2 = ["sti"] }', "handler for vector 0x02"),
        ('handlers = { 2 = ["set frame.if=1"] }', "handler for vector 0x02"),
        ('handlers = { 2 = ["set frame.rip=next"] }', "handler for vector 0x02"),
        ('handlers = { 2 = ["set cpu.mode=real"] }', "handler for vector 0x02"),
        ('handlers = { 2 = ["lock_acquire"] }', "handler for vector 0x02"),
        ('idt = { 2 = { type = "trap" } }', "trap gate for vector 0x02"),
        ('handlers = { 2 = ["lock_acquire", "lock_release", "iret"] }', ""),
        ('handlers = { 2 = ["set kernel.kvm_rebooting=true", "set cpu.svme=false"] }', ""),
        ("handlers = { 2 = [] }", ""),
        ('idt = { 2 = { dpl = 3 } }', ""),
    ],
)  # fmt: skip
def test_host_handlers_of_the_scenario(host: str, reason: str) -> None:
    text = PLAIN.replace("[vmcb]", f"{host}\n[vmcb]") + '[[event]]\nkind = "nmi"\nat = "start+1"\n'
    assert reason in outside(run(text, NEW))
    assert (outside(run(text, NEW)) == "") == (reason == "")
    assert verdict(text, NEW).findings == []


@pytest.mark.parametrize(
    ("vector", "reason"),
    [("2", ""), ("0x20", ""), ("0x30", ""), ("13", "vector 0x0d"), ("1", "vector 0x01"), ("31", "vector 0x1f")],
)
def test_who_may_clear_svme(vector: str, reason: str) -> None:
    """S3-35, S3-36: with GIF=1 only, and exceptions come with GIF=0 as well; then STGI may fault and be skipped."""
    text = PLAIN.replace("[vmcb]", f'handlers = {{ {vector} = ["set cpu.svme=false"] }}\n[vmcb]')
    assert reason in outside(run(text, NEW))
    assert (outside(run(text, NEW)) == "") == (reason == "")


def test_svm_turned_off_in_the_middle_of_a_path() -> None:
    """The #GP of VMLOAD clears SVME with GIF=0, and there is no SKINIT: STGI is skipped too, and GIF stays 0."""
    text = "[kernel]\nkvm_rebooting = true\n[cpu]\nskinit = false\nrax = 0x2123\n" + PLAIN
    text = text.replace("[vmcb]", 'handlers = { 13 = ["set cpu.svme=false"] }\n[vmcb]')
    judged = verdict(text, NEW)
    assert judged.findings == []
    assert "end-state.gif-clear.end" in {finding.signature for finding, _ in judged.documented}


def test_the_processors_own_sins_are_reported_all_the_same() -> None:
    """The bleed is no matter of the path's entry state."""
    golden = PLAIN.replace("[guest]", 'eventinj = "intr:0x68"\n[guest]\nidt = { 0x68 = "npf" }')
    assert signatures("[kernel]\nlockdep = true\n" + golden, OLD) == ["shadow-bleed.unexplained-shadow.injection"]


def test_a_free_program_is_outside_every_path() -> None:
    assert outside(run('[host]\nprogram = ["nop"]\n', "")) == "a free host program documents nothing"


def test_scenarios_are_left_as_they_were() -> None:
    """Oracles read; a second verdict on the same run is the same."""
    ended = run(PLAIN, mutant(NEW, "remove clgi"))
    assert judge(ended).findings == judge(ended).findings
    assert isinstance(ended.plan.scenario, Scenario)
    assert ended.plan.scenario == read_text("format = 1\n" + PLAIN)
