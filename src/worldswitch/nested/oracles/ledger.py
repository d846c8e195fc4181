"""The account of every event: what came into L0's keeping, and what became of it.

Credits: an event for L1 that arrived (one that merges with a latched one is not another, S1-11); EVENTINJ of an L1 that
entered L2; an event that the processor was vectoring by itself when it exited. Debits, read from the processor's own
records: delivered in a guest, superseded by a fault of its own delivery (S6-101), rejected (VMEXIT_INVALID), ended in
shutdown; and from L0's: reported to L1 in vmcb12, taken by L1's SMM or reset. What is left must still be latched or
queued. Exceptions are not followed: the instruction that raises one does so again.
"""

from collections import Counter
from dataclasses import dataclass, field

from worldswitch.core.bits import (
    EVENT_V,
    EXIT_INVALID,
    EXIT_SHUTDOWN,
    TYPE_EXCEPTION,
    event_error_code,
    event_type,
    event_word,
)
from worldswitch.core.record import KIND_VNMI, Entry
from worldswitch.core.state import SHUTDOWN
from worldswitch.nested.events import INIT_WORD, SMI_WORD, intr_word
from worldswitch.nested.queues import normal, queued_word
from worldswitch.nested.record import Gave, Ran, Took
from worldswitch.nested.run import NestedRun
from worldswitch.nested.vcpu import NMI_WORD


@dataclass(slots=True)
class Ledger:
    """Per event word: how often it came, how often it went, and how often it is still there."""

    came: Counter[int] = field(default_factory=Counter)
    went: Counter[int] = field(default_factory=Counter)
    held: Counter[int] = field(default_factory=Counter)
    first: dict[int, int] = field(default_factory=dict)  # the step in which it came first
    last: dict[int, int] = field(default_factory=dict)  # the step in which it went last

    def balances(self) -> dict[int, int]:
        """Per word: more came than is accounted for (positive), or more went than came (negative)."""
        words = {*self.came, *self.went, *self.held}
        return {word: self.came[word] - self.went[word] - self.held[word] for word in sorted(words)}


def ledger(run: NestedRun) -> Ledger:
    """The accounts of a run."""
    book = Ledger()
    for item in run.journal.items:
        if isinstance(item, Gave):
            if item.origin != "merged" and _followed(item.word):
                book.came[item.word] += 1
                book.first.setdefault(item.word, item.step)
        elif isinstance(item, Took):
            if _followed(item.word):
                _debit(book, item.word, item.step)
        elif isinstance(item, Ran):
            word = injected_word(item.entry)
            if word and _followed(word) and fate(run, item):
                _debit(book, word, item.step)
    for handler in run.recorder.handlers:
        if handler.kind == KIND_VNMI and run.level_at(handler.step) == 1:
            _debit(book, NMI_WORD, handler.step)
    _hold(run, book)
    return book


def injected_word(entry: Entry) -> int:
    """EVENTINJ of a VMRUN as EXITINTINFO would show it; 0 for none."""
    word = entry.eventinj
    if not word & EVENT_V:
        return 0
    return normal(event_word(event_type(word), word & 0xFF, event_error_code(word)))


def fate(run: NestedRun, ran: Ran) -> str:
    """What became of the event that one VMRUN injected; empty where the exit reports it, so that L0 has it again."""
    entry, record = ran.entry, ran.exit
    if entry.injected_deliveries:
        return "delivered"
    if record is not None and record.code == EXIT_INVALID:
        return "rejected"
    if any(step == entry.step for step, _ in run.recorder.superseded):
        return "superseded"
    here = record is not None and record.step == entry.step
    if here and record is not None and record.exitintinfo & EVENT_V:
        return ""
    if (here and record is not None and record.code == EXIT_SHUTDOWN) or (run.cpu.stop == SHUTDOWN and record is None):
        return "shutdown"
    return "lost"


def _followed(word: int) -> bool:
    return word in (SMI_WORD, INIT_WORD) or event_type(word) != TYPE_EXCEPTION


def _debit(book: Ledger, word: int, step: int) -> None:
    book.went[word] += 1
    book.last[word] = step


def _hold(run: NestedRun, book: Ledger) -> None:
    """What is latched, queued, or waits in EVENTINJ for an entry that did not come."""
    vcpu = run.vcpu
    for vector in vcpu.irr:
        book.held[intr_word(vector)] += 1
    book.held[NMI_WORD] += vcpu.nmi_pending + vcpu.vmcb01.v_nmi
    book.held[SMI_WORD] += vcpu.smi_pending
    book.held[INIT_WORD] += vcpu.init_pending
    last = next((item for item in reversed(run.journal.items) if isinstance(item, Ran)), None)
    if last is not None and last.exit is None:
        return  # the run ended in the guest: L0's queues are those of before the entry
    word = queued_word(vcpu)
    if not word and vcpu.vmcb.eventinj & EVENT_V:
        word = vcpu.vmcb.eventinj
    if word and _followed(word):
        book.held[normal(event_word(event_type(word), word & 0xFF, event_error_code(word)))] += 1
