"""Metamorphic relations: a change of the scenario that must change nothing, or only what it names."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.properties.cases import PATHS, Edits, decoded, edits, execute, executes, injecting, random_edits
from tests.properties.invariants import i_04
from tests.properties.test_invariants import _handled_with_gif_0, bleeding

from worldswitch.core import boundary, shadow
from worldswitch.core import execute as core_execute
from worldswitch.core.names import INTERCEPTS
from worldswitch.core.state import Cpu
from worldswitch.machine import observe
from worldswitch.machine.machine import DEFAULT_INTERCEPTS, Machine
from worldswitch.machine.run import Run
from worldswitch.scenario.model import Program, Scenario
from worldswitch.scenario.places import parse_place

EXAMPLES = 100
Relation = Callable[[Scenario, int], list[str]]
"""Takes a scenario and a number that chooses among changes; gives what the change did that it must not do."""


def outcome(run: Run, *less: str) -> list[Any]:
    """Everything that can be observed of a run, but for the keys in ``less``."""
    records: list[dict[str, Any]] = [observe.read(observe.EXIT, run, x) for x in run.recorder.exits]
    records += [observe.read(observe.HANDLER, run, h) for h in run.recorder.handlers]
    records.append(observe.read_final(run))
    return [{key: value for key, value in record.items() if key not in less} for record in records]


def differences(first: list[Any], second: list[Any]) -> list[str]:
    if len(first) != len(second):
        return [f"{len(first)} records instead of {len(second)}"]
    pairs = [(key, one[key], two[key]) for one, two in zip(first, second, strict=True) for key in one]
    return [f"{key}: {one} and {two}" for key, one, two in pairs if one != two]


def nop_after_sti(scenario: Scenario, _: int) -> list[str]:
    """A NOP between STI and VMRUN removes every bleed (S2-74)."""
    program: list[str] = []
    for text in scenario.host.program:
        if text == "vmrun":
            program.append("nop")
        program.append(text)
    changed = replace(scenario, host=Program(tuple(program), scenario.host.idt, scenario.host.handlers))
    return list(i_04(execute(changed))) if executes(changed) else []


GIF_0 = tuple(parse_place(text) for text in ("clgi+1", "enter", "enter+6", "sti", "sti+1", "vmrun"))


def moved_within_gif_0(scenario: Scenario, choice: int) -> list[str]:
    """Events that arrive between CLGI and VMRUN may arrive anywhere there: nothing recognises them before (S3-10)."""
    if scenario.settings.get("cpu.svme") is False:  # CLGI is #UD, which a rebooting kernel skips
        return []
    moving = [number for number, event in enumerate(scenario.events) if event.at in GIF_0]
    events = list(scenario.events)
    for number in moving:
        events[number] = events[number]._replace(at=GIF_0[(choice + number) % len(GIF_0)])
    changed = replace(scenario, events=tuple(events))
    first, second = execute(scenario), execute(changed)
    if not moving or first.unreached or second.unreached:
        return []
    return differences(outcome(first), outcome(second))


UNUSED = (
    "wbinvd",
    "invd",
    "rdpmc",
    "monitor",
    "mwait",
    "skinit",
    "invlpga",
    "rdtscp",
    "xsetbv",
    "idtr_read",
    "tr_write",
)
"""Intercepts of instructions that no guest of the codecs has."""


def unused_intercept(scenario: Scenario, choice: int) -> list[str]:
    """An intercept that nothing meets changes nothing."""
    vector = bytearray(scenario.settings.get("vmcb.intercepts", DEFAULT_INTERCEPTS))
    vector[INTERCEPTS[UNUSED[choice % len(UNUSED)]]] ^= 1
    changed = replace(scenario, settings={**scenario.settings, "vmcb.intercepts": bytes(vector)})
    return differences(outcome(execute(scenario)), outcome(execute(changed)))


def quirk_without_a_cause(scenario: Scenario, _: int) -> list[str]:
    """Quirk on and off are the same wherever no shadow meets an injection exit (I-05)."""
    on = execute(scenario, "amd")
    if any(bleeding(on)):
        return []
    return differences(outcome(on), outcome(execute(scenario, "amd-noquirk")))


def nop_in_front(scenario: Scenario, _: int) -> list[str]:
    """A NOP before the host's first instruction changes nothing, but for where things lie, and single-stepping it."""
    stepped = scenario.settings.get("cpu.tf") or "popf if,tf" in scenario.host.program
    if stepped or any(event.at.landmark == "start" for event in scenario.events):
        return []
    host = Program(("nop", *scenario.host.program), scenario.host.idt, scenario.host.handlers)
    changed = replace(scenario, host=host)
    if not executes(changed):
        return []
    first, second = execute(scenario), execute(changed)
    return differences(outcome(first, "where", "rip", "nrip"), outcome(second, "where", "rip", "nrip"))


IDLE_FIELDS = ({"vmcb.v_intr_prio": 9}, {"vmcb.v_intr_vector": 0xF3}, {"vmcb.asid": 5})


def idle_field(scenario: Scenario, choice: int) -> list[str]:
    """A field that nothing reads changes nothing: priority and vector of no V_IRQ, without a TLB the ASID (S6-09)."""
    if scenario.settings.get("vmcb.v_irq") or "vmcb.asid" in scenario.settings:
        return []
    changed = replace(scenario, settings={**scenario.settings, **IDLE_FIELDS[choice % len(IDLE_FIELDS)]})
    return differences(outcome(execute(scenario)), outcome(execute(changed)))


def renamed_vector(scenario: Scenario, _: int) -> list[str]:
    """An injected INTR of vector 6Ah behaves as one of 68h does, with the gate and the handler of that vector."""
    if scenario.settings.get("vmcb.eventinj") != 0x80000068:
        return []
    if any("0x68" in text for text in scenario.between):
        return []

    def renamed(table: dict[int, Any]) -> dict[int, Any]:
        return {0x6A if vector == 0x68 else vector: value for vector, value in table.items()}

    guest = Program(scenario.guest.program, renamed(scenario.guest.idt), renamed(scenario.guest.handlers))
    changed = replace(scenario, guest=guest, settings={**scenario.settings, "vmcb.eventinj": 0x8000006A})
    vectors = ("vector", "exitintinfo", "exitintinfo_name", "exitinfo1", "error_code", "where")
    return differences(outcome(execute(scenario), *vectors), outcome(execute(changed), *vectors))


def events_in_another_order(scenario: Scenario, choice: int) -> list[str]:
    """The order in which a file lists its events changes nothing: a latched event has no age (S1-10)."""
    if len(scenario.events) < 2:
        return []
    turned = choice % len(scenario.events)
    events = (*scenario.events[turned:], *scenario.events[:turned])[:: -1 if choice % 2 else 1]
    return differences(outcome(execute(scenario)), outcome(execute(replace(scenario, events=tuple(events)))))


def sti_nop_as_popf(scenario: Scenario, _: int) -> list[str]:
    """STI; NOP right before VMRUN is what POPF; NOP is: VMRUN is in no shadow (S2-05, S2-20). POPF loads TF as well."""
    given = ("cpu.iopl", "cpu.cpl", "cpu.tf")
    words = scenario.host.program
    if "vmrun" not in words or "popf if,tf" in words or any(name in scenario.settings for name in given):
        return []
    outcomes = []
    for enable in ("sti", "popf if"):
        program: list[str] = []
        for text in scenario.host.program:
            program += ["clgi", "cli", enable, "nop", text] if text == "vmrun" else [text]
        host = Program(tuple(program), scenario.host.idt, scenario.host.handlers)
        changed = replace(scenario, host=host, events=())
        if not executes(changed):
            return []
        outcomes.append(outcome(execute(changed), "where", "rip", "nrip"))
    return differences(*outcomes)


def _latch_if_first(machine: Machine, kind: str, vector: int, origin: int, real: Any = Machine.latch) -> None:
    """An event that arrives while another one is pending is lost."""
    cpu = machine.cpu
    if not (cpu.irr or cpu.pend_nmi or cpu.pend_smi or cpu.pend_init):
        real(machine, kind, vector, origin)


def _retire_keeping_shadow(cpu: Cpu, op: int, rflags: int, created: int, real: Any = core_execute.retire) -> None:
    real(cpu, op, rflags, created or cpu.shadow)


def _nmi_or_wrong(cpu: Cpu, real: Callable[[Cpu], bool] = boundary.nmi) -> bool:
    return _handled_with_gif_0(cpu) or real(cpu)


SEQUENCE = ("sequence",)
ALL = (*PATHS, *SEQUENCE)
RELATIONS: dict[str, tuple[Relation, tuple[str, ...], Any, str, Callable[..., Any]]] = {
    # name: the relation, what it is about, and a defect that it must find
    "nop-after-sti": (nop_after_sti, SEQUENCE, shadow, "bleeds", lambda cpu: cpu.injecting),
    "moved-within-gif-0": (moved_within_gif_0, PATHS, boundary, "nmi", _nmi_or_wrong),
    "unused-intercept": (unused_intercept, ALL, shadow, "at_exit", lambda cpu: sum(cpu.vmcb.intercepts) & 1),
    "quirk-without-a-cause": (
        quirk_without_a_cause, ALL, shadow, "bleeds", lambda cpu: cpu.options.bleed_sti_shadow == 1,
    ),
    "nop-in-front": (nop_in_front, SEQUENCE, shadow, "at_exit", lambda cpu: cpu.hsave.rip & 1),
    "idle-field": (idle_field, ALL, shadow, "at_exit", lambda cpu: cpu.vmcb.v_intr_prio & 1),
    "renamed-vector": (renamed_vector, ALL, shadow, "at_exit", lambda cpu: cpu.vectoring >> 1 & 1),
    "events-in-another-order": (events_in_another_order, ALL, Machine, "latch", _latch_if_first),
    "sti-nop-as-popf": (sti_nop_as_popf, SEQUENCE, core_execute, "retire", _retire_keeping_shadow),
}  # fmt: skip
ABOUT_INJECTION = ("renamed-vector", "nop-after-sti", "sti-nop-as-popf")
CASES = [(name, subject) for name, (_, subjects, *_) in RELATIONS.items() for subject in subjects]


@pytest.mark.parametrize(("name", "subject"), CASES)
@given(changes=edits(), choice=st.integers(0, 59))
@settings(max_examples=EXAMPLES)
def test_relation(name: str, subject: str, changes: Edits, choice: int) -> None:
    relation = RELATIONS[name][0]
    assert relation(decoded(subject, biased(name, subject, changes)), choice) == []


@pytest.mark.pure_core
@pytest.mark.parametrize("name", RELATIONS)
def test_a_relation_can_fail(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one rule of the model wrong the relation finds it."""
    relation, subjects, module, function, wrong = RELATIONS[name]
    monkeypatch.setattr(module, function, wrong)
    found = (
        relation(decoded(subject, biased(name, subject, changes)), number)
        for number, changes in enumerate(random_edits(400))
        for subject in subjects
    )
    assert any(found)


def biased(name: str, subject: str, changes: Edits) -> Edits:
    """For relations about an injected event: scenarios with one."""
    return injecting(subject, changes) if name in ABOUT_INJECTION else changes
