"""Mutants of VMRUN, event injection and #VMEXIT (section 6)."""

from typing import Any, Final

from worldswitch.core import delivery, vmexit
from worldswitch.core.bits import (
    DR6_BS,
    DR7_L1,
    EFER_SVME,
    EVENT_V,
    EXIT_EXCEPTION,
    RFLAGS_IF,
    RFLAGS_TF,
    TYPE_EXCEPTION,
    TYPE_INTR,
    TYPE_NMI,
    VECTOR_BP,
    VECTOR_BR,
    VECTOR_GP,
    VECTOR_PF,
    event_type,
    event_word,
)
from worldswitch.core.state import SHUTDOWN, Cpu, Vmcb
from worldswitch.mutants.model import OPEN, Maker
from worldswitch.mutants.planting import Rule, always, as_if, first, instead, keeps, only_if, put, then
from worldswitch.mutants.processor import ARCHITECTURE, FREE, mutant, own_if

LOST: Final = "lost-event"
IRQ: Final = "irq-exposure"


def _set_svme(cpu: Cpu) -> None:
    cpu.regs.efer |= EFER_SVME


def _cpl_before_svme(right: Rule) -> Rule:
    return lambda cpu: delivery.raise_fault(cpu, VECTOR_GP, 0) if cpu.regs.cpl else right(cpu)


def _intercept_order_reversed(right: Rule) -> Rule:
    def wrong(cpu: Cpu) -> None:
        cpu.options.vmrun_intercept_before_rax_gp ^= True
        try:
            right(cpu)
        finally:
            cpu.options.vmrun_intercept_before_rax_gp ^= True

    return wrong


def _in_guest(change: Any) -> Any:
    """A change if the guest runs now."""
    return lambda cpu: cpu.guest and change(cpu)


def _asid_unchecked(right: Rule) -> Rule:
    def wrong(vmcb: Vmcb, host_cr0: int) -> bool:
        asid, vmcb.asid = vmcb.asid, 1
        result = right(vmcb, host_cr0)
        vmcb.asid = asid
        return bool(result)

    return wrong


def _rip_checked(right: Rule) -> Rule:
    return lambda vmcb, *arguments: vmcb.save.rip != 0 and right(vmcb, *arguments)


def _br_refused(right: Rule) -> Rule:
    def wrong(vmcb: Vmcb, *arguments: Any) -> bool:
        return vmcb.eventinj & (EVENT_V | 0xFF) != EVENT_V | VECTOR_BR and bool(right(vmcb, *arguments))

    return wrong


def _injected_exception(cpu: Cpu) -> int:
    return EXIT_EXCEPTION + (cpu.vmcb.eventinj & 0x1F) if event_type(cpu.vmcb.eventinj) == TYPE_EXCEPTION else 0


def injection_intercepted(right: Rule) -> Rule:
    """An injected exception is intercepted as one that the guest raised would be."""

    def wrong(cpu: Cpu) -> None:
        code = _injected_exception(cpu)
        if code and cpu.vmcb.intercepts[code]:
            vmexit.vmexit(cpu, code)
        else:
            right(cpu)

    return wrong


def mask_for_injected_nmi(cpu: Cpu) -> None:
    """An injection says whether NMIs are masked, whatever they were."""
    cpu.nmi_masked = event_type(cpu.vmcb.eventinj) == TYPE_NMI


def cr2_for_injected_pf(cpu: Cpu) -> None:
    """An injected #PF writes CR2."""
    if _injected_exception(cpu) == EXIT_EXCEPTION + VECTOR_PF:
        cpu.regs.cr2 = 0x7000


def _delivering(word: Any = None, rip: Any = None, software: Any = None) -> Maker:
    """Of ``vmrun.deliver``: another word, return address, or answer to whether the gate's DPL is checked."""

    def make(right: Rule) -> Rule:
        def wrong(cpu: Cpu, kind: int, found: int, return_rip: int, checked: bool) -> None:
            right(
                cpu, kind, word(cpu, found) if word else found, rip(cpu, return_rip) if rip else return_rip,
                software if software is not None else checked,
            )  # fmt: skip

        return wrong

    return make


def _refuse_injected_bp(right: Rule) -> Rule:
    def wrong(cpu: Cpu, kind: int, word: int, rip: int, software: bool) -> None:
        if word & 0xFF == VECTOR_BP and cpu.regs.cpl:
            delivery.raise_fault(cpu, VECTOR_GP, 0)
        else:
            right(cpu, kind, word, rip, software)

    return wrong


def _vector_kept(cpu: Cpu, word: int) -> int:
    """TYPE 2 with its own vector field."""
    kept = cpu.vmcb.eventinj & 0xFF
    return event_word(TYPE_INTR, kept) if event_type(word) == TYPE_NMI else word


def _exiting(change: Any) -> Maker:
    """Of ``vmexit``: something is wrong when an exit begins."""

    def make(right: Rule) -> Rule:
        def wrong(cpu: Cpu, *arguments: Any, **keywords: Any) -> None:
            change(cpu)
            right(cpu, *arguments, **keywords)

        return wrong

    return make


def _step_back(cpu: Cpu) -> None:
    cpu.regs.rip = max(cpu.regs.rip - 1, 1)


def _guest_rflags(cpu: Cpu) -> None:
    cpu.regs.rflags = cpu.vmcb.save.rflags


def _report_intr(cpu: Cpu) -> None:
    if cpu.irr:
        cpu.vectoring = event_word(TYPE_INTR, cpu.irr[-1])


def _trap_in_guest(cpu: Cpu) -> None:
    cpu.debug_trap, cpu.vmrun_trap = cpu.vmrun_trap, 0


def _trap_at_once(cpu: Cpu) -> None:
    if cpu.guest and cpu.regs.rflags & RFLAGS_TF:
        cpu.debug_trap = DR6_BS


def _clear_if(cpu: Cpu) -> None:
    cpu.regs.rflags &= ~RFLAGS_IF


MUTANTS: Final = (
    # --- VMRUN
    mutant("vmrun-ignores-svme", "S6-01 S7-01", "VMRUN does not look at EFER.SVME", ARCHITECTURE,
           "while rebooting, a guest is entered where #UD had to come", "execute", "vmrun", first(_set_svme)),
    mutant("vmrun-checks-cpl-first", "S6-02 S7-02", "VMRUN checks CPL before SVME", ARCHITECTURE,
           "#GP where #UD had to come", "execute", "vmrun", _cpl_before_svme, subject=FREE),
    mutant("vmrun-ignores-rax", "S6-03 S7-04", "VMRUN takes any rAX", ARCHITECTURE,
           "a guest is entered where #GP had to come", "execute", "vmrun", as_if("rax", 0x2000), subject=FREE),
    mutant("vmrun-intercept-order", "S6-04", "the VMRUN intercept and the rAX check change places", ARCHITECTURE, "",
           "execute", "vmrun", _intercept_order_reversed,
           equivalent="APM and Bochs disagree (S6-04): it is a model option",
           grounds=OPEN),
    mutant("any-vmcb-is-consistent", "S6-30 S6-31", "VMRUN makes no consistency check", ARCHITECTURE,
           "a guest runs where exit -1 had to come", "vmrun", "consistent", always(True)),
    mutant("asid-unchecked", "S6-31", "ASID 0 is accepted", ARCHITECTURE, "a guest runs where exit -1 had to come",
           "vmrun", "consistent", _asid_unchecked),
    mutant("noncanonical-rip-is-inconsistent", "S6-21", "a non-canonical RIP is a consistency failure", ARCHITECTURE,
           "exit -1 where the guest had to take #GP", "vmrun", "consistent", _rip_checked),
    mutant("any-injection-is-legal", "S6-32", "any EVENTINJ is accepted", ARCHITECTURE,
           "a guest runs where exit -1 had to come", "vmrun", "legal_injection", always(True)),
    mutant("br-never-legal", "S6-32", "an injected #BR is refused in every mode", ARCHITECTURE,
           "exit -1 where #BR had to be delivered", "vmrun", "legal_injection", _br_refused),
    mutant("guest-starts-halted", "S6-15", "VMRUN starts a guest halted", ARCHITECTURE,
           "the guest's first instruction had to be executed", "execute", "vmrun",
           then(_in_guest(put("halted", True)))),
    mutant("vmrun-trap-in-guest", "S6-16 I-11", "the host's single-step trap for VMRUN is delivered in the guest",
           ARCHITECTURE, "a #DB handler in the guest", "execute", "vmrun", then(_in_guest(_trap_in_guest))),
    mutant("guest-tf-traps-at-once", "S6-19", "a guest's TF traps before its first instruction", ARCHITECTURE,
           "a #DB that is due one instruction later", "execute", "vmrun", then(_trap_at_once)),
    mutant("vmrun-changes-guest-if", "S6-07", "VMRUN clears the guest's IF", ARCHITECTURE,
           "an exit reports another RFLAGS", "execute", "vmrun", then(_in_guest(_clear_if))),
    # --- injection
    mutant("injection-does-not-happen", "S6-11", "EVENTINJ is not delivered", LOST,
           "it was neither delivered nor reported", "vmrun", "inject", always(None)),
    mutant("injection-intercepted", "S6-40", "injection is subject to intercepts", ARCHITECTURE,
           "exit 40h+v where a handler had to be entered", "vmrun", "inject", injection_intercepted),
    mutant("injection-waits-for-if", "S2-56", "injection needs IF", LOST, "it was neither delivered nor reported",
           "vmrun", "inject", only_if(own_if)),
    mutant("injection-waits-for-shadow", "S2-56", "injection needs that there is no shadow", LOST,
           "it was neither delivered nor reported", "vmrun", "inject", only_if(lambda cpu: not cpu.shadow)),
    mutant("injected-nmi-masks", "S4-07", "without vNMI an injected NMI masks NMIs", ARCHITECTURE,
           "an NMI that nothing holds is not taken in the handler", "vmrun", "inject", first(mask_for_injected_nmi)),
    mutant("injected-nmi-does-not-mask", "S4-35", "with vNMI an injected NMI does not set V_NMI_MASK", ARCHITECTURE,
           "an exit of the handler reports V_NMI_MASK=0", "vmrun", "inject", then(put("v_nmi_mask", False))),
    mutant("injected-nmi-keeps-vector", "S1-43", "the vector of an injected NMI counts", ARCHITECTURE,
           "a handler for another vector", "vmrun", "deliver", _delivering(word=_vector_kept)),
    mutant("injected-pf-writes-cr2", "S6-45", "an injected #PF writes CR2", ARCHITECTURE,
           "an exit reports another CR2", "vmrun", "inject", first(cr2_for_injected_pf)),
    mutant("injection-makes-no-dpl-check", "S6-46 S6-47", "injection checks no DPL", ARCHITECTURE,
           "a handler is entered where #GP had to come", "vmrun", "deliver", _delivering(software=False)),
    mutant("injection-always-checks-dpl", "S6-47", "injection checks the DPL of every event", ARCHITECTURE,
           "#GP where a handler had to be entered", "vmrun", "deliver", _delivering(software=True)),
    mutant("injected-bp-needs-cpl-0", "S6-46", "an injected #BP needs CPL 0", ARCHITECTURE,
           "#GP where the gate allows it", "vmrun", "deliver", _refuse_injected_bp),
    mutant("injection-drops-error-code", "S6-48", "the error code of EVENTINJ is not pushed", ARCHITECTURE,
           "the handler finds no error code", "vmrun", "deliver",
           _delivering(word=lambda cpu, word: word & 0xFFFF_F7FF)),
    mutant("injection-ignores-nrip", "S1-73 S6-48", "an injected soft event returns to VMCB.RIP", ARCHITECTURE,
           "the handler returns to another place", "vmrun", "deliver", _delivering(rip=lambda cpu, rip: cpu.regs.rip)),
    mutant("reserved-bits-come-back", "S1-45", "reserved bits of EVENTINJ come back in EXITINTINFO", ARCHITECTURE,
           "EXITINTINFO of an exit during injection", "vmrun", "deliver",
           _delivering(word=lambda cpu, word: word | cpu.vmcb.eventinj & 0x7FFF_F000)),
    # --- #VMEXIT
    mutant("exit-keeps-eventinj", "S6-54 S6-57", "#VMEXIT does not clear EVENTINJ", IRQ, "EVENTINJ.V=1 after an exit",
           "vmexit", "clear_eventinj", always(None)),
    mutant("exit-keeps-guest-cpl", "S6-56", "CPL stays the guest's after #VMEXIT", ARCHITECTURE,
           "a fault of the host that must not come", "vmexit", "leave", then(put("cpl", 3))),
    mutant("exit-keeps-breakpoints", "S6-56", "breakpoints stay armed after #VMEXIT", ARCHITECTURE,
           "DR7 at the end", "vmexit", "leave", then(put("dr7", 0x400 | DR7_L1))),
    mutant("exit-keeps-guest-rflags", "S6-59", "RFLAGS stays the guest's after #VMEXIT", ARCHITECTURE,
           "a handler in the host, or the end, finds another RFLAGS", "vmexit", "leave", then(_guest_rflags)),
    mutant("exit-resumes-at-vmrun", "S6-05 S6-56", "after #VMEXIT the host resumes at VMRUN", ARCHITECTURE,
           "VMRUN is executed again", "vmexit", "leave", then(_step_back)),
    mutant("exit-restores-cr2", "S6-05 S6-56", "#VMEXIT restores the host's CR2", ARCHITECTURE, "CR2 at the end",
           "vmexit", "leave", then(lambda cpu: setattr(cpu.regs, "cr2", cpu.hsave.cr2))),
    mutant("exit-loses-vmrun-trap", "S6-16", "the host's single-step trap for VMRUN is lost", ARCHITECTURE,
           "a #DB handler had to run after the exit", "vmexit", "leave", then(put("debug_trap", 0))),
    mutant("interrupt-exit-saves-other-rip", "S6-61", "an exit between instructions saves the RIP before", ARCHITECTURE,
           "RIP of an exit 60h to 64h", "boundary", "vmexit", _exiting(_step_back)),
    mutant("interrupt-exit-reports-event", "S6-73 I-03", "exits 60h to 64h report the pending INTR", LOST,
           "EXITINTINFO.V=1 on such an exit", "boundary", "vmexit", _exiting(_report_intr)),
    mutant("interrupt-exit-has-nrip", "S1-71", "exits between instructions have a next RIP", ARCHITECTURE,
           "nRIP of an exit 60h to 64h", "boundary", "vmexit",
           lambda right: lambda cpu, code, info1=0, info2=0: right(cpu, code, info1, info2, cpu.regs.rip)),
    mutant("instruction-exit-has-no-nrip", "S1-71", "exits of instructions have no next RIP", ARCHITECTURE,
           "nRIP of such an exit", "execute", "instruction_exit",
           lambda right: lambda cpu, code, next_rip: right(cpu, code, 0)),
    mutant("instruction-exit-skips", "S6-61", "exits of instructions save the next RIP", ARCHITECTURE,
           "RIP of such an exit", "execute", "instruction_exit",
           lambda right: lambda cpu, code, next_rip: (setattr(cpu.regs, "rip", next_rip), right(cpu, code, next_rip))),  # type: ignore[func-returns-value]
    mutant("exit-during-delivery-says-nothing", "S6-70", "an exit during delivery does not say of what", LOST,
           "an injected event was neither delivered nor reported", "delivery", "vmexit", first(put("vectoring", 0))),
    mutant("delivery-exit-advances-rip", "S6-61", "an exit during delivery saves the next RIP", ARCHITECTURE,
           "RIP of such an exit", "delivery", "vmexit",
           _exiting(lambda cpu: setattr(cpu.regs, "rip", cpu.regs.rip + 1))),
    mutant("vnmi-exit-keeps-mask", "S4-34", "an exit during delivery of a virtual NMI leaves V_NMI_MASK set",
           ARCHITECTURE, "V_NMI_MASK of such an exit", "vmexit", "_write_back_nmi", always(None)),
    mutant("exit-loses-virtual-gif", "S1-30 S3-30", "#VMEXIT does not write the virtual GIF", ARCHITECTURE,
           "the virtual GIF of an exit", "vmexit", "_write_back_nmi", then(put("vgif", False))),
    mutant("exit-clears-v-irq", "S1-30 S5-10", "#VMEXIT clears V_IRQ", ARCHITECTURE, "V_IRQ of an exit",
           "vmexit", "_write_back_nmi", then(put("v_irq", False))),
    mutant("exit-clears-v-tpr", "S1-30", "#VMEXIT does not write V_TPR", ARCHITECTURE, "V_TPR of an exit",
           "vmexit", "_write_back_nmi", then(put("v_tpr", 0))),
    mutant("shutdown-cannot-be-intercepted", "S6-94 S6-95", "shutdown ignores its intercept", ARCHITECTURE,
           "the processor stops where exit 7Fh had to come", "delivery", "shutdown", instead(put("stop", SHUTDOWN))),
    mutant("exit-keeps-tf-clear", "S6-59", "host RFLAGS.TF is not restored", ARCHITECTURE,
           "a #DB handler in the host had to run", "vmexit", "leave",
           then(lambda cpu: setattr(cpu.regs, "rflags", cpu.regs.rflags & ~RFLAGS_TF))),
    mutant("exit-keeps-halt", "S6-15 S6-56", "a guest's halt outlives #VMEXIT", ARCHITECTURE,
           "the host's next instruction had to be executed", "vmexit", "leave", keeps("halted")),
    mutant("exit-restores-cpl", "S6-56", "CPL is restored as it was at VMRUN and not set to 0", ARCHITECTURE,
           "", "vmexit", "leave", then(lambda cpu: setattr(cpu.regs, "cpl", cpu.hsave.cpl)),
           equivalent="VMRUN executes at CPL 0 only (S6-02)"),
)  # fmt: skip
