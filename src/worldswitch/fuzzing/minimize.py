"""Reduction: the smallest scenario that still shows a finding.

The order of size is: events and instructions beyond the path itself, then fields that differ from their defaults, then
the canonical text. Passes only ever propose a smaller scenario, and each keeps one invariant: the same signature on the
same path. They run until none of them helps, so that the result is minimal under every single edit they know.
"""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from typing import Any, Final

from worldswitch.core.bits import EXIT_VMMCALL, EXIT_VMRUN
from worldswitch.errors import InputError
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.machine import DEFAULT_INTERCEPTS
from worldswitch.machine.run import run_plan
from worldswitch.oracles.judge import judge
from worldswitch.paths.edits import fewer
from worldswitch.paths.model import EntryPath
from worldswitch.program.instruction import meets_number
from worldswitch.scenario.fields import BY_NAME
from worldswitch.scenario.model import DEFAULT_GUEST, DEFAULT_INTR_VECTOR, GateSpec, Program, Scenario
from worldswitch.scenario.places import Place
from worldswitch.scenario.write import scenario_text

Check = Callable[[Scenario], bool]

SIMPLER_EVENTS: Final = ("bp", "intr:0x20", "nmi", "ud", "gp(0x0)")
SIMPLER_GATES: Final = ("npf", "gp")
SIMPLER_STARTS: Final = ("guest+1", "noncanonical")
"""Where a guest may start to leave at once, without an instruction of its own."""


def size(scenario: Scenario) -> tuple[int, int, int, str]:
    """The order of size; smaller is better."""
    if scenario.nested is not None:
        from worldswitch.nested.minimize import nested_size

        below = scenario_text(scenario)
        return *nested_size(scenario), len(below), below
    instructions = len(scenario.between) * max(0, scenario.rounds - 1) + scenario.rounds - 1
    instructions += 0 if scenario.guest.program == DEFAULT_GUEST else len(scenario.guest.program)
    instructions += len(scenario.host.program)
    for program in (scenario.guest, scenario.host):
        instructions += sum(len(body) for body in program.handlers.values())
    fields = len(scenario.options) + len(scenario.guest.idt) + len(scenario.host.idt)
    for name, value in scenario.settings.items():
        fields += sum(value) if name == "vmcb.intercepts" else 1
    text = scenario_text(scenario)
    return len(scenario.events) + instructions, fields, len(text), text


def shows(scenario: Scenario, signature: str, path: EntryPath | None) -> bool:
    """Whether ``scenario`` on ``path`` (its own by default) has a finding of that signature."""
    try:
        verdict = judge(run_plan(compile_scenario(scenario, path)))
    except InputError:
        return False
    return any(finding.signature == signature for finding in verdict.findings)


def minimize(scenario: Scenario, signature: str, path: EntryPath | None = None, check: Check | None = None) -> Scenario:
    """The smallest scenario that the passes reach; raises ``InputError`` where ``scenario`` does not show the finding.

    ``check`` replaces the test for the signature, for findings that take more than one run.
    """
    holds: Check = check or (lambda candidate: shows(candidate, signature, path))
    best = replace(scenario, expect=None)
    if not holds(best):
        raise InputError(f"does not show {signature}", scenario.file)
    best_size = size(best)
    improved = True
    while improved:
        improved = False
        for candidate in candidates(best):
            candidate_size = size(candidate)
            if candidate_size < best_size and holds(candidate):
                best, best_size, improved = candidate, candidate_size, True
                break
    return best


def candidates(scenario: Scenario) -> Iterator[Scenario]:
    """Every scenario one edit away that may be smaller; coarse edits first."""
    if scenario.nested is not None:
        from worldswitch.nested.minimize import nested_candidates

        yield from nested_candidates(scenario)
        return
    for path in fewer(scenario.path):
        yield replace(scenario, path=path)
    yield from _smallest_shapes(scenario)
    yield from _without_whole_parts(scenario)
    for index in range(len(scenario.events)):
        yield replace(scenario, events=scenario.events[:index] + scenario.events[index + 1 :])
    yield from _programs(scenario)
    for name in scenario.settings:
        yield _with_settings(scenario, {k: v for k, v in scenario.settings.items() if k != name})
    for name in scenario.options:
        yield replace(scenario, options={k: v for k, v in scenario.options.items() if k != name})
    yield from _gates(scenario)
    yield from _values(scenario)


def _smallest_shapes(scenario: Scenario) -> Iterator[Scenario]:
    """Bare scenarios of the shapes in which findings of a world switch usually end; edits alone seldom lead there.

    `worldswitch check --compare` shows whether there is anything smaller.
    """
    bare = replace(scenario, settings={}, options={}, events=(), rounds=1, between=(), guest=Program(DEFAULT_GUEST))
    yield bare
    yield from _injecting(bare)
    for event in scenario.events:
        yield replace(bare, events=(event,))
    if scenario.rounds > 1:
        again = replace(bare, rounds=2)
        yield again
        parse = BY_NAME["guest.rip"].kind.parse
        for start in (None, *SIMPLER_STARTS):
            for injecting in _injecting(again):
                more = {} if start is None else {"guest.rip": parse(start)}
                yield _with_settings(injecting, {**injecting.settings, **more})


def _injecting(bare: Scenario) -> Iterator[Scenario]:
    """``bare`` with an injected event, and with a gate that it cannot pass."""
    parse = BY_NAME["vmcb.eventinj"].kind.parse
    for word in SIMPLER_EVENTS:
        injecting = _with_settings(bare, {**bare.settings, "vmcb.eventinj": parse(word)})
        yield injecting
        for name in SIMPLER_GATES:
            yield _with_guest(injecting, idt={parse(word) & 0xFF: GateSpec(meets_number(name))})


def _without_whole_parts(scenario: Scenario) -> Iterator[Scenario]:
    if scenario.events:
        yield replace(scenario, events=())
    if scenario.rounds > 1:
        yield replace(scenario, rounds=1, between=())
        yield _hoisted(scenario)
        yield replace(scenario, rounds=scenario.rounds - 1)
    if scenario.settings:
        yield replace(scenario, settings={})
    yield _with_guest(scenario, program=DEFAULT_GUEST)
    if scenario.guest.handlers:
        yield _with_guest(scenario, handlers={})
    if scenario.guest.idt:
        yield _with_guest(scenario, idt={})


def _hoisted(scenario: Scenario) -> Scenario:
    """One round, begun as software would begin the second: what it sets between the rounds is set from the start."""
    settings = dict(scenario.settings)
    for text in scenario.between:
        name, _, value = text.removeprefix("set ").partition("=")
        if name in BY_NAME and (name, value) not in (("vmcb.eventinj", "exitintinfo"), ("guest.rip", "next")):
            settings[name] = BY_NAME[name].kind.parse(value)
    return replace(scenario, settings=settings, rounds=1, between=())


def _programs(scenario: Scenario) -> Iterator[Scenario]:
    for program in _shorter(scenario.guest.program, 1):
        yield _with_guest(scenario, program=program)
    for program in _shorter(scenario.host.program, 1):
        changed = copy(scenario.host)
        changed.program = program
        yield replace(scenario, host=changed)
    for between in _shorter(scenario.between, 0):
        yield replace(scenario, between=between)
    for vector, body in scenario.guest.handlers.items():
        others = {k: v for k, v in scenario.guest.handlers.items() if k != vector}
        yield _with_guest(scenario, handlers=others)
        for shorter in _shorter(body, 1):
            yield _with_guest(scenario, handlers={**others, vector: shorter})


def _shorter(program: tuple[str, ...], least: int) -> Iterator[tuple[str, ...]]:
    """Without a half, without one instruction, or with one replaced by a NOP."""
    if len(program) >= 2 * max(least, 1):
        yield program[: len(program) // 2]
        yield program[len(program) // 2 :]
    if len(program) > least:
        for index in range(len(program)):
            yield program[:index] + program[index + 1 :]
    for index, text in enumerate(program):
        if text != "nop":
            yield (*program[:index], "nop", *program[index + 1 :])


def _gates(scenario: Scenario) -> Iterator[Scenario]:
    for vector, spec in scenario.guest.idt.items():
        others = {k: v for k, v in scenario.guest.idt.items() if k != vector}
        yield _with_guest(scenario, idt=others)
        for name in SIMPLER_GATES:
            plain = GateSpec(meets_number(name))
            if plain != spec:
                yield _with_guest(scenario, idt={**others, vector: plain})


def _values(scenario: Scenario) -> Iterator[Scenario]:
    """Simpler values of what has to stay."""
    intercepts = scenario.settings.get("vmcb.intercepts")
    if intercepts is not None:
        for code, on in enumerate(intercepts):
            if on and code not in (EXIT_VMRUN, EXIT_VMMCALL):
                smaller = bytearray(intercepts)
                smaller[code] = 0
                rest = {k: v for k, v in scenario.settings.items() if k != "vmcb.intercepts"}
                if bytes(smaller) != DEFAULT_INTERCEPTS:
                    rest["vmcb.intercepts"] = bytes(smaller)
                yield _with_settings(scenario, rest)
    pending = scenario.settings.get("cpu.pending", ())
    if len(pending) > 1:
        for name in pending:
            fewer = tuple(other for other in pending if other != name)
            yield _with_settings(scenario, {**scenario.settings, "cpu.pending": fewer})
    eventinj = scenario.settings.get("vmcb.eventinj")
    if eventinj is not None:
        parse = BY_NAME["vmcb.eventinj"].kind.parse
        for word in SIMPLER_EVENTS:
            changed = _with_settings(scenario, {**scenario.settings, "vmcb.eventinj": parse(word)})
            yield changed
            if scenario.guest.idt:  # the gate moves along with the vector
                moved = {parse(word) & 0xFF: spec for spec in list(scenario.guest.idt.values())[:1]}
                yield _with_guest(changed, idt=moved)
    for index, event in enumerate(scenario.events):
        plain = event._replace(vector=DEFAULT_INTR_VECTOR, origin="external")
        for changed_event in (plain, *(event._replace(at=place) for place in _nearer(event.at))):
            if changed_event != event:
                yield replace(scenario, events=(*scenario.events[:index], changed_event, *scenario.events[index + 1 :]))


def _nearer(place: Place) -> Iterator[Place]:
    for offset in (0, place.offset // 2, place.offset - 1 if place.offset > 0 else place.offset + 1):
        if offset != place.offset:
            yield place._replace(offset=offset)
    if place.round > 1:
        yield place._replace(round=place.round - 1)
    for landmark in ("start", "guest", "vmrun"):
        if place.landmark != "handler":
            yield Place(landmark)


def _with_settings(scenario: Scenario, settings: dict[str, Any]) -> Scenario:
    return replace(scenario, settings=settings)


def _with_guest(scenario: Scenario, **changes: Any) -> Scenario:
    guest = Program(scenario.guest.program, scenario.guest.idt, scenario.guest.handlers)
    for name, value in changes.items():
        setattr(guest, name, value)
    return replace(scenario, guest=guest)
