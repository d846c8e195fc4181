"""The exits that L0 handles itself: KVM's ``svm_exit_handlers``, as far as they matter for sequencing."""

from collections.abc import Callable
from typing import Final

from worldswitch.core.bits import (
    DR6_RESET,
    EXIT_CLGI,
    EXIT_CR_WRITE,
    EXIT_EXCEPTION,
    EXIT_HLT,
    EXIT_INIT,
    EXIT_INTR,
    EXIT_INVALID,
    EXIT_INVLPGA,
    EXIT_IRET,
    EXIT_NMI,
    EXIT_NPF,
    EXIT_RSM,
    EXIT_SHUTDOWN,
    EXIT_SKINIT,
    EXIT_SMI,
    EXIT_STGI,
    EXIT_TASK_SWITCH,
    EXIT_VINTR,
    EXIT_VMLOAD,
    EXIT_VMRUN,
    EXIT_VMSAVE,
    VECTOR_AC,
    VECTOR_DB,
    VECTOR_MC,
    VECTOR_UD,
)
from worldswitch.nested.memory import OF_L1, page_name
from worldswitch.nested.queues import queue_exception, triple_fault
from worldswitch.nested.record import Halted
from worldswitch.nested.reflect import nested_vmexit
from worldswitch.nested.skip import skip_instruction
from worldswitch.nested.vcpu import Vcpu
from worldswitch.nested.vmrun import nested_vmrun, permitted
from worldswitch.nested.windows import clear_vintr, disable_nmi_singlestep, iret_interception, set_gif


def _nothing(vcpu: Vcpu) -> None:
    """INTR, NMI, SMI, #MC: the host's own handler has had it (S5-21, S4-04)."""


def _vintr(vcpu: Vcpu) -> None:
    """``interrupt_window_interception``: the window is open."""
    vcpu.request_event = True
    clear_vintr(vcpu)


def _halt(vcpu: Vcpu) -> None:
    """``kvm_emulate_halt``."""
    skip_instruction(vcpu)
    vcpu.halted = True


def _gif(value: bool) -> Callable[[Vcpu], None]:
    def handler(vcpu: Vcpu) -> None:
        """``stgi_interception``, ``clgi_interception``."""
        if permitted(vcpu):
            skip_instruction(vcpu)
            set_gif(vcpu, value)

    return handler


def _svm_instruction(vcpu: Vcpu) -> None:
    """VMLOAD, VMSAVE and INVLPGA: emulated, nothing of them matters here."""
    if permitted(vcpu):
        skip_instruction(vcpu)


def _undefined(vcpu: Vcpu) -> None:
    """``ud_interception``, ``skinit_interception``, and RSM outside SMM: #UD for the guest."""
    queue_exception(vcpu, VECTOR_UD)


def _debug(vcpu: Vcpu) -> None:
    """``db_interception``: L0's own single step ends here, any other #DB is the guest's."""
    if vcpu.nmi_singlestep:
        disable_nmi_singlestep(vcpu)
        vcpu.request_event = True
        return
    queue_exception(vcpu, VECTOR_DB, payload=vcpu.vmcb.save.dr6 & ~DR6_RESET)


def _alignment(vcpu: Vcpu) -> None:
    """``ac_interception``."""
    queue_exception(vcpu, VECTOR_AC, vcpu.vmcb.exitinfo1)


def _nested_page_fault(vcpu: Vcpu) -> None:
    """``npf_interception``: L1's if its table misses the page, else L0 maps it and enters again (S9-11, S9-12)."""
    level = vcpu.level
    page, owner = vcpu.memory.fault(level, vcpu.vmcb, vcpu.guest_mode and vcpu.cache.np_enable)
    name = page_name(level, page)
    if owner == OF_L1:
        vcpu.note("nested_svm_inject_npf_exit", f"L1's table misses {name}")
        nested_vmexit(vcpu)
        return
    vcpu.note("npf_interception", f"L0 maps {name}")
    vcpu.memory.map0(level, page)


def _shutdown(vcpu: Vcpu) -> None:
    """``shutdown_interception``: the vCPU is at its end."""
    triple_fault(vcpu)


def _cr8_write(vcpu: Vcpu) -> None:
    """``cr8_write_interception``: L1's task priority (S5-05)."""
    code = vcpu.machine.layout(vcpu.level).code
    vcpu.tpr = code.args[vcpu.vmcb.save.rip]
    skip_instruction(vcpu)
    vcpu.request_event = True


def _dead(reason: str) -> Callable[[Vcpu], None]:
    def handler(vcpu: Vcpu) -> None:
        """Left to userspace."""
        vcpu.dead = reason

    return handler


HANDLERS: Final[dict[int, Callable[[Vcpu], None]]] = {
    EXIT_INTR: _nothing, EXIT_NMI: _nothing, EXIT_SMI: _nothing, EXIT_INIT: _nothing,
    EXIT_EXCEPTION + VECTOR_MC: _nothing, EXIT_VINTR: _vintr, EXIT_IRET: iret_interception, EXIT_HLT: _halt,
    EXIT_STGI: _gif(True), EXIT_CLGI: _gif(False),
    EXIT_VMRUN: nested_vmrun, EXIT_VMLOAD: _svm_instruction, EXIT_VMSAVE: _svm_instruction,
    EXIT_INVLPGA: _svm_instruction, EXIT_SKINIT: _undefined, EXIT_RSM: _undefined,
    EXIT_EXCEPTION + VECTOR_UD: _undefined, EXIT_EXCEPTION + VECTOR_DB: _debug, EXIT_EXCEPTION + VECTOR_AC: _alignment,
    EXIT_NPF: _nested_page_fault, EXIT_SHUTDOWN: _shutdown, EXIT_CR_WRITE + 8: _cr8_write,
    EXIT_TASK_SWITCH: _dead("unhandled"), EXIT_INVALID: _dead("vmcb01-invalid"),
}  # fmt: skip
"""Exit code to handler; every other exit is an instruction that is emulated and stepped over."""


def handle_exit(vcpu: Vcpu) -> None:
    """``svm_invoke_exit_handler``."""
    code = vcpu.vmcb.exit_code
    if code == EXIT_HLT:
        note_halt(vcpu)
    if code == EXIT_VMRUN and vcpu.guest_mode:  # L2's VMRUN, and L1 does not want it: there is no third level
        _undefined(vcpu)
        return
    HANDLERS.get(code, skip_instruction)(vcpu)


def note_halt(vcpu: Vcpu) -> None:
    """HLT and int_state, for the claim that the two cannot meet (S2-82)."""
    vcpu.record(Halted(vcpu.cpu.step, vcpu.place, vcpu.level, vcpu.vmcb.int_state))
