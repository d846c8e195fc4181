"""Reduction in the nested world: the edits that ``fuzzing.minimize`` tries, and the order of size."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from worldswitch.core.bits import EXIT_VMMCALL, EXIT_VMRUN
from worldswitch.machine.machine import DEFAULT_INTERCEPTS
from worldswitch.nested.fields import BY_NAME
from worldswitch.nested.model import L1_PROGRAM, Nested
from worldswitch.scenario.model import DEFAULT_GUEST, DEFAULT_INTR_VECTOR, Program, Scenario
from worldswitch.scenario.places import Place

SIMPLER_EVENTS: Final = ("intr:0x68", "nmi", "gp(0x0)")
SIMPLER_PLACES: Final = (Place("guest", level=2), Place("guest", level=1), Place("start"))


def nested_size(scenario: Scenario) -> tuple[int, int]:
    """Events and instructions beyond the defaults, then fields; smaller is better."""
    nested = scenario.nested
    assert nested is not None
    steps = nested.l1_rounds - 1 + len(nested.l1_between) * max(0, nested.l1_rounds - 1)
    steps += 0 if nested.l1.program == L1_PROGRAM else len(nested.l1.program)
    steps += 0 if nested.l2.program == DEFAULT_GUEST else len(nested.l2.program)
    for program in (nested.l1, nested.l2):
        steps += sum(len(body) for body in program.handlers.values())
    fields = len(nested.l1.idt) + len(nested.l2.idt) + len(nested.npt0) + len(nested.npt1) + len(scenario.options)
    for name, value in nested.settings.items():
        fields += sum(value) if name == "vmcb12.intercepts" else 1
    plain = Nested()
    fields += sum(
        getattr(nested, name) != getattr(plain, name)
        for name in ("flavour", "rounds", "vgif", "vnmi", "nrips", "kind", "asserts", "hsave", "cr3_loadable")
    )
    return len(scenario.events) + steps, fields


def nested_candidates(scenario: Scenario) -> Iterator[Scenario]:
    """Every scenario one edit away that may be smaller; coarse edits first."""
    nested = scenario.nested
    assert nested is not None
    yield from _bare(scenario)
    if scenario.events:
        yield replace(scenario, events=())
    for index in range(len(scenario.events)):
        yield replace(scenario, events=scenario.events[:index] + scenario.events[index + 1 :])
    for name in scenario.options:
        yield replace(scenario, options={k: v for k, v in scenario.options.items() if k != name})
    for changed in _edits(nested):
        yield replace(scenario, nested=changed)
    for index, event in enumerate(scenario.events):
        for simpler in (event._replace(vector=DEFAULT_INTR_VECTOR), *(event._replace(at=at) for at in SIMPLER_PLACES)):
            if simpler != event:
                yield replace(scenario, events=(*scenario.events[:index], simpler, *scenario.events[index + 1 :]))


def _bare(scenario: Scenario) -> Iterator[Scenario]:
    """Bare scenarios of the shapes in which findings usually end."""
    parse = BY_NAME["vmcb12.eventinj"].kind.parse
    for page in ((), ("stack",)):
        for word in SIMPLER_EVENTS:
            small = Nested(settings={"vmcb12.eventinj": parse(word)}, npt1=page)
            yield replace(scenario, events=(), options={}, nested=small)
    yield replace(scenario, events=(), options={}, nested=Nested())


def _edits(nested: Nested) -> Iterator[Nested]:
    plain = Nested()
    yield replace(nested, kind="program", asserts=False, l1=Program(L1_PROGRAM), l1_rounds=1, l1_between=())
    yield replace(nested, l1=Program(L1_PROGRAM, nested.l1.idt, nested.l1.handlers))
    for name in ("flavour", "rounds", "vgif", "vnmi", "nrips", "asserts", "hsave", "cr3_loadable"):
        yield replace(nested, **{name: getattr(plain, name)})
    if nested.l1_rounds > 1:
        yield replace(nested, l1_rounds=1, l1_between=())
        yield replace(nested, l1_rounds=nested.l1_rounds - 1)
    for between in _shorter(nested.l1_between, 0):
        yield replace(nested, l1_between=between)
    for program in _shorter(nested.l1.program, 1):
        yield replace(nested, l1=Program(program, nested.l1.idt, nested.l1.handlers))
    yield replace(nested, l2=Program(DEFAULT_GUEST, nested.l2.idt, nested.l2.handlers))
    for program in _shorter(nested.l2.program, 1):
        yield replace(nested, l2=Program(program, nested.l2.idt, nested.l2.handlers))
    for vector in nested.l2.handlers:
        others = {k: v for k, v in nested.l2.handlers.items() if k != vector}
        yield replace(nested, l2=Program(nested.l2.program, nested.l2.idt, others))
    for vector in nested.l2.idt:
        gates = {k: v for k, v in nested.l2.idt.items() if k != vector}
        yield replace(nested, l2=Program(nested.l2.program, gates, nested.l2.handlers))
    for page in nested.npt0:
        yield replace(nested, npt0=tuple(p for p in nested.npt0 if p != page))
    for page in nested.npt1:
        yield replace(nested, npt1=tuple(p for p in nested.npt1 if p != page))
    yield from _settings(nested)


def _settings(nested: Nested) -> Iterator[Nested]:
    for name in nested.settings:
        yield replace(nested, settings={k: v for k, v in nested.settings.items() if k != name})
    intercepts = nested.settings.get("vmcb12.intercepts")
    if intercepts is not None:
        rest = {k: v for k, v in nested.settings.items() if k != "vmcb12.intercepts"}
        for code, on in enumerate(intercepts):
            if on and code not in (EXIT_VMRUN, EXIT_VMMCALL):
                smaller = bytearray(intercepts)
                smaller[code] = 0
                more = {} if bytes(smaller) == DEFAULT_INTERCEPTS else {"vmcb12.intercepts": bytes(smaller)}
                yield replace(nested, settings=rest | more)
    if "vmcb12.eventinj" in nested.settings:
        for word in SIMPLER_EVENTS:
            parsed = BY_NAME["vmcb12.eventinj"].kind.parse(word)
            yield replace(nested, settings={**nested.settings, "vmcb12.eventinj": parsed})


def _shorter(program: tuple[str, ...], least: int) -> Iterator[tuple[str, ...]]:
    """Without one instruction, or with one replaced by a NOP."""
    if len(program) > least:
        for index in range(len(program)):
            yield program[:index] + program[index + 1 :]
    for index, text in enumerate(program):
        if text != "nop" and not text.startswith("set "):
            yield (*program[:index], "nop", *program[index + 1 :])
