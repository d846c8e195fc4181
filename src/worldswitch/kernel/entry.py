"""Exception, interrupt and NMI entry code of a Linux host, and the exception table.

Each handler of a Linux path is a small program of these calls around the handler's own body, so that events can fall
between them like anywhere else:

=============  ======================================================================
interrupt      irqentry_enter, irq_enter_rcu, body, irq_exit_rcu, irqentry_exit, iret (S8-74)
exception      irqentry_enter, fixup_exception, body, irqentry_exit, iret (S8-74, S7-08)
#DB #BP #MC    irqentry_nmi_enter, body, irqentry_nmi_exit, iret (S8-76)
NMI            exc_nmi_begin, irqentry_nmi_enter, body, irqentry_nmi_exit, exc_nmi_end, iret (S8-78)
=============  ======================================================================
"""

from typing import Final

from worldswitch.core.bits import RFLAGS_IF, VECTOR_BP, VECTOR_DB, VECTOR_DF, VECTOR_MC, VECTOR_NMI
from worldswitch.core.state import HOST_BUG, Cpu
from worldswitch.kernel import calls as k
from worldswitch.kernel import lockdep
from worldswitch.kernel.state import KEPT_LOCKDEP, KEPT_RCU, NMI_EXECUTING, NMI_LATCHED, NMI_NOT_RUNNING, Kernel

FIRST_INTERRUPT_VECTOR: Final = 32
NMI_LIKE: Final = frozenset({VECTOR_DB, VECTOR_BP, VECTOR_MC})


def handler_program(vector: int, body: list[str]) -> list[str]:
    """The handler a Linux kernel installs for ``vector``, as a program; ``body`` is what it does inside."""
    if vector == VECTOR_NMI:
        return ["exc_nmi_begin", "irqentry_nmi_enter", *body, "irqentry_nmi_exit", "exc_nmi_end", "iret"]
    if vector in NMI_LIKE:
        return ["irqentry_nmi_enter", *body, "irqentry_nmi_exit", "iret"]
    if vector >= FIRST_INTERRUPT_VECTOR:
        return ["irqentry_enter", "irq_enter_rcu", *body, "irq_exit_rcu", "irqentry_exit", "iret"]
    return ["irqentry_enter", "fixup_exception", *body, "irqentry_exit", "iret"]


def perform(kernel: Kernel, cpu: Cpu, op: int, arg: int) -> None:
    """Execute one entry-code call; RIP already points after it."""
    hw_if = bool(cpu.regs.rflags & RFLAGS_IF)
    step, rip = cpu.step, cpu.regs.rip - 1
    if op == k.K_IRQENTRY_ENTER:
        lockdep.hardirqs_off(kernel, hw_if, step, rip)
        kernel.hardirqs_traced_on = False
    elif op == k.K_IRQENTRY_EXIT:
        if _interrupted_if(cpu):  # S8-74: returning to irqs-on; else nothing restores lockdep
            kernel.hardirqs_traced_on = True
            lockdep.hardirqs_on_prepare(kernel, hw_if, step, rip)
            lockdep.hardirqs_on(kernel, hw_if, step, rip)
    elif op == k.K_IRQ_ENTER:
        kernel.hardirq_context += 1
    elif op == k.K_IRQ_EXIT:
        kernel.hardirq_context -= 1
    elif op == k.K_NMI_ENTER:
        _nmi_enter(kernel, hw_if, step, rip)
    elif op == k.K_NMI_EXIT:
        _nmi_exit(kernel, hw_if, step, rip)
    elif op == k.K_EXC_NMI_BEGIN:
        if kernel.nmi_state != NMI_NOT_RUNNING:  # S8-78: an inner IRET unmasked NMIs; leave it to the outer handler
            kernel.nmi_state = NMI_LATCHED
            cpu.regs.rip = arg
        else:
            kernel.nmi_state = NMI_EXECUTING
    elif op == k.K_EXC_NMI_END:
        kernel.nmi_state -= 1  # S8-78: from LATCHED to EXECUTING, which is one more run
        if kernel.nmi_state != NMI_NOT_RUNNING:
            kernel.nmi_reruns += 1
            cpu.regs.rip = arg
    elif op == k.K_EXCEPTION:
        fixup_exception(kernel, cpu)
    else:
        raise AssertionError(f"operation {op} is no kernel call")


def _nmi_enter(kernel: Kernel, hw_if: bool, step: int, rip: int) -> None:
    """irqentry_nmi_enter() (S8-76): LD is kept, whatever it is; RCU watches from here."""
    kept = KEPT_LOCKDEP if kernel.hardirqs_enabled else 0
    kernel.entry_stack.append(kept | (KEPT_RCU if kernel.rcu_watching else 0))
    kernel.in_nmi += 1
    lockdep.hardirqs_off(kernel, hw_if, step, rip)
    kernel.hardirq_context += 1
    kernel.rcu_watching = True
    kernel.hardirqs_traced_on = False


def _nmi_exit(kernel: Kernel, hw_if: bool, step: int, rip: int) -> None:
    """irqentry_nmi_exit() (S8-76): the reverse; LD comes from what was kept, not from regs.IF."""
    if not kernel.entry_stack:
        return
    kept = kernel.entry_stack.pop()
    if kept & KEPT_LOCKDEP:
        kernel.hardirqs_traced_on = True
    kernel.rcu_watching = bool(kept & KEPT_RCU)
    kernel.hardirq_context -= 1
    if kept & KEPT_LOCKDEP:
        lockdep.hardirqs_on(kernel, hw_if, step, rip)
    kernel.in_nmi -= 1


def fixup_exception(kernel: Kernel, cpu: Cpu) -> None:
    """The exception table (S7-08): resume after the instruction while rebooting, else BUG.

    The kernel does not survive any other exception on this path (S8-72); a double fault never looks at the table.
    """
    frames = cpu.host_world.frames
    if frames and kernel.rebooting and frames[-1].vector != VECTOR_DF and cpu.host_world.code.fixup[frames[-1].rip]:
        frames[-1].rip += 1  # S7-10, S7-11: the instruction is skipped
        return
    cpu.stop = HOST_BUG


def _interrupted_if(cpu: Cpu) -> bool:
    frames = cpu.host_world.frames
    return bool(frames) and bool(frames[-1].rflags & RFLAGS_IF)
