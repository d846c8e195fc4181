"""From a nested scenario and L0's entry path to a plan."""

from functools import lru_cache

from worldswitch.core.options import Options
from worldswitch.errors import InputError
from worldswitch.machine.compile import Plan, make_idt, make_options, order_settings
from worldswitch.machine.software import parse_assignment
from worldswitch.nested.l1 import HANDLE_EXIT, parse_level_assignment
from worldswitch.nested.model import Nested
from worldswitch.paths.catalogue import find
from worldswitch.paths.listing import parse_listing
from worldswitch.paths.model import EntryPath
from worldswitch.program.instruction import Instruction, parse_program
from worldswitch.program.layout import Layout, lay_out_guest, lay_out_host
from worldswitch.scenario.model import Program, Scenario
from worldswitch.scenario.places import resolve

LINUX_WINDOW = ("local_irq_enable", "inline vcpu_stat_exits", "local_irq_disable")
PLAIN_WINDOW = ("sti", "nop", "cli")
"""After the path L0 takes what is pending: interrupts on for one statement (S8-02)."""

Handlers = tuple[tuple[int, tuple[str, ...]], ...]
HostArrivals = dict[int, tuple[tuple[int, int], ...]]
GuestArrivals = dict[tuple[int, int], tuple[int, ...]]


class NestedPlan(Plan):
    """A plan whose guest is L1; ``second`` is the same with L2 as the guest.

    ``guest_arrivals`` are keyed by the stretch of the level and the instructions completed in it; landmarks of L1 by
    -1 and the Code index.
    """

    __slots__ = ("nested", "second")

    def __init__(self, first: Plan, second: Plan, nested: Nested) -> None:
        super().__init__(
            first.scenario, first.path, first.options, first.host, first.guest, first.settings, first.host_idt,
            first.guest_idt, first.host_assignments, first.guest_assignments, first.host_arrivals, first.guest_arrivals,
            first.impossible,
        )  # fmt: skip
        self.nested: Nested = nested
        self.second: Plan = second


def compile_nested(
    scenario: Scenario, path: str | EntryPath | None, profile_name: str | None, overrides: dict[str, str] | None
) -> NestedPlan:
    """The plan of a nested scenario with ``path`` as L0's; raises ``InputError``."""
    nested = scenario.nested
    assert nested is not None
    entry_path = path if isinstance(path, EntryPath) else find(path or scenario.locate(scenario.path))
    host = l0_layout(entry_path)
    first = l1_layout(l1_program(nested), nested.l1_rounds, nested.l1_between, _items(nested.l1))
    second = l2_layout(nested.l2.program, _items(nested.l2))
    for name in ("l2.rip", "vmcb12.nrip"):
        if nested.settings.get(name, 0) > second.end:
            raise InputError(f"the program of L2 has {second.end - 1} instructions", field=name)
    options = make_options(
        profile_name or scenario.profile, scenario.options if profile_name is None else {}, overrides
    )
    host_arrivals, guest_arrivals, impossible = _place_events(scenario, host, first)
    parts = (scenario, entry_path, options, host, host_arrivals, impossible)
    plans = {level: _plan(level, layout, program, guest_arrivals[level], *parts)
             for level, layout, program in ((1, first, nested.l1), (2, second, nested.l2))}  # fmt: skip
    return NestedPlan(plans[1], plans[2], nested)


def l1_program(nested: Nested) -> tuple[str, ...]:
    """L1's program; a hypervisor's ends with its exit handler."""
    return (*nested.l1.program, HANDLE_EXIT) if nested.kind == "hypervisor" else nested.l1.program


def _plan(
    level: int,
    guest: Layout,
    program: Program,
    arrivals: GuestArrivals,
    scenario: Scenario,
    path: EntryPath,
    options: Options,
    host: Layout,
    host_arrivals: HostArrivals,
    impossible: tuple[int, ...],
) -> Plan:
    return Plan(
        scenario=scenario,
        path=path,
        options=options,
        host=host,
        guest=guest,
        settings=order_settings(scenario.settings, guest),
        host_idt={},
        guest_idt=make_idt(program),
        host_assignments=tuple(parse_assignment(*pair) for pair in host.assignments),
        guest_assignments=tuple(parse_level_assignment(level, *pair) for pair in guest.assignments),
        host_arrivals=host_arrivals,
        guest_arrivals=arrivals,
        impossible=impossible,
    )


def _items(program: Program) -> Handlers:
    return tuple(sorted(program.handlers.items()))


def _parsed(handlers: Handlers) -> dict[int, tuple[Instruction, ...]]:
    return {vector: parse_program(list(body)) for vector, body in handlers}


@lru_cache(maxsize=256)
def l0_layout(path: EntryPath) -> Layout:
    """L0's path, and the window after it in which pending interrupts are taken."""
    window = () if path.entry_if else parse_program(list(LINUX_WINDOW if path.linux else PLAIN_WINDOW))
    return lay_out_host(path.lines, 1, (), {}, path.linux, window)


@lru_cache(maxsize=4096)
def l1_layout(program: tuple[str, ...], rounds: int, between: tuple[str, ...], handlers: Handlers) -> Layout:
    """L1's code: a hypervisor's own world switch, so it has landmarks; raises ``InputError``."""
    lines = parse_listing("\n".join(program))
    return lay_out_host(lines, rounds, parse_program(list(between)), _parsed(handlers), False)


@lru_cache(maxsize=4096)
def l2_layout(program: tuple[str, ...], handlers: Handlers) -> Layout:
    """L2's code; raises ``InputError``."""
    return lay_out_guest(parse_program(list(program)), _parsed(handlers))


def _place_events(
    scenario: Scenario, host: Layout, first: Layout
) -> tuple[HostArrivals, dict[int, GuestArrivals], tuple[int, ...]]:
    """Where each event arrives: in L0's path, in L1, in L2, nowhere."""
    in_host: HostArrivals = {}
    in_guest: dict[int, GuestArrivals] = {1: {}, 2: {}}
    impossible = []
    for number, event in enumerate(scenario.events):
        place = event.at
        if place.landmark == "guest":
            key = (place.round, place.offset)
            found = in_guest[place.level]
            found[key] = (*found.get(key, ()), number)
            continue
        index = resolve(place if place.level == 1 else place._replace(round=1), first if place.level == 1 else host)
        if index < 0:
            impossible.append(number)
        elif place.level == 1:
            in_guest[1][-1, index] = (*in_guest[1].get((-1, index), ()), number)
        else:
            in_host[index] = (*in_host.get(index, ()), (place.round, number))
    return in_host, in_guest, tuple(impossible)
