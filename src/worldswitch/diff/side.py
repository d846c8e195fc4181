"""One side of a comparison: a path, run on the scenarios that the comparison is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from worldswitch.core.bits import RFLAGS_IF
from worldswitch.core.isa import OP_VMRUN
from worldswitch.core.record import KIND_EXCEPTION, WORLD_HOST
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.machine import SEEN_GIF, SEEN_IF, SEEN_SHADOW, SEEN_SHIFT
from worldswitch.machine.run import Run, run_plan
from worldswitch.nested.run import NestedRun
from worldswitch.oracles.finding import HANDLER, Finding, State, boundary_segment, state_of
from worldswitch.oracles.judge import Verdict, judge
from worldswitch.oracles.nmi_exposure import nmi_states
from worldswitch.paths.model import EntryPath
from worldswitch.program.layout import LANDMARKS
from worldswitch.scenario.read import read_text

_HOST: Final = 'format = 1\n[host]\npath = "linux-6.1"\n'
_KVM: Final = '[vmcb]\nintercepts = ["intr", "nmi", "shutdown", "vmrun", "vmmcall"]\n'
_NPF: Final = '[guest]\nprogram = ["vmmcall"]\nidt = { 0x68 = "npf" }\n'

PLAIN: Final = _HOST + _KVM + '[guest]\nprogram = ["vmmcall"]\n'
INJECTION: Final = _HOST + _KVM + 'eventinj = "intr:0x68"\n' + _NPF
REINJECTION: Final = (
    'format = 1\n[host]\npath = "linux-6.1"\nrounds = 2\n'
    'between = ["set vmcb.eventinj=exitintinfo", "set guest.memory=ok"]\n'
    + _KVM
    + 'eventinj = "intr:0x68"\n[guest]\nprogram = ["vmmcall"]\nidt = { 0x68 = "npf" }\n'
)
DELIVERED: Final = _HOST + _KVM + 'eventinj = "intr:0x68"\n[guest]\nprogram = ["vmmcall"]\n'
FIRST_FAULT: Final = _HOST + _KVM + '[guest]\nprogram = ["load npf", "vmmcall"]\n'
"""Nothing is injected, and the exit comes before any guest instruction has completed."""
IDLE: Final = _HOST + _KVM + '[guest]\nprogram = ["spin"]\n[[event]]\nkind = "intr"\nat = "guest+1"\n'
NMIS: Final = (
    _HOST
    + _KVM
    + '[guest]\nprogram = ["vmmcall"]\n'
    + "".join(f'[[event]]\nkind = "nmi"\nat = "{place}"\n' for place in ("vmrun-1", "vmrun"))
)
FAULT: Final = 'format = 1\n[cpu]\nrax = 0x2123\n[kernel]\nkvm_rebooting = {}\n[host]\npath = "linux-6.1"\n' + _KVM
STEPPED: Final = (
    'format = 1\n[cpu]\ntf = true\n[host]\npath = "linux-6.1"\n' + _KVM + '[guest]\nprogram = ["vmmcall"]\n'
)
"""A #DB after every instruction of the host."""
FATAL: Final = FAULT.format("false")
SURVIVED: Final = FAULT.format("true")
REBOOTING: Final = (
    'format = 1\n[cpu]\nsvme = false\n[kernel]\nkvm_rebooting = true\n[host]\npath = "linux-6.1"\n'
    + _KVM
    + '[[event]]\nkind = "intr"\nat = "start"\n'
)
LOCKS: Final = (
    'format = 1\n[host]\npath = "linux-6.1"\nrounds = 2\nbetween = ["lock_acquire"]\n'
    + _KVM
    + '[guest]\nprogram = ["vmmcall"]\n'
)
OWN_GUEST_FAULTS: Final = """format = 1
[l0]
path = "linux-6.1"
[l1]
program = ["load npf", "nop", "vmmcall"]
[npt]
l0 = ["L1.memory"]
[[event]]
kind = "intr"
at = "exit"
vector = 0x31
for = "L1"
"""
"""KVM's own guest: an exit with nothing injected, and then an interrupt for it."""
OWN_GUEST_HALTS: Final = """format = 1
[l0]
path = "linux-6.1"
[l1]
program = ["hlt", "nop"]
"""


class Stretch(NamedTuple):
    """Host instructions executed in one state, in order."""

    texts: tuple[str, ...]

    def __str__(self) -> str:
        if not self.texts:
            return "none"
        if len(self.texts) == 1:
            return f"1 instruction ({self.texts[0]})"
        return f"{len(self.texts)} instructions ({self.texts[0]} to {self.texts[-1]})"


@dataclass(slots=True)
class Side:
    """A path and its runs; a run is made once. ``profile`` and ``options`` name another processor than the default."""

    path: EntryPath
    profile: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    _runs: dict[str, Run] = field(default_factory=dict)
    _verdicts: dict[str, Verdict] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The path's name."""
        return self.path.name

    @property
    def processor(self) -> str:
        """The profile and options that are not the default ones, "" where there are none."""
        words = [f"profile {self.profile}"] if self.profile else []
        return ", ".join([*words, *(f"{name}={value}" for name, value in self.options.items())])

    @property
    def linux(self) -> bool:
        """Whether the kernel model, with lockdep, takes part."""
        return self.path.linux

    def on(self, path: EntryPath) -> "Side":
        """Another path on the same processor."""
        return Side(path, self.profile, self.options)

    def nested(self, text: str) -> NestedRun:
        """The run of a scenario text with nested levels, this path being L0's."""
        run = self.run(text)
        assert isinstance(run, NestedRun)
        return run

    def run(self, text: str) -> Run:
        """The run of one scenario text on this path, traced."""
        if text not in self._runs:
            plan = compile_scenario(read_text(text), self.path, self.profile or None, dict(self.options))
            self._runs[text] = run_plan(plan, traced=True)
        return self._runs[text]

    def findings(self, text: str, oracle: str = "") -> list[Finding]:
        """What the oracles, or one of them, say of it."""
        if text not in self._verdicts:
            self._verdicts[text] = judge(self.run(text))
        return [finding for finding in self._verdicts[text].findings if finding.oracle.startswith(oracle)]

    def steps(self, text: str = PLAIN) -> list[tuple[int, int]]:
        """The path's own host boundaries as they were passed: Code index and ``Run.seen`` element, in order."""
        run = self.run(text)
        return sorted((s >> SEEN_SHIFT, s) for s in run.seen if boundary_segment(run, s >> SEEN_SHIFT) != HANDLER)

    def with_if(self) -> Stretch:
        """What is executed with RFLAGS.IF=1 and GIF=0: what an exception handler may find interrupted."""
        run = self.run(PLAIN)
        texts = run.plan.host.code.texts
        end = run.plan.host.end
        return Stretch(tuple(texts[rip] for rip, s in self.steps() if rip < end and s & SEEN_IF and not s & SEEN_GIF))

    def shadow_at_vmrun(self) -> bool:
        """Whether VMRUN is executed in a shadow."""
        run = self.run(PLAIN)
        ops = run.plan.host.code.ops
        return any(s & SEEN_SHADOW for rip, s in self.steps() if ops[rip] == OP_VMRUN)

    def nmi(self, text: str = PLAIN) -> dict[str, list[State]]:
        """Segments in which an NMI can be taken, with the states its handler would find."""
        return nmi_states(self.run(text))

    def intr(self, text: str = PLAIN) -> dict[str, list[State]]:
        """Segments in which an INTR can be taken."""
        run = self.run(text)
        found: dict[str, set[State]] = {}
        for rip, s in self.steps(text):
            if s & SEEN_IF and s & SEEN_GIF and not s & SEEN_SHADOW:
                found.setdefault(boundary_segment(run, rip), set()).add(state_of(s))
        return {segment: sorted(found[segment]) for segment in LANDMARKS if segment in found}

    def faults(self, text: str) -> dict[str, list[bool]]:
        """Instructions of the path at which an exception was taken, and the IF that each handler found."""
        run = self.run(text)
        found: dict[str, list[bool]] = {}
        for handler in run.recorder.handlers:
            if handler.kind == KIND_EXCEPTION and handler.world == WORLD_HOST:
                found.setdefault(run.plan.host.code.texts[handler.rip], []).append(bool(handler.rflags & RFLAGS_IF))
        return found

    def spell(self, states: dict[str, list[State]]) -> str:
        """Exposure in words; a host without lockdep and context tracking has IF alone."""
        by_state: dict[str, list[str]] = {}
        for segment, found in states.items():
            words = [str(state) if self.linux else f"IF={int(state.interrupts)}" for state in found]
            by_state.setdefault(" or ".join(dict.fromkeys(words)), []).append(segment)
        return "; ".join(f"after {', '.join(segments)}: {state}" for state, segments in by_state.items()) or "never"
