"""What L0 remembers of one vCPU: KVM's ``struct vcpu_svm``, as far as sequencing needs it."""

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from worldswitch.core.bits import (
    EFER_SVME,
    EXIT_CLGI,
    EXIT_CR_WRITE,
    EXIT_EXCEPTION,
    EXIT_HLT,
    EXIT_INIT,
    EXIT_INTR,
    EXIT_INVLPGA,
    EXIT_IOIO,
    EXIT_MSR,
    EXIT_NMI,
    EXIT_RSM,
    EXIT_SHUTDOWN,
    EXIT_SKINIT,
    EXIT_SMI,
    EXIT_STGI,
    EXIT_TASK_SWITCH,
    EXIT_VMLOAD,
    EXIT_VMMCALL,
    EXIT_VMRUN,
    EXIT_VMSAVE,
    INTERCEPT_BITS,
    TYPE_NMI,
    VECTOR_AC,
    VECTOR_DB,
    VECTOR_MC,
    VECTOR_NMI,
    VECTOR_UD,
    event_word,
)
from worldswitch.core.boundary import SMI_EXTERNAL
from worldswitch.core.state import Vmcb
from worldswitch.nested.model import Nested
from worldswitch.nested.record import VMCB01, VMCB02, Gave, Item, Journal, Wrote

if TYPE_CHECKING:
    from worldswitch.nested.machine import NestedMachine
    from worldswitch.nested.memory import Memory

KICK_VECTOR: Final = 0xFD
"""The physical interrupt of an IPI that L0 sends to its own CPU (S5-18)."""

NMI_WORD: Final = event_word(TYPE_NMI, VECTOR_NMI)

_CPUID: Final = 0x72

L0_INTERCEPTS: Final = frozenset({
    EXIT_INTR, EXIT_NMI, EXIT_SMI, EXIT_INIT, EXIT_HLT, EXIT_SHUTDOWN, EXIT_VMRUN, EXIT_VMMCALL, EXIT_VMLOAD,
    EXIT_VMSAVE, EXIT_STGI, EXIT_CLGI, EXIT_SKINIT, EXIT_INVLPGA, EXIT_IOIO, EXIT_MSR, EXIT_TASK_SWITCH, EXIT_RSM,
    _CPUID, EXIT_CR_WRITE + 8, EXIT_EXCEPTION + VECTOR_DB, EXIT_EXCEPTION + VECTOR_UD, EXIT_EXCEPTION + VECTOR_AC,
    EXIT_EXCEPTION + VECTOR_MC,
})  # fmt: skip
"""What KVM intercepts for itself, nested paging on (S5-16; KVM init_vmcb)."""


class Exc:
    """KVM's ``kvm_queued_exception``."""

    __slots__ = ("error_code", "injected", "payload", "pending", "vector")

    def __init__(self) -> None:
        self.pending: bool = False  # raised, not yet injected
        self.injected: bool = False  # injected, delivery not known to be complete
        self.vector: int = 0
        self.error_code: int = -1  # -1: none
        self.payload: int = 0  # DR6 bits or the faulting address

    def clear(self) -> None:
        """Forget it."""
        self.pending = self.injected = False


class Vcpu:
    """One vCPU of L0. ``vmcb`` is the one that the next VMRUN takes."""

    __slots__ = (
        "awaiting_iret", "cache", "cpu", "dead", "exception", "exception_vmexit", "guest_mode", "halted",
        "immediate_exit", "init_pending", "interrupt_injected", "interrupt_nr", "interrupt_soft", "irr", "journal",
        "l1_svme", "machine", "memory", "nested", "nested_run_pending", "nmi_injected", "nmi_iret_rip", "nmi_l1_to_l2",
        "nmi_masked", "nmi_pending", "nmi_singlestep", "request_event", "singlestep_rflags", "smi_pending",
        "soft_int_injected", "soft_int_next_rip", "software_gif", "tpr", "vintr_window", "vmcb01", "vmcb02", "vmcb12",
        "vmruns",
    )  # fmt: skip

    def __init__(self, machine: "NestedMachine", nested: Nested, memory: "Memory") -> None:
        self.machine: NestedMachine = machine
        self.cpu = machine.cpu
        self.nested: Nested = nested
        self.memory: Memory = memory
        self.journal: Journal = machine.journal
        self.dead: str = ""  # why L0 runs this vCPU no more
        # --- VMCBs
        self.vmcb01: Vmcb = machine.cpu.vmcb
        self.vmcb02: Vmcb = Vmcb()
        self.vmcb12: Vmcb = Vmcb()  # in L1's memory
        self.cache: Vmcb = Vmcb()  # L0's copy of vmcb12's control area
        self.guest_mode: bool = False  # L2 runs
        self.nested_run_pending: bool = False  # S9-06
        self.vmruns: int = 0  # VMRUNs of L1 that entered L2
        # --- events for L1
        self.irr: list[int] = []
        self.nmi_pending: int = 0
        self.smi_pending: bool = False
        self.init_pending: bool = False
        # --- events on their way into the guest
        self.exception: Exc = Exc()
        self.exception_vmexit: Exc = Exc()  # raised by L2, intercepted by L1
        self.nmi_injected: bool = False
        self.interrupt_injected: bool = False
        self.interrupt_nr: int = 0
        self.interrupt_soft: bool = False
        self.soft_int_injected: bool = False
        self.soft_int_next_rip: int = 0
        # --- NMI masking and windows
        self.nmi_masked: bool = False
        self.awaiting_iret: bool = False  # IRET was intercepted and has not completed yet
        self.nmi_iret_rip: int = 0
        self.nmi_l1_to_l2: bool = False  # the NMI under injection is L1's for L2
        self.nmi_singlestep: bool = False
        self.singlestep_rflags: int = 0
        self.vintr_window: bool = False  # the dummy V_IRQ of an interrupt window is armed (S5-17)
        # --- the rest
        self.software_gif: bool = True  # where there is no vGIF
        self.l1_svme: bool = True  # EFER.SVME as L1 sees it
        self.halted: bool = False
        self.tpr: int = 0
        self.request_event: bool = True  # KVM_REQ_EVENT
        self.immediate_exit: bool = False
        self._prepare_vmcb01()

    def _prepare_vmcb01(self) -> None:
        vmcb = self.vmcb01
        vmcb.v_intr_masking = True  # S5-16
        vmcb.np_enable = True
        codes = set(L0_INTERCEPTS)
        if self.nested.vgif:
            codes -= {EXIT_STGI, EXIT_CLGI}
            vmcb.vgif_enable = True
            vmcb.vgif = True
        vmcb.v_nmi_enable = self.nested.vnmi
        vmcb.intercepts = intercept_bytes(frozenset(codes))
        self.l1_svme = bool(vmcb.save.efer & EFER_SVME)
        vmcb.save.efer |= EFER_SVME  # whatever L1 thinks, VMRUN demands it (S6-30)

    @property
    def vmcb(self) -> Vmcb:
        """``svm->vmcb``."""
        return self.vmcb02 if self.guest_mode else self.vmcb01

    @property
    def place(self) -> str:
        """The name of ``vmcb`` in records."""
        return VMCB02 if self.guest_mode else VMCB01

    @property
    def level(self) -> int:
        """1 while L1 runs, 2 while L2 does."""
        return 2 if self.guest_mode else 1

    def note(self, function: str, text: str) -> None:
        """A line for the timeline."""
        self.journal.notes.append((self.cpu.step, function, text))

    def record(self, item: Item) -> None:
        """A line for the oracles."""
        self.journal.items.append(item)

    def write_int_state(self, vmcb: Vmcb, place: str, value: int) -> None:
        """L0 gives int_state a value of its own (S8-93)."""
        if vmcb.int_state != value:
            self.note("svm_set_interrupt_shadow", f"{place}.int_state := {value}")
        vmcb.int_state = value
        self.record(Wrote(self.cpu.step, place, value, 0))

    def gave(self, word: int, origin: str) -> None:
        """An event came into L0's keeping."""
        self.record(Gave(self.cpu.step, word, origin))

    def kick(self) -> None:
        """``smp_send_reschedule`` to the own CPU: a physical interrupt that ends the next entry (S5-18)."""
        self.machine.kicks.append(self.cpu.step)
        self.machine.latch("intr", KICK_VECTOR, SMI_EXTERNAL)


@lru_cache(maxsize=256)
def intercept_bytes(codes: frozenset[int]) -> bytes:
    """The intercept vector with these exit codes set (S1-54)."""
    bits = bytearray(INTERCEPT_BITS)
    for code in codes:
        bits[code] = 1
    return bytes(bits)


@lru_cache(maxsize=4096)
def with_intercept(intercepts: bytes, code: int, on: bool) -> bytes:
    """The intercept vector with one bit set or cleared."""
    bits = bytearray(intercepts)
    bits[code] = on
    return bytes(bits)
