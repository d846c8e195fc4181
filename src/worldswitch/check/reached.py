"""What the runs of a check reached: the proof that it is not vacuous."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from worldswitch.core.bits import RFLAGS_IF
from worldswitch.core.names import exit_name
from worldswitch.core.record import KINDS, WORLDS
from worldswitch.machine.observe import STOP_NAMES
from worldswitch.machine.run import Run
from worldswitch.oracles import nmi_exposure
from worldswitch.oracles.finding import State
from worldswitch.oracles.judge import NAMES, Verdict

EXITS: Final = frozenset({
    "clgi", "db", "df", "gp", "hlt", "icebp", "init", "intr", "invalid", "iret", "mc", "nmi", "np", "npf", "pf", "popf",
    "shutdown", "smi", "ss", "stgi", "swint", "sx", "task_switch", "ud", "vintr", "vmmcall", "vmrun",
})  # fmt: skip
"""Every exit that the choices can bring about."""

HANDLERS: Final = frozenset({
    "guest exception", "guest injected", "guest intr", "guest mce", "guest nmi", "guest soft", "guest virq",
    "guest vnmi", "host exception", "host intr", "host mce", "host nmi", "smm smi",
})  # fmt: skip
"""Every handler that they can bring about."""

OUTCOMES: Final = frozenset({"end", "idle", "init-reset", "limit", "shutdown"})
"""Every way in which a run can end; on a Linux host there is ``bug`` too."""


class Context(NamedTuple):
    """A handler, and the state that it interrupted."""

    handler: str
    interrupts: bool
    gif: bool
    shadow: bool
    lockdep: bool
    context_guest: bool


@dataclass(slots=True)
class Reached:
    """Kinds of exit, of handler with its context, of end; the oracles that had something to judge; NMI exposure."""

    exits: set[str] = field(default_factory=set)
    contexts: set[Context] = field(default_factory=set)
    outcomes: set[str] = field(default_factory=set)
    armed: set[str] = field(default_factory=set)
    exposed: dict[str, set[State]] = field(default_factory=dict)  # segment to the states an NMI handler can interrupt
    _seen: set[int] = field(default_factory=set)

    @property
    def handlers(self) -> set[str]:
        """The kinds of handler without their contexts."""
        return {context.handler for context in self.contexts}

    def note(self, run: Run, verdict: Verdict) -> None:
        """Take in one run."""
        for record in run.recorder.exits:
            self.exits.add(exit_name(record.code))
        for h in run.recorder.handlers:
            kind = f"{WORLDS[h.world]} {KINDS[h.kind]}"
            self.contexts.add(
                Context(kind, bool(h.rflags & RFLAGS_IF), h.gif, bool(h.shadow), h.lockdep == 1, h.context == 1)
            )
        self.outcomes.add(STOP_NAMES[run.cpu.stop])
        if len(self.armed) < len(NAMES):
            self.armed.update(name for name in NAMES if name not in verdict.not_applicable)
        if run.plan.scenario.rounds == 1 and not run.kernel.rebooting and not run.seen <= self._seen:
            self._seen |= run.seen
            for segment, states in nmi_exposure.nmi_states(run).items():
                self.exposed.setdefault(segment, set()).update(states)

    def join(self, other: "Reached") -> None:
        """Take in what another exploration reached."""
        self.exits |= other.exits
        self.contexts |= other.contexts
        self.outcomes |= other.outcomes
        self.armed |= other.armed
        for segment, states in other.exposed.items():
            self.exposed.setdefault(segment, set()).update(states)

    def missing(self, linux: bool) -> list[str]:
        """What a full check reaches and this one did not."""
        outcomes = OUTCOMES | {"bug"} if linux else OUTCOMES
        return [
            *(f"exit {name}" for name in sorted(EXITS - self.exits)),
            *(f"handler {name}" for name in sorted(HANDLERS - self.handlers)),
            *(f"outcome {name}" for name in sorted(outcomes - self.outcomes)),
            *(f"oracle {name}" for name in NAMES if name not in self.armed),
        ]
