"""What the oracles say of an imported path: a few scenarios, executed on it.

They are the golden trace, the same without an injection, and both with an NMI or an INTR that arrives around VMRUN.
Exposure needs no event to be seen: the oracles judge every boundary that a run passes.
"""

from functools import cache
from typing import Final

from worldswitch.core.isa import FIRST_KERNEL_OP, OP_CLGI, OP_CLI, OP_MOV_SS, OP_POPF, OP_STGI, OP_STI, OP_VMRUN
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import run_plan
from worldswitch.oracles.judge import judge
from worldswitch.paths.model import EntryPath
from worldswitch.program.layout import find_landmarks
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.read import read_text

_SCENARIO: Final = """
format = 1
[host]
path = "linux-6.1"
[vmcb]
intercepts = ["intr", "nmi", "shutdown", "vmrun", "vmmcall"]
v_intr_masking = true
eventinj = "{injection}"
[guest]
program = ["nop", "vmmcall"]
idt = {{ 0x68 = "npf" }}
{event}
"""
_EVENT: Final = """
[[event]]
kind = "{kind}"
at = "{place}"
"""
_ROLES: Final = frozenset({OP_STI, OP_CLI, OP_CLGI, OP_STGI, OP_VMRUN, OP_MOV_SS, OP_POPF})


@cache
def _scenarios() -> tuple[Scenario, ...]:
    texts = []
    for injection in ("intr:0x68", "0x0"):
        texts.append(_SCENARIO.format(injection=injection, event=""))
        for kind in ("nmi", "intr"):
            for place in ("vmrun", "vmexit"):
                texts.append(_SCENARIO.format(injection=injection, event=_EVENT.format(kind=kind, place=place)))
    return tuple(read_text(text) for text in texts)


def signatures(path: EntryPath) -> tuple[str, ...]:
    """The signatures of all findings on the path, sorted."""
    found: set[str] = set()
    for scenario in _scenarios():
        verdict = judge(run_plan(compile_scenario(scenario, path)))
        found.update(finding.signature for finding in verdict.findings)
    return tuple(sorted(found))


def essence(path: EntryPath) -> tuple[object, ...]:
    """What of a path its verdict depends on: paths that agree in it have the same one.

    It is the steps that concern interrupts and the kernel's books, and whether anything lies between two of them.
    """
    result: list[object] = []
    for line in path.lines:
        instruction = line.instruction
        plain = instruction.op not in _ROLES and instruction.op < FIRST_KERNEL_OP
        mark = (plain or instruction.text, instruction.arg if not plain else 0, line.label, line.fixup, line.noinstr)
        if not plain or not result or result[-1] != mark:
            result.append(mark)
    return tuple(result)


def gap(path: EntryPath) -> int | None:
    """Steps between the last STI and VMRUN; None where no STI comes before it."""
    places = find_landmarks(path.lines)
    return places["vmrun"] - places["sti"] - 1 if "sti" in places and "vmrun" in places else None
