"""What the kernel remembers on one CPU."""

from typing import Final

CONTEXT_KERNEL: Final = 0
CONTEXT_GUEST: Final = 1
CONTEXTS: Final = ("kernel", "guest")

WARN_LOCKDEP: Final = 0
WARN_NOINSTR: Final = 1
WARN_KINDS: Final = ("lockdep", "noinstr")

NMI_NOT_RUNNING: Final = 0
NMI_EXECUTING: Final = 1
NMI_LATCHED: Final = 2

KEPT_LOCKDEP: Final = 1
KEPT_RCU: Final = 2

INITIAL_CHAIN_KEY: Final = -1


class Warning:
    """One WARN the kernel would print, or one objtool complaint."""

    __slots__ = ("cause", "kind", "rip", "rule", "step")

    def __init__(self, step: int, rip: int, kind: int, cause: str, rule: str) -> None:
        self.step: int = step
        self.rip: int = rip  # host Code index
        self.kind: int = kind
        self.cause: str = cause  # a slug, stable: it goes into signatures
        self.rule: str = rule


class Kernel:
    """Per-CPU state of lockdep, tracing, context tracking and the NMI code."""

    __slots__ = (
        "call_log", "chain_key", "context", "context_tracking", "debug_locks", "entry_stack", "hardirq_context",
        "hardirqs_enabled", "hardirqs_traced_on", "in_nmi", "instrumentation", "irq_was_on", "nmi_reruns", "nmi_state",
        "present", "rcu_watching", "rebooting", "recorded_chain_key", "redundant", "warnings",
    )  # fmt: skip

    def __init__(self, present: bool) -> None:
        self.present: bool = present  # False: a path of a system without lockdep and context tracking
        self.debug_locks: bool = True  # S8-64
        self.hardirqs_enabled: bool = False  # LD: what lockdep believes RFLAGS.IF to be
        self.hardirq_context: int = 0  # depth of hard interrupt handlers (S8-60)
        self.chain_key: int = INITIAL_CHAIN_KEY
        self.recorded_chain_key: int = INITIAL_CHAIN_KEY
        self.hardirqs_traced_on: bool = False  # what the irq tracepoints said last
        self.context: int = CONTEXT_KERNEL
        self.context_tracking: bool = True  # S8-43
        self.rcu_watching: bool = True
        self.instrumentation: int = 0  # depth of instrumentation_begin()
        self.rebooting: bool = False  # kvm_rebooting (S7-08)
        self.in_nmi: int = 0
        self.nmi_state: int = NMI_NOT_RUNNING  # S8-78
        self.nmi_reruns: int = 0
        # What local_irq_disable() read (S8-52): its own local variable, so one for each depth of handlers.
        self.irq_was_on: dict[int, bool] = {}
        self.redundant: int = 0  # lockdep's count of redundant state changes
        self.entry_stack: list[int] = []  # what irqentry_nmi_enter() keeps for its exit: KEPT_* bits (S8-76)
        self.warnings: list[Warning] = []
        self.call_log: list[tuple[int, int]] = []  # (step, operation) of the calls whose order matters (S8-42)
