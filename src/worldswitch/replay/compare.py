"""Model and implementation, field by field."""

from typing import Any, Final, NamedTuple

from worldswitch.core.bits import EXIT_EXCEPTION, EXIT_INVALID, EXIT_NPF, EXIT_SHUTDOWN
from worldswitch.core.names import exit_name
from worldswitch.core.record import KIND_SMI, WORLD_SMM, Handler
from worldswitch.machine import observe
from worldswitch.machine.run import Run
from worldswitch.replay.observed import HANG, RESET, Observed
from worldswitch.replay.record import Record
from worldswitch.replay.target import Target

_SHOWN: Final = 8


class Disagreement(NamedTuple):
    """One observable in which they differ: ``exits[0].int_state``, what the model says, what was observed."""

    field: str
    model: Any
    observed: Any

    @property
    def kind(self) -> str:
        """The observable without its index, to count by."""
        head, bracket, rest = self.field.partition("[")
        return head + rest.partition("]")[2] if bracket else self.field

    def __str__(self) -> str:
        return f"{self.field}: the model says {_show(self.model)}, observed {_show(self.observed)}"


def _show(value: Any) -> str:
    if isinstance(value, list) and len(value) > _SHOWN:
        return f"[{', '.join(map(str, value[:_SHOWN]))}, and {len(value) - _SHOWN} more]"
    return hex(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)


EXIT_KEYS: Final = (
    "exit_code", "exitinfo1", "exitinfo2", "exitintinfo", "eventinj", "int_state", "where", "if", "cr2", "v_tpr",
    "v_irq", "host_if",
)  # fmt: skip
HANDLER_KEYS: Final = ("world", "vector", "where", "if", "error_code")
NOT_COMPARED: Final = {
    "exits.gif": "no instruction reads GIF; final.gif is found out by an interrupt sent at the end",
    "exits.eventinj": "not of VMEXIT_INVALID on Bochs, which leaves there what an earlier VMRUN injected (S10-67)",
    "exits.rip": "compared as `where`: the image's code has other addresses",
    "exits.nrip": "compared as a place, where the implementation has NRIPS",
    "handlers.kind": "a handler sees a vector, not what kind of event had it",
    "handlers.gif": "no instruction reads GIF",
    "handlers.shadow": "a handler does not see the shadow it interrupted",
    "handlers.nmi_masked": "a handler does not see it",
    "handlers.lockdep": "the image is no kernel",
    "handlers.context": "the image is no kernel",
    "handlers of SMM": "the firmware's handler runs unseen",
    "warnings": "the image is no kernel",
    "final.shadow": "the end of a program is an instruction of the image",
}
"""Observables that no record compares, and why."""

_GUEST_STATE: Final = frozenset({"where", "if", "cr2"})


def compare(record: Record, observed: Observed, target: Target) -> list[Disagreement]:
    """Every observable in which ``observed`` differs from the model's run; empty where they agree."""
    run = record.run
    found: list[Disagreement] = []
    stop = observe.STOP_NAMES[run.cpu.stop]
    expected_stop = RESET if stop in ("shutdown", "init-reset") else stop
    if expected_stop != observed.stop:
        found.append(Disagreement("final.stop", expected_stop, observed.stop))
    _compare_exits(run, observed, target, found)
    _compare_handlers(record, observed, found)
    if observed.complete and expected_stop == observed.stop and observed.stop not in (HANG, RESET):
        _compare_final(run, observed, found)
    return found


def _compare_exits(run: Run, observed: Observed, target: Target, found: list[Disagreement]) -> None:
    model = run.recorder.exits
    for number, (record, seen) in enumerate(zip(model, observed.exits, strict=False)):
        expected = observe.read(observe.EXIT, run, record)
        for key in exit_keys(record.code, target):
            if expected[key] != seen[key]:
                found.append(Disagreement(f"exits[{number}].{key}", expected[key], seen[key]))
    if len(model) != len(observed.exits):
        found.append(Disagreement("exits", [exit_name(x.code) for x in model], [x["name"] for x in observed.exits]))


def exit_keys(code: int, target: Target) -> list[str]:
    """The keys to compare: EXITINFO only where the model has operands, guest state where it is defined."""
    keys = list(EXIT_KEYS)
    if code not in (EXIT_NPF, EXIT_INVALID, EXIT_SHUTDOWN) and not EXIT_EXCEPTION <= code < EXIT_EXCEPTION + 32:
        keys.remove("exitinfo1")
        keys.remove("exitinfo2")
    elif code != EXIT_NPF and code != EXIT_EXCEPTION + 14:
        keys.remove("exitinfo2")  # undefined but for #PF and NPF
    if code == EXIT_INVALID:  # S6-37: what else it writes is undefined
        keys = ["exit_code", "exitintinfo", "eventinj", "int_state", "host_if"]
        if target.invalid_eventinj_is_stale:
            keys.remove("eventinj")
        return keys
    if code == EXIT_SHUTDOWN:  # S6-94
        keys = [key for key in keys if key not in _GUEST_STATE]
    if target.vgif:
        keys.append("vgif")
    if target.vnmi:
        keys += ["v_nmi", "v_nmi_mask"]
    return keys


def model_handlers(record: Record) -> list[Handler]:
    """The model's handlers that the image can report."""
    return [
        handler
        for handler in record.run.recorder.handlers
        if handler.world != WORLD_SMM and handler.kind != KIND_SMI
        and (handler.world == 1, handler.vector) not in record.silent
    ]  # fmt: skip


def _compare_handlers(record: Record, observed: Observed, found: list[Disagreement]) -> None:
    run = record.run
    model = model_handlers(record)
    seen = observed.handlers
    for number, (handler, other) in enumerate(zip(model, seen, strict=False)):
        expected = observe.read(observe.HANDLER, run, handler)
        for key in HANDLER_KEYS:
            if key in other and expected[key] != other[key]:
                found.append(Disagreement(f"handlers[{number}].{key}", expected[key], other[key]))
    if len(model) != len(seen):
        names = [f"{observe.read(observe.HANDLER, run, h)['world']}:{h.vector:#04x}" for h in model]
        found.append(Disagreement("handlers", names, [f"{h['world']}:{h['vector']:#04x}" for h in seen]))


def _compare_final(run: Run, observed: Observed, found: list[Disagreement]) -> None:
    expected = observe.read_final(run)
    in_guest = run.cpu.guest
    keys = ["if", "pending"] if in_guest else ["if", "gif", "nmi_masked", "pending"]
    expected["pending"] = sorted(
        name for name in expected["pending"] if name not in ("smi", "init", "mce", "virq", "vnmi")
    )
    for key in keys:
        if key in observed.final and expected[key] != observed.final[key]:
            found.append(Disagreement(f"final.{key}", expected[key], observed.final[key]))
