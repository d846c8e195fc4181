"""``shadow-bleed``: int_state of an exit reports a shadow that nothing explains (I-04, I-05).

A shadow bit in a VMCB is explained by the guest's last completed instruction (an STI that set IF, or a load of SS), with
no event delivered since; or by a VMCB that was loaded with it, if no instruction completed and no event was delivered.
A loaded bit needs an explanation itself: one that software or the scenario wrote is theirs; one that an earlier exit left
there is as good as that exit's. Exits for shutdown and VMEXIT_INVALID leave int_state undefined (S6-94, S2-79).
"""

from typing import Final

from worldswitch.core.bits import EVENT_V, EXIT_INVALID, EXIT_SHUTDOWN, RFLAGS_IF
from worldswitch.core.isa import OP_MOV_SS, OP_MOV_SS_WATCHED, OP_STI
from worldswitch.core.record import FROM_EXIT, Entry
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import Finding

NAME: Final = "shadow-bleed"
UNDEFINED_EXITS: Final = frozenset({EXIT_SHUTDOWN, EXIT_INVALID})


def applies(run: Run) -> str:
    """It applies to every run."""
    return ""


def judge(run: Run) -> list[Finding]:
    """One finding for each exit whose shadow is unexplained."""
    findings = []
    previous_explained = True
    for record in run.recorder.exits:
        entry = record.entry
        if record.code in UNDEFINED_EXITS:
            previous_explained = True
            continue
        if not record.int_state & 1:
            previous_explained = True
            continue
        loaded_bleed = entry.int_state_from == FROM_EXIT and not previous_explained
        if explained(entry) and not (loaded_bleed and kept_from_entry(entry)):
            previous_explained = True
            continue
        previous_explained = False
        place = _place(entry, loaded_bleed)
        findings.append(
            Finding(
                NAME, "unexplained-shadow", place, _message(place), (entry.step, record.step), ("S2-70", "I-04"), "L0"
            )
        )
    return findings


def kept_from_entry(entry: Entry) -> bool:
    """The VMCB was loaded with the bit, and nothing happened in the guest since."""
    return bool(entry.int_state) and entry.retired == 0 and entry.delivered == 0


def explained(entry: Entry) -> bool:
    """Whether the guest's own doing, or the loaded VMCB, explains a shadow at the exit that ended ``entry``."""
    if entry.last_op == OP_STI:
        return not entry.last_rflags & RFLAGS_IF  # S2-01
    return entry.last_op in (OP_MOV_SS, OP_MOV_SS_WATCHED) or kept_from_entry(entry)  # S2-03, S2-50


def _place(entry: Entry, loaded_bleed: bool) -> str:
    if loaded_bleed and kept_from_entry(entry):
        return "reloaded"
    if entry.eventinj & EVENT_V and entry.delivered == 0 and entry.retired == 0:
        return "injection"
    return "guest"


def _message(place: str) -> str:
    tail = {
        "injection": "the exit came while EVENTINJ was being delivered, before any guest instruction",
        "reloaded": "an earlier exit left it there unexplained, and it was loaded again",
        "guest": "no guest instruction before the exit makes one",
    }[place]
    return f"int_state says that the guest is in an interrupt shadow, and nothing explains it: {tail}"
