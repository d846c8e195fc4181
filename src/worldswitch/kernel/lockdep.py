"""Lockdep's view of hardirqs, with PROVE_LOCKING and DEBUG_LOCKDEP (S8-60 to S8-67).

Functions take the real RFLAGS.IF as ``hw_if``. A WARN is recorded once and turns ``debug_locks`` off, after which
lockdep is silent (S8-64). Its recursion counter is nonzero only inside lockdep itself, where no boundary of the model
falls, so it is left out.
"""

from typing import Final

from worldswitch.kernel.state import WARN_LOCKDEP, Kernel, Warning

ASSERT_IRQS_DISABLED: Final = "assert-irqs-disabled"


def warn(kernel: Kernel, step: int, rip: int, cause: str, rule: str) -> None:
    """DEBUG_LOCKS_WARN_ON: fires once (S8-64)."""
    if kernel.debug_locks:
        kernel.debug_locks = False
        kernel.warnings.append(Warning(step, rip, WARN_LOCKDEP, cause, rule))


def hardirqs_on_prepare(kernel: Kernel, hw_if: bool, step: int, rip: int) -> None:
    """lockdep_hardirqs_on_prepare() (S8-60)."""
    if not kernel.debug_locks or kernel.in_nmi:
        return
    if kernel.hardirqs_enabled:
        kernel.redundant += 1
        return
    if hw_if:
        warn(kernel, step, rip, "on-prepare-with-irqs-enabled", "S8-60")
        return
    if kernel.hardirq_context:
        warn(kernel, step, rip, "on-prepare-in-hardirq", "S8-60")
        return
    kernel.recorded_chain_key = kernel.chain_key


def hardirqs_on(kernel: Kernel, hw_if: bool, step: int, rip: int) -> None:
    """lockdep_hardirqs_on() (S8-61)."""
    if not kernel.debug_locks:
        return
    if not kernel.in_nmi:  # in an NMI, x86 skips the checks
        if kernel.hardirqs_enabled:
            kernel.redundant += 1
            return
        if hw_if:
            warn(kernel, step, rip, "on-with-irqs-enabled", "S8-61")
            return
        if kernel.chain_key != kernel.recorded_chain_key:
            warn(kernel, step, rip, "on-chain-key", "S8-61")  # does not return: LD follows either way
    kernel.hardirqs_enabled = True


def hardirqs_off(kernel: Kernel, hw_if: bool, step: int, rip: int) -> None:
    """lockdep_hardirqs_off() (S8-62)."""
    if not kernel.debug_locks:
        return
    if hw_if:
        warn(kernel, step, rip, "off-with-irqs-enabled", "S8-62")
        return
    if kernel.hardirqs_enabled:
        kernel.hardirqs_enabled = False
    else:
        kernel.redundant += 1


def check_flags(kernel: Kernel, hw_if: bool, step: int, rip: int) -> None:
    """check_flags(), on every lock operation (S8-63)."""
    if not kernel.debug_locks or kernel.in_nmi:
        return
    if kernel.hardirqs_enabled and not hw_if:
        warn(kernel, step, rip, "unannotated-irqs-off", "S8-63")
    elif hw_if and not kernel.hardirqs_enabled:
        warn(kernel, step, rip, "unannotated-irqs-on", "S8-63")


def assert_irqs_disabled(kernel: Kernel, step: int, rip: int) -> None:
    """lockdep_assert_irqs_disabled() (S8-40): of lockdep's view alone; a WARN_ON_ONCE, which leaves lockdep on.

    __ct_user_enter() has it, and rcu_note_context_switch() where context tracking is off.
    """
    if not kernel.debug_locks or not kernel.hardirqs_enabled:
        return
    if all(warning.cause != ASSERT_IRQS_DISABLED for warning in kernel.warnings):
        kernel.warnings.append(Warning(step, rip, WARN_LOCKDEP, ASSERT_IRQS_DISABLED, "S8-40"))
