"""One defect each, planted in the model by replacing one of its rules, and the rows of which every one must fall."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, NamedTuple

from worldswitch.core import boundary, debug, delivery, execute, shadow, vmexit, vmrun
from worldswitch.core.bits import (
    DR7_L1,
    EFER_SVME,
    EVENT_V,
    EXIT_INTR,
    EXIT_NMI,
    EXIT_SWINT,
    RFLAGS_IF,
    RFLAGS_RF,
    RFLAGS_TF,
    SHADOW_MOVSS,
    SHADOW_NONE,
    SHADOW_STI,
    VECTOR_BP,
    VECTOR_BR,
    VECTOR_GP,
    VECTOR_PF,
)
from worldswitch.core.isa import OP_CLGI, OP_INT, OP_IRET, OP_POPF, OP_VMLOAD
from worldswitch.core.state import SHUTDOWN, Cpu, Vmcb
from worldswitch.kernel import entry, lockdep, perform
from worldswitch.kernel.state import Kernel
from worldswitch.machine import machine
from worldswitch.mutants.model import Maker
from worldswitch.mutants.planting import (
    Rule,
    always,
    as_if,
    first,
    instead,
    instruction,
    keeps,
    leaves_shadow,
    only_if,
    put,
    then,
    with_intercept,
)
from worldswitch.mutants.switch import cr2_for_injected_pf, injection_intercepted, mask_for_injected_nmi


class Mutation(NamedTuple):
    """``make`` turns the right rule (or number) ``module.name`` into the wrong one that takes its place."""

    about: str
    module: ModuleType
    name: str
    make: Maker
    rows: str  # file names without suffix


def _own_if(cpu: Cpu) -> bool:
    return bool(cpu.regs.rflags & RFLAGS_IF)


def _hif(cpu: Cpu) -> bool:
    return cpu.hif if cpu.guest else _own_if(cpu)


def _cr2_before_the_intercept(real: Rule) -> Rule:
    def rule(cpu: Cpu, vector: int, error_code: int = -1, address: int = 0) -> None:
        if vector == VECTOR_PF:
            cpu.regs.cr2 = address
        real(cpu, vector, error_code, address)

    return rule


def _software_flag(value: Callable[[Cpu], bool]) -> Maker:
    """Of ``delivery.deliver``: whether the gate's DPL is checked."""
    return lambda real: lambda cpu, kind, word, rip, software: real(cpu, kind, word, rip, value(cpu))


def _refuse_injected_bp(real: Rule) -> Rule:
    def rule(cpu: Cpu, kind: int, word: int, rip: int, software: bool) -> None:
        if word & 0xFF == VECTOR_BP and cpu.regs.cpl:
            delivery.raise_fault(cpu, VECTOR_GP, 0)
        else:
            real(cpu, kind, word, rip, software)

    return rule


def _intr_acknowledged_at_exit(cpu: Cpu) -> None:
    if cpu.vmcb.exit_code == EXIT_INTR and not cpu.guest and cpu.irr:
        cpu.irr.pop()


def _trap_at_once(cpu: Cpu) -> None:
    if cpu.guest and cpu.regs.rflags & RFLAGS_TF:
        cpu.debug_trap = 1 << 14


def _clear_rf(cpu: Cpu) -> None:
    cpu.regs.rflags &= ~RFLAGS_RF


def _set_svme(cpu: Cpu) -> None:
    cpu.regs.efer |= EFER_SVME


def _cpl_before_svme(real: Rule) -> Rule:
    return lambda cpu: delivery.raise_fault(cpu, VECTOR_GP, 0) if cpu.regs.cpl else real(cpu)


def _intercept_order_reversed(real: Rule) -> Rule:
    def rule(cpu: Cpu) -> None:
        cpu.options.vmrun_intercept_before_rax_gp ^= True
        real(cpu)
        cpu.options.vmrun_intercept_before_rax_gp ^= True

    return rule


def _rip_checked(real: Rule) -> Rule:
    return lambda vmcb, *arguments: vmcb.save.rip != 0 and real(vmcb, *arguments)


def _br_refused(real: Rule) -> Rule:
    def rule(vmcb: Vmcb, *arguments: Any) -> Any:
        return vmcb.eventinj & (EVENT_V | 0xFF) != EVENT_V | VECTOR_BR and real(vmcb, *arguments)

    return rule


def _ign_tpr_ignored(vmcb: Vmcb) -> bool:
    return vmcb.v_intr_prio > vmcb.v_tpr & 0xF


def _gif_of_the_processor(cpu: Cpu, value: bool) -> None:
    cpu.gif = value


def _any_shadow_suppresses(real: Rule) -> Rule:
    return lambda cpu, created_shadow: real(cpu, SHADOW_MOVSS if created_shadow else SHADOW_NONE)


def _irqs_claimed_off(real: Rule) -> Rule:
    return lambda kernel, hw_if, step, rip: real(kernel, False, step, rip)


def _keys_equal(equal: bool) -> Maker:
    def make(real: Rule) -> Rule:
        def rule(kernel: Kernel, hw_if: bool, step: int, rip: int) -> None:
            kernel.recorded_chain_key = kernel.chain_key + (not equal)
            real(kernel, hw_if, step, rip)

        return rule

    return make


def _warns_every_time(real: Rule) -> Rule:
    def rule(kernel: Kernel, *arguments: Any) -> None:
        real(kernel, *arguments)
        kernel.debug_locks = True

    return rule


def _kvm_rebooting(value: bool) -> Maker:
    def make(real: Rule) -> Rule:
        def rule(kernel: Kernel, cpu: Cpu) -> None:
            actual, kernel.rebooting = kernel.rebooting, value
            real(kernel, cpu)
            kernel.rebooting = actual

        return rule

    return make


MUTATIONS: Final = (
    # --- the interrupt shadow
    Mutation("STI makes no shadow", shadow, "after_sti", always(SHADOW_NONE),
             "T-001 T-004 T-006 T-013 T-029 T-066 T-068 T-069 T-080 T-120 T-124 T-135 T-154 T-154-in-shadow"),
    Mutation("STI makes a shadow whatever IF was", shadow, "after_sti", always(SHADOW_STI), "T-003 T-004 T-129"),
    Mutation("POPF makes a shadow", execute, "perform", instruction(OP_POPF, leaves_shadow(lambda _, f: SHADOW_STI)),
             "T-016"),
    Mutation("MOV SS makes no shadow", shadow, "after_ss_load", always(SHADOW_NONE),
             "T-007 T-007-pop-ss T-008 T-010 T-012"),
    Mutation("MOV SS prolongs a shadow", shadow, "after_ss_load", always(SHADOW_MOVSS), "T-008"),
    Mutation("VMLOAD does not end a shadow", execute, "perform",
             instruction(OP_VMLOAD, leaves_shadow(lambda before, _: before)), "T-122"),
    Mutation("delivery leaves the shadow alone", shadow, "after_delivery", instead(lambda cpu: cpu.shadow), "T-096"),
    Mutation("VMRUN does not load int_state", shadow, "at_vmrun", always(SHADOW_NONE),
             "T-075 T-076 T-080-not-cleared T-135"),
    Mutation("#VMEXIT reports no shadow", shadow, "at_exit", always(0), "T-076 T-080 T-120 T-124 T-135"),
    Mutation("the shadow holds no NMI", shadow, "blocks_nmi", always(False), "T-013"),
    Mutation("the shadow holds an SMI", shadow, "blocks_smi", instead(lambda cpu: bool(cpu.shadow)), "T-014"),
    Mutation("the guest's shadow holds an intercepted INTR", shadow, "blocks_intercepted_intr",
             instead(lambda cpu: bool(cpu.shadow)), "T-076"),
    # --- the quirk
    Mutation("nothing bleeds", shadow, "bleeds", always(False), "T-120 T-120-linux T-124"),
    Mutation("any exit bleeds, not only one during injection", shadow, "at_exit",
             lambda real: lambda cpu: 1 if cpu.host_shadow else real(cpu),
             "T-126 T-126-in-handler T-127 T-134 T-135-later"),
    Mutation("an exit during injection bleeds without a host shadow", shadow, "bleeds",
             instead(lambda cpu: cpu.injecting),
             "T-091 T-092 T-098 T-116 T-116-error-code T-122 T-123-mov T-123-pop T-129 T-134"),
    # --- GIF
    Mutation("INTR ignores GIF", boundary, "intr", as_if("gif", True), "T-020 T-029 T-035 T-036 T-147 T-154-in-shadow"),
    Mutation("NMI ignores GIF", boundary, "nmi", as_if("gif", True), "T-038 T-042 T-042-before-stgi T-157"),
    Mutation("SMI ignores GIF", boundary, "smi", as_if("gif", True), "T-022 T-039"),
    Mutation("INIT ignores GIF", boundary, "init", as_if("gif", True), "T-023 T-024"),
    Mutation("GIF=0 holds exceptions", execute, "raise_fault", only_if(lambda cpu: cpu.gif), "T-031"),
    Mutation("a virtual interrupt ignores the virtual GIF", boundary, "virtual_intr", as_if("vgif_enable", False),
             "T-034"),
    Mutation("the virtual GIF masks INTR", boundary, "intr",
             only_if(lambda cpu: cpu.vmcb.vgif or not cpu.vmcb.vgif_enable), "T-035"),
    Mutation("a guest's STGI and CLGI act on the physical GIF", execute, "set_gif", instead(_gif_of_the_processor),
             "T-032 T-032-clgi T-034"),
    Mutation("a guest's CLGI does nothing", execute, "perform", instruction(OP_CLGI, keeps("gif")),
             "T-020 T-036 T-038 T-039"),
    Mutation("VMRUN sets GIF before it may fault", execute, "vmrun", first(put("gif", True)), "T-142"),
    Mutation("VMRUN clears GIF before it may fault", execute, "vmrun", first(put("gif", False)), "T-142-gif-set"),
    Mutation("GIF stays 1 after #VMEXIT", vmexit, "leave", then(put("gif", True)),
             "T-042-before-stgi T-117 T-117-hif-clear T-117-invalid T-117-injection"),
    Mutation("an internal SMI from I/O is held by GIF=0", execute, "internal_smi",
             instead(put("pend_smi", boundary.SMI_INTERNAL)), "T-030"),
    Mutation("an internal SMI that arrives is held by GIF=0", machine, "internal_smi",
             instead(put("pend_smi", boundary.SMI_INTERNAL)), "T-030-arrival"),
    Mutation("I/O raises no internal SMI", execute, "internal_smi", always(None), "T-030-gif-set"),
    # --- interrupts
    Mutation("V_INTR_MASKING is ignored", boundary, "intr_unmasked", instead(_own_if),
             "T-063 T-063-bochs T-063-spin T-064 T-149"),
    Mutation("HIF masks INTR whatever V_INTR_MASKING is", boundary, "intr_unmasked", instead(_hif),
             "T-036 T-068 T-094 T-094-iret"),
    Mutation("INTR in a guest always exits", boundary, "intr", with_intercept(EXIT_INTR, True),
             "T-065 T-066 T-066-halted"),
    Mutation("INTR in a guest never exits", boundary, "intr", with_intercept(EXIT_INTR, False),
             "T-035 T-036 T-060 T-064 T-068 T-076 T-093 T-147"),
    Mutation("INTR does not wake a guest from HLT", boundary, "intr", only_if(lambda cpu: not cpu.halted),
             "T-066 T-066-halted"),
    Mutation("an INTR exit acknowledges the INTR", boundary, "intr", then(_intr_acknowledged_at_exit),
             "T-035 T-036 T-060 T-064 T-068 T-093 T-147-window"),
    Mutation("NMI in a guest always exits", boundary, "nmi", with_intercept(EXIT_NMI, True),
             "T-032-clgi T-041 T-044-not-masked"),
    Mutation("a delivered NMI stays latched", boundary, "nmi", then(put("pend_nmi", True)), "T-040 T-041"),
    Mutation("NMI needs IF", boundary, "nmi", only_if(_own_if), "T-038 T-042"),
    Mutation("an INIT exit loses the INIT", boundary, "init", then(put("pend_init", False)), "T-079"),
    Mutation("an SMI exit loses the SMI", boundary, "smi", then(put("pend_smi", 0)), "T-039"),
    Mutation("V_TPR is ignored", boundary, "virq_passes_tpr", always(True), "T-071 T-071-vintr"),
    Mutation("V_IGN_TPR is ignored", boundary, "virq_passes_tpr", instead(_ign_tpr_ignored), "T-073"),
    Mutation("V_IRQ stays set when its interrupt is taken", boundary, "virtual_intr", then(put("v_irq", True)),
             "T-069 T-075"),
    Mutation("IRET leaves NMIs masked", execute, "perform", instruction(OP_IRET, keeps("nmi_masked")), "T-040 T-157"),
    Mutation("IRET leaves V_NMI_MASK set", execute, "perform", instruction(OP_IRET, keeps("v_nmi_mask")), "T-047"),
    Mutation("a virtual NMI does not set V_NMI_MASK", boundary, "virtual_nmi", then(put("v_nmi_mask", False)), "T-048"),
    # --- VMRUN, injection, #VMEXIT
    Mutation("VMRUN does not look at SVME", execute, "vmrun", first(_set_svme), "T-140 T-140-cpl3 T-144"),
    Mutation("VMRUN checks CPL before SVME", execute, "vmrun", _cpl_before_svme, "T-140-cpl3"),
    Mutation("the VMRUN intercept and the rAX check change places", execute, "vmrun", _intercept_order_reversed,
             "T-143"),
    Mutation("any VMCB is consistent", vmrun, "consistent", always(True),
             "T-046 T-109-asid T-109-vmrun-intercept T-109-svme T-109-cr0 T-109-dr7 T-117-invalid"),
    Mutation("a non-canonical RIP is inconsistent", vmrun, "consistent", _rip_checked, "T-110"),
    Mutation("any injection is legal", vmrun, "legal_injection", always(True), "T-045 T-108 T-131"),
    Mutation("#BR is never legal", vmrun, "legal_injection", _br_refused, "T-108-compat"),
    Mutation("injection does not happen", vmrun, "inject", always(None),
             "T-044 T-090 T-091 T-095 T-096 T-114-dpl3 T-115 T-116 T-120 T-126 T-130"),
    Mutation("injection is subject to intercepts", vmrun, "inject", injection_intercepted, "T-097"),
    Mutation("injection waits for IF", vmrun, "inject", only_if(_own_if), "T-095 T-117-injection"),
    Mutation("an injected NMI masks NMIs", vmrun, "inject", first(mask_for_injected_nmi), "T-044-not-masked"),
    Mutation("an injected NMI does not set V_NMI_MASK", vmrun, "inject", then(put("v_nmi_mask", False)), "T-050"),
    Mutation("an injected #PF writes CR2", vmrun, "inject", first(cr2_for_injected_pf), "T-115"),
    Mutation("injection makes no DPL check", vmrun, "deliver", _software_flag(lambda cpu: False), "T-114"),
    Mutation("an injected #BP needs CPL 0", vmrun, "deliver", _refuse_injected_bp, "T-114-dpl3"),
    Mutation("#VMEXIT does not clear EVENTINJ", vmexit, "clear_eventinj", always(None),
             "T-044 T-045 T-050 T-090 T-091 T-092 T-093 T-117-invalid T-117-injection T-120 T-130"),
    Mutation("CPL stays the guest's after #VMEXIT", vmexit, "leave", then(put("cpl", 3)),
             "T-117 T-117-hif-clear T-117-invalid T-117-injection"),
    Mutation("breakpoints stay armed after #VMEXIT", vmexit, "leave", then(put("dr7", 0x400 | DR7_L1)),
             "T-117 T-117-hif-clear T-117-invalid T-117-injection"),
    Mutation("the guest's IF stays after #VMEXIT", vmexit, "leave",
             then(lambda cpu: setattr(cpu.regs, "rflags", cpu.vmcb.save.rflags)),
             "T-117 T-117-hif-clear T-117-injection"),
    # --- faults, and what a delivery meets
    Mutation("an exit during delivery does not say of what", delivery, "vmexit", first(put("vectoring", 0)),
             "T-078 T-091 T-092 T-098 T-099 T-102 T-104 T-116 T-116-error-code T-120 T-124"),
    Mutation("INT n ignores its intercept", execute, "perform",
             instruction(OP_INT, with_intercept(EXIT_SWINT, False)), "T-105"),
    Mutation("an intercepted #PF writes CR2", execute, "raise_fault", _cr2_before_the_intercept, "T-106"),
    Mutation("a fault of a delivery is always handled alone", delivery, "compose", always(delivery.ALONE),
             "T-099 T-102"),
    Mutation("a fault of a delivery is always a double fault", delivery, "compose", always(delivery.BECOMES_DF),
             "T-114"),
    Mutation("shutdown cannot be intercepted", delivery, "shutdown", instead(put("stop", SHUTDOWN)), "T-101"),
    # --- debug exceptions
    Mutation("an STI shadow suppresses the single-step trap", debug, "after_instruction", _any_shadow_suppresses,
             "T-009"),
    Mutation("a MOV SS shadow does not", debug, "SHADOW_MOVSS", instead(1 << 7), "T-010"),
    Mutation("GIF=0 holds the single-step trap", debug, "take_trap", only_if(lambda cpu: cpu.gif),
             "T-025 T-112 T-158"),
    Mutation("GIF=0 does not drop a data breakpoint", debug, "take_trap", as_if("gif", True), "T-026"),
    Mutation("data breakpoints do not work", debug, "data_breakpoint", always(None), "T-026-gif-set"),
    Mutation("RF does not suppress an instruction breakpoint", debug, "instruction_breakpoint",
             first(_clear_rf), "T-113"),
    Mutation("guest TF traps before the first instruction", execute, "vmrun", then(_trap_at_once), "T-111"),
    Mutation("the host's trap for VMRUN is lost", vmexit, "leave", then(put("debug_trap", 0)), "T-112 T-158"),
    # --- the kernel
    Mutation("lockdep_hardirqs_on_prepare() does not look at IF", lockdep, "hardirqs_on_prepare", _irqs_claimed_off,
             "T-150"),
    Mutation("lockdep_hardirqs_on() does not compare the chain key", lockdep, "hardirqs_on", _keys_equal(True),
             "T-153"),
    Mutation("lockdep_hardirqs_on() always finds another chain key", lockdep, "hardirqs_on", _keys_equal(False),
             "T-147 T-153-unlocked"),
    Mutation("lock operations do not check the flags", lockdep, "check_flags", always(None), "T-156"),
    Mutation("lockdep warns every time", lockdep, "warn", _warns_every_time, "T-156"),
    Mutation("objtool accepts any call", perform, "instrumentable", always(None), "T-152"),
    Mutation("the fixup does not look at kvm_rebooting", entry, "fixup_exception", _kvm_rebooting(True), "T-145"),
    Mutation("there is no fixup", entry, "fixup_exception", _kvm_rebooting(False), "T-144 T-144-intr"),
)  # fmt: skip
