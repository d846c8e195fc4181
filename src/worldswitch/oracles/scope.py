"""Whether a run is one that its path's file speaks of.

A path promises something only to callers that keep to its entry state (S8-40), and only while nothing else meddles with
what it promises. A scenario may break either: it may override the entry state, and its own code (between the rounds, in
the host's handlers) may set IF, call lockdep, or skip an instruction. What an oracle then says of the path
is not news of the path; ``judge`` reports it as documented, with the reason found here.
"""

from functools import lru_cache
from typing import Final

from worldswitch.core import isa
from worldswitch.core.bits import VECTOR_NMI
from worldswitch.kernel import calls as k
from worldswitch.kernel.entry import FIRST_INTERRUPT_VECTOR
from worldswitch.machine.machine import SEEN_CONTEXT_GUEST, SEEN_GIF, SEEN_IF, SEEN_LOCKDEP
from worldswitch.machine.run import Run
from worldswitch.program.instruction import Instruction, parse_program

_HARMLESS: Final = frozenset({
    isa.OP_PLAIN, isa.OP_INTERCEPTABLE, isa.OP_MOV_SS, isa.OP_LSS, isa.OP_PUSHF, isa.OP_UD2, isa.OP_ACCESS,
    isa.OP_STORE_WATCHED, isa.OP_MOV_SS_WATCHED, isa.OP_MOV_CR8, isa.OP_REP, isa.OP_SPIN, isa.OP_OUT_SMI, isa.OP_SET,
    isa.OP_VMLOAD, isa.OP_VMSAVE, k.K_INLINE, k.K_TRACEABLE, k.K_LOCK_ACQUIRE, k.K_LOCK_RELEASE,
})  # fmt: skip
"""Operations that leave alone what a path promises. A fault in the scenario's own code ends the run."""

_PROMISED: Final = frozenset({
    "cpu.if", "cpu.gif", "cpu.nmi_masked", "cpu.cpl", "cpu.iopl", "cpu.mode", "cpu.paging", "cpu.skinit",
    "kernel.lockdep", "kernel.context", "frame.if", "frame.rip",
})  # fmt: skip
"""Fields whose change by ``set`` is a change of what a path promises, or of what it can execute."""

_SVME: Final = "cpu.svme"
"""Software may clear it with GIF=1 only (S3-35, S3-36): not in a handler of exceptions, which GIF does not hold."""


def outside(run: Run) -> str:
    """Why the run is none that its path's file speaks of; empty where it is one."""
    path, scenario = run.plan.path, run.plan.scenario
    if path is None:
        return "a free host program documents nothing"
    for bit, name, wanted in (
        (SEEN_IF, "IF", path.entry_if),
        (SEEN_GIF, "GIF", path.entry_gif),
        (SEEN_LOCKDEP, "lockdep", path.entry_lockdep),
        (SEEN_CONTEXT_GUEST, "context", path.entry_context == "guest"),
    ):
        if bool(run.start_seen & bit) != wanted:
            return f"the scenario starts the path with another {name} than its file says"
    if scenario.rounds > 1 and not _harmless(scenario.between):
        return "the scenario's own code between the rounds changes the state that the path starts in"
    for vector, body in scenario.host.handlers.items():
        asynchronous = vector == VECTOR_NMI or vector >= FIRST_INTERRUPT_VECTOR
        if not _harmless(body, True, asynchronous):
            return f"the scenario's own handler for vector 0x{vector:02x} changes the state that it interrupts"
    for vector, gate in scenario.host.idt.items():
        if gate.trap:  # IF stays 1 where the entry code needs it to be 0
            return f"the scenario gives the host a trap gate for vector 0x{vector:02x}"
    return ""


@lru_cache(maxsize=1024)
def _harmless(texts: tuple[str, ...], handler: bool = False, gif_is_set: bool = True) -> bool:
    """Whether a program leaves alone what a path promises; ``gif_is_set``: it runs with GIF=1 only."""
    program = parse_program(list(texts))
    if handler:
        if program and program[-1].op == isa.OP_IRET:  # the entry code's own
            program = program[:-1]
        ops = [instruction.op for instruction in program]
        if ops.count(k.K_LOCK_ACQUIRE) != ops.count(k.K_LOCK_RELEASE):
            return False  # an interrupted region would find another chain key (S8-61)
    return all(_leaves_alone(instruction, gif_is_set) for instruction in program)


def _leaves_alone(instruction: Instruction, gif_is_set: bool) -> bool:
    field = instruction.assignment[0] if instruction.assignment else ""
    return instruction.op in _HARMLESS and field not in _PROMISED and (gif_is_set or field != _SVME)
