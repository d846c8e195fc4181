"""Cases of the ``edits`` target: a scenario as the ``world-switch`` target has it, on a path with up to three edits.

The edits are part of the scenario, as the name of its path (``linux-6.14~remove@clgi``, ``paths.edits``), so that a
finding's file replays anywhere. A case of zeros is the plainest scenario on the first path as it is.
"""

from pathlib import Path
from typing import Final

from worldswitch.core.isa import OP_VMRUN
from worldswitch.errors import InputError
from worldswitch.fuzzing.codec import Codec
from worldswitch.fuzzing.slots import Slot
from worldswitch.machine.machine import SEEN_SHADOW, SEEN_SHIFT
from worldswitch.machine.run import Run
from worldswitch.oracles.judge import Verdict
from worldswitch.paths.catalogue import find, names
from worldswitch.paths.edits import INSERTED, KINDS, Edit, apply, parse, split
from worldswitch.paths.model import EntryPath
from worldswitch.paths.mutate import TRACED
from worldswitch.scenario.model import Scenario

EDITS: Final = 3
_BYTE: Final = tuple(range(256))


class EditsCodec(Codec):
    """Bytes to scenarios on edited paths, and back."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        """``paths`` are names or files; raises ``InputError`` for none, and for one that does not exist."""
        if not paths:
            raise InputError("the target edits needs at least one path")
        self.bases: tuple[EntryPath, ...] = tuple(find(path) for path in paths)
        super().__init__("edits", self.bases[0].name)
        self.names: tuple[str, ...] = tuple(
            path if split(path)[0] in names() else str(Path(path).resolve()) for path in paths
        )
        self._first = len(self.slots)
        extra = [Slot("path", self.names)]
        for number in range(EDITS):
            extra += [Slot(f"edit{number}.kind", ("", *KINDS)), Slot(f"edit{number}.line", _BYTE)]
            extra.append(Slot(f"edit{number}.operand", _BYTE))
        self.slots = (*self.slots, *extra)
        self._counts = tuple(len(slot.choices) for slot in self.slots)

    def decode(self, data: bytes) -> Scenario:
        """The scenario of a case; total."""
        scenario = super().decode(data)
        picks = self.chosen(data)[self._first :]
        path, name = self.bases[picks[0]], self.names[picks[0]]
        for number in range(EDITS):
            kind, line, operand = picks[1 + 3 * number : 4 + 3 * number]
            edit = _edit(path, KINDS[kind - 1], line, operand) if kind else None
            if edit is not None:
                after = apply(path, edit)
                name += after.name.removeprefix(path.name)
                path = after
        scenario.path = name
        return scenario

    def encode(self, scenario: Scenario) -> bytes:
        """The case that decodes to ``scenario``; raises ``InputError`` where no case does."""
        base, edits = split(scenario.locate(scenario.path))
        if base not in self.names or len(edits) > EDITS:
            raise InputError(f"no case has the path {scenario.path}", scenario.file)
        data = bytearray(super().encode(scenario))
        number = self.names.index(base)
        data[self._first] = number
        path = self.bases[number]
        for position, text in enumerate(edits):
            edit = parse(path, text)
            if edit.text and edit.text not in INSERTED:
                raise InputError(f"no case inserts {edit.text}", scenario.file)
            operand = INSERTED.index(edit.text) if edit.text else max(edit.to, 0)
            line = _raw(path).index(edit.line) if edit.kind == "trace" else edit.line
            at = self._first + 1 + 3 * position
            data[at : at + 3] = bytes((KINDS.index(edit.kind) + 1, line, operand))
            path = apply(path, edit)
        again = split(self.decode(bytes(data)).path)
        if again != (base, edits):
            raise InputError(f"no case has the path {scenario.path}; a case would spell it {'~'.join(again[1])}")
        return bytes(data)


def _edit(path: EntryPath, kind: str, line: int, operand: int) -> Edit | None:
    """The edit that the bytes mean on this path; None where it has no place for one of that kind."""
    count = len(path.lines)
    if kind == "trace":
        raw = _raw(path)
        return Edit(kind, raw[line % len(raw)]) if raw else None
    if kind == "remove" and count < 2:
        return None
    if kind == "exchange":
        return Edit(kind, line % (count - 1)) if count > 1 else None
    line %= count
    if kind == "move":
        return Edit(kind, line, operand % (count + 1))
    return Edit(kind, line, text=INSERTED[operand % len(INSERTED)] if kind == "insert" else "")


def _raw(path: EntryPath) -> list[int]:
    return [number for number, line in enumerate(path.lines) if line.instruction.text in TRACED]


def broken_promise(run: Run, verdict: Verdict) -> str:
    """What is wrong with a run on an edited path whatever the edits are; empty where nothing is.

    int_state may bleed only where a VMRUN was executed in a shadow (S2-70, S2-75), and the name of an edited path says
    which path it is.
    """
    path = run.plan.path
    assert path is not None
    ops = run.plan.host.code.ops
    bleeds = any(finding.signature == "shadow-bleed.unexplained-shadow.injection" for finding in verdict.findings)
    if bleeds and not any(s & SEEN_SHADOW and ops[s >> SEEN_SHIFT] == OP_VMRUN for s in run.seen):
        return f"{path.name} bleeds, and no VMRUN was executed in a shadow"
    if path.name == run.plan.scenario.path and find(path.name).lines != path.lines:
        return f"{path.name} is not what its name says"
    return ""
