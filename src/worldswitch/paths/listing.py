"""The listing of a path file: one instruction or kernel call a line.

::

    # a comment
    clgi:  clgi            [fixup]      # a label names a landmark; [fixup]: it has an exception-table entry
           .noinstr                     # from here to .text: lies in .noinstr.text
           guest_state_enter_irqoff
           vmload vmcb01   [fixup]

Labels are landmarks (``enter:`` and ``exit:`` can only come from a label; STI, VMRUN, CLI, CLGI and STGI are found by
themselves, see ``program.layout.find_landmarks``). A composite kernel call stands for its steps.
"""

import re
from typing import Final

from worldswitch.errors import InputError
from worldswitch.program.instruction import expand
from worldswitch.program.layout import LANDMARKS, Line

MAX_LINES: Final = 512
_LINE: Final = re.compile(r"(?:([a-z_]+)\s*:(?!\S*=)\s*)?(.*?)\s*(\[fixup\])?\s*")
_AUTOMATIC: Final = {"guest_state_enter_irqoff": "enter", "guest_state_exit_irqoff": "exit"}


def parse_listing(text: str, first_line: int = 0) -> tuple[Line, ...]:
    """The lines of a listing; raises ``InputError`` with the line, counted from ``first_line`` where that is not 0."""
    lines: list[Line] = []
    noinstr = False
    pending_label = ""
    labels: set[str] = set()
    for number, raw in enumerate(text.splitlines()):
        body, _, comment = raw.partition("#")
        body = body.strip()
        try:
            if body in (".noinstr", ".text"):
                noinstr = body == ".noinstr"
                continue
            if not body:
                continue
            label, instruction_text, fixup = _split(body)
            label = label or pending_label
            pending_label = ""
            if not instruction_text:
                pending_label = label
                continue
            if label in labels:
                raise InputError(f"label {label!r} is used twice")
            steps = expand(instruction_text)
            automatic = _AUTOMATIC.get(instruction_text, "")
            if not label and automatic not in labels:
                label = automatic
            if label:
                labels.add(label)
            for index, step in enumerate(steps):
                lines.append(
                    Line(step, label if index == 0 else "", bool(fixup), noinstr, comment.strip() if index == 0 else "")
                )
            if len(lines) > MAX_LINES:
                raise InputError(f"more than {MAX_LINES} steps")
        except InputError as error:
            raise error.at(line=first_line + number if first_line else 0) from None
    if pending_label:
        raise InputError(f"label {pending_label!r} names no instruction")
    return tuple(lines)


def _split(body: str) -> tuple[str, str, str]:
    match = _LINE.fullmatch(body)
    if match is None:
        raise InputError(f"{body!r} is no listing line")
    label, instruction_text, fixup = match.groups(default="")
    if label and label not in LANDMARKS:
        raise InputError(f"label {label!r} is no landmark; there are {' '.join(LANDMARKS)}")
    return label, instruction_text, fixup
