"""What the message of Linux commit be45bc4eff33 says, asked of any two paths: before and after.

Each claim is a statement of the message, in its order and paraphrased, and a check on runs of both paths; the last two
are of the comment that the commit adds to svm_vcpu_enter_exit(). A check can fail: on paths that are not before and
after this fix, or on a processor with another quirk, most do.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from worldswitch.core.bits import EVENT_V
from worldswitch.core.isa import OP_CLI, OP_STI, OP_VMRUN
from worldswitch.core.state import END, HOST_BUG
from worldswitch.diff import side as s
from worldswitch.diff.side import Side
from worldswitch.kernel import calls as k
from worldswitch.nested.examples import GOLDEN, OWN_GUEST
from worldswitch.nested.oracles import benign_claim
from worldswitch.nested.oracles.provenance import trace
from worldswitch.nested.record import Decided, Halted
from worldswitch.oracles.nmi_exposure import compare

HOLDS: Final = "holds"
REFUTED: Final = "does not hold"
NOT_APPLICABLE: Final = "not applicable"


class Outcome(NamedTuple):
    """What a check found."""

    result: str  # HOLDS, REFUTED or NOT_APPLICABLE
    evidence: str


class Claim(NamedTuple):
    """One sentence, and its check."""

    name: str
    says: str
    rules: tuple[str, ...]
    check: Callable[[Side, Side], Outcome]


def _outcome(good: bool, evidence: str) -> Outcome:
    return Outcome(HOLDS if good else REFUTED, evidence)


def _linux(first: Side, second: Side) -> Outcome | None:
    for side in (first, second):
        if not side.linux:
            return Outcome(NOT_APPLICABLE, f"{side.name} is no Linux host")
    return None


def out_of_shadow(first: Side, second: Side) -> Outcome:
    """VMRUN was executed in the STI shadow, and no longer is."""
    was, still = first.shadow_at_vmrun(), second.shadow_at_vmrun()
    return _outcome(was and not still, f"VMRUN in a shadow: {_yes(was)} before, {_yes(still)} after")


def bleeds(first: Side, second: Side) -> Outcome:
    """The shadow shows in int_state of an exit during injection, and no longer does."""
    states = [[record.int_state for record in side.run(s.INJECTION).recorder.exits] for side in (first, second)]
    return _outcome(states == [[1], [0]], f"int_state of the exit: {_list(states[0])} before, {_list(states[1])} after")


def only_injection(first: Side, second: Side) -> Outcome:
    """Without an injection, or after a delivery, nothing bleeds."""
    count = sum(len(side.findings(text, "shadow-bleed")) for side in (first, second)
                for text in (s.PLAIN, s.DELIVERED, s.FIRST_FAULT, s.IDLE, s.NMIS))  # fmt: skip
    during = len(first.findings(s.INJECTION, "shadow-bleed"))
    return _outcome(during > 0 and not count, f"{_count(during, 'bleeding exit')} during injection, {count} otherwise")


def transient(first: Side, second: Side) -> Outcome:
    """The event is injected again, is delivered, and takes the bit away."""
    exits = first.run(s.REINJECTION).recorder.exits
    states = [record.int_state for record in exits]
    again = len(exits) == 2 and bool(exits[1].entry.eventinj & EVENT_V)
    return _outcome(states == [1, 0] and again, f"int_state {_list(states)} with the event injected again")


def not_in_hlt(first: Side, second: Side) -> Outcome:
    """While a bit that bled stands in the VMCB of KVM's own guest, that guest never reaches HLT (S2-82)."""
    if outcome := _linux(first, second):
        return outcome
    arose = len(trace(first.nested(OWN_GUEST)).sightings)
    halts = [item for text in (OWN_GUEST, s.OWN_GUEST_FAULTS, s.OWN_GUEST_HALTS)
             for item in first.nested(text).journal.items if isinstance(item, Halted)]  # fmt: skip
    met = [item for item in halts if item.int_state & 1]
    evidence = f"the bit arose {_times(arose)}; HLT was reached {_times(len(halts))}, {len(met)} with the bit"
    return _outcome(bool(arose) and bool(halts) and not met, evidence)


def forces_exit(first: Side, second: Side) -> Outcome:
    """For KVM's own guest the bit decides nothing: where it stands, an event is injected; a second one forces an exit.

    A question asked under the bit is harmless where its answer is the same without it, or an exit is forced (S8-92).
    """
    if outcome := _linux(first, second):
        return outcome
    runs = [first.nested(text) for text in (OWN_GUEST, s.OWN_GUEST_FAULTS)]
    changed = [query for run in runs for query in trace(run).queries if not benign_claim.harmless(run, query)]
    arose = sum(len(trace(run).sightings) for run in runs)
    forced = [item for item in runs[0].journal.items if isinstance(item, Decided) and item.forced and item.eventinj]
    evidence = f"the bit arose {_times(arose)} and changed {_count(len(changed), 'decision')}; "
    evidence += f"an exit forced while injecting: {_yes(bool(forced))}"
    return _outcome(bool(arose) and bool(forced) and not changed, evidence)


def visible_to_l1(first: Side, second: Side) -> Outcome:
    """vmcb12 has the bit, and L1's sanity check trips; after the fix neither."""
    if outcome := _linux(first, second):
        return outcome
    seen = []
    for side in (first, second):
        run = side.nested(GOLDEN)
        seen.append((run.journal.exits[0].int_state if run.journal.exits else -1, run.stop_name))
    evidence = f"vmcb12.int_state {seen[0][0]}, L1 ends with {seen[0][1]}; after {seen[1][0]}, {seen[1][1]}"
    return _outcome(seen == [(1, "l1-assert"), (0, "end")], evidence)


def around_guest_state(first: Side, second: Side) -> Outcome:
    """STI stands right after guest_state_enter_irqoff(), CLI right before guest_state_exit_irqoff()."""
    if outcome := _linux(first, second):
        return outcome
    lines = second.path.lines
    ops = [line.instruction.op for line in lines]
    after = [ops[number - 1] for number, op in enumerate(ops) if op == OP_STI and number]
    before = [ops[number + 1] for number, op in enumerate(ops) if op == OP_CLI and number + 1 < len(ops)]
    good = after == [k.K_LOCKDEP_ON] and before == [k.K_LOCKDEP_OFF] and OP_VMRUN in ops
    texts = [line.instruction.text for line in lines]
    places = [
        f"{texts[n - 1]}, {texts[n]}" if ops[n] == OP_STI else f"{texts[n]}, {texts[n + 1]}"
        for n in range(1, len(ops) - 1)
        if ops[n] in (OP_STI, OP_CLI)
    ]
    return _outcome(good, "after: " + ("; ".join(places) or "neither STI nor CLI"))


def lockdep_informed(first: Side, second: Side) -> Outcome:
    """Lockdep believes interrupts on all the while IF=1, and never warns."""
    if outcome := _linux(first, second):
        return outcome
    said = sorted({f.signature for side in (first, second) for text in (s.PLAIN, s.LOCKS, s.NMIS)
                   for f in side.findings(text, "lockdep")})  # fmt: skip
    return _outcome(not said, f"lockdep's oracles on both: {', '.join(said) or 'silent'}")


def fault_with_if(first: Side, second: Side) -> Outcome:
    """The handler of a fault on VMRUN finds IF=1 before and after."""
    if outcome := _linux(first, second):
        return outcome
    flags = [side.faults(s.SURVIVED).get("vmrun", []) for side in (first, second)]
    good = all(found == [True] for found in flags)
    return _outcome(good, "#GP on VMRUN finds IF=" + " before, IF=".join(_list(map(int, f)) for f in flags) + " after")


def nmis_blocked(first: Side, second: Side) -> Outcome:
    """GIF=0 from CLGI to STGI: NMIs are exposed to the same states, and never in between."""
    exposure = [side.nmi(s.NMIS) for side in (first, second)]
    inside = {segment for found in exposure for segment in found} - {"start", "stgi", "end"}
    good = exposure[0] == exposure[1] and not inside
    return _outcome(good, f"NMI {first.spell(exposure[0])}" + ("" if good else f"; after: {second.spell(exposure[1])}"))


def irqs_blocked(first: Side, second: Side) -> Outcome:
    """With GIF=0 no interrupt can be taken in the host code of either path, although IF=1 for longer."""
    exposure = [side.intr() for side in (first, second)]
    inside = {segment for found in exposure for segment in found} - {"start", "stgi", "end"}
    lengths = [len(side.with_if().texts) for side in (first, second)]
    evidence = f"INTR: {first.spell(exposure[0])} before, {second.spell(exposure[1])} after; IF=1 for "
    evidence += f"{lengths[0]} and {_count(lengths[1], 'instruction')}"
    return _outcome(exposure[0] == exposure[1] and not inside and lengths[1] > lengths[0], evidence)


def only_exceptions(first: Side, second: Side) -> Outcome:
    """Of all handlers, those of exceptions alone find something else."""
    if outcome := _linux(first, second):
        return outcome
    kinds = {difference.handler for text in (s.PLAIN, s.NMIS, s.STEPPED, s.SURVIVED)
             for difference in compare(first.run(text), second.run(text))}  # fmt: skip
    if first.intr() != second.intr():
        kinds.add("intr")
    return _outcome(kinds == {"exception"}, f"what differs: {', '.join(sorted(kinds)) or 'nothing'}")


def exceptions_fatal(first: Side, second: Side) -> Outcome:
    """A fault on the path is a BUG, on both."""
    if outcome := _linux(first, second):
        return outcome
    stops = [side.run(s.FATAL).cpu.stop for side in (first, second)]
    taken = [", ".join(side.faults(s.FATAL)) or "no exception" for side in (first, second)]
    return _outcome(stops == [HOST_BUG, HOST_BUG], f"BUG at {taken[0]} before, {taken[1]} after")


def rebooting(first: Side, second: Side) -> Outcome:
    """While kvm_rebooting a fault is skipped, and the path comes to its end as it began, on both."""
    if outcome := _linux(first, second):
        return outcome
    wrong = sorted({f.signature for side in (first, second) for text in (s.SURVIVED, s.REBOOTING)
                    for f in side.findings(text)})  # fmt: skip
    ends = all(side.run(text).cpu.stop == END for side in (first, second) for text in (s.SURVIVED, s.REBOOTING))
    windows = [side.spell(side.intr(s.REBOOTING)) for side in (first, second)]
    evidence = (
        f"survived by both; where CLGI is skipped too, an INTR can be taken {windows[0]} before, {windows[1]} after"
    )
    return _outcome(ends and not wrong, evidence if ends and not wrong else ", ".join(wrong) or "does not end")


def raw_variants(first: Side, second: Side) -> Outcome:
    """The second path is clean, and its traced twin would not be."""
    if outcome := _linux(first, second):
        return outcome
    from worldswitch.paths.mutate import traced_helpers

    clean = second.findings(s.PLAIN, "noinstr")
    twins = [second.on(mutant.path) for mutant in traced_helpers(second.path)]
    traced = [f.signature for twin in twins for f in twin.findings(s.PLAIN, "noinstr")]
    good = not clean and bool(twins) and all(twin.findings(s.PLAIN, "noinstr") for twin in twins)
    evidence = f"{len(clean)} noinstr findings; with a traced helper: {', '.join(traced) or 'none'}"
    return _outcome(good, evidence)


def helpers_trace(first: Side, second: Side) -> Outcome:
    """Tracing hears "on" from guest_state_enter_irqoff() and "off" from guest_state_exit_irqoff(), and nothing else."""
    if outcome := _linux(first, second):
        return outcome
    run = second.run(s.PLAIN)
    texts, vmruns = run.plan.host.code.texts, [record.entry.step for record in run.recorder.exits]
    said = [(step, op) for step, op in run.kernel.call_log if op in (k.K_TRACE_ON_PREPARE, k.K_TRACE_OFF_FINISH)]
    told = [k.ORDERED[op] for _, op in said]
    good = told == ["trace_hardirqs_on_prepare", "trace_hardirqs_off_finish"] and len(vmruns) == 1
    good = good and said[0][0] < vmruns[0] < said[1][0]
    others = [text for text in texts[: run.plan.host.end] if text in ("trace_hardirqs_on", "trace_hardirqs_off")]
    evidence = f"around VMRUN: {', '.join(told) or 'nothing'}; besides: {', '.join(others) or 'nothing'}"
    return _outcome(good and not others, evidence)


def why_sti(first: Side, second: Side) -> Outcome:
    """With IF=0 at VMRUN an interrupt never leaves the guest; on both paths it does."""
    from worldswitch.paths.mutate import removals

    out = [bool(side.run(s.IDLE).recorder.exits) for side in (first, second)]
    without = [side.on(m.path) for side in (first, second) for m in removals(side.path)
               if side.path.lines[m.line].instruction.op == OP_STI]  # fmt: skip
    stuck = [not side.run(s.IDLE).recorder.exits for side in without]
    evidence = f"an INTR ends a guest that spins: {_yes(all(out))}; without STI: {_yes(not all(stuck))}"
    return _outcome(all(out) and bool(stuck) and all(stuck), evidence)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _list(values: "list[int] | map[int]") -> str:
    return ", ".join(map(str, values)) or "none"


CLAIMS: Final = (
    Claim("around-guest-state", "IF is set just after guest_state_enter_irqoff() and cleared just before "
          "guest_state_exit_irqoff().", ("S8-65",), around_guest_state),
    Claim("out-of-shadow", "VMRUN is no longer executed in an STI shadow.", ("S2-75", "S8-06"), out_of_shadow),
    Claim("bleeds", "The shadow bleeds into int_state if a #VMEXIT occurs during injection.", ("S2-70",), bleeds),
    Claim("only-injection", "That only occurs during event injection.", ("S2-74", "S2-76"), only_injection),
    Claim("transient", "It is transient.", ("S2-81", "S2-82"), transient),
    Claim("not-in-hlt", "KVM is injecting already, so its guest cannot be in HLT.", ("S2-82",), not_in_hlt),
    Claim("forces-exit", "If KVM asks in order to inject, it has to force an immediate exit anyway, since it cannot "
          "inject two events.", ("S2-82", "S8-92"), forces_exit),
    Claim("visible-to-l1", "KVM copies int_state to vmcb12, where it trips L1's sanity checks.", ("S2-83", "S2-84"),
          visible_to_l1),
    Claim("lockdep-informed", "The guest state helpers already tell lockdep that IRQs are on and off.",
          ("S8-42", "S8-61"), lockdep_informed),
    Claim("fault-with-if", "A fault on VMRUN with IF=1 is already possible.", ("S7-05", "S8-73"), fault_with_if),
    Claim("nmis-blocked", "GIF=0 also blocks NMIs.", ("S3-23", "S8-70"), nmis_blocked),
    Claim("only-exceptions", "The only change in exposure is to exception handlers.", ("S8-71",), only_exceptions),
    Claim("exceptions-fatal", "All exceptions on the path are fatal ...", ("S8-72",), exceptions_fatal),
    Claim("kvm-rebooting", "... except in the kvm_rebooting=1 case.", ("S7-08", "S7-15"), rebooting),
    Claim("raw-variants", "The raw helpers avoid tracing in noinstr code.", ("S8-03", "S8-50"), raw_variants),
    Claim("helpers-trace", "The guest state helpers take care of tracing.", ("S8-04", "S8-42"), helpers_trace),
    Claim("why-sti", "VMRUN needs IF=1: it would mask INTR exits otherwise.", ("S5-03", "S5-15"), why_sti),
    Claim("irqs-blocked", "GIF=0 throughout, so no IRQ is taken in host code, although IF=1 for longer.",
          ("S8-05",), irqs_blocked),
)  # fmt: skip
