"""What the processor remembers: registers, the VMCB, the two worlds, the latches."""

from typing import Final

from worldswitch.core.bits import (
    CR0_PE,
    CR0_PG,
    CR0_WP,
    CR4_MCE,
    CR4_PAE,
    DR6_RESET,
    DR7_RESET,
    EFER_LMA,
    EFER_LME,
    EFER_NXE,
    EFER_SCE,
    EFER_SVME,
    EVENT_V,
    INTERCEPT_BITS,
    RFLAGS_FIXED,
    RFLAGS_VM,
    SHADOW_NONE,
)
from worldswitch.core.isa import GATE_OK
from worldswitch.core.options import Options
from worldswitch.core.record import Recorder

EFER_LONG: Final = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_SVME
CR0_PAGED: Final = CR0_PE | CR0_PG | CR0_WP | 0x32
CR4_USUAL: Final = CR4_PAE | CR4_MCE

# Why a run ended. RUNNING and END apart, each is a state no further step leaves.
RUNNING: Final = 0
END: Final = 1  # the host program returned to its caller
SHUTDOWN: Final = 2  # the physical processor shut down (S6-58, S6-95)
INIT_RESET: Final = 3  # INIT reset the processor
HOST_BUG: Final = 4  # the kernel stopped itself: BUG() or an unhandled exception
IDLE: Final = 5  # halted or spinning, and nothing left that could change it
LIMIT: Final = 6  # the step limit was reached


class Registers:
    """The registers VMRUN and #VMEXIT switch (S1-61), as far as sequencing needs them.

    ``rip`` is an index into the world's :class:`Code`; ``cs_long`` is CS.L, ``cs_big`` CS.D.
    """

    __slots__ = ("cpl", "cr0", "cr2", "cr3", "cr4", "cs_big", "cs_long", "dr6", "dr7", "efer", "rax", "rflags", "rip")

    def __init__(self) -> None:
        self.rip: int = 0
        self.rflags: int = RFLAGS_FIXED
        self.cpl: int = 0
        self.efer: int = EFER_LONG
        self.cr0: int = CR0_PAGED
        self.cr2: int = 0
        self.cr3: int = 0x1000
        self.cr4: int = CR4_USUAL
        self.dr6: int = DR6_RESET
        self.dr7: int = DR7_RESET
        self.rax: int = 0x2000
        self.cs_long: bool = True
        self.cs_big: bool = False

    def copy_from(self, other: "Registers") -> None:
        """Take over every register of ``other``."""
        self.rip = other.rip
        self.rflags = other.rflags
        self.cpl = other.cpl
        self.efer = other.efer
        self.cr0 = other.cr0
        self.cr2 = other.cr2
        self.cr3 = other.cr3
        self.cr4 = other.cr4
        self.dr6 = other.dr6
        self.dr7 = other.dr7
        self.rax = other.rax
        self.cs_long = other.cs_long
        self.cs_big = other.cs_big

    def protected(self) -> bool:
        """Neither real mode nor virtual-8086 mode."""
        return bool(self.cr0 & CR0_PE) and not self.rflags & RFLAGS_VM

    def long_mode(self) -> bool:
        """Long mode is active (EFER.LMA)."""
        return bool(self.efer & EFER_LMA)

    def mode_64bit(self) -> bool:
        """64-bit mode: long mode with CS.L."""
        return self.long_mode() and self.cs_long


class Vmcb:
    """The VMCB: control area (1.2) and save area (1.5).

    While a guest runs, the int_ctl fields here also are the processor's internal copies; nothing can look at the
    memory meanwhile, so the model writes through (S6-60).
    """

    __slots__ = (
        "asid", "eventinj", "exit_code", "exitinfo1", "exitinfo2", "exitintinfo", "int_state", "intercepts",
        "iopm_base_pa", "msrpm_base_pa", "np_enable", "nrip", "save", "sev_es", "v_ign_tpr", "v_intr_masking",
        "v_intr_prio", "v_intr_vector", "v_irq", "v_nmi", "v_nmi_enable", "v_nmi_mask", "v_tpr", "vgif", "vgif_enable",
    )  # fmt: skip

    def __init__(self) -> None:
        self.intercepts: bytes = bytes(INTERCEPT_BITS)  # index = exit code (S1-54)
        self.iopm_base_pa: int = 0
        self.msrpm_base_pa: int = 0
        self.asid: int = 1
        self.v_tpr: int = 0
        self.v_irq: bool = False
        self.vgif: bool = False
        self.v_nmi: bool = False
        self.v_nmi_mask: bool = False
        self.v_intr_prio: int = 0
        self.v_ign_tpr: bool = False
        self.v_intr_masking: bool = True
        self.vgif_enable: bool = False
        self.v_nmi_enable: bool = False
        self.v_intr_vector: int = 0
        self.int_state: int = 0
        self.exit_code: int = 0
        self.exitinfo1: int = 0
        self.exitinfo2: int = 0
        self.exitintinfo: int = 0
        self.np_enable: bool = True
        self.sev_es: bool = False
        self.eventinj: int = 0
        self.nrip: int = 0  # a Code index like RIP; 0 = none
        self.save: Registers = Registers()

    def copy_from(self, other: "Vmcb") -> None:
        """Take over every field of ``other``."""
        self.intercepts = other.intercepts
        self.iopm_base_pa = other.iopm_base_pa
        self.msrpm_base_pa = other.msrpm_base_pa
        self.asid = other.asid
        self.v_tpr = other.v_tpr
        self.v_irq = other.v_irq
        self.vgif = other.vgif
        self.v_nmi = other.v_nmi
        self.v_nmi_mask = other.v_nmi_mask
        self.v_intr_prio = other.v_intr_prio
        self.v_ign_tpr = other.v_ign_tpr
        self.v_intr_masking = other.v_intr_masking
        self.vgif_enable = other.vgif_enable
        self.v_nmi_enable = other.v_nmi_enable
        self.v_intr_vector = other.v_intr_vector
        self.int_state = other.int_state
        self.exit_code = other.exit_code
        self.exitinfo1 = other.exitinfo1
        self.exitinfo2 = other.exitinfo2
        self.exitintinfo = other.exitintinfo
        self.np_enable = other.np_enable
        self.sev_es = other.sev_es
        self.eventinj = other.eventinj
        self.nrip = other.nrip
        self.save.copy_from(other.save)


class Gate:
    """One IDT entry, as delivery meets it.

    ``outcome`` is GATE_OK, GATE_NPF, GATE_TASK, or the vector of the exception that delivery raises.
    """

    __slots__ = ("dpl", "outcome", "trap")

    def __init__(self, outcome: int = GATE_OK, trap: bool = False, dpl: int = 0) -> None:
        self.outcome: int = outcome
        self.trap: bool = trap  # a trap gate leaves IF alone
        self.dpl: int = dpl


class Frame:
    """What delivery pushed and IRET pops."""

    __slots__ = ("cpl", "error_code", "rflags", "rip", "vector")

    def __init__(self, rip: int, rflags: int, cpl: int, vector: int, error_code: int) -> None:
        self.rip: int = rip
        self.rflags: int = rflags
        self.cpl: int = cpl
        self.vector: int = vector
        self.error_code: int = error_code  # -1: none was pushed


class Code:
    """The instructions of one world in a flat numbering; ``rip`` everywhere is an index into it.

    Index 0 is the non-canonical address, ``start`` the first instruction of the program. ``address`` maps an index to
    the byte address people and VMCBs see.
    """

    __slots__ = ("address", "args", "default_handler", "fixup", "handlers", "noinstr", "ops", "start", "texts")

    def __init__(self) -> None:
        self.ops: list[int] = []
        self.args: list[int] = []
        self.address: list[int] = []
        self.texts: list[str] = []
        self.fixup: list[bool] = []  # has an exception-table entry (S7-08)
        self.noinstr: list[bool] = []  # lies in .noinstr.text (S8-44)
        self.handlers: dict[int, int] = {}
        self.default_handler: int = 0
        self.start: int = 0


class World:
    """Host or guest: its code, its IDT, the frames on its stack."""

    __slots__ = ("accesses_ok", "code", "default_gate", "frames", "idt", "rep_left")

    def __init__(self, code: Code) -> None:
        self.code: Code = code
        self.idt: dict[int, Gate] = {}
        self.default_gate: Gate = Gate()
        self.frames: list[Frame] = []
        self.accesses_ok: bool = False  # software repaired the memory that ``load`` and ``store`` met
        self.rep_left: int = 0


class Cpu:
    """One logical processor: what S1-xx lists, and nothing of the software that runs on it."""

    __slots__ = (
        "breakpoint_rip", "debug_trap", "gif", "guest", "guest_if_seen", "guest_world", "halted", "hif",
        "host_nmi_masked", "host_shadow", "host_world", "hsave", "injecting", "irr", "nmi_masked", "noted", "options",
        "pend_init", "pend_mce", "pend_nmi", "pend_smi", "r_init", "recorder", "regs", "shadow", "skinit", "step",
        "stop", "tpr", "vectoring", "virq_dropped", "virq_gate_open", "vmcb", "vmrun_trap",
    )  # fmt: skip

    def __init__(self, options: Options, host: World, guest: World, vmcb: Vmcb, recorder: Recorder) -> None:
        self.options: Options = options
        self.recorder: Recorder = recorder
        self.step: int = 0  # the number of the step under way, for records only
        self.stop: int = RUNNING
        # --- the running context
        self.regs: Registers = Registers()
        self.guest: bool = False
        self.shadow: int = SHADOW_NONE
        self.halted: bool = False
        self.host_world: World = host
        self.guest_world: World = guest
        # --- the processor as a whole
        self.gif: bool = True  # S1-05
        self.nmi_masked: bool = False  # S1-07
        self.tpr: int = 0
        self.r_init: bool = False  # VM_CR.R_INIT (S1-08)
        self.skinit: bool = True  # CPUID: SKINIT feature (S3-07)
        self.breakpoint_rip: int = -1  # where DR0 points, while DR7.L0 is set
        # --- latches (S1-10)
        self.irr: list[int] = []  # pending INTR vectors, ascending; INTR is the highest of them
        self.pend_nmi: bool = False
        self.pend_smi: int = 0  # 0 none, 1 external, 2 internal
        self.pend_init: bool = False
        self.pend_mce: bool = False
        self.debug_trap: int = 0  # DR6 bits of a trap-class #DB for the next boundary
        # --- of the present VMRUN
        self.vmcb: Vmcb = vmcb
        self.hsave: Registers = Registers()  # the host save area (S6-05)
        self.hif: bool = False  # host RFLAGS.IF captured at VMRUN (S5-20)
        self.host_shadow: int = SHADOW_NONE  # the shadow VMRUN executed in
        self.host_nmi_masked: bool = False
        self.injecting: bool = False  # EVENTINJ was valid and no handler has been entered: VMRUN is not complete
        self.vmrun_trap: int = 0  # DR6 bits of the host's trap-class #DB for VMRUN, due after the exit (S6-16)
        self.vectoring: int = 0  # the event being delivered, EVENTINJ format; 0 = none
        self.noted: int = EVENT_V  # option exitintinfo_source=last-noted: the last injected event or exception
        self.virq_dropped: bool = False  # option intr_drops_virq: a physical INTR was delivered since VMRUN
        self.virq_gate_open: bool = True  # option vtpr_reevaluated: outcome of the last comparison
        self.guest_if_seen: bool = False  # option physical_intr_gate: RFLAGS.IF has been 1 since VMRUN

    def world(self) -> World:
        """The world that runs now."""
        return self.guest_world if self.guest else self.host_world
