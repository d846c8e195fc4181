"""``stuck-event``: an event that is neither delivered, nor pending, nor in a queue after the rounds are over (I-06).

- ``vanished``: it came into L0's keeping and is not accounted for.
- ``not-taken``: the guest idles, nothing holds an event for L1 back, and L0 does not inject it: a window that was never
  opened, or a check that was never repeated.
"""

from copy import copy
from typing import Final

from worldswitch.core.names import event_name
from worldswitch.core.state import Vmcb
from worldswitch.nested.blocked import interrupt_held, nmi_held
from worldswitch.nested.events import INIT_WORD, SMI_WORD, has_interrupt
from worldswitch.nested.oracles.ledger import Ledger
from worldswitch.nested.run import NestedRun
from worldswitch.nested.vcpu import Vcpu
from worldswitch.oracles.finding import Finding

NAME: Final = "stuck-event"


def judge(run: NestedRun, book: Ledger) -> list[Finding]:
    """One finding for each kind of event that is lost, or is waiting for nothing."""
    findings = []
    for word, balance in book.balances().items():
        if balance > 0 and not _ended(run):
            step = book.first.get(word, 0)
            message = f"{spelled(word)} came {book.came[word]} times, and {balance} of them are not accounted for"
            findings.append(Finding(NAME, "vanished", kind(word), message, (step,), ("I-06", "S9-12"), "L1"))
    return findings + _waiting(run)


def _ended(run: NestedRun) -> bool:
    """Shutdown, reset, or a dead host swallow what is on its way."""
    return run.stop_name in ("shutdown", "init-reset", "bug", "l1-shutdown", "l1-reset", "vmcb01-invalid", "unhandled")


def _waiting(run: NestedRun) -> list[Finding]:
    if run.stop_name != "idle" or run.vcpu.nested_run_pending:
        return []
    vcpu = at_the_end(run)
    shadow = bool(vcpu.vmcb.int_state & 1)
    findings = []
    for name, pending, held in (
        ("intr", has_interrupt(vcpu), interrupt_held),
        ("nmi", bool(vcpu.nmi_pending), nmi_held),
    ):
        if pending and not held(vcpu, shadow):
            message = f"an {name} for L1 is pending, nothing blocks it, and nothing more happens"
            findings.append(Finding(NAME, "not-taken", name, message, (run.cpu.step,), ("I-06", "S8-91"), "L1"))
    return findings


def at_the_end(run: NestedRun) -> Vcpu:
    """The vCPU with its VMCB as an exit now would leave it, where the run ended in the guest."""
    vcpu = copy(run.vcpu)
    if run.cpu.guest:
        live = Vmcb()
        live.copy_from(vcpu.vmcb)
        live.save.copy_from(run.cpu.regs)
        live.int_state = int(bool(run.cpu.shadow))
        if vcpu.guest_mode:
            vcpu.vmcb02 = live
        else:
            vcpu.vmcb01 = live
    return vcpu


def kind(word: int) -> str:
    """The kind of event, for signatures."""
    if word in (SMI_WORD, INIT_WORD):
        return spelled(word)
    return event_name(word).partition(":")[0].partition("(")[0]


def spelled(word: int) -> str:
    """The event for people."""
    return {SMI_WORD: "smi", INIT_WORD: "init"}.get(word) or event_name(word)
