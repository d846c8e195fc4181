"""Small machines for tests: a scenario in, the finished run out.

``play`` takes the tables of a scenario file as Python values, writes the TOML text and runs it; ``run_text`` runs a
text. Places in programs are indices into the program: 0 is its first instruction.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from worldswitch.core.names import exit_name
from worldswitch.core.record import KINDS, WORLD_GUEST, WORLDS, Exit, Handler
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import Run, run_plan
from worldswitch.paths.model import EntryPath, read_path
from worldswitch.scenario.read import read_text
from worldswitch.text.read import loads

Table = Mapping[str, Any]
NONE: Table = {}


def run_text(
    text: str,
    path: str | EntryPath | None = None,
    profile: str | None = None,
    options: Mapping[str, str] | None = None,
) -> Run:
    """Run a scenario text (``format`` is added), on its own path or another."""
    return run_plan(compile_scenario(read_text("format = 1\n" + text), path, profile, dict(options or {})))


def play(
    host: Sequence[str] = ("vmrun",),
    guest: Sequence[str] = ("nop", "vmmcall"),
    *,
    intercept: Sequence[str] = (),
    cpu: Table = NONE,
    kernel: Table = NONE,
    vmcb: Table = NONE,
    state: Table = NONE,
    idt: Mapping[int, Any] = {},
    handlers: Mapping[int, Sequence[str]] = {},
    host_idt: Mapping[int, Any] = {},
    host_handlers: Mapping[int, Sequence[str]] = {},
    events: Sequence[str] = (),
    rounds: int = 1,
    between: Sequence[str] = (),
    path: str | EntryPath | None = None,
    profile: str = "amd",
    **options: str,
) -> Run:
    """Run a scenario given by its tables.

    ``intercept`` is added to VMRUN and VMMCALL; ``state`` is the save area (the fields of ``[guest]``); an event is
    written ``intr@guest+1``, ``intr:0x30@vmrun`` or ``smi-internal@start``. With ``path`` the entry path takes the
    place of ``host``.
    """
    control = {"intercepts": ["vmrun", "vmmcall", *intercept], **vmcb}
    where = {"path": path} if isinstance(path, str) else {"program": list(host)}
    tables: dict[str, dict[str, Any]] = {
        "options": dict(options),
        "cpu": dict(cpu),
        "kernel": dict(kernel),
        "vmcb": control,
        "host": {**where, "rounds": rounds, "between": list(between), "idt": host_idt, "handlers": host_handlers},
        "guest": {**state, "program": list(guest), "idt": idt, "handlers": handlers},
    }
    lines = [f"profile = {_toml(profile)}"]
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {_toml(value)}" for key, value in table.items()]
    for event in events:
        kind, _, place = event.partition("@")
        name, _, vector = kind.partition(":")
        lines += ["[[event]]", f"kind = {_toml(name.removesuffix('-internal'))}", f"at = {_toml(place)}"]
        if vector:
            lines.append(f"vector = {vector}")
        if name.endswith("-internal"):
            lines.append('origin = "internal"')
    return run_text("\n".join(lines), path if isinstance(path, EntryPath) else None)


def linux(listing: str, *, interrupts: bool = False, lockdep: bool = False) -> EntryPath:
    """An entry path of a Linux host from its listing; IF and lockdep as given at its start."""
    entry = f"[entry]\nif = {_toml(interrupts)}\nlockdep = {_toml(lockdep)}\n"
    return read_path(loads(f"format = 1\nname = 'test'\nlisting = '''\n{listing}'''\n{entry}", "test.toml"))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value < 1 << 63 else f'"{value:#x}"'
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(_toml(item) for item in value) + "]"


def taken(run: Run) -> list[tuple[str, str, int, int]]:
    """The handlers that ran: world, kind, vector, and the index of the saved RIP."""
    return [(WORLDS[h.world], KINDS[h.kind], h.vector, h.rip - 1) for h in run.recorder.handlers]


def last_handler(run: Run) -> Handler:
    """The handler that was entered last."""
    return run.recorder.handlers[-1]


def only_exit(run: Run) -> Exit:
    """The one #VMEXIT of the run."""
    (record,) = run.recorder.exits
    return record


def exit_codes(run: Run) -> list[str]:
    """The names of the exits, in order."""
    return [exit_name(record.code) for record in run.recorder.exits]


def exit_place(record: Exit) -> int:
    """The index of the RIP that the exit saved; -1 is the non-canonical address."""
    return record.rip - 1


def handler_entry(run: Run, vector: int, world: int = WORLD_GUEST) -> int:
    """The index of a handler's first instruction, as ``taken`` and ``exit_place`` count."""
    layout = run.plan.guest if world == WORLD_GUEST else run.plan.host
    return layout.code.handlers[vector] - 1


def warnings(run: Run) -> list[str]:
    """The causes of the kernel's warnings, in order."""
    return [warning.cause for warning in run.kernel.warnings]
