"""What the message of Linux commit be45bc4eff33 says of causes and consequences, claim by claim, each with a check.

``python -m worldswitch.nested.claims`` prints the results as a table; ``--write docs/nested.md`` puts it there.
A check runs scenarios and looks at what the oracles say. A claim may hold as it stands, or only within limits which the
check then shows; both are results.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from worldswitch.core.bits import EXIT_NPF, RFLAGS_IF
from worldswitch.core.record import KIND_EXCEPTION, KIND_NMI, WORLD_HOST
from worldswitch.fuzzing.local import explore
from worldswitch.fuzzing.targets import Configuration, Judged, Target
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import Run, run_plan
from worldswitch.nested.examples import GOLDEN, OWN_GUEST
from worldswitch.nested.record import Decided
from worldswitch.nested.run import NestedRun
from worldswitch.oracles.finding import Finding
from worldswitch.oracles.judge import judge
from worldswitch.oracles.nmi_exposure import compare
from worldswitch.scenario.read import read_text

BEFORE: Final = "linux-6.1"
AFTER: Final = "linux-6.14"
SAMPLE: Final = 400
"""Seeded cases of the ``nested`` target on which the general claims are checked."""

HOLDS: Final = "holds"
LIMITED: Final = "holds for L0 alone"
REFUTED: Final = "does not hold"


class Outcome(NamedTuple):
    """What a check found."""

    result: str  # HOLDS, LIMITED or REFUTED
    evidence: str


class Claim(NamedTuple):
    """One sentence of the message, paraphrased, and its check."""

    name: str
    says: str
    rules: tuple[str, ...]
    check: Callable[[], Outcome]


DROPPED: Final = """format = 1
[l0]
path = "linux-6.1"
[l1]
rounds = 2
between = ["set npt.all=ok"]
[vmcb12]
eventinj = "nmi"
[l2]
program = ["PROGRAM"]
[npt]
l1 = ["stack"]
"""
LET_GO: Final = """format = 1
[l0]
path = "linux-6.1"
[l1]
rounds = 2
between = ["set npt.all=ok"]
[vmcb12]
eventinj = "intr:0x20"
[npt]
l1 = ["idt:0x20"]
[[event]]
kind = "intr"
at = "exit@3"
for = "L1"
"""
FAULT: Final = """format = 1
[cpu]
rax = 0x2123
[kernel]
kvm_rebooting = REBOOTING
[host]
path = "linux-6.1"
"""
WITH_NMI: Final = """format = 1
[host]
path = "linux-6.1"
[vmcb]
intercepts = ["intr", "nmi", "vmrun", "vmmcall"]
[[event]]
kind = "nmi"
at = "enter"
"""
PLAIN: Final = 'format = 1\n[host]\npath = "linux-6.1"\n'


def run_on(text: str, path: str) -> Run:
    """One scenario on a path."""
    return run_plan(compile_scenario(read_text(text), path))


def findings_on(text: str, path: str) -> list[Finding]:
    """What the oracles say of it."""
    return judge(run_on(text, path)).findings


@cache
def sample() -> tuple[Judged, ...]:
    """The runs of the seeded cases on L0 before the fix."""
    target = Target(Configuration("nested", (BEFORE,)))
    return tuple(judged for _, runs in explore(target, SAMPLE, 1, []) for judged in runs)


def _sample_signatures(prefix: str) -> Iterator[Finding]:
    for _, _, verdict in sample():
        yield from (finding for finding in verdict.findings if finding.signature.startswith(prefix))


def _bleeds() -> int:
    return sum(any(finding.oracle == "shadow-bleed" for finding in verdict.findings) for _, _, verdict in sample())


def during_injection() -> Outcome:
    """Every bit that bled did so at an exit during the delivery of EVENTINJ."""
    outside = list(_sample_signatures("benign-claim.outside-injection"))
    if outside or not _bleeds():
        return Outcome(
            REFUTED, f"{_bleeds()} of {SAMPLE} seeded cases bleed, {len(outside)} of them outside of injection"
        )
    return Outcome(HOLDS, f"of {SAMPLE} seeded cases many bleed, and none outside of injection")


def transient() -> Outcome:
    """With L0 alone the re-injected event takes the bit away; an L1 that drops the event lets L2 run under it."""
    alone = _names(OWN_GUEST, "benign-claim.not-transient")
    nested = _names(DROPPED.replace("PROGRAM", "nop"), "benign-claim.not-transient")
    if alone:
        return Outcome(REFUTED, "a guest of L0 ran under the spurious shadow although L0 injected again")
    if nested:
        return Outcome(LIMITED, "an L1 that does not inject again lets L2 run under it (dropped-event.toml)")
    return Outcome(HOLDS, "no guest instruction ran under the spurious shadow")


def not_in_hlt() -> Outcome:
    """L0 never has a halted vCPU with the bit set; but L2 may reach HLT under it once L1 has dropped the event."""
    halted = [
        run for _, run, _ in sample() if isinstance(run, NestedRun) and run.vcpu.halted and run.vcpu.vmcb.int_state & 1
    ]
    if halted:
        return Outcome(REFUTED, f"{len(halted)} seeded cases end halted with int_state 1")
    if _names(DROPPED.replace("PROGRAM", "hlt"), "benign-claim.met-hlt"):
        return Outcome(LIMITED, "L2 can reach HLT with the bit set after L1 has dropped the event (meets-hlt.toml)")
    return Outcome(HOLDS, "HLT and the bit never meet")


def forces_exit() -> Outcome:
    """Where the bit changes an answer, L0 injects an event and another forces an exit; or L1 has let its event go."""
    changed = _names(OWN_GUEST, "benign-claim.changed-decision")
    run = run_on(OWN_GUEST, BEFORE)
    assert isinstance(run, NestedRun)
    forced = [item for item in run.journal.items if isinstance(item, Decided) and item.forced and item.eventinj]
    if changed or not forced:
        return Outcome(REFUTED, f"L0's own guest: {len(changed)} changed decisions, {len(forced)} forced exits")
    if _names(LET_GO, "benign-claim.changed-decision"):
        return Outcome(
            LIMITED, "an interrupt that nothing blocks waits after L1 has let its event go (decides-otherwise.toml)"
        )
    return Outcome(HOLDS, "no decision changed; a second interrupt during re-injection forces an exit")


def visible_to_l1() -> Outcome:
    """vmcb12 as the public report shows it, and clean after the fix."""
    seen = []
    for path in (BEFORE, AFTER):
        run = run_on(GOLDEN, path)
        assert isinstance(run, NestedRun)
        seen.append((run.journal.exits[0].code, run.journal.exits[0].exitintinfo, run.journal.exits[0].int_state))
    good = seen == [(EXIT_NPF, 0x8000_0068, 1), (EXIT_NPF, 0x8000_0068, 0)]
    return Outcome(
        HOLDS if good else REFUTED, "vmcb12: exit 400h, EXITINTINFO 80000068h, int_state 1 before and 0 after"
    )


def trips_checks() -> Outcome:
    """VMware's assertion fails before the fix and holds after it."""
    stops = []
    for path in (BEFORE, AFTER):
        run = run_on(GOLDEN, path)
        assert isinstance(run, NestedRun)
        stops.append(run.stop_name)
    return Outcome(
        HOLDS if stops == ["l1-assert", "end"] else REFUTED, f"L1 ends with {stops[0]} before, {stops[1]} after"
    )


def fix_removes_it() -> Outcome:
    """With VMRUN out of the STI shadow nothing bleeds."""
    target = Target(Configuration("nested", (AFTER,)))
    count = 0
    for _, runs in explore(target, SAMPLE, 1, []):
        count += sum(f.oracle in ("shadow-bleed", "benign-claim") for judged in runs for f in judged.verdict.findings)
    return Outcome(REFUTED if count else HOLDS, f"{count} findings of shadow-bleed in {SAMPLE} seeded cases on {AFTER}")


def lockdep_informed() -> Outcome:
    """guest_state_enter/exit_irqoff tell lockdep already: no warning on the fixed path."""
    run = run_on(PLAIN, AFTER)
    wrong = [f for f in judge(run).findings if f.oracle.startswith("lockdep")]
    return Outcome(
        REFUTED if wrong or run.kernel.warnings else HOLDS, f"{len(run.kernel.warnings)} warnings on {AFTER}"
    )


def fault_with_if_set() -> Outcome:
    """A fault on VMRUN is taken with IF=1 before the fix as well as after it."""
    flags = []
    for path in (BEFORE, AFTER):
        run = run_on(FAULT.replace("REBOOTING", "true"), path)
        ops = run.plan.host.code.texts
        flags += [
            bool(h.rflags & RFLAGS_IF) for h in run.recorder.handlers if h.world == WORLD_HOST and ops[h.rip] == "vmrun"
        ]
    return Outcome(HOLDS if flags == [True, True] else REFUTED, "the handler of a #GP on VMRUN sees IF=1 on both paths")


def nmis_blocked() -> Outcome:
    """GIF=0 blocks NMIs: one that arrives at ``enter`` runs after STGI on both, and exposure is the same."""
    runs = [run_on(WITH_NMI, path) for path in (BEFORE, AFTER)]
    places = [
        [run.where(False, h.rip) for h in run.recorder.handlers if h.kind == KIND_NMI and h.world == WORLD_HOST]
        for run in runs
    ]
    nmi = [difference for difference in compare(runs[0], runs[1]) if difference.handler == "nmi"]
    good = places == [["stgi+1"], ["stgi+1"]] and not nmi
    return Outcome(HOLDS if good else REFUTED, "an NMI in the path runs its handler right after STGI on both paths")


def only_exceptions() -> Outcome:
    """The only handlers that see a change are those of exceptions."""
    text = FAULT.replace("REBOOTING", "true")
    found = {difference.handler for difference in compare(run_on(text, BEFORE), run_on(text, AFTER))}
    return Outcome(
        HOLDS if found == {"exception"} else REFUTED, f"differences between the paths: {', '.join(sorted(found))}"
    )


def exceptions_fatal() -> Outcome:
    """Without kvm_rebooting a fault on the path ends in BUG on both."""
    from worldswitch.core.state import HOST_BUG

    runs = [run_on(FAULT.replace("REBOOTING", "false"), path) for path in (BEFORE, AFTER)]
    good = all(
        run.cpu.stop == HOST_BUG and any(h.kind == KIND_EXCEPTION for h in run.recorder.handlers) for run in runs
    )
    return Outcome(HOLDS if good else REFUTED, "BUG on both paths; survived only while kvm_rebooting")


def raw_variants() -> Outcome:
    """The traced helpers would leave .noinstr.text; the raw ones do not."""
    traced = [f for f in findings_on(PLAIN, "linux-fix-v1") if f.oracle == "noinstr"]
    raw = [f for f in findings_on(PLAIN, AFTER) if f.oracle == "noinstr"]
    return Outcome(
        HOLDS if traced and not raw else REFUTED,
        f"{len(traced)} noinstr findings with the traced helpers, {len(raw)} with raw",
    )


def _names(text: str, prefix: str) -> list[str]:
    return [f.signature for f in findings_on(text, BEFORE) if f.signature.startswith(prefix)]


CLAIMS: Final = (
    Claim(
        "during-injection",
        "The STI shadow bleeds only if the exit occurs during injection of an event.",
        ("S2-70", "S2-74"),
        during_injection,
    ),
    Claim("transient", "The spurious state is transient.", ("S2-81", "S2-82"), transient),
    Claim("not-in-hlt", "KVM is already injecting an event, so the guest cannot be in HLT.", ("S2-82",), not_in_hlt),
    Claim(
        "forces-exit",
        "If KVM asks whether interrupts are blocked in order to inject, it must force an immediate exit, "
        "since it cannot inject two events.",
        ("S2-82", "S8-92"),
        forces_exit,
    ),
    Claim(
        "visible-to-l1",
        "KVM copies int_state verbatim from vmcb02 to vmcb12, so L1 sees the shadow.",
        ("S2-83", "S9-24"),
        visible_to_l1,
    ),
    Claim("trips-checks", "That can trip sanity checks, as in VMware's VMM.", ("S2-84", "S9-27"), trips_checks),
    Claim("fix-removes-it", "With STI in C code, VMRUN is not executed in the shadow.", ("S2-75",), fix_removes_it),
    Claim(
        "lockdep-informed",
        "guest_state_enter/exit_irqoff already tell lockdep that IRQs are on and off.",
        ("S8-42", "S8-65"),
        lockdep_informed,
    ),
    Claim(
        "fault-with-if-set",
        "Taking a fault on VMRUN with RFLAGS.IF=1 is already possible.",
        ("S7-05", "S8-73"),
        fault_with_if_set,
    ),
    Claim("nmis-blocked", "GIF=0 also blocks NMIs.", ("S3-23", "S8-70"), nmis_blocked),
    Claim(
        "only-exceptions", "The only change in exposure is to exception handlers.", ("S8-71", "S8-73"), only_exceptions
    ),
    Claim(
        "exceptions-fatal",
        "Except for kvm_rebooting, all exceptions on the path are fatal.",
        ("S8-72", "S7-08"),
        exceptions_fatal,
    ),
    Claim(
        "raw-variants",
        "The raw variants avoid tracing in code without instrumentation.",
        ("S8-03", "S8-50"),
        raw_variants,
    ),
)
"""Every sentence of the message that says what follows, in its order; the fix itself stands after them."""

BEGIN: Final = "<!-- claims: generated by python -m worldswitch.nested.claims --write -->"
END: Final = "<!-- end of claims -->"


def table() -> str:
    """The claims and their results in Markdown."""
    lines = ["| check | the message says | result | evidence | rules |", "|---|---|---|---|---|"]
    for claim in CLAIMS:
        result, evidence = claim.check()
        lines.append(f"| `{claim.name}` | {claim.says} | {result} | {evidence} | {', '.join(claim.rules)} |")
    return "\n".join(lines)


def replaced(page: str) -> str:
    """The page with the present table between its marks; raises ``ValueError`` where it has none."""
    head, found, rest = page.partition(BEGIN)
    _, closed, tail = rest.partition(END)
    if not found or not closed:
        raise ValueError("the page has no place for the claims")
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


def main(words: list[str]) -> int:
    """Print the table, or write it into ``docs/nested.md`` of this checkout."""
    parser = argparse.ArgumentParser(
        prog="python -m worldswitch.nested.claims", description="check the commit's claims"
    )
    parser.add_argument("--write", metavar="FILE", default="", help="the page to bring up to date, docs/nested.md")
    arguments = parser.parse_args(words)
    if not arguments.write:
        print(table())
        return 0
    page = Path(arguments.write)
    page.write_text(replaced(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
