"""From a scenario and an entry path to a plan: everything resolved that a run needs.

Nothing changes a plan once it is made; it may be run any number of times.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from worldswitch.core.options import Options, profile, set_option
from worldswitch.core.state import Gate
from worldswitch.errors import InputError
from worldswitch.machine.software import Assignment, parse_assignment
from worldswitch.paths.catalogue import find
from worldswitch.paths.listing import parse_listing
from worldswitch.paths.model import EntryPath
from worldswitch.program.instruction import Instruction, parse_program
from worldswitch.program.layout import Layout, Line, lay_out_guest, lay_out_host
from worldswitch.scenario.fields import BY_NAME, FIELDS, Field
from worldswitch.scenario.model import Arrival, GateSpec, Program, Scenario
from worldswitch.scenario.places import resolve

_ORDER: Final = {field.name: index for index, field in enumerate(FIELDS)}


@dataclass(slots=True, eq=False, init=False)
class Plan:
    """What a machine executes."""

    scenario: Scenario
    path: EntryPath | None  # None: a free host program
    options: Options
    host: Layout
    guest: Layout
    settings: tuple[tuple[Field, Any], ...]
    host_idt: dict[int, Gate]
    guest_idt: dict[int, Gate]
    host_assignments: tuple[Assignment, ...]
    guest_assignments: tuple[Assignment, ...]
    host_arrivals: dict[int, tuple[tuple[int, int], ...]]  # host Code index: (visit, index into scenario.events)
    guest_arrivals: dict[tuple[int, int], tuple[int, ...]]  # (entry, instructions completed): indices
    impossible: tuple[int, ...]  # events whose place this path does not have

    def __init__(  # spelled out for mypyc, which compiles none that a decorator makes
        self,
        scenario: Scenario,
        path: EntryPath | None,
        options: Options,
        host: Layout,
        guest: Layout,
        settings: tuple[tuple[Field, Any], ...],
        host_idt: dict[int, Gate],
        guest_idt: dict[int, Gate],
        host_assignments: tuple[Assignment, ...],
        guest_assignments: tuple[Assignment, ...],
        host_arrivals: dict[int, tuple[tuple[int, int], ...]],
        guest_arrivals: dict[tuple[int, int], tuple[int, ...]],
        impossible: tuple[int, ...],
    ) -> None:
        self.scenario = scenario
        self.path = path
        self.options = options
        self.host = host
        self.guest = guest
        self.settings = settings
        self.host_idt = host_idt
        self.guest_idt = guest_idt
        self.host_assignments = host_assignments
        self.guest_assignments = guest_assignments
        self.host_arrivals = host_arrivals
        self.guest_arrivals = guest_arrivals
        self.impossible = impossible

    @property
    def path_name(self) -> str:
        """The path's name; ``program`` for a free host program."""
        return self.path.name if self.path else "program"

    def as_of(self, scenario: Scenario) -> "Plan":
        """The same plan, said to be of another scenario."""
        return Plan(
            scenario, self.path, self.options, self.host, self.guest, self.settings, self.host_idt, self.guest_idt,
            self.host_assignments, self.guest_assignments, self.host_arrivals, self.guest_arrivals, self.impossible,
        )  # fmt: skip


def compile_scenario(
    scenario: Scenario,
    path: str | EntryPath | None = None,
    profile_name: str | None = None,
    overrides: dict[str, str] | None = None,
    options: Options | None = None,
) -> Plan:
    """The plan of ``scenario`` on ``path`` (its own by default), under its own or another profile.

    ``overrides`` are model options by name; ``options``, made once for many plans, replaces all of them. Raises
    ``InputError``.
    """
    if scenario.nested is not None:
        from worldswitch.nested.compile import compile_nested

        return compile_nested(scenario, path, profile_name, overrides)
    entry_path = _entry_path(scenario, path)
    linux = entry_path.linux if entry_path else False
    host = lay_out_for(
        entry_path, scenario.host.program, scenario.rounds, scenario.between, _items(scenario.host.handlers), linux
    )
    guest = guest_layout(scenario.guest.program, _items(scenario.guest.handlers))
    host_arrivals, guest_arrivals, impossible = place_events(scenario.events, host)
    return Plan(
        scenario=scenario,
        path=entry_path,
        options=options
        or make_options(profile_name or scenario.profile, scenario.options if profile_name is None else {}, overrides),
        host=host,
        guest=guest,
        settings=order_settings(scenario.settings, guest),
        host_idt=make_idt(scenario.host),
        guest_idt=make_idt(scenario.guest),
        host_assignments=_assignments(tuple(host.assignments)),
        guest_assignments=_assignments(tuple(guest.assignments)),
        host_arrivals=host_arrivals,
        guest_arrivals=guest_arrivals,
        impossible=impossible,
    )


def compile_twin(plan: Plan, path: EntryPath) -> Plan:
    """The same scenario on another path, given its plan on one: only what depends on the host's code is made anew."""
    scenario = plan.scenario
    host = lay_out_for(
        path, scenario.host.program, scenario.rounds, scenario.between, _items(scenario.host.handlers), path.linux
    )
    host_arrivals, guest_arrivals, impossible = place_events(scenario.events, host)
    return Plan(
        scenario, path, plan.options, host, plan.guest, plan.settings, plan.host_idt, plan.guest_idt,
        _assignments(tuple(host.assignments)), plan.guest_assignments, host_arrivals, guest_arrivals, impossible,
    )  # fmt: skip


@lru_cache(maxsize=512)
def _assignments(texts: tuple[tuple[str, str], ...]) -> tuple[Assignment, ...]:
    return tuple(parse_assignment(*pair) for pair in texts)


def _entry_path(scenario: Scenario, path: str | EntryPath | None) -> EntryPath | None:
    if isinstance(path, EntryPath):
        return path
    name = path or scenario.locate(scenario.path)
    return find(name) if name else None


def make_options(profile_name: str, options: dict[str, str], overrides: dict[str, str] | None) -> Options:
    """Options of a profile, a scenario's own switches, and a command line's; raises ``InputError``."""
    try:
        result = profile(profile_name)
        for name, value in (*options.items(), *(overrides or {}).items()):
            set_option(result, name, value)
    except ValueError as error:
        raise InputError(str(error)) from None
    return result


def _items(handlers: dict[int, tuple[str, ...]]) -> tuple[tuple[int, tuple[str, ...]], ...]:
    return tuple(sorted(handlers.items()))


@lru_cache(maxsize=512)
def lay_out_for(
    path: EntryPath | None,
    program: tuple[str, ...],
    rounds: int,
    between: tuple[str, ...],
    handlers: tuple[tuple[int, tuple[str, ...]], ...],
    linux: bool,
) -> Layout:
    """The host's code; cached, since a campaign lays the same few paths out again and again."""
    lines: tuple[Line, ...] = path.lines if path else parse_listing("\n".join(program))
    return lay_out_host(lines, rounds, parse_program(list(between)), _parsed(handlers), linux)


@lru_cache(maxsize=4096)
def guest_layout(program: tuple[str, ...], handlers: tuple[tuple[int, tuple[str, ...]], ...]) -> Layout:
    """The guest's code; cached likewise. Raises ``InputError``."""
    layout = lay_out_guest(parse_program(list(program)), _parsed(handlers))
    for field, _ in layout.assignments:
        if not field.startswith(("guest.", "frame.")):
            raise InputError(f"set {field}: a guest sets guest.* and frame.* only")
    return layout


def _parsed(handlers: tuple[tuple[int, tuple[str, ...]], ...]) -> dict[int, tuple[Instruction, ...]]:
    return {vector: parse_program(list(body)) for vector, body in handlers}


def order_settings(settings: dict[str, Any], guest: Layout) -> tuple[tuple[Field, Any], ...]:
    """Settings in the order they are applied; raises ``InputError`` for a place outside the guest program."""
    for name in ("guest.rip", "vmcb.nrip"):
        if settings.get(name, 0) > guest.end:
            raise InputError(f"the guest program has {guest.end - 1} instructions", field=name)
    return tuple((BY_NAME[name], settings[name]) for name in sorted(settings, key=_ORDER.__getitem__))


def make_idt(program: Program) -> dict[int, Gate]:
    """The gates that differ from a plain interrupt gate."""
    return {vector: make_gate(spec) for vector, spec in program.idt.items()}


def make_gate(spec: GateSpec) -> Gate:
    """A gate of the processor model."""
    return Gate(spec.outcome, spec.trap, spec.dpl)


def place_events(
    events: tuple[Arrival, ...], host: Layout
) -> tuple[dict[int, tuple[tuple[int, int], ...]], dict[tuple[int, int], tuple[int, ...]], tuple[int, ...]]:
    """Where each event arrives: on host boundaries, on guest boundaries, nowhere."""
    host_arrivals: dict[int, tuple[tuple[int, int], ...]] = {}
    guest_arrivals: dict[tuple[int, int], tuple[int, ...]] = {}
    impossible = []
    for number, event in enumerate(events):
        place = event.at
        if place.landmark == "guest":
            key = (place.round, place.offset)
            guest_arrivals[key] = (*guest_arrivals.get(key, ()), number)
            continue
        index = resolve(place, host)
        if index < 0 or place.level > 0:
            impossible.append(number)
            continue
        visit = place.round if place.landmark == "handler" else 1
        host_arrivals[index] = (*host_arrivals.get(index, ()), (visit, number))
    return host_arrivals, guest_arrivals, tuple(impossible)
