"""The observables of a run by name: what ``run --json`` prints and ``[expect]`` compares.

One table a kind of record: key to the function that reads it. 64-bit values are plain integers here; ``result`` spells
them as hex strings.
"""

from collections.abc import Callable
from typing import Any, Final

from worldswitch.core.bits import RFLAGS_IF
from worldswitch.core.names import event_name, exit_name
from worldswitch.core.record import KINDS, WORLD_GUEST, WORLD_SMM, WORLDS, Exit, Handler
from worldswitch.core.state import END, HOST_BUG, IDLE, INIT_RESET, LIMIT, SHUTDOWN
from worldswitch.kernel.state import CONTEXTS, WARN_KINDS, Warning
from worldswitch.machine.run import Run
from worldswitch.machine.trace import SHADOWS, pending_names
from worldswitch.oracles.finding import segment_of

STOP_NAMES: Final = {
    END: "end", SHUTDOWN: "shutdown", INIT_RESET: "init-reset", HOST_BUG: "bug", IDLE: "idle", LIMIT: "limit",
}  # fmt: skip

Reader = Callable[[Run, Any], Any]


def _address(run: Run, guest: bool, index: int) -> int:
    code = (run.plan.guest if guest else run.plan.host).code
    return code.address[index]


def _shadow(bits: int) -> str:
    return SHADOWS[bits] if bits else "none"


EXIT: Final[dict[str, Reader]] = {
    "round": lambda run, x: x.entry.number,
    "exit_code": lambda run, x: x.code & 0xFFFF_FFFF if run.cpu.options.invalid_exit_code_32 else x.code,  # S10-40
    "name": lambda run, x: exit_name(x.code),
    "exitinfo1": lambda run, x: x.exitinfo1,
    "exitinfo2": lambda run, x: x.exitinfo2,
    "exitintinfo": lambda run, x: x.exitintinfo,
    "exitintinfo_name": lambda run, x: event_name(x.exitintinfo),
    "eventinj": lambda run, x: x.eventinj,
    "eventinj_name": lambda run, x: event_name(x.eventinj),
    "int_state": lambda run, x: x.int_state,
    "rip": lambda run, x: _address(run, True, x.rip),
    "where": lambda run, x: run.where(True, x.rip),
    "nrip": lambda run, x: _address(run, True, x.nrip) if x.nrip else 0,
    "if": lambda run, x: bool(x.rflags & RFLAGS_IF),
    "cr2": lambda run, x: x.cr2,
    "v_tpr": lambda run, x: x.v_tpr,
    "v_irq": lambda run, x: x.v_irq,
    "vgif": lambda run, x: x.vgif,
    "v_nmi": lambda run, x: x.v_nmi,
    "v_nmi_mask": lambda run, x: x.v_nmi_mask,
    "gif": lambda run, x: x.gif,
    "host_if": lambda run, x: x.host_if,
}  # fmt: skip
"""Of one #VMEXIT: what it wrote (section 6.4), guest RFLAGS.IF, and GIF and host IF after it."""

HANDLER: Final[dict[str, Reader]] = {
    "world": lambda run, h: WORLDS[h.world],
    "kind": lambda run, h: KINDS[h.kind],
    "vector": lambda run, h: h.vector,
    "where": lambda run, h: run.where(h.world == WORLD_GUEST or (h.world == WORLD_SMM and h.guest), h.rip),
    "if": lambda run, h: bool(h.rflags & RFLAGS_IF),
    "gif": lambda run, h: h.gif,
    "shadow": lambda run, h: _shadow(h.shadow),
    "nmi_masked": lambda run, h: h.nmi_masked,
    "lockdep": lambda run, h: h.lockdep == 1 if run.kernel.present else None,
    "context": lambda run, h: CONTEXTS[h.context] if run.kernel.present and h.context >= 0 else None,
    "error_code": lambda run, h: h.error_code if h.error_code >= 0 else None,
}  # fmt: skip
"""Of one handler: what it is, and the state of the context it interrupted."""

WARNING: Final[dict[str, Reader]] = {
    "kind": lambda run, w: WARN_KINDS[w.kind],
    "cause": lambda run, w: w.cause,
    "place": lambda run, w: segment_of(run, w.rip),
}  # fmt: skip
"""Of one warning of the kernel model."""

FINAL: Final[dict[str, Callable[[Run], Any]]] = {
    "stop": lambda run: STOP_NAMES[run.cpu.stop],
    "world": lambda run: "guest" if run.cpu.guest else "host",
    "where": lambda run: run.where(run.cpu.guest, run.cpu.regs.rip),
    "if": lambda run: bool(run.cpu.regs.rflags & RFLAGS_IF),
    "gif": lambda run: run.cpu.gif,
    "shadow": lambda run: _shadow(run.cpu.shadow),
    "nmi_masked": lambda run: run.cpu.nmi_masked,
    "pending": lambda run: pending_names(run.cpu),
    "lockdep": lambda run: run.kernel.hardirqs_enabled if run.kernel.present else None,
    "context": lambda run: CONTEXTS[run.kernel.context] if run.kernel.present else None,
    "cpl": lambda run: run.cpu.regs.cpl,
    "rf": lambda run: bool(run.cpu.regs.rflags >> 16 & 1),
    "cr2": lambda run: run.cpu.regs.cr2,
    "dr6": lambda run: run.cpu.regs.dr6,
    "dr7": lambda run: run.cpu.regs.dr7,
    "lockdep_redundant": lambda run: run.kernel.redundant if run.kernel.present else None,
    "nmi_reruns": lambda run: run.kernel.nmi_reruns if run.kernel.present else None,
}  # fmt: skip
"""Of the end of the run; registers are those of the world that runs then."""

HEX_KEYS: Final = frozenset({
    "exit_code", "exitinfo1", "exitinfo2", "exitintinfo", "eventinj", "int_state", "rip", "nrip", "cr2", "dr6", "dr7",
})  # fmt: skip
"""64-bit values: hex strings in JSON."""


def read(table: dict[str, Reader], run: Run, record: Exit | Handler | Warning) -> dict[str, Any]:
    """All observables of one record."""
    return {key: reader(run, record) for key, reader in table.items()}


def read_final(run: Run) -> dict[str, Any]:
    """All observables of the end."""
    return {key: reader(run) for key, reader in FINAL.items()}


def spell(values: dict[str, Any]) -> dict[str, Any]:
    """The same with 64-bit values as lower-case hex strings."""
    return {key: hex(value) if key in HEX_KEYS and value is not None else value for key, value in values.items()}
