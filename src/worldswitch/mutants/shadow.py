"""Mutants of the interrupt shadow, the quirk and GIF (sections 2 and 3)."""

from typing import Any, Final

from worldswitch.core import boundary
from worldswitch.core.bits import SHADOW_MOVSS, SHADOW_NONE, SHADOW_STI
from worldswitch.core.isa import OP_CLGI, OP_POPF, OP_STGI, OP_VMLOAD
from worldswitch.core.state import Cpu
from worldswitch.mutants.model import OPEN
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
)
from worldswitch.mutants.processor import ARCHITECTURE, FREE, OLD, mutant

BLEED: Final = "shadow-bleed"
IRQ: Final = "irq-exposure"


def _retire_keeping_shadow(right: Rule) -> Rule:
    return lambda cpu, op, rflags, created: right(cpu, op, rflags, created or cpu.shadow)


def _physical_gif(cpu: Cpu, value: bool) -> None:
    cpu.gif = value


def _any_exit_bleeds(right: Rule) -> Rule:
    return lambda cpu: 1 if cpu.host_shadow else right(cpu)


def _still_injecting(right: Rule) -> Rule:
    def wrong(cpu: Cpu, *arguments: Any) -> None:
        injecting = cpu.injecting
        right(cpu, *arguments)
        cpu.injecting = injecting

    return wrong


MUTANTS: Final = (
    # --- the shadow
    mutant("sti-makes-no-shadow", "S2-01 S2-30", "STI makes no shadow", ARCHITECTURE,
           "an INTR is taken, or an exit reports no shadow, right after STI",
           "shadow", "after_sti", always(SHADOW_NONE)),
    mutant("sti-always-makes-shadow", "S2-01 S2-02", "STI makes a shadow whatever IF was", BLEED,
           "int_state after an STI that changed nothing", "shadow", "after_sti", always(SHADOW_STI)),
    mutant("popf-makes-shadow", "S2-05", "POPF makes a shadow", BLEED, "int_state after POPF",
           "execute", "perform", instruction(OP_POPF, leaves_shadow(lambda before, rflags: SHADOW_STI))),
    mutant("mov-ss-makes-no-shadow", "S2-03", "MOV SS makes no shadow", ARCHITECTURE,
           "an exit right after MOV SS reports no shadow", "shadow", "after_ss_load", always(SHADOW_NONE)),
    mutant("mov-ss-prolongs-shadow", "S2-06", "a second MOV SS in a row makes a shadow too", ARCHITECTURE,
           "an exit after the second reports one", "shadow", "after_ss_load", always(SHADOW_MOVSS)),
    mutant("vmload-keeps-shadow", "S2-20 S2-75", "VMLOAD does not end a shadow", BLEED, "int_state after STI; VMLOAD",
           "execute", "perform", instruction(OP_VMLOAD, leaves_shadow(lambda before, rflags: before))),
    mutant("shadow-never-ends", "S2-20", "an instruction without a shadow of its own keeps the old one",
           ARCHITECTURE, "an exit, or the end, finds a shadow several instructions after STI", "execute", "retire", _retire_keeping_shadow),
    mutant("delivery-keeps-shadow", "S2-22 S2-23 S2-57", "delivery of an event leaves the shadow alone", ARCHITECTURE,
           "an exit at the first instruction of a handler reports a shadow", "shadow", "after_delivery",
           instead(lambda cpu: cpu.shadow)),
    mutant("vmrun-ignores-int-state", "S2-50", "VMRUN does not load int_state", ARCHITECTURE,
           "an INTR that the loaded shadow must hold is taken, or an exit before the first instruction reports 0",
           "shadow", "at_vmrun", always(SHADOW_NONE)),
    mutant("exit-reports-no-shadow", "S2-52", "#VMEXIT reports no shadow", ARCHITECTURE,
           "an exit of the instruction after STI reports 0", "shadow", "at_exit", always(0)),
    mutant("shadow-holds-no-intr", "S2-30", "the shadow holds no INTR", ARCHITECTURE, "an INTR is taken after STI",
           "shadow", "blocks_intr", always(False)),
    mutant("virq-ignores-shadow", "S2-31", "the shadow holds no virtual interrupt", ARCHITECTURE,
           "a virtual interrupt is taken after STI", "boundary", "virtual_intr", as_if("shadow", SHADOW_NONE)),
    mutant("vnmi-ignores-shadow", "S4-31", "the shadow holds no virtual NMI", ARCHITECTURE,
           "a virtual NMI is taken in the shadow", "boundary", "virtual_nmi", as_if("shadow", SHADOW_NONE)),
    mutant("host-in-shadow-after-exit", "S2-80", "after #VMEXIT the host is in an STI shadow", ARCHITECTURE,
           "the single-step trap for VMRUN finds a shadow", "vmexit", "leave", then(put("shadow", SHADOW_STI))),
    mutant("shadow-holds-no-nmi", "S2-32", "the shadow holds no NMI", ARCHITECTURE, "", "shadow", "blocks_nmi",
           always(False), equivalent="whether it does depends on the implementation (S2-32): it is a model option",
           grounds=OPEN),
    mutant("shadow-holds-smi", "S2-34", "the shadow holds an SMI", ARCHITECTURE, "", "shadow", "blocks_smi",
           instead(lambda cpu: bool(cpu.shadow)),
           equivalent="whether it does depends on the implementation (S2-34): it is a model option",
           grounds=OPEN),
    mutant("shadow-holds-intr-exit", "S2-59", "the guest's shadow holds an intercepted INTR", ARCHITECTURE, "",
           "shadow", "blocks_intercepted_intr", instead(lambda cpu: bool(cpu.shadow)),
           equivalent="KVM, QEMU and Bochs disagree and nothing is documented (S2-59): it is a model option",
           grounds=OPEN),
    # --- the quirk
    mutant("quirk-missing", "S2-70 S2-71", "nothing bleeds", BLEED,
           "the path that is known to bleed shows nothing", "shadow", "bleeds", always(False), subject=OLD,
           missing="shadow-bleed.unexplained-shadow.injection"),
    mutant("quirk-on-any-exit", "S2-74 S2-76", "any exit bleeds, not only one during injection", BLEED,
           "exits in the middle of the guest report a shadow", "shadow", "at_exit", _any_exit_bleeds, subject=OLD),
    mutant("quirk-without-shadow", "S2-70 S2-75", "an exit during injection bleeds wherever STI is", BLEED,
           "it bleeds on the path that keeps STI away from VMRUN", "shadow", "bleeds",
           instead(lambda cpu: cpu.injecting)),
    mutant("quirk-after-delivery", "S2-74", "VMRUN is not complete when the injected event's handler is entered", BLEED,
           "an exit of that handler reports a shadow", "delivery", "_enter_handler", _still_injecting, subject=OLD),
    # --- GIF
    mutant("intr-ignores-gif", "S3-10 S3-23", "INTR ignores GIF", ARCHITECTURE, "an INTR is taken with GIF=0",
           "boundary", "intr", as_if("gif", True)),
    mutant("nmi-ignores-gif", "S3-12 S3-23", "NMI ignores GIF", ARCHITECTURE, "an NMI is taken with GIF=0",
           "boundary", "nmi", as_if("gif", True)),
    mutant("smi-ignores-gif", "S3-13", "SMI ignores GIF", ARCHITECTURE, "an SMI is taken with GIF=0",
           "boundary", "smi", as_if("gif", True)),
    mutant("init-ignores-gif", "S3-14", "INIT ignores GIF", ARCHITECTURE, "INIT is taken with GIF=0",
           "boundary", "init", as_if("gif", True)),
    mutant("mce-ignores-gif", "S3-15", "a machine check ignores GIF", ARCHITECTURE,
           "a machine check is taken with GIF=0, and the processor did not shut down",
           "boundary", "machine_check", as_if("gif", True)),
    mutant("gif-holds-exceptions", "S3-19", "GIF=0 holds exceptions", ARCHITECTURE,
           "the handler of a fault that must run does not", "execute", "raise_fault", only_if(lambda cpu: cpu.gif)),
    mutant("virq-ignores-virtual-gif", "S3-33", "a virtual interrupt ignores the virtual GIF", ARCHITECTURE,
           "it is taken with the virtual GIF 0", "boundary", "virtual_intr", as_if("vgif_enable", False)),
    mutant("vnmi-ignores-virtual-gif", "S3-33 S4-31", "a virtual NMI ignores the virtual GIF", ARCHITECTURE,
           "it is taken with the virtual GIF 0", "boundary", "virtual_nmi", as_if("vgif_enable", False)),
    mutant("virtual-gif-masks-intr", "S3-33", "the virtual GIF masks physical interrupts", ARCHITECTURE,
           "an INTR that nothing holds is not taken", "boundary", "intr",
           only_if(lambda cpu: not cpu.guest or cpu.vmcb.vgif or not cpu.vmcb.vgif_enable)),
    mutant("guest-stgi-acts-on-physical-gif", "S3-31", "with vGIF, a guest's STGI and CLGI act on the physical GIF",
           ARCHITECTURE, "an exit reports another virtual GIF", "execute", "set_gif", instead(_physical_gif)),
    mutant("guest-clgi-does-nothing", "S3-34", "CLGI does nothing in a guest", ARCHITECTURE,
           "an event that CLGI must hold is taken", "execute", "set_gif",
           lambda right: lambda cpu, value: None if cpu.guest and not value else right(cpu, value)),
    mutant("clgi-does-nothing", "S3-01", "CLGI does nothing", "nmi-exposure",
           "GIF is 1 in segments for which the path documents no NMI", "execute", "perform",
           instruction(OP_CLGI, keeps("gif"))),
    mutant("stgi-makes-shadow", "S3-21", "STGI makes a shadow", ARCHITECTURE, "an exit after STGI reports a shadow",
           "execute", "perform", instruction(OP_STGI, leaves_shadow(lambda before, rflags: SHADOW_STI))),
    mutant("stgi-needs-svme", "S3-07 S7-01", "STGI with SVME=0 raises #UD where SKINIT exists", ARCHITECTURE,
           "while rebooting, a fault that must not come", "execute", "_perform_svm", as_if("skinit", False)),
    mutant("vmrun-sets-gif-before-fault", "S7-07", "VMRUN sets GIF before it may fault", ARCHITECTURE,
           "a handler of its fault finds GIF=1", "execute", "vmrun", first(put("gif", True))),
    mutant("vmrun-clears-gif-before-fault", "S7-07", "VMRUN clears GIF before it may fault", ARCHITECTURE,
           "the handler of its fault finds GIF=0", "execute", "vmrun", first(put("gif", False)), subject=FREE),
    mutant("vmrun-leaves-gif-clear", "S3-02", "VMRUN does not set GIF", ARCHITECTURE,
           "a handler in the guest finds GIF=0", "execute", "vmrun", keeps("gif")),
    mutant("exit-leaves-gif-set", "S3-03", "#VMEXIT does not clear GIF", IRQ, "GIF=1 after an exit",
           "vmexit", "leave", first(put("gif", True))),
    mutant("internal-smi-held", "S3-13", "with GIF=0 an internal SMI is held instead of dropped", ARCHITECTURE,
           "an event that must be dropped is not", "execute", "internal_smi",
           instead(put("pend_smi", boundary.SMI_INTERNAL)), subject=FREE),
    mutant("internal-smi-held-on-arrival", "S3-13", "an internal SMI that arrives with GIF=0 is held", ARCHITECTURE,
           "an event that must be dropped is not", "machine", "internal_smi",
           instead(put("pend_smi", boundary.SMI_INTERNAL))),
    mutant("out-raises-no-smi", "S3-13", "I/O raises no internal SMI", ARCHITECTURE,
           "an SMI that must be taken is not", "execute", "internal_smi", always(None)),
)  # fmt: skip
