"""The rows of a comparison: one aspect each, what either path shows, and whether that is the same."""

from collections.abc import Callable
from typing import Final, NamedTuple

from worldswitch.core.state import END, HOST_BUG
from worldswitch.diff import side as s
from worldswitch.diff.side import Side
from worldswitch.kernel.state import WARN_LOCKDEP
from worldswitch.machine.trace import STOPS
from worldswitch.report.listing import gap, walk

NO_LOCKDEP: Final = "not applicable: this host has no lockdep"
NO_NOINSTR: Final = "not applicable: this host has no noinstr rule"
NO_REBOOT: Final = "not applicable: this host has no kvm_rebooting"


class Aspect(NamedTuple):
    """One row: for whom something changes or not."""

    name: str
    first: str
    second: str
    rules: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether both paths show the same."""
        return self.first == self.second


Measure = Callable[[Side], str]


def compare(first: Side, second: Side) -> list[Aspect]:
    """All aspects of two paths."""
    return [Aspect(name, measure(first), measure(second), rules) for name, measure, rules in ASPECTS]


def _gap(side: Side) -> str:
    between = gap(walk(side.path))
    if between is None:
        return "no STI before VMRUN"
    return f"{between} instruction{'' if between == 1 else 's'} between STI and VMRUN"


def _shadow(side: Side) -> str:
    return "yes" if side.shadow_at_vmrun() else "no"


def _stretch(side: Side) -> str:
    return str(side.with_if())


def _nmi(side: Side) -> str:
    return side.spell(side.nmi(s.NMIS))


def _intr(side: Side) -> str:
    return side.spell(side.intr())


def _exceptions(side: Side) -> str:
    texts = side.with_if().texts
    svm = [text for text in texts if text.startswith(("vm", "stgi", "clgi"))]
    return f"IF=1 at {', '.join(svm)}" if svm else "IF=0 at every SVM instruction"


def _lockdep(side: Side) -> str:
    if not side.linux:
        return NO_LOCKDEP
    warned = {w.cause for text in (s.PLAIN, s.LOCKS, s.NMIS) for w in side.run(text).kernel.warnings
              if w.kind == WARN_LOCKDEP}  # fmt: skip
    said = sorted({f.signature for text in (s.PLAIN, s.LOCKS, s.NMIS) for f in side.findings(text, "lockdep")})
    return f"warns: {', '.join(sorted(warned))}" if warned else ", ".join(said) or "silent, told on and off with IF=0"


def _noinstr(side: Side) -> str:
    if not side.linux:
        return NO_NOINSTR
    return ", ".join(finding.signature for finding in side.findings(s.PLAIN, "noinstr")) or "clean"


def _results(side: Side) -> str:
    exits = side.run(s.INJECTION).recorder.exits
    states = ", ".join(f"int_state {record.int_state} with EXITINTINFO {record.exitintinfo:#x}" for record in exits)
    return f"#NPF during injection: {states or 'no exit'}"


def _delivered(side: Side) -> str:
    exits = side.run(s.DELIVERED).recorder.exits
    return "event delivered: " + (", ".join(f"int_state {record.int_state}" for record in exits) or "no exit")


def _idle(side: Side) -> str:
    exits = side.run(s.IDLE).recorder.exits
    return "an INTR gets out of the guest" if exits else "an INTR never gets out of the guest"


def _fatal(side: Side) -> str:
    if not side.linux:
        return "not applicable: this host has no Linux entry code"
    run = side.run(s.FATAL)
    taken = ", ".join(f"{text} with IF={int(flags[0])}" for text, flags in side.faults(s.FATAL).items())
    return f"{'BUG' if run.cpu.stop == HOST_BUG else STOPS[run.cpu.stop]}, at {taken or 'no exception'}"


def _rebooting_faults(side: Side) -> str:
    if not side.linux:
        return NO_REBOOT
    run = side.run(s.SURVIVED)
    taken = ", ".join(f"{text} IF={int(any(flags))}" for text, flags in side.faults(s.SURVIVED).items())
    return f"{'skipped' if run.cpu.stop == END else STOPS[run.cpu.stop]}: {taken or 'no exception'}"


def _rebooting(side: Side) -> str:
    if not side.linux:
        return NO_REBOOT
    return f"INTR {side.spell(side.intr(s.REBOOTING))}; NMI in every segment passed: " + (
        "yes" if set(side.nmi(s.REBOOTING)) >= {"clgi", "enter", "exit"} else "no"
    )


ASPECTS: Final[tuple[tuple[str, Measure, tuple[str, ...]], ...]] = (
    ("gap", _gap, ("S2-75",)),
    ("VMRUN in an STI shadow", _shadow, ("S2-70", "S2-75")),
    ("result: exit during injection", _results, ("S2-70", "S2-72")),
    ("result: exit after delivery", _delivered, ("S2-74",)),
    ("result: idle guest", _idle, ("S5-03", "S5-15")),
    ("NMI handlers can run", _nmi, ("S8-70", "S3-23")),
    ("IRQ handlers can run", _intr, ("S8-05", "S8-70")),
    ("executed with IF=1 and GIF=0", _stretch, ("S8-05", "S8-11")),
    ("exception handlers see", _exceptions, ("S8-71", "S8-73")),
    ("lockdep's view", _lockdep, ("S8-61", "S8-65")),
    ("noinstr", _noinstr, ("S8-03", "S8-44")),
    ("a fault on the path", _fatal, ("S8-72",)),
    ("kvm_rebooting: faults, GIF=0", _rebooting_faults, ("S7-08", "S8-72")),
    ("kvm_rebooting: CLGI skipped", _rebooting, ("S7-15",)),
)
