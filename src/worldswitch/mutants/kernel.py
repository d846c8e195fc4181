"""Mutants of the kernel model: lockdep, tracing, context tracking, exception and NMI entry, fixups, objtool's rule."""

from typing import Any, Final

from worldswitch.core.bits import RFLAGS_IF
from worldswitch.core.state import Cpu
from worldswitch.kernel import calls as k
from worldswitch.kernel import lockdep
from worldswitch.kernel.state import CONTEXT_GUEST, KEPT_LOCKDEP, NMI_NOT_RUNNING, Kernel
from worldswitch.mutants.model import KERNEL, OUTSIDE, SAME, Maker, Mutant, Replacement
from worldswitch.mutants.planting import Rule, always

PATH: Final = "linux-6.14"
TRACED: Final = "linux-fix-v1"


def _mutant(
    name: str, rule: str, about: str, oracle: str, why: str, module: str, function: str, make: Maker, *,
    subject: str = PATH, missing: str = "", equivalent: str = "", grounds: str = SAME,
) -> Mutant:  # fmt: skip
    # The run loop has its own name for what carries out a kernel call.
    where = (
        ("machine.machine", "perform_call")
        if (module, function) == ("perform", "perform")
        else (f"kernel.{module}", function)
    )
    return Mutant(
        name, KERNEL, about, tuple(rule.split()), f"kernel.{module}.{function}", oracle, why, subject,
        (Replacement(*where, make),), missing=missing, equivalent=equivalent, grounds=grounds,
    )  # fmt: skip


def _if_claimed(value: bool) -> Maker:
    """Of a function of ``lockdep``: it is told that IF is ``value``."""
    return lambda right: lambda kernel, hw_if, step, rip: right(kernel, value, step, rip)


def _chain_key(equal: bool) -> Maker:
    def make(right: Rule) -> Rule:
        def wrong(kernel: Kernel, hw_if: bool, step: int, rip: int) -> None:
            kernel.recorded_chain_key = kernel.chain_key + (not equal)
            right(kernel, hw_if, step, rip)

        return wrong

    return make


def _rebooting(value: bool) -> Maker:
    """Of ``entry.fixup_exception``: it takes ``kvm_rebooting`` for ``value``."""

    def make(right: Rule) -> Rule:
        def wrong(kernel: Kernel, cpu: Cpu) -> None:
            actual, kernel.rebooting = kernel.rebooting, value
            right(kernel, cpu)
            kernel.rebooting = actual

        return wrong

    return make


def _after(change: Any) -> Maker:
    """Something is wrong in the kernel's state after the rule has applied."""

    def make(right: Rule) -> Rule:
        def wrong(kernel: Kernel, *arguments: Any) -> Any:
            result = right(kernel, *arguments)
            change(kernel)
            return result

        return wrong

    return make


def _without(op: int, change: Any = None) -> Maker:
    """Of ``perform``: one operation does nothing but ``change``; RIP goes on."""

    def make(right: Rule) -> Rule:
        def wrong(kernel: Kernel, cpu: Cpu, found: int, arg: int) -> None:
            if found != op or cpu.guest:
                right(kernel, cpu, found, arg)
                return
            if change is not None:
                change(kernel, cpu)

        return wrong

    return make


def _call_without(op: int) -> Maker:
    """Of ``perform.perform``: a call of the path does nothing; it is made and logged all the same."""

    def change(kernel: Kernel, cpu: Cpu) -> None:
        if op in k.ORDERED:
            kernel.call_log.append((cpu.step, op))
        cpu.regs.rip += 1

    return _without(op, change)


def _lockdep_on(kernel: Kernel, cpu: Cpu) -> None:
    kernel.hardirqs_traced_on = True
    lockdep.hardirqs_on_prepare(kernel, False, cpu.step, cpu.regs.rip)
    lockdep.hardirqs_on(kernel, False, cpu.step, cpu.regs.rip)


def _nmi_exit_by_if(right: Rule) -> Rule:
    def wrong(kernel: Kernel, cpu: Cpu, op: int, arg: int) -> None:
        if op == k.K_NMI_EXIT and kernel.entry_stack and cpu.host_world.frames:
            kept = kernel.entry_stack[-1] & ~KEPT_LOCKDEP
            if cpu.host_world.frames[-1].rflags & RFLAGS_IF:
                kept |= KEPT_LOCKDEP
            kernel.entry_stack[-1] = kept
        right(kernel, cpu, op, arg)

    return wrong


def _nested_nmi_forgotten(right: Rule) -> Rule:
    def wrong(kernel: Kernel, cpu: Cpu, op: int, arg: int) -> None:
        if op == k.K_EXC_NMI_BEGIN and kernel.nmi_state != NMI_NOT_RUNNING:
            cpu.regs.rip = arg
        else:
            right(kernel, cpu, op, arg)

    return wrong


def _always_latched(right: Rule) -> Rule:
    def wrong(kernel: Kernel, cpu: Cpu, op: int, arg: int) -> None:
        if op == k.K_EXC_NMI_BEGIN and kernel.nmi_state == NMI_NOT_RUNNING:
            kernel.nmi_state += 1
        right(kernel, cpu, op, arg)

    return wrong


def _fixup_ignores_df(right: Rule) -> Rule:
    def wrong(kernel: Kernel, cpu: Cpu) -> None:
        frames = cpu.host_world.frames
        actual = frames[-1].vector if frames else 0
        if frames:
            frames[-1].vector = 0
        right(kernel, cpu)
        if frames:
            frames[-1].vector = actual

    return wrong


def _fixup_covers_all(right: Rule) -> Rule:
    def wrong(kernel: Kernel, cpu: Cpu) -> None:
        frames = cpu.host_world.frames
        if frames and kernel.rebooting:
            frames[-1].rip += 1
        else:
            right(kernel, cpu)

    return wrong


def _skips_two(right: Rule) -> Rule:
    def wrong(kernel: Kernel, cpu: Cpu) -> None:
        right(kernel, cpu)
        if cpu.host_world.frames and not cpu.stop:
            cpu.host_world.frames[-1].rip += 1

    return wrong


def _resumes_at_fault(right: Rule) -> Rule:
    def wrong(kernel: Kernel, cpu: Cpu) -> None:
        right(kernel, cpu)
        if cpu.host_world.frames and not cpu.stop:
            cpu.host_world.frames[-1].rip -= 1

    return wrong


MUTANTS: Final = (
    # --- lockdep
    _mutant("lockdep-prepare-ignores-if", "S8-60", "lockdep_hardirqs_on_prepare() does not look at IF",
            "lockdep-if-mismatch", "with STI too early the WARN is another one than it must be",
            "lockdep", "hardirqs_on_prepare", _if_claimed(False), subject="sti-before-enter"),
    _mutant("lockdep-prepare-always-warns", "S8-60", "lockdep_hardirqs_on_prepare() takes IF for 1",
            "lockdep-if-mismatch", "a WARN on a path that is right",
            "lockdep", "hardirqs_on_prepare", _if_claimed(True)),
    _mutant("lockdep-on-ignores-if", "S8-61", "lockdep_hardirqs_on() does not look at IF", "lockdep-if-mismatch",
            "with STI before it, the WARN is missing",
            "lockdep", "hardirqs_on", _if_claimed(False), subject="sti-before-lockdep-on",
            missing="lockdep-if-mismatch.on-with-irqs-enabled.sti"),
    _mutant("lockdep-on-ignores-chain-key", "S8-61", "lockdep_hardirqs_on() does not compare the chain key",
            "lockdep-if-mismatch", "with a lock held and no prepare, the WARN is missing",
            "lockdep", "hardirqs_on", _chain_key(True), subject="prepare-missing-lock-held",
            missing="lockdep-if-mismatch.on-chain-key.enter"),
    _mutant("lockdep-on-finds-another-chain-key", "S8-61", "lockdep_hardirqs_on() always finds another chain key",
            "lockdep-if-mismatch", "a WARN on a path that is right", "lockdep", "hardirqs_on", _chain_key(False)),
    _mutant("lockdep-on-does-nothing", "S8-61", "lockdep_hardirqs_on() leaves the state alone", "lockdep-if-mismatch",
            "IF=1 after STI while lockdep says off", "lockdep", "hardirqs_on", always(None)),
    _mutant("lockdep-off-ignores-if", "S8-62", "lockdep_hardirqs_off() does not look at IF", "lockdep-if-mismatch",
            "without CLI no WARN comes, and the disagreement itself shows",
            "lockdep", "hardirqs_off", _if_claimed(False), subject="cli-missing"),
    _mutant("lockdep-off-does-nothing", "S8-62", "lockdep_hardirqs_off() leaves the state alone",
            "lockdep-if-mismatch", "lockdep says on in code that is traced, with IF=0",
            "lockdep", "hardirqs_off", always(None)),
    _mutant("lock-operations-unchecked", "S8-63", "lock operations do not check the flags", "lockdep-if-mismatch",
            "with a lock in the gap no WARN comes, and the disagreement itself shows",
            "lockdep", "check_flags", always(None), subject="lock-in-gap"),
    _mutant("lockdep-warns-every-time", "S8-64", "a WARN does not turn debug_locks off", "lockdep-if-mismatch",
            "after the first WARN a second one", "lockdep", "warn",
            _after(lambda kernel: setattr(kernel, "debug_locks", True)), subject="sti-before-enter"),
    _mutant("lockdep-frozen-from-start", "S8-64", "lockdep_hardirqs_on_prepare() turns debug_locks off",
            "lockdep-if-mismatch", "lockdep follows no more, and IF=1 after STI while it says off",
            "lockdep", "hardirqs_on_prepare", _after(lambda kernel: setattr(kernel, "debug_locks", False))),
    # --- tracing, context tracking, noinstr
    _mutant("trace-finish-does-nothing", "S8-53", "trace_hardirqs_off_finish() does not tell the tracepoints",
            "end-state", "the tracepoints last said that interrupts are on",
            "perform", "perform", _call_without(k.K_TRACE_OFF_FINISH)),
    _mutant("context-enter-does-nothing", "S8-43", "guest_context_enter_irqoff() does not change the context",
            "kernel-entry", "the boundary after the call shows the context kernel",
            "perform", "perform", _call_without(k.K_CONTEXT_ENTER)),
    _mutant("context-exit-does-nothing", "S8-42", "guest_context_exit_irqoff() does not change the context",
            "end-state", "the path ends in the context guest", "perform", "perform", _call_without(k.K_CONTEXT_EXIT)),
    _mutant("rcu-not-watching-after-exit", "S8-43", "guest_context_exit_irqoff() leaves RCU not watching",
            "kernel-entry", "the path ends in kernel context while RCU does not watch", "perform", "perform",
            _after(lambda kernel: setattr(kernel, "rcu_watching", kernel.context == CONTEXT_GUEST))),
    _mutant("objtool-accepts-any-call", "S8-44 S8-03", "any call may leave .noinstr.text", "noinstr",
            "the first version of the fix no longer shows what objtool said of it", "perform", "instrumentable",
            always(None), subject=TRACED, missing="noinstr.call-to-trace-hardirqs-on.sti"),
    _mutant("instrumentation-begin-does-nothing", "S8-44", "instrumentation_begin() allows nothing", "noinstr",
            "the calls that follow leave .noinstr.text",
            "perform", "perform", _call_without(k.K_INSTRUMENTATION_BEGIN)),
    # --- exception and NMI entry
    _mutant("irqentry-keeps-lockdep-on", "S8-74", "irqentry_enter() does not tell lockdep", "kernel-entry",
            "a fault with IF=0 leaves lockdep on", "entry", "perform", _without(k.K_IRQENTRY_ENTER), subject="linux-6.1"),
    _mutant("irqentry-exit-never-restores", "S8-74", "irqentry_exit() leaves lockdep off whatever IF was",
            "kernel-entry", "after a fault with IF=1 lockdep says off", "entry", "perform",
            _without(k.K_IRQENTRY_EXIT)),
    _mutant("irqentry-exit-always-restores", "S8-74", "irqentry_exit() turns lockdep on whatever IF was",
            "lockdep-if-mismatch", "after a fault with IF=0 lockdep says on", "entry", "perform",
            _without(k.K_IRQENTRY_EXIT, _lockdep_on)),
    _mutant("irq-exit-not-counted", "S8-60", "irq_exit_rcu() does not leave the hard interrupt", "kernel-entry",
            "the path ends in hard interrupt context", "entry", "perform", _without(k.K_IRQ_EXIT)),
    _mutant("nmi-exit-restores-by-if", "S8-76", "irqentry_nmi_exit() restores lockdep from the interrupted IF",
            "kernel-entry", "a #DB between lockdep-on and STI leaves lockdep off", "entry", "perform", _nmi_exit_by_if),
    _mutant("nmi-exit-never-restores", "S8-76", "irqentry_nmi_exit() leaves lockdep off", "kernel-entry",
            "a #DB with lockdep on leaves it off", "entry", "_nmi_exit",
            lambda right: lambda kernel, hw_if, step, rip: (
                kernel.entry_stack and kernel.entry_stack.append(kernel.entry_stack.pop() & ~KEPT_LOCKDEP),
                right(kernel, hw_if, step, rip))),
    _mutant("nmi-exit-leaves-nmi-context", "S8-76", "irqentry_nmi_exit() stays in NMI context", "kernel-entry",
            "the path ends in NMI context", "entry", "_nmi_exit",
            _after(lambda kernel: setattr(kernel, "in_nmi", kernel.in_nmi + 1))),
    _mutant("nmi-enter-keeps-lockdep-on", "S8-76", "irqentry_nmi_enter() does not tell lockdep", "lockdep-if-mismatch",
            "", "entry", "_nmi_enter",
            lambda right: lambda kernel, hw_if, step, rip: (
                right(kernel, hw_if, step, rip),
                setattr(kernel, "hardirqs_enabled", bool(kernel.entry_stack[-1] & KEPT_LOCKDEP))),  # type: ignore[func-returns-value]
            equivalent="between irqentry_nmi_enter() and _exit() lockdep checks nothing (S8-60 to S8-63 return in_nmi), "
            "and _exit() restores what was kept"),
    _mutant("nested-nmi-forgotten", "S8-78", "an NMI within the NMI handler is not latched", "kernel-entry",
            "the handler is entered twice, and its body runs once", "entry", "perform", _nested_nmi_forgotten),
    _mutant("nmi-reruns-once-too-often", "S8-78", "the NMI handler always runs its body twice", "kernel-entry",
            "a run again without an NMI that asked for it", "entry", "perform", _always_latched),
    # --- fixups
    _mutant("fixup-ignores-rebooting", "S7-08", "the exception table is used without kvm_rebooting", "kernel-entry",
            "a #UD that must be a BUG is survived", "entry", "fixup_exception", _rebooting(True)),
    _mutant("fixup-missing", "S7-08", "the exception table is never used", "kernel-entry",
            "while rebooting, a #UD that the table covers is a BUG", "entry", "fixup_exception", _rebooting(False)),
    _mutant("fixup-covers-everything", "S7-08 S8-72", "every instruction has an exception-table entry",
            "kernel-entry", "an exception that the kernel cannot survive is survived",
            "entry", "fixup_exception", _fixup_covers_all),
    _mutant("fixup-covers-double-fault", "S7-08", "a double fault uses the exception table", "kernel-entry",
            "", "entry", "fixup_exception", _fixup_ignores_df,
            equivalent="the host's gates of a path case always deliver, so that no double fault arises in the host",
            grounds=OUTSIDE),
    _mutant("fixup-skips-two", "S7-10 S7-11", "a fixup resumes one instruction too late", "architecture",
            "the next record comes from another place than the instruction after the fault",
            "entry", "fixup_exception", _skips_two),
    _mutant("fixup-resumes-at-fault", "S7-10 S7-11", "a fixup resumes at the faulting instruction", "architecture",
            "the same fault again, which the instruction after it does not raise",
            "entry", "fixup_exception", _resumes_at_fault),
)  # fmt: skip
