"""The observables of a nested run by name: those of every run, with their level, and vmcb12 beside them."""

from collections.abc import Callable
from typing import Any, Final, cast

from worldswitch.core.names import event_name
from worldswitch.core.record import WORLD_HOST, Exit, Handler
from worldswitch.machine import observe as plain
from worldswitch.machine.observe import Reader
from worldswitch.machine.run import Run
from worldswitch.machine.trace import pending_names
from worldswitch.nested.gif import gif_set
from worldswitch.nested.queues import queued_word
from worldswitch.nested.record import NestedExit
from worldswitch.nested.run import NestedRun


def _nested(run: Run) -> NestedRun:
    return cast(NestedRun, run)


def _address(run: Run, level: int, rip: int) -> int:
    return _nested(run).layout(level).code.address[rip]


def _exit_level(run: Run, record: Exit) -> int:
    return _nested(run).level_at(record.entry.step)


def _handler_level(run: Run, handler: Handler) -> int:
    return _nested(run).level_at(handler.step) if handler.guest else 0


EXIT: Final[dict[str, Reader]] = {
    "level": lambda run, x: f"L{_exit_level(run, x)}",
    **plain.EXIT,
    "rip": lambda run, x: _address(run, _exit_level(run, x), x.rip),
    "where": lambda run, x: _nested(run).place(_exit_level(run, x), x.rip),
    "nrip": lambda run, x: _address(run, _exit_level(run, x), x.nrip) if x.nrip else 0,
}
"""Of one #VMEXIT of the processor; ``level`` is that of the guest that was left."""

VMCB12: Final[dict[str, Reader]] = {
    **{key: reader for key, reader in plain.EXIT.items() if key not in ("round", "host_if")},
    "number": lambda run, x: x.number,
    "vmruns": lambda run, x: x.vmruns,
    "synthesised": lambda run, x: x.synthesised,
    "l1_if": lambda run, x: x.host_if,
    "rip": lambda run, x: _address(run, 2, x.rip),
    "where": lambda run, x: _nested(run).place(2, x.rip),
    "nrip": lambda run, x: _address(run, 2, x.nrip) if x.nrip else 0,
}
"""Of one exit to L1: what vmcb12 holds then; ``gif`` and ``l1_if`` are L1's after it."""

HANDLER: Final[dict[str, Reader]] = {
    "level": lambda run, h: f"L{0 if h.world == WORLD_HOST else _handler_level(run, h)}",
    **plain.HANDLER,
    "where": lambda run, h: _nested(run).place(_handler_level(run, h), h.rip),
}
"""Of one handler; ``level`` is whose it is."""

WARNING: Final[dict[str, Reader]] = {"level": lambda run, w: "L0", **plain.WARNING}
"""Of one warning of L0's kernel model."""


def _queued(run: Run) -> str:
    return event_name(queued_word(_nested(run).vcpu))


def _pending(run: Run) -> list[str]:
    vcpu = _nested(run).vcpu
    names = [f"intr:0x{vector:02x}" for vector in vcpu.irr]
    for name, pending in (
        ("nmi", vcpu.nmi_pending or vcpu.vmcb01.v_nmi),
        ("smi", vcpu.smi_pending),
        ("init", vcpu.init_pending),
    ):
        if pending:
            names.append(name)
    return names


FINAL: Final[dict[str, Callable[[Run], Any]]] = {
    "stop": lambda run: _nested(run).stop_name,
    "level": lambda run: f"L{_nested(run).machine.level if run.cpu.guest else 0}",
    **{key: reader for key, reader in plain.FINAL.items() if key != "stop"},
    "rounds": lambda run: _nested(run).rounds,
    "vmruns": lambda run: _nested(run).vcpu.vmruns,
    "l1_gif": lambda run: gif_set(_nested(run).vcpu),
    "l1_pending": _pending,
    "l1_halted": lambda run: _nested(run).vcpu.halted,
    "queued": _queued,
    "cached_int_state": lambda run: _nested(run).vcpu.cache.int_state,
    "assertions": lambda run: [assertion.text for assertion in _nested(run).journal.assertions],
    "pending": lambda run: pending_names(run.cpu),
}
"""Of the end. ``pending`` is the processor's, ``l1_pending`` what L0 holds for L1, ``queued`` what it was injecting."""

RECORDS: Final = {"exits": EXIT, "vmcb12": VMCB12, "handlers": HANDLER, "warnings": WARNING}
"""The lists of ``[expect]`` and the table of each."""


def records(run: Run) -> dict[str, list[Any]]:
    """The records of each list."""
    journal = _nested(run).journal
    exits: list[NestedExit] = journal.exits
    recorder = run.recorder
    return {
        "exits": list(recorder.exits),
        "vmcb12": list(exits),
        "handlers": list(recorder.handlers),
        "warnings": list(run.kernel.warnings),
    }


def as_json(run: Run) -> dict[str, Any]:
    """The lists and the end, spelled."""
    result: dict[str, Any] = {
        name: [plain.spell(plain.read(RECORDS[name], run, record)) for record in found]
        for name, found in records(run).items()
    }
    final = plain.spell({key: reader(run) for key, reader in FINAL.items()})
    final["cached_int_state"] = hex(final["cached_int_state"])
    result["final"] = final
    result["assertions"] = [
        {"level": "L1", "step": item.step, "vmcb12": item.number, "text": item.text}
        for item in _nested(run).journal.assertions
    ]
    return result
