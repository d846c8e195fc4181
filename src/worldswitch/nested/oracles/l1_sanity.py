"""``l1-sanity``: a vmcb12 that no processor would write, as L1 may assert on.

- ``shadow-with-external-interrupt``: int_state.shadow=1 with EXITINTINFO of TYPE 0; an external interrupt is not taken
  in a shadow (S9-27). Where L1 itself loaded the shadow with the event it injected, it has no reason to complain.
- ``exitintinfo-on-interrupt-exit``, ``exitintinfo-on-other-exit`` (I-02, I-03).
- ``eventinj-valid``: EVENTINJ.V=1 after an exit (S6-57).
- ``exit-not-intercepted``: an exit that L1 did not ask for.
- ``gif-set``: L1 goes on with GIF=1 (I-01).
"""

from collections.abc import Iterator
from typing import Final

from worldswitch.core.bits import (
    EVENT_V,
    EXIT_INTR,
    EXIT_INVALID,
    EXIT_NPF,
    EXIT_VINTR,
    INTERCEPT_BITS,
    TYPE_INTR,
    event_type,
)
from worldswitch.core.names import event_name, exit_name
from worldswitch.nested.oracles.provenance import Provenance
from worldswitch.nested.record import NestedExit
from worldswitch.nested.run import NestedRun
from worldswitch.oracles.finding import Finding
from worldswitch.oracles.lost_event import DELIVERY_EXITS

NAME: Final = "l1-sanity"
PLACE: Final = "vmcb12"


def judge(run: NestedRun, bits: Provenance) -> list[Finding]:
    """One finding for each impossible combination, the first exit that shows it."""
    return [
        Finding(NAME, cause, PLACE, f"exit {record.number} to L1: {message}", (record.step,), rules, "L1")
        for record in run.journal.exits
        for cause, message, rules in _wrong(record, record.number in bits.reflected)
    ]


def _wrong(record: NestedExit, bled: bool) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    word, code = record.exitintinfo, record.code
    vectoring = bool(word & EVENT_V) and code != EXIT_INVALID  # which leaves EXITINTINFO as it was (S9-20)
    if vectoring and bled and event_type(word) == TYPE_INTR:
        message = f"int_state 1 with EXITINTINFO {event_name(word)}: an interrupt taken in a shadow"
        yield "shadow-with-external-interrupt", message, ("S9-27",)
    if vectoring and EXIT_INTR <= code <= EXIT_VINTR:
        yield "exitintinfo-on-interrupt-exit", f"{exit_name(code)} with EXITINTINFO {event_name(word)}", ("I-03",)
    elif vectoring and code not in DELIVERY_EXITS:
        yield "exitintinfo-on-other-exit", f"{exit_name(code)} with EXITINTINFO {event_name(word)}", ("I-02",)
    if record.eventinj & EVENT_V:
        yield "eventinj-valid", f"EVENTINJ {event_name(record.eventinj)} is still valid", ("S6-57", "I-01")
    if not _asked_for(record):
        yield "exit-not-intercepted", f"L1 does not intercept {exit_name(code)}", ("S9-11",)
    if record.gif:
        yield "gif-set", "GIF=1 after the exit", ("I-01", "S9-07")


def _asked_for(record: NestedExit) -> bool:
    code = record.code
    if code == EXIT_INVALID:
        return True
    if code == EXIT_NPF:
        return record.l1_np_enable
    return code < INTERCEPT_BITS and bool(record.l1_intercepts[code])
