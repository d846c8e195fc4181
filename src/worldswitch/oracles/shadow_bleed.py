"""``shadow-bleed``: int_state of an exit reports a shadow that nothing explains (I-04, I-05).

A shadow bit in a VMCB is explained by the guest's last completed instruction (an STI that set IF, or a load of SS),
with no event delivered since; or by a VMCB that was loaded with it, if no instruction completed and no event was
delivered.

A loaded bit needs an explanation itself. One that the scenario or software wrote is theirs. One that an earlier exit
left unexplained is still unexplained, for as long as it is loaded and kept, whatever was injected meanwhile (S2-81,
S9-25).

Nothing is said of an exit for shutdown or of VMEXIT_INVALID, which leave int_state undefined (S6-94, S2-79), nor of one
between two iterations of a REP string instruction, which may or may not end a shadow (S2-24).
"""

from typing import Final

from worldswitch.core.bits import EVENT_V, EXIT_INVALID, EXIT_SHUTDOWN, RFLAGS_IF
from worldswitch.core.isa import OP_MOV_SS, OP_MOV_SS_WATCHED, OP_REP, OP_STI
from worldswitch.core.record import FROM_EXIT, Entry, Exit
from worldswitch.machine.run import Run
from worldswitch.oracles.finding import Finding

NAME: Final = "shadow-bleed"
CAUSE: Final = "unexplained-shadow"
UNDEFINED_EXITS: Final = frozenset({EXIT_SHUTDOWN, EXIT_INVALID})
SS_LOADS: Final = frozenset({OP_MOV_SS, OP_MOV_SS_WATCHED})

PLACES: Final = {
    "injection": "the exit came while EVENTINJ was being delivered, before any guest instruction",
    "reloaded": "an earlier exit left it there unexplained, and it was loaded again",
    "guest": "no guest instruction before the exit makes one",
}
"""Place in a signature to what it means."""


def applies(run: Run) -> str:
    """It applies to every run."""
    return ""


def judge(run: Run) -> list[Finding]:
    """One finding for each exit whose shadow is unexplained."""
    findings = []
    bled = False  # what int_state holds in memory is unexplained
    for record in run.recorder.exits:
        entry = record.entry
        loaded_bled = bled and entry.int_state_from == FROM_EXIT
        if not record.int_state & 1:
            bled = False
        elif record.code in UNDEFINED_EXITS:
            bled = loaded_bled  # S6-37: such an exit is no explanation of what was there before
        elif loaded_bled and kept_from_entry(entry):
            bled = True
            findings.append(_finding(record, "reloaded"))
        else:
            bled = not explained(run, record)
            if bled:
                injected = bool(entry.eventinj & EVENT_V) and not entry.delivered
                findings.append(_finding(record, "injection" if injected else "guest"))
    return findings


def kept_from_entry(entry: Entry) -> bool:
    """The VMCB was loaded with the bit, and nothing happened in the guest since (S2-50, S2-58)."""
    return bool(entry.int_state) and entry.retired == 0 and entry.delivered == 0


def explained(run: Run, record: Exit) -> bool:
    """Whether the guest's own doing, or the VMCB that was loaded, explains a shadow at this exit."""
    entry = record.entry
    if entry.last_op == OP_STI:
        return not entry.last_rflags & RFLAGS_IF  # S2-01
    if entry.last_op == OP_REP and run.plan.guest.code.ops[record.rip] == OP_REP:
        return True  # S2-24
    return entry.last_op in SS_LOADS or kept_from_entry(entry)  # S2-03


def _finding(record: Exit, place: str) -> Finding:
    message = f"int_state says that the guest is in an interrupt shadow, and nothing explains it: {PLACES[place]}"
    steps = (record.entry.step, record.step) if record.entry.step != record.step else (record.step,)
    return Finding(NAME, CAUSE, place, message, steps, ("S2-70", "I-04"))
