"""The kernel calls a path may name: one operation each, or an expansion into several.

A call is some instruction or other to the processor: it ends a shadow and is followed by a boundary. The composite
calls are taken apart into their real steps, because an event or a mutation may fall between them.
"""

from typing import Final, NamedTuple

from worldswitch.core.isa import FIRST_KERNEL_OP

K_INSTRUMENTATION_BEGIN: Final = FIRST_KERNEL_OP + 0
K_INSTRUMENTATION_END: Final = FIRST_KERNEL_OP + 1
K_TRACE_ON_PREPARE: Final = FIRST_KERNEL_OP + 2
K_LOCKDEP_ON_PREPARE: Final = FIRST_KERNEL_OP + 3
K_CONTEXT_ENTER: Final = FIRST_KERNEL_OP + 4
K_LOCKDEP_ON: Final = FIRST_KERNEL_OP + 5
K_LOCKDEP_OFF: Final = FIRST_KERNEL_OP + 6
K_CONTEXT_EXIT: Final = FIRST_KERNEL_OP + 7
K_TRACE_OFF_FINISH: Final = FIRST_KERNEL_OP + 8
K_TRACE_ON: Final = FIRST_KERNEL_OP + 9
K_TRACE_OFF: Final = FIRST_KERNEL_OP + 10
K_READ_IRQ_FLAG: Final = FIRST_KERNEL_OP + 11
K_TRACE_OFF_IF_WAS_ON: Final = FIRST_KERNEL_OP + 12
K_LOCK_ACQUIRE: Final = FIRST_KERNEL_OP + 13
K_LOCK_RELEASE: Final = FIRST_KERNEL_OP + 14
K_TRACEABLE: Final = FIRST_KERNEL_OP + 15
K_IRQENTRY_ENTER: Final = FIRST_KERNEL_OP + 16
K_IRQENTRY_EXIT: Final = FIRST_KERNEL_OP + 17
K_NMI_ENTER: Final = FIRST_KERNEL_OP + 18
K_NMI_EXIT: Final = FIRST_KERNEL_OP + 19
K_EXC_NMI_BEGIN: Final = FIRST_KERNEL_OP + 20  # arg = where a nested NMI returns
K_EXC_NMI_END: Final = FIRST_KERNEL_OP + 21  # arg = nmi_restart
K_EXCEPTION: Final = FIRST_KERNEL_OP + 22
K_INLINE: Final = FIRST_KERNEL_OP + 23
K_IRQ_ENTER: Final = FIRST_KERNEL_OP + 24
K_IRQ_EXIT: Final = FIRST_KERNEL_OP + 25


class Call(NamedTuple):
    """One kernel call that is a single operation."""

    op: int
    about: str


CALLS: Final[dict[str, Call]] = {
    "instrumentation_begin": Call(K_INSTRUMENTATION_BEGIN, "instrumentable calls are allowed from here (S8-44)"),
    "instrumentation_end": Call(K_INSTRUMENTATION_END, "and no longer"),
    "trace_hardirqs_on_prepare": Call(K_TRACE_ON_PREPARE, "tracepoint state only (S8-53)"),
    "lockdep_hardirqs_on_prepare": Call(K_LOCKDEP_ON_PREPARE, "S8-60"),
    "guest_context_enter_irqoff": Call(K_CONTEXT_ENTER, "context tracking enters the guest (S8-43)"),
    "lockdep_hardirqs_on": Call(K_LOCKDEP_ON, "S8-61"),
    "lockdep_hardirqs_off": Call(K_LOCKDEP_OFF, "S8-62"),
    "guest_context_exit_irqoff": Call(K_CONTEXT_EXIT, "context tracking leaves the guest"),
    "trace_hardirqs_off_finish": Call(K_TRACE_OFF_FINISH, "tracepoint state only (S8-53)"),
    "trace_hardirqs_on": Call(K_TRACE_ON, "tracepoint, lockdep on_prepare and on (S8-51); instrumentable"),
    "trace_hardirqs_off": Call(K_TRACE_OFF, "lockdep off, tracepoint (S8-52); instrumentable"),
    "irqs_disabled": Call(K_READ_IRQ_FLAG, "remembers RFLAGS.IF for local_irq_disable (S8-52)"),
    "trace_hardirqs_off_if_was_on": Call(K_TRACE_OFF_IF_WAS_ON, "trace_hardirqs_off if irqs_disabled saw IF=1 (S8-52)"),
    "lock_acquire": Call(K_LOCK_ACQUIRE, "takes a lock: check_flags, new chain key (S8-61, S8-63)"),
    "lock_release": Call(K_LOCK_RELEASE, "releases it (S8-63)"),
    "traceable": Call(K_TRACEABLE, "a C function that tracing and lockdep may enter; operand = its name (S8-41)"),
    "inline": Call(K_INLINE, "an always-inline or noinstr C function; operand = its name"),
    "irqentry_enter": Call(K_IRQENTRY_ENTER, "S8-74"),
    "irqentry_exit": Call(K_IRQENTRY_EXIT, "S8-74"),
    "irq_enter_rcu": Call(K_IRQ_ENTER, "lockdep: in a hard interrupt from here (S8-60)"),
    "irq_exit_rcu": Call(K_IRQ_EXIT, "and no longer"),
    "irqentry_nmi_enter": Call(K_NMI_ENTER, "S8-76"),
    "irqentry_nmi_exit": Call(K_NMI_EXIT, "S8-76"),
    "exc_nmi_begin": Call(K_EXC_NMI_BEGIN, "nmi_state: run, or latch and return (S8-78)"),
    "exc_nmi_end": Call(K_EXC_NMI_END, "nmi_state: done, or run again (S8-78)"),
    "fixup_exception": Call(K_EXCEPTION, "exception table, or BUG (S7-08)"),
}
"""Name to operation of every call that is one step."""

OPERAND_CALLS: Final = frozenset({"traceable", "inline"})

EXPANSIONS: Final[dict[str, tuple[str, ...]]] = {
    "guest_state_enter_irqoff": (  # S8-42, table 8.1 P3
        "instrumentation_begin",
        "trace_hardirqs_on_prepare",
        "lockdep_hardirqs_on_prepare",
        "instrumentation_end",
        "guest_context_enter_irqoff",
        "lockdep_hardirqs_on",
    ),
    "guest_state_exit_irqoff": (  # S8-42, table 8.1 P8
        "lockdep_hardirqs_off",
        "guest_context_exit_irqoff",
        "instrumentation_begin",
        "trace_hardirqs_off_finish",
        "instrumentation_end",
    ),
    "raw_local_irq_enable": ("sti",),  # S8-50; neither lockdep nor tracing hears of it (S8-04)
    "raw_local_irq_disable": ("cli",),  # S8-50, S8-04
    "local_irq_enable": ("trace_hardirqs_on", "sti"),  # S8-51
    "local_irq_disable": ("irqs_disabled", "cli", "trace_hardirqs_off_if_was_on"),  # S8-52
}
"""Composite calls, and the steps each is made of, in order."""

ORDERED: Final = {
    K_TRACE_ON_PREPARE: "trace_hardirqs_on_prepare",
    K_LOCKDEP_ON_PREPARE: "lockdep_hardirqs_on_prepare",
    K_CONTEXT_ENTER: "guest_context_enter_irqoff",
    K_LOCKDEP_ON: "lockdep_hardirqs_on",
    K_LOCKDEP_OFF: "lockdep_hardirqs_off",
    K_CONTEXT_EXIT: "guest_context_exit_irqoff",
    K_TRACE_OFF_FINISH: "trace_hardirqs_off_finish",
}
"""The calls whose order S8-42 prescribes; the kernel model logs them."""
