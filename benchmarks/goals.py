"""Deep planted goals: conjunctions over processor, VMCB, kernel, arrival and outcome that take a fuzzer long to meet.

None of them is known to any projection. Projection and mutator were chosen on ``CHOSEN_ON``; ``HELD_OUT``, which was
written afterwards, is what is reported.
"""

from collections.abc import Callable
from typing import Final

from worldswitch.core.bits import (
    EVENT_V,
    EXIT_EXCEPTION,
    EXIT_HLT,
    EXIT_INIT,
    EXIT_INTR,
    EXIT_NMI,
    EXIT_NPF,
    EXIT_SHUTDOWN,
    EXIT_SMI,
    EXIT_SWINT,
    EXIT_TASK_SWITCH,
    EXIT_VINTR,
    RFLAGS_IF,
    TYPE_EXCEPTION,
    TYPE_INTR,
    TYPE_NMI,
    TYPE_SOFT,
    VECTOR_DF,
    VECTOR_GP,
    VECTOR_PF,
    VECTOR_SS,
    VECTOR_UD,
    event_type,
)
from worldswitch.core.record import (
    KIND_EXCEPTION,
    KIND_INJECTED,
    KIND_INTR,
    KIND_MCE,
    KIND_NMI,
    KIND_SMI,
    KIND_VIRQ,
    KIND_VNMI,
    WORLD_HOST,
    WORLD_SMM,
)
from worldswitch.core.record import Exit as ExitRecord
from worldswitch.core.state import END, IDLE
from worldswitch.machine.run import Run

Goal = Callable[[Run], bool]


def _any_exit(run: Run, test: Callable[[ExitRecord], bool]) -> bool:
    return any(test(record) for record in run.recorder.exits)


def _word(word: int, kind: int) -> bool:
    return bool(word & EVENT_V) and event_type(word) == kind


def _kinds(run: Run, world: int) -> set[int]:
    return {handler.kind for handler in run.recorder.handlers if handler.world == world}


def bled_double_fault(run: Run) -> bool:
    """#DF intercepted while an injected interrupt is delivered, the shadow bled, in a second round or later."""
    code = EXIT_EXCEPTION + VECTOR_DF
    return _any_exit(
        run, lambda e: e.code == code and e.int_state == 1 and e.entry.number > 1 and bool(e.exitintinfo & EVENT_V)
    )


def virtual_interrupt_faults(run: Run) -> bool:
    """A nested page fault while a virtual interrupt, open to the physical flag, is delivered after two instructions."""
    vector = run.cpu.vmcb.v_intr_vector
    return _any_exit(
        run,
        lambda e: (
            e.code == EXIT_NPF and _word(e.exitintinfo, TYPE_INTR) and e.exitintinfo & 0xFF == vector != 0x20
            and e.entry.retired >= 2 and not e.entry.v_intr_masking
        ),
    )  # fmt: skip


def nmi_runs_again(run: Run) -> bool:
    """The NMI handler runs once more, the path comes to its end, and the guest was left by SMI."""
    return bool(run.kernel.nmi_reruns) and run.cpu.stop == END and _any_exit(run, lambda e: e.code == EXIT_SMI)


def soft_event_into_shadow(run: Run) -> bool:
    """INTn faults in its delivery with #GP intercepted, in a shadow that was loaded, at CPL 3."""
    code = EXIT_EXCEPTION + VECTOR_GP
    return _any_exit(
        run,
        lambda e: (
            e.code == code and _word(e.exitintinfo, TYPE_SOFT) and e.entry.int_state == 1 and e.entry.eventinj == 0
        ),
    )


def shutdown_after_exception(run: Run) -> bool:
    """Shutdown exit while an injected exception is delivered, with physical IF in the guest and a pending NMI."""
    return run.cpu.pend_nmi and _any_exit(
        run,
        lambda e: (
            e.code == EXIT_SHUTDOWN and _word(e.entry.eventinj, TYPE_EXCEPTION) and not e.entry.v_intr_masking
        ),
    )  # fmt: skip


def rebooting_with_nmi(run: Run) -> bool:
    """While rebooting, #UD is skipped and an NMI comes in the host, and the path ends with lockdep on."""
    kernel = run.kernel
    undefined = any(h.kind == KIND_EXCEPTION and h.vector == VECTOR_UD and h.world == WORLD_HOST
                    for h in run.recorder.handlers)  # fmt: skip
    return kernel.rebooting and undefined and KIND_NMI in _kinds(run, WORLD_HOST) and run.cpu.stop == END


def smi_in_a_shadow(run: Run) -> bool:
    """SMI leaves a guest in a shadow of its own after four instructions, with a virtual interrupt pending."""
    return _any_exit(
        run, lambda e: e.code == EXIT_SMI and e.int_state == 1 and e.entry.retired >= 4 and e.v_irq
    )  # fmt: skip


def virtual_nmi_then_virtual_interrupt(run: Run) -> bool:
    """A virtual NMI and a virtual interrupt are both delivered, and then HLT exits with IF=0."""
    kinds = _kinds(run, 1)
    return {KIND_VNMI, KIND_VIRQ} <= kinds and _any_exit(run, lambda e: e.code == EXIT_HLT and not e.rflags & RFLAGS_IF)


def idle_with_interrupt(run: Run) -> bool:
    """The guest idles, GIF=1, an interrupt and an SMI pending or masked, after an injected NMI was delivered."""
    cpu = run.cpu
    injected = any(h.kind == KIND_INJECTED and h.vector == 2 for h in run.recorder.handlers)
    return cpu.stop == IDLE and cpu.guest and bool(cpu.irr) and injected and not cpu.vmcb.v_intr_masking


def third_round_reloaded(run: Run) -> bool:
    """The third round injects an NMI again, with the bled shadow, and is left by #SS."""
    return _any_exit(
        run,
        lambda e: (
            e.entry.number >= 2 and e.code == EXIT_EXCEPTION + VECTOR_SS and _word(e.entry.eventinj, TYPE_NMI)
            and e.entry.int_state == 1
        ),
    )  # fmt: skip


def machine_check_in_nmi(run: Run) -> bool:
    """A machine check and two NMIs in the host, and an exit for a virtual-interrupt window."""
    host = [h.kind for h in run.recorder.handlers if h.world == WORLD_HOST]
    return host.count(KIND_NMI) >= 2 and KIND_MCE in host and _any_exit(run, lambda e: e.code == EXIT_VINTR)


def swint_after_injection(run: Run) -> bool:
    """INTn is intercepted in the handler of an injected event with an error code, in a shadow."""
    return _any_exit(
        run,
        lambda e: (
            e.code == EXIT_SWINT and e.entry.injected_deliveries == 1 and e.entry.eventinj >> 11 & 1 == 1
            and e.int_state == 1
        ),
    )  # fmt: skip


def injected_interrupt_meets_npf_late(run: Run) -> bool:
    """In the second round or later a nested page fault reports an injected INTn, with nRIP given and V_IRQ pending."""
    return _any_exit(
        run,
        lambda e: (
            e.code == EXIT_NPF and _word(e.entry.eventinj, TYPE_SOFT) and _word(e.exitintinfo, TYPE_SOFT)
            and e.entry.number > 1 and e.v_irq
        ),
    )  # fmt: skip


def interrupt_with_virtual_nmi_waiting(run: Run) -> bool:
    """A physical interrupt leaves a guest whose virtual NMIs are masked while another one waits."""
    return _any_exit(run, lambda e: e.code == EXIT_INTR and e.v_nmi and e.v_nmi_mask)


def init_in_nested_handlers(run: Run) -> bool:
    """INIT leaves a guest with IF=0 that has entered two handlers since VMRUN."""
    return _any_exit(
        run, lambda e: e.code == EXIT_INIT and e.entry.delivered >= 2 and not e.rflags & RFLAGS_IF
    )  # fmt: skip


def nmi_in_a_shadow_with_v_tpr(run: Run) -> bool:
    """An NMI leaves a guest in a shadow of its own, with V_TPR raised and IF=1."""
    return _any_exit(
        run, lambda e: e.code == EXIT_NMI and e.int_state == 1 and e.v_tpr > 0 and bool(e.rflags & RFLAGS_IF)
    )  # fmt: skip


def task_switch_in_nmi_delivery(run: Run) -> bool:
    """A task switch exit reports an NMI that is not the injected one."""
    return _any_exit(
        run, lambda e: e.code == EXIT_TASK_SWITCH and _word(e.exitintinfo, TYPE_NMI) and not e.entry.eventinj
    )  # fmt: skip


def page_fault_in_virtual_interrupt(run: Run) -> bool:
    """An intercepted #PF reports a virtual interrupt whose class is above V_TPR > 0, with a physical one pending."""
    code = EXIT_EXCEPTION + VECTOR_PF
    return bool(run.cpu.irr) and _any_exit(
        run, lambda e: e.code == code and _word(e.exitintinfo, TYPE_INTR) and not e.entry.eventinj and e.v_tpr > 0
    )  # fmt: skip


def bled_while_rebooting(run: Run) -> bool:
    """While rebooting an exit during injection shows the shadow, and a host instruction was skipped."""
    skipped = any(h.kind == KIND_EXCEPTION and h.world == WORLD_HOST for h in run.recorder.handlers)
    return run.kernel.rebooting and skipped and _any_exit(
        run, lambda e: e.int_state == 1 and bool(e.exitintinfo & EVENT_V) and e.entry.int_state == 0
    )  # fmt: skip


def everything_after_stgi(run: Run) -> bool:
    """An SMI, an NMI and an interrupt are all taken by the host, and the path comes to its end."""
    kinds = _kinds(run, WORLD_HOST)
    return run.cpu.stop == END and {KIND_NMI, KIND_INTR} <= kinds and KIND_SMI in _kinds(run, WORLD_SMM)


CHOSEN_ON: Final[tuple[Goal, ...]] = (
    bled_double_fault, virtual_interrupt_faults, nmi_runs_again, soft_event_into_shadow, shutdown_after_exception,
    rebooting_with_nmi, smi_in_a_shadow, virtual_nmi_then_virtual_interrupt, idle_with_interrupt, third_round_reloaded,
    machine_check_in_nmi, swint_after_injection,
)  # fmt: skip
HELD_OUT: Final[tuple[Goal, ...]] = (
    injected_interrupt_meets_npf_late, interrupt_with_virtual_nmi_waiting, init_in_nested_handlers,
    nmi_in_a_shadow_with_v_tpr, task_switch_in_nmi_delivery, page_fault_in_virtual_interrupt, bled_while_rebooting,
    everything_after_stgi,
)  # fmt: skip
GOALS: Final = CHOSEN_ON + HELD_OUT
