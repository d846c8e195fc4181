"""How close a path is to a broken one: the single edits to which an oracle objects, the smallest first.

Every edit of a line that makes the sequence (STI, CLI, CLGI, STGI, VMRUN, VMLOAD, the lockdep, tracing, context and
instrumentation calls) and every insertion is run on the probing scenarios. What the oracles say of it, beyond what they
say of the path as it is, is what the edit breaks; the same cause at another place is not counted.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from worldswitch.core.isa import OP_VMLOAD, OP_VMRUN
from worldswitch.errors import InputError
from worldswitch.paths.edits import Edit, apply, singles, spell
from worldswitch.paths.model import EntryPath
from worldswitch.paths.mutation_table import EDITED, probes

SENSITIVE: Final = frozenset({*EDITED, OP_VMRUN, OP_VMLOAD})

WORDS: Final = ("sti", "cli", "clgi", "stgi", "mov_ss", "popf if", "lock_acquire", "lockdep_hardirqs_off")
"""What is inserted: what somebody might."""


class Breaking(NamedTuple):
    """An edit that makes a path show what it does not show as it is. In order of size; insertions are the last."""

    size: int  # lines moved over; 1 for every other edit
    inserts: bool
    edit: str  # in the spelling of ``paths.edits``
    about: str
    scenario: str  # the probing scenario that showed it


@dataclass(slots=True)
class Closeness:
    """What became of every single edit of one path."""

    path: EntryPath
    given: str  # how the path was named; edits are spelled after it
    tried: int = 0
    broken: int = 0
    kinds: Counter[str] = field(default_factory=Counter)  # kind of edit to how many of it broke the path
    by_cause: dict[str, list[Breaking]] = field(default_factory=dict)  # ORACLE.CAUSE; each the smallest first


def closeness(path: EntryPath, given: str = "") -> Closeness:
    """Try every single edit of ``path``, which goes by the name ``given`` (its own by default)."""
    from worldswitch.machine.compile import compile_scenario
    from worldswitch.machine.run import run_plan
    from worldswitch.oracles.judge import judge

    scenarios = probes()

    def shown(candidate: EntryPath) -> dict[str, str]:
        """ORACLE.CAUSE of each finding, and the first scenario that showed it."""
        found: dict[str, str] = {}
        for name, scenario in scenarios:
            for finding in judge(run_plan(compile_scenario(scenario, candidate))).findings:
                found.setdefault(f"{finding.oracle}.{finding.cause}", name)
        return found

    before = set(shown(path))
    result = Closeness(path, given or path.name)
    for edit in singles(path, SENSITIVE, WORDS):
        try:
            candidate = apply(path, edit)
        except InputError:
            continue
        result.tried += 1
        new = {cause: name for cause, name in shown(candidate).items() if cause not in before}
        if not new:
            continue
        result.broken += 1
        result.kinds[edit.kind] += 1
        for cause, name in new.items():
            breaking = Breaking(_size(edit), edit.kind == "insert", spell(path, edit), _about(path, edit), name)
            result.by_cause.setdefault(cause, []).append(breaking)
    for found in result.by_cause.values():
        found.sort()
    return result


def _size(edit: Edit) -> int:
    if edit.kind != "move":
        return 1
    return edit.to - edit.line - 1 if edit.to > edit.line else edit.line - edit.to


def _about(path: EntryPath, edit: Edit) -> str:
    text = path.lines[edit.line].instruction.text
    if edit.kind == "insert":
        return f"{edit.text} inserted before {text}"
    if edit.kind == "move":
        lines = f"{_size(edit)} line{'' if _size(edit) == 1 else 's'}"
        return f"{text} moved {'down' if edit.to > edit.line else 'up'} by {lines}"
    return {"remove": f"{text} left out", "repeat": f"{text} twice", "trace": f"the traced helper for {text}"}[
        edit.kind
    ]
