"""Every field of a scenario's tables: its kind, what it sets, the rule behind it.

The one table that the reader, ``fmt``, the schema, ``set FIELD=VALUE``, the documentation and the fuzzer's codec share.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from worldswitch.core.bits import (
    CR0_PE,
    CR0_PG,
    CR4_MCE,
    EFER_LMA,
    EFER_LME,
    EFER_SVME,
    RFLAGS_IF,
    RFLAGS_IOPL,
    RFLAGS_RF,
    RFLAGS_TF,
    SHADOW_MOVSS,
    SHADOW_NONE,
    SHADOW_STI,
)
from worldswitch.core.boundary import SMI_EXTERNAL
from worldswitch.core.record import FROM_SOFTWARE
from worldswitch.core.state import CR0_PAGED, EFER_LONG, Registers
from worldswitch.kernel.state import CONTEXT_GUEST, CONTEXT_KERNEL
from worldswitch.scenario.kinds import (
    DR7,
    HEX32,
    HEX64,
    Bool,
    Choice,
    Event,
    GuestPlace,
    Integer,
    Intercepts,
    Kind,
    Pending,
)

Apply = Callable[[Any, Any], None]
"""Of a Machine, or of a VMCB alone (``nested.fields.Bench``), and a value."""

MODES: Final = {"64bit": 0, "compat": 1, "protected": 2, "real": 3}
"""Guest modes: long mode with CS.L=1, with CS.L=0, legacy protected mode with paging, real mode."""


class Field(NamedTuple):
    """One field: ``name`` is ``table.key``; ``apply`` sets it on a machine; ``rules`` is its source."""

    name: str
    kind: Kind
    apply: Apply
    rules: str
    about: str
    default: str  # in words, as the documentation prints it

    @property
    def table(self) -> str:
        """The TOML table."""
        return self.name.partition(".")[0]

    @property
    def key(self) -> str:
        """The key in that table."""
        return self.name.partition(".")[2]


def _flag(regs: Registers, bit: int, on: bool) -> None:
    regs.rflags = regs.rflags | bit if on else regs.rflags & ~bit


def _svme(regs: Registers, on: bool) -> None:
    regs.efer = regs.efer | EFER_SVME if on else regs.efer & ~EFER_SVME


def _iopl(regs: Registers, value: int) -> None:
    regs.rflags = (regs.rflags & ~RFLAGS_IOPL) | value << 12


def _mode(regs: Registers, mode: int) -> None:
    keep = regs.efer & EFER_SVME
    regs.efer = (EFER_LONG & ~EFER_SVME if mode < 2 else 0) | keep
    regs.cr0 = CR0_PAGED if mode < 3 else CR0_PAGED & ~(CR0_PE | CR0_PG)
    regs.cs_long = mode == 0
    regs.cs_big = mode == 2


def _host_mode(machine: Any, mode: int) -> None:
    _mode(machine.cpu.regs, mode)


def _paging(machine: Any, on: bool) -> None:
    regs = machine.cpu.regs
    regs.cr0 = regs.cr0 | CR0_PG if on else regs.cr0 & ~CR0_PG
    if not on:
        regs.efer &= ~(EFER_LMA | EFER_LME)


def _mce(machine: Any, on: bool) -> None:
    regs = machine.cpu.regs
    regs.cr4 = regs.cr4 | CR4_MCE if on else regs.cr4 & ~CR4_MCE


def _pending(machine: Any, names: tuple[str, ...]) -> None:
    for name in names:
        if name.startswith("intr:"):
            machine.latch("intr", int(name[5:], 0), SMI_EXTERNAL)
        else:
            machine.latch(name, 0, SMI_EXTERNAL)


def _int_state(machine: Any, value: int) -> None:
    machine.cpu.vmcb.int_state = value
    if machine.running:
        machine.cpu.recorder.int_state_from = FROM_SOFTWARE


def _context(machine: Any, value: int) -> None:
    machine.kernel.context = value
    machine.kernel.rcu_watching = value == CONTEXT_KERNEL or not machine.kernel.context_tracking


def _attribute(owner: str, name: str) -> Apply:
    """Sets ``machine.OWNER.NAME``."""
    if owner == "cpu":
        return lambda machine, value: setattr(machine.cpu, name, value)
    if owner == "regs":
        return lambda machine, value: setattr(machine.cpu.regs, name, value)
    if owner == "kernel":
        return lambda machine, value: setattr(machine.kernel, name, value)
    if owner == "save":
        return lambda machine, value: setattr(machine.cpu.vmcb.save, name, value)
    return lambda machine, value: setattr(machine.cpu.vmcb, name, value)


_CPL: Final = Integer(0, 3)
_PRIORITY: Final = Integer(0, 15)
_VECTOR: Final = Integer(0, 255, 2)
_SHADOWS: Final = Choice(none=SHADOW_NONE, sti=SHADOW_STI, movss=SHADOW_MOVSS)
_MODE: Final = Choice(**MODES)
_CONTEXT: Final = Choice(kernel=CONTEXT_KERNEL, guest=CONTEXT_GUEST)
_BOOL: Final = Bool()

FIELDS: Final = (
    # --- the processor before the first host instruction
    Field("cpu.svme", _BOOL, lambda m, v: _svme(m.cpu.regs, v), "S1-02", "EFER.SVME", "true"),
    Field("cpu.if", _BOOL, lambda m, v: _flag(m.cpu.regs, RFLAGS_IF, v), "S1-01", "RFLAGS.IF", "true; a path's own"),
    Field("cpu.tf", _BOOL, lambda m, v: _flag(m.cpu.regs, RFLAGS_TF, v), "S1-01", "RFLAGS.TF", "false"),
    Field("cpu.rf", _BOOL, lambda m, v: _flag(m.cpu.regs, RFLAGS_RF, v), "S6-18", "RFLAGS.RF", "false"),
    Field("cpu.iopl", _CPL, lambda m, v: _iopl(m.cpu.regs, v), "S1-01", "RFLAGS.IOPL", "0"),
    Field("cpu.gif", _BOOL, _attribute("cpu", "gif"), "S1-05", "the global interrupt flag", "true; a path's own"),
    Field("cpu.shadow", _SHADOWS, _attribute("cpu", "shadow"), "S1-06", "an interrupt shadow at the start", "none"),
    Field("cpu.nmi_masked", _BOOL, _attribute("cpu", "nmi_masked"), "S1-07", "in an NMI until IRET", "false"),
    Field("cpu.cpl", _CPL, _attribute("regs", "cpl"), "S7-03", "privilege level", "0"),
    Field("cpu.mode", _MODE, _host_mode, "S7-01", "64bit, compat, protected, real", "64bit"),
    Field("cpu.paging", _BOOL, _paging, "S6-01", "CR0.PG; off also leaves long mode", "true"),
    Field("cpu.rax", HEX64, _attribute("regs", "rax"), "S6-03", "rAX: the VMCB's physical address", "0x2000"),
    Field("cpu.tpr", _PRIORITY, _attribute("cpu", "tpr"), "S5-01", "task priority (CR8)", "0"),
    Field("cpu.mce", _BOOL, _mce, "S2-35", "CR4.MCE", "true"),
    Field("cpu.dr7", DR7, _attribute("regs", "dr7"), "S1-04", "l0 (instruction), l1 (data), gd (general detect)", "[]"),
    Field("cpu.r_init", _BOOL, _attribute("cpu", "r_init"), "S1-08", "VM_CR.R_INIT: INIT becomes #SX", "false"),
    Field("cpu.skinit", _BOOL, _attribute("cpu", "skinit"), "S3-07", "the SKINIT feature is present", "true"),
    Field("cpu.pending", Pending(), _pending, "S1-10", "events latched from the start", "[]"),
    # --- the kernel on that processor
    Field("kernel.kvm_rebooting", _BOOL, _attribute("kernel", "rebooting"), "S7-08", "kvm_rebooting", "false"),
    Field("kernel.context_tracking", _BOOL, _attribute("kernel", "context_tracking"), "S8-43",
          "context tracking is active on this CPU", "true"),
    Field("kernel.lockdep", _BOOL, _attribute("kernel", "hardirqs_enabled"), "S8-60",
          "lockdep's hardirqs_enabled at the start", "false; a path's own"),
    Field("kernel.context", _CONTEXT, _context, "S8-43", "context at the start", "kernel; a path's own"),
    # --- the VMCB's control area
    Field("vmcb.intercepts", Intercepts(), _attribute("vmcb", "intercepts"), "S1-20",
          "the whole list of what is intercepted", '["vmrun", "vmmcall"]'),
    Field("vmcb.v_intr_masking", _BOOL, _attribute("vmcb", "v_intr_masking"), "S5-02", "V_INTR_MASKING", "true"),
    Field("vmcb.v_irq", _BOOL, _attribute("vmcb", "v_irq"), "S5-08", "V_IRQ", "false"),
    Field("vmcb.v_intr_prio", _PRIORITY, _attribute("vmcb", "v_intr_prio"), "S5-08", "V_INTR_PRIO", "0"),
    Field("vmcb.v_intr_vector", _VECTOR, _attribute("vmcb", "v_intr_vector"), "S5-11", "V_INTR_VECTOR", "0"),
    Field("vmcb.v_ign_tpr", _BOOL, _attribute("vmcb", "v_ign_tpr"), "S5-08", "V_IGN_TPR", "false"),
    Field("vmcb.v_tpr", _VECTOR, _attribute("vmcb", "v_tpr"), "S1-29", "V_TPR; bits 3:0 count", "0"),
    Field("vmcb.vgif_enable", _BOOL, _attribute("vmcb", "vgif_enable"), "S3-30", "VGIF enable", "false"),
    Field("vmcb.vgif", _BOOL, _attribute("vmcb", "vgif"), "S3-30", "the virtual GIF", "false"),
    Field("vmcb.v_nmi_enable", _BOOL, _attribute("vmcb", "v_nmi_enable"), "S4-30", "V_NMI enable (vNMI)", "false"),
    Field("vmcb.v_nmi", _BOOL, _attribute("vmcb", "v_nmi"), "S4-31", "V_NMI, pending", "false"),
    Field("vmcb.v_nmi_mask", _BOOL, _attribute("vmcb", "v_nmi_mask"), "S4-31", "V_NMI_MASK", "false"),
    Field("vmcb.eventinj", Event(), _attribute("vmcb", "eventinj"), "S1-40", "the event to inject", '"none"'),
    Field("vmcb.int_state", HEX64, _int_state, "S1-26", "bit 0 is the guest's interrupt shadow", "0"),
    Field("vmcb.asid", HEX32, _attribute("vmcb", "asid"), "S6-31", "guest ASID", "1"),
    Field("vmcb.np_enable", _BOOL, _attribute("vmcb", "np_enable"), "S1-28", "nested paging", "true"),
    Field("vmcb.sev_es", _BOOL, _attribute("vmcb", "sev_es"), "S6-34", "SEV-ES: its EVENTINJ rules only", "false"),
    Field("vmcb.iopm_base_pa", HEX64, _attribute("vmcb", "iopm_base_pa"), "S6-31", "IOPM_BASE_PA", "0"),
    Field("vmcb.msrpm_base_pa", HEX64, _attribute("vmcb", "msrpm_base_pa"), "S6-31", "MSRPM_BASE_PA", "0"),
    Field("vmcb.nrip", GuestPlace(), _attribute("vmcb", "nrip"), "S1-73", "nRIP that software left", "none"),
    # --- the VMCB's save area
    Field("guest.rip", GuestPlace(), _attribute("save", "rip"), "S6-07", "guest, guest+N or noncanonical", '"guest"'),
    Field("guest.if", _BOOL, lambda m, v: _flag(m.cpu.vmcb.save, RFLAGS_IF, v), "S1-01", "RFLAGS.IF", "true"),
    Field("guest.tf", _BOOL, lambda m, v: _flag(m.cpu.vmcb.save, RFLAGS_TF, v), "S6-19", "RFLAGS.TF", "false"),
    Field("guest.iopl", _CPL, lambda m, v: _iopl(m.cpu.vmcb.save, v), "S1-01", "RFLAGS.IOPL", "0"),
    Field("guest.cpl", _CPL, _attribute("save", "cpl"), "S6-07", "privilege level", "0"),
    Field("guest.mode", _MODE, lambda m, v: _mode(m.cpu.vmcb.save, v), "S6-32",
          "64bit, compat, protected, real", "64bit"),
    Field("guest.svme", _BOOL, lambda m, v: _svme(m.cpu.vmcb.save, v), "S6-30", "EFER.SVME", "true"),
    Field("guest.efer", HEX64, _attribute("save", "efer"), "S6-30", "EFER, whole", "0x1d01"),
    Field("guest.cr0", HEX64, _attribute("save", "cr0"), "S6-30", "CR0", "0x80010033"),
    Field("guest.cr2", HEX64, _attribute("save", "cr2"), "S6-45", "CR2", "0"),
    Field("guest.cr3", HEX64, _attribute("save", "cr3"), "S6-30", "CR3", "0x1000"),
    Field("guest.cr4", HEX64, _attribute("save", "cr4"), "S6-30", "CR4", "0x60"),
    Field("guest.dr6", HEX64, _attribute("save", "dr6"), "S6-30", "DR6", "0xffff0ff0"),
    Field("guest.dr7", DR7, _attribute("save", "dr7"), "S6-30", "DR7", "[]"),
    Field("guest.cs_long", _BOOL, _attribute("save", "cs_long"), "S6-30", "CS.L", "true"),
    Field("guest.cs_big", _BOOL, _attribute("save", "cs_big"), "S6-30", "CS.D", "false"),
    Field("guest.rax", HEX64, _attribute("save", "rax"), "S6-03", "rAX, for a VMRUN in the guest", "0x2000"),
)  # fmt: skip

BY_NAME: Final = {field.name: field for field in FIELDS}

TABLES: Final = ("cpu", "kernel", "vmcb", "guest")
"""The tables made of fields, in canonical order."""
