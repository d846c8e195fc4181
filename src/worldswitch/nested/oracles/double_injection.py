"""``double-injection``: an event that was delivered, or reported to L1, more often than it came (I-09).

Re-injection after an exit is right exactly when the event was not delivered: KVM cannot tell from EVENTINJ, which every
exit clears, and must go by EXITINTINFO (S6-57, S8-90).
"""

from typing import Final

from worldswitch.nested.oracles.ledger import Ledger
from worldswitch.nested.oracles.stuck_event import kind, spelled
from worldswitch.nested.run import NestedRun
from worldswitch.oracles.finding import Finding

NAME: Final = "double-injection"


def judge(run: NestedRun, book: Ledger) -> list[Finding]:
    """One finding for each kind of event that was taken too often."""
    findings = []
    for word, balance in book.balances().items():
        if balance < 0:
            message = (
                f"{spelled(word)} came {book.came[word]} times and was taken or kept {book.came[word] - balance} times"
            )
            step = book.last.get(word, run.cpu.step)
            findings.append(Finding(NAME, "taken-twice", kind(word), message, (step,), ("I-09", "S6-71"), "L1"))
    return findings
