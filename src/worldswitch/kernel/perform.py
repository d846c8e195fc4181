"""What each kernel call does."""

from worldswitch.core.bits import RFLAGS_IF
from worldswitch.core.state import Cpu
from worldswitch.kernel import calls as k
from worldswitch.kernel import entry, lockdep
from worldswitch.kernel.state import CONTEXT_GUEST, CONTEXT_KERNEL, WARN_NOINSTR, Kernel, Warning


def perform(kernel: Kernel, cpu: Cpu, op: int, arg: int) -> None:
    """Execute the kernel call ``op`` at RIP and advance RIP.

    In a guest it is a plain instruction: a guest's kernel keeps books of its own.
    """
    if cpu.guest:
        cpu.regs.rip += 1
        return
    hw_if = bool(cpu.regs.rflags & RFLAGS_IF)
    step, rip = cpu.step, cpu.regs.rip
    if op in k.ORDERED:
        kernel.call_log.append((step, op))
    cpu.regs.rip += 1
    if op == k.K_INLINE:
        return
    if op == k.K_INSTRUMENTATION_BEGIN:
        kernel.instrumentation += 1
    elif op == k.K_INSTRUMENTATION_END:
        kernel.instrumentation -= 1
    elif op == k.K_TRACE_ON_PREPARE:
        instrumentable(kernel, cpu, rip, "trace_hardirqs_on_prepare")
        kernel.hardirqs_traced_on = True  # S8-53: the tracepoint state only
    elif op == k.K_TRACE_OFF_FINISH:
        instrumentable(kernel, cpu, rip, "trace_hardirqs_off_finish")
        kernel.hardirqs_traced_on = False  # S8-53
    elif op == k.K_LOCKDEP_ON_PREPARE:
        instrumentable(kernel, cpu, rip, "lockdep_hardirqs_on_prepare")
        lockdep.hardirqs_on_prepare(kernel, hw_if, step, rip)
    elif op == k.K_LOCKDEP_ON:
        lockdep.hardirqs_on(kernel, hw_if, step, rip)
    elif op == k.K_LOCKDEP_OFF:
        lockdep.hardirqs_off(kernel, hw_if, step, rip)
    elif op == k.K_CONTEXT_ENTER:
        lockdep.assert_irqs_disabled(kernel, step, rip)
        kernel.context = CONTEXT_GUEST
        kernel.rcu_watching = not kernel.context_tracking  # S8-43
    elif op == k.K_CONTEXT_EXIT:
        kernel.context = CONTEXT_KERNEL
        kernel.rcu_watching = True
    elif op == k.K_TRACE_ON:
        trace_hardirqs_on(kernel, cpu, rip)
    elif op == k.K_TRACE_OFF:
        trace_hardirqs_off(kernel, cpu, rip)
    elif op == k.K_READ_IRQ_FLAG:
        kernel.irq_was_on[len(cpu.host_world.frames)] = hw_if
    elif op == k.K_TRACE_OFF_IF_WAS_ON:
        if kernel.irq_was_on.get(len(cpu.host_world.frames), False):
            trace_hardirqs_off(kernel, cpu, rip)
    elif op == k.K_LOCK_ACQUIRE or op == k.K_LOCK_RELEASE:
        instrumentable(kernel, cpu, rip, "lock")
        lockdep.check_flags(kernel, hw_if, step, rip)
        if not kernel.in_nmi:  # lockdep tracks no locks there (S8-60)
            kernel.chain_key += 1 if op == k.K_LOCK_ACQUIRE else -1
    elif op == k.K_TRACEABLE:
        instrumentable(kernel, cpu, rip, "traceable")
        lockdep.check_flags(kernel, hw_if, step, rip)  # whatever it calls may take a lock
    else:
        entry.perform(kernel, cpu, op, arg)


def instrumentable(kernel: Kernel, cpu: Cpu, rip: int, callee: str) -> None:
    """A call to text outside .noinstr: only between instrumentation_begin/end (S8-41, S8-44, S8-03)."""
    if not cpu.host_world.code.noinstr[rip] or kernel.instrumentation > 0:
        return
    cause = "call-to-" + callee.replace("_", "-")
    if all(warning.cause != cause for warning in kernel.warnings):
        kernel.warnings.append(Warning(cpu.step, rip, WARN_NOINSTR, cause, "S8-44"))


def trace_hardirqs_on(kernel: Kernel, cpu: Cpu, rip: int) -> None:
    """trace_hardirqs_on(): the tracepoint if tracing says off, then lockdep on_prepare and on (S8-51)."""
    instrumentable(kernel, cpu, rip, "trace_hardirqs_on")
    hw_if = bool(cpu.regs.rflags & RFLAGS_IF)
    kernel.hardirqs_traced_on = True
    lockdep.hardirqs_on_prepare(kernel, hw_if, cpu.step, rip)
    lockdep.hardirqs_on(kernel, hw_if, cpu.step, rip)


def trace_hardirqs_off(kernel: Kernel, cpu: Cpu, rip: int) -> None:
    """trace_hardirqs_off(): lockdep off, then the tracepoint (S8-52)."""
    instrumentable(kernel, cpu, rip, "trace_hardirqs_off")
    lockdep.hardirqs_off(kernel, bool(cpu.regs.rflags & RFLAGS_IF), cpu.step, rip)
    kernel.hardirqs_traced_on = False
