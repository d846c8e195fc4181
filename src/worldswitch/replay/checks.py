"""What the image cannot make, follow or report, and so refuses to compare."""

from typing import Final

from worldswitch.core import isa
from worldswitch.core.bits import (
    CR0_PE,
    CR0_PG,
    DR7_RESET,
    EFER_SVME,
    EVENT_V,
    EXIT_CR_WRITE,
    EXIT_INVALID,
    EXIT_SHUTDOWN,
    PHYSICAL_LIMIT,
    RFLAGS_TF,
)
from worldswitch.core.record import WORLD_GUEST, WORLD_SMM
from worldswitch.core.state import IDLE, INIT_RESET, LIMIT, SHUTDOWN, Cpu
from worldswitch.machine.compile import Plan
from worldswitch.machine.machine import Machine
from worldswitch.machine.run import Run
from worldswitch.replay import memory
from worldswitch.replay.assemble import UnsupportedError
from worldswitch.replay.steps import Step
from worldswitch.replay.target import Target

_USUAL_GUEST: Final = (0x8001_0033, memory.GUEST_PML4, 0x60, 0x1D01, True, False)
"""CR0, CR3, CR4, EFER, CS.L, CS.D."""


def check_start(plan: Plan, cpu: Cpu, target: Target) -> None:
    """What of the initial state the image cannot make."""
    regs, vmcb, save = cpu.regs, cpu.vmcb, cpu.vmcb.save
    if regs.cpl or save.cpl:
        raise UnsupportedError("the image's programs run at CPL 0")
    if regs.efer | EFER_SVME != save.efer | EFER_SVME and regs.efer | EFER_SVME != 0x1D01:
        raise UnsupportedError("the image's host is in 64-bit mode")
    if not regs.cr0 & CR0_PG or not regs.cs_long or not regs.cr0 & CR0_PE:
        raise UnsupportedError("the image's host is in 64-bit mode")
    if regs.dr7 != DR7_RESET or save.dr7 & 0xFFFF_FFFF != DR7_RESET:
        raise UnsupportedError("breakpoint registers are not replayed")
    if save.dr6 & 0xFFFF_FFFF != 0xFFFF_0FF0 or save.cr2 >> 47 not in (0, 0x1FFFF):
        raise UnsupportedError("an unusual DR6 or CR2")
    if regs.rflags & RFLAGS_TF or regs.rflags >> 16:
        raise UnsupportedError("the host starts in single-step or with RF")
    if not cpu.gif and not regs.efer & EFER_SVME:
        raise UnsupportedError("EFER.SVME=0 with GIF=0 is undefined (S3-36)")
    if vmcb.intercepts[EXIT_CR_WRITE]:
        raise UnsupportedError("a CR0 write intercept would catch the CLTS of the image's handlers")
    if cpu.r_init:
        raise UnsupportedError("VM_CR.R_INIT is not replayed")
    if vmcb.sev_es:
        raise UnsupportedError("SEV-ES is not replayed")
    if (vmcb.vgif_enable or vmcb.vgif) and not target.vgif:
        raise UnsupportedError(f"{target.name} has no vGIF")
    if (vmcb.v_nmi_enable or vmcb.v_nmi or vmcb.v_nmi_mask) and not target.vnmi:
        raise UnsupportedError(f"{target.name} has no vNMI")
    if save.cr3 != memory.GUEST_PML4 and not target.checks_cr3:
        raise UnsupportedError(f"{target.name} does not check CR3 at VMRUN, and shuts down")
    sets_virq = any(name == "vmcb.v_irq" for name, _ in plan.host.assignments)
    if (vmcb.v_irq or sets_virq) and target.virq_state_survives:
        raise UnsupportedError(f"{target.name} masks virtual interrupts by what earlier guests did with IF")
    for base in (vmcb.iopm_base_pa, vmcb.msrpm_base_pa):
        if 0 < base < PHYSICAL_LIMIT - 0x4000:
            raise UnsupportedError("the bitmaps have their own place in the image")
    if not 0 < vmcb.asid < target.asids and vmcb.asid:
        raise UnsupportedError(f"{target.name} has {target.asids} ASIDs")
    if "cpu.skinit" in plan.scenario.settings and cpu.skinit != target.skinit:
        raise UnsupportedError("the SKINIT feature is what the processor has")
    if not regs.efer & EFER_SVME and cpu.skinit != target.skinit:
        raise UnsupportedError("STGI without EFER.SVME depends on the SKINIT feature")
    if cpu.pend_mce:
        raise UnsupportedError("no instruction raises a machine check")


def check_run(plan: Plan, run: Run, steps: list[Step], target: Target) -> None:
    """What of the run the image cannot follow."""
    cpu = run.cpu
    if cpu.stop == LIMIT:
        raise UnsupportedError("the run does not end")
    if cpu.stop == IDLE and cpu.halted:
        raise UnsupportedError("the run ends halted for ever")
    invalid = [number for number, record in enumerate(run.recorder.exits) if record.code == EXIT_INVALID]
    if invalid and invalid[0] + 1 < len(run.recorder.entries):
        raise UnsupportedError("a VMRUN after VMEXIT_INVALID: what that wrote is undefined (S6-37)")
    if target.stops_at_shutdown and (
        cpu.stop == SHUTDOWN or any(record.code == EXIT_SHUTDOWN for record in run.recorder.exits)
    ):
        raise UnsupportedError(f"{target.name} stops at a shutdown")
    if target.noted_event_survives and any(x.exitintinfo & 0xFFFF_FFFF == EVENT_V for x in run.recorder.exits):
        raise UnsupportedError(f"{target.name} reports the event that an earlier guest noted (S10-64)")
    if cpu.stop == INIT_RESET and not target.init:
        raise UnsupportedError(f"{target.name} cannot report an INIT")
    firsts = {*plan.guest.code.handlers.values(), plan.guest.code.default_handler}
    if any(pair == ("guest.rip", "next") for pair in plan.host.assignments) and any(
        record.rip in firsts for record in run.recorder.exits
    ):
        raise UnsupportedError("software steps over an instruction where the image has more of them")
    if ("frame.rip", "next") in plan.guest.assignments and any(
        handler.world == WORLD_GUEST and plan.guest.code.ops[handler.rip] == isa.OP_NONCANONICAL
        for handler in run.recorder.handlers
    ):
        raise UnsupportedError("software steps over the fetch from a non-canonical RIP, which has no length")
    kinds = {event.kind for event in plan.scenario.events} | {
        name.partition(":")[0] for name in plan.scenario.settings.get("cpu.pending", ())
    }
    save = Machine(plan).cpu.vmcb.save
    usual = (save.cr0, save.cr3, save.cr4, save.efer, save.cs_long, save.cs_big) == _USUAL_GUEST
    if not usual and len(run.recorder.entries) > len(invalid):
        raise UnsupportedError("the image's guest is in 64-bit mode, with the usual control registers")
    vectors = {event.vector for event in plan.scenario.events if event.kind == "intr"}
    if any(vector >= memory.PROBE_VECTOR for vector in (*vectors, *Machine(plan).cpu.irr)):
        raise UnsupportedError("the image itself uses vectors 0xfe and 0xff")
    if "mce" in kinds:
        raise UnsupportedError("no instruction raises a machine check")
    if "smi" in kinds and not target.smi:
        raise UnsupportedError(f"{target.name}: SMIs are not replayed")
    if "init" in kinds and not target.init:
        raise UnsupportedError(f"{target.name}: INIT is not replayed, it resets the machine whatever GIF is")
    if run.kernel.nmi_reruns:
        raise UnsupportedError("an NMI within an NMI handler of Linux")
    if any(handler.world == WORLD_SMM and handler.guest for handler in run.recorder.handlers):
        raise UnsupportedError("the firmware's SMI handler would run under the guest's intercepts")
    for number, step in enumerate(steps):
        layout = plan.guest if step.guest else plan.host
        op = layout.code.ops[step.rip]
        if step.tf and not step.guest:
            raise UnsupportedError("single-step in the host would step through the image's own code")
        if step.recognised or step.halted:
            continue
        if (
            op == isa.OP_MOV_CR8
            and step.guest
            and target.aborts_on_cr8
            and run.plan.scenario.settings.get("vmcb.v_irq")
        ):
            raise UnsupportedError(f"{target.name} aborts where a guest writes CR8 with V_IRQ pending")
        if op == isa.OP_MOV_CR8 and target.spurious_interrupts and (step.pending or step.arrivals):
            raise UnsupportedError(
                f"{target.name}: a task priority raised over a pending INTR makes a spurious interrupt"
            )
        if op == isa.OP_ICEBP and not target.icebp:
            raise UnsupportedError(f"{target.name} has no ICEBP: the opcode is #UD")
        if op in (isa.OP_SKINIT, isa.OP_OUT_SMI, isa.OP_STORE_WATCHED, isa.OP_MOV_SS_WATCHED) and not step.guest:
            raise UnsupportedError(f"{layout.code.texts[step.rip]} is not replayed")
        if op == isa.OP_HLT and not step.guest and number + 1 < len(steps) and steps[number + 1].halted:
            following = [later for later in steps[number + 1 :] if not later.halted or later.recognised]
            if not following:
                raise UnsupportedError("the host halts for ever")
