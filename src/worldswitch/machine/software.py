"""``set FIELD=VALUE``: what software, or the outside, does to memory and state between instructions."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from worldswitch.core.bits import RFLAGS_IF, RFLAGS_RF, RFLAGS_TF, VECTOR_PF
from worldswitch.core.isa import GATE_NPF, GATE_OK
from worldswitch.core.state import Gate
from worldswitch.errors import InputError
from worldswitch.program.instruction import meets_number, parse_vector
from worldswitch.scenario.fields import BY_NAME
from worldswitch.scenario.kinds import Bool

if TYPE_CHECKING:
    from worldswitch.machine.machine import Machine

FRAME_FLAGS: Final = {"if": RFLAGS_IF, "tf": RFLAGS_TF, "rf": RFLAGS_RF}


class Assignment(NamedTuple):
    """One parsed ``set``."""

    apply: Callable[["Machine", Any], None]
    value: Any


def parse_assignment(field: str, value: str) -> Assignment:
    """Parse ``set FIELD=VALUE``; raises ``InputError``.

    ``FIELD`` is a scenario field (``vmcb.int_state``), ``guest.idt.VECTOR`` or ``host.idt.VECTOR``, ``guest.memory``
    or ``host.memory`` (``ok``: the pages are there from now on, for accesses and for delivery), ``frame.if``,
    ``frame.tf``, ``frame.rf`` (the frame the running handler returns through) or ``frame.rip`` (``next``).
    ``vmcb.eventinj=exitintinfo`` re-injects (S6-71); ``guest.rip=next`` steps over the instruction at RIP.
    """
    if (field, value) == ("vmcb.eventinj", "exitintinfo"):
        return Assignment(_reinject, None)
    if (field, value) == ("guest.rip", "next"):
        return Assignment(_skip, None)
    world, _, rest = field.partition(".")
    if world in ("host", "guest") and rest.startswith("idt."):
        vector = parse_vector(rest[4:])
        outcome = meets_number(value)
        return Assignment(_set_host_gate if world == "host" else _set_guest_gate, (vector, outcome))
    if world in ("host", "guest") and rest == "memory":
        if value != "ok":
            raise InputError(f"set {field}={value}: the value is ok")
        return Assignment(_repair_host if world == "host" else _repair_guest, None)
    if world == "frame":
        if (rest, value) == ("rip", "next"):
            return Assignment(_frame_next, None)
        if rest in FRAME_FLAGS:
            return Assignment(_frame_flag, (FRAME_FLAGS[rest], Bool().parse(value)))
        raise InputError(f"set {field}: a frame has if, tf, rf and rip=next")
    known = BY_NAME.get(field)
    if known is None:
        raise InputError(f"set {field}: no such field")
    try:
        return Assignment(known.apply, known.kind.parse(_plain(value)))
    except InputError as error:
        raise InputError(f"set {field}={value}: {error.message}") from None


def _plain(value: str) -> Any:
    return [word.strip() for word in value[1:-1].split(",") if word.strip()] if value.startswith("[") else value


def _reinject(machine: "Machine", _: object) -> None:
    machine.cpu.vmcb.eventinj = machine.cpu.vmcb.exitintinfo


def _skip(machine: "Machine", _: object) -> None:
    save = machine.cpu.vmcb.save
    if 0 < save.rip < len(machine.cpu.guest_world.code.ops) - 1:
        save.rip += 1


def _set_host_gate(machine: "Machine", value: tuple[int, int]) -> None:
    _set_gate(machine.cpu.host_world.idt, *value)


def _set_guest_gate(machine: "Machine", value: tuple[int, int]) -> None:
    _set_gate(machine.cpu.guest_world.idt, *value)


def _set_gate(idt: dict[int, Gate], vector: int, outcome: int) -> None:
    old = idt.get(vector)
    idt[vector] = Gate(outcome, old.trap, old.dpl) if old else Gate(outcome)


def _repair_host(machine: "Machine", _: object) -> None:
    machine.cpu.host_world.accesses_ok = True


def _repair_guest(machine: "Machine", _: object) -> None:
    world = machine.cpu.guest_world
    world.accesses_ok = True
    for vector, gate in world.idt.items():
        if gate.outcome in (GATE_NPF, VECTOR_PF):
            _set_gate(world.idt, vector, GATE_OK)


def _frame_next(machine: "Machine", _: object) -> None:
    frames = machine.cpu.world().frames
    if frames and frames[-1].rip < len(machine.cpu.world().code.ops) - 1:
        frames[-1].rip += 1


def _frame_flag(machine: "Machine", value: tuple[int, bool]) -> None:
    frames = machine.cpu.world().frames
    if frames:
        bit, on = value
        frames[-1].rflags = frames[-1].rflags | bit if on else frames[-1].rflags & ~bit
