"""The boundary between two instructions: which event must be recognised, which may be, which must not.

The order is that of S4-41, S4-42, S4-36, S4-37 and S6-112. Where implementations differ (S4-40) either is right: SMI
and INIT in any order, #MC anywhere.
"""

from typing import Final

from worldswitch.core.bits import (
    CR4_MCE,
    DR6_BS,
    DR7_GD,
    EXIT_EXCEPTION,
    EXIT_INIT,
    EXIT_INTR,
    EXIT_NMI,
    EXIT_SMI,
    EXIT_VINTR,
    RFLAGS_IF,
    SHADOW_LOADED,
    SHADOW_MOVSS,
    TYPE_EXCEPTION,
    TYPE_INTR,
    TYPE_NMI,
    VECTOR_DB,
    VECTOR_MC,
    VECTOR_NMI,
    VECTOR_SX,
    event_word,
)
from worldswitch.core.boundary import SMI_EXTERNAL, SMI_INTERNAL, SMI_NONE
from worldswitch.core.record import (
    KIND_EXCEPTION,
    KIND_INIT,
    KIND_INTR,
    KIND_MCE,
    KIND_NMI,
    KIND_SMI,
    KIND_VIRQ,
    KIND_VNMI,
    WORLD_SMM,
)
from worldswitch.core.state import INIT_RESET
from worldswitch.oracles.architecture.delivery import deliver, shut_down
from worldswitch.oracles.architecture.reference import MASK_UNSURE, UNSURE, Reference
from worldswitch.oracles.architecture.switch import vmexit

NMI_WORD: Final = event_word(TYPE_NMI, VECTOR_NMI)


class Hold:
    """Whether something holds an event: for certain (``must``), or in some implementations only; and what."""

    __slots__ = ("must", "rules", "why")

    def __init__(self, must: bool, why: str, rules: tuple[str, ...]) -> None:
        self.must: bool = must
        self.why: str = why
        self.rules: tuple[str, ...] = rules


def recognise(ref: Reference) -> bool:
    """Take the event that the run took at this boundary; False where it took none. Objects to a wrong choice."""
    cpu = ref.cpu
    if cpu.pend_mce and _machine_check_taken(ref):
        return True
    init_taken = cpu.pend_init and (ref.sees_acknowledged(KIND_INIT) or ref.sees_exit() == EXIT_INIT)
    if init_taken and _decide(ref, "init", _by_gif(ref, "S3-14"), True):  # S4-40: before a pending SMI or after it
        return _init(ref)
    if cpu.pend_smi and _decide(
        ref, "smi", _hold_smi(ref), ref.sees_acknowledged(KIND_SMI) or ref.sees_exit() == EXIT_SMI
    ):
        return _smi(ref)
    if cpu.pend_init:
        _decide(ref, "init", _by_gif(ref, "S3-14"), False)
    if cpu.debug_trap and _debug_trap(ref):
        return True
    if cpu.pend_nmi and _decide(
        ref, "nmi", _hold_nmi(ref), ref.sees_acknowledged(KIND_NMI) or ref.sees_exit() == EXIT_NMI
    ):
        return _nmi(ref)
    if cpu.guest and cpu.vmcb.v_nmi and cpu.vmcb.v_nmi_enable:
        taken = ref.sees_handler(KIND_VNMI) or ref.sees_delivery_of(NMI_WORD)
        if _decide(ref, "vnmi", _hold_virtual_nmi(ref), taken):
            return _virtual_nmi(ref)
    if cpu.irr and _decide(
        ref, "intr", _hold_intr(ref), ref.sees_acknowledged(KIND_INTR) or ref.sees_exit() == EXIT_INTR
    ):
        return _intr(ref)
    if cpu.guest and cpu.vmcb.v_irq:
        word = event_word(TYPE_INTR, cpu.vmcb.v_intr_vector)
        taken = ref.sees_handler(KIND_VIRQ) or ref.sees_exit() == EXIT_VINTR or ref.sees_delivery_of(word)
        if _decide(ref, "virq", _hold_virtual_intr(ref), taken):
            return _virtual_intr(ref)
    return False


def _decide(ref: Reference, event: str, hold: Hold | None, taken: bool) -> bool:
    """Whether the event is taken here, as the run shows; objects where that is wrong."""
    if hold is None:
        if not taken:
            ref.object(
                f"{event}-not-taken",
                f"{event} is pending, nothing holds it, and it was not recognised",
                "S5-05",
                "I-06",
            )
        return True
    if taken and hold.must:
        ref.object(f"{event}-{hold.why}", f"{event} was recognised {hold.why.replace('-', ' ')}", *hold.rules)
    return taken


def _by_gif(ref: Reference, rule: str) -> Hold | None:
    return None if ref.cpu.gif else Hold(True, "with-gif-clear", (rule, "S3-23"))


def _hold_smi(ref: Reference) -> Hold | None:
    return _by_gif(ref, "S3-13") or (Hold(False, "in-shadow", ("S2-34",)) if ref.cpu.shadow else None)


def _hold_nmi(ref: Reference) -> Hold | None:
    """GIF (S3-12) and the mask (S4-01); a shadow may hold one (S2-32, S2-59); IF does not (S4-05)."""
    held = _by_gif(ref, "S3-12")
    if held:
        return held
    if ref.nmi_mask:
        return Hold(ref.nmi_mask != MASK_UNSURE, "while-masked", ("S4-01", "S4-03"))
    return Hold(False, "in-shadow", ("S2-32", "S2-33")) if ref.cpu.shadow else None


def _hold_virtual_nmi(ref: Reference) -> Hold | None:
    """S4-31."""
    vmcb = ref.cpu.vmcb
    held = _by_gif(ref, "S4-31")
    if held:
        return held
    if vmcb.v_nmi_mask:
        return Hold(True, "while-masked", ("S4-31",))
    if vmcb.vgif_enable and not vmcb.vgif:
        return Hold(True, "with-virtual-gif-clear", ("S4-31", "S3-33"))
    return _by_shadow(ref, True, "S4-31")


def _by_shadow(ref: Reference, must: bool, *rules: str) -> Hold | None:
    if not ref.cpu.shadow:
        return None
    return Hold(must and not ref.cpu.shadow & UNSURE, "in-shadow", rules)


def _hold_intr(ref: Reference) -> Hold | None:
    """S5-05; the shadow of a guest with V_INTR_MASKING=1, or before an exit, is disputed (S2-59, S8-91)."""
    cpu = ref.cpu
    held = _by_gif(ref, "S3-10")
    if held:
        return held
    masking = cpu.guest and cpu.vmcb.v_intr_masking
    if masking and not cpu.hif:
        return Hold(True, "with-host-if-clear", ("S5-02", "S5-03"))
    if not masking and not cpu.regs.rflags & RFLAGS_IF:
        return Hold(True, "with-if-clear", ("S5-01",))
    if max(cpu.irr) >> 4 <= cpu.tpr:
        return Hold(True, "below-tpr", ("S5-05",))
    disputed = masking or (cpu.guest and cpu.vmcb.intercepts[EXIT_INTR])
    return _by_shadow(ref, not disputed, "S2-30")


def _hold_virtual_intr(ref: Reference) -> Hold | None:
    """S5-08."""
    vmcb = ref.cpu.vmcb
    held = _by_gif(ref, "S3-11")
    if held:
        return held
    if not ref.cpu.regs.rflags & RFLAGS_IF:
        return Hold(True, "with-if-clear", ("S5-08",))
    if vmcb.vgif_enable and not vmcb.vgif:
        return Hold(True, "with-virtual-gif-clear", ("S5-08", "S3-33"))
    if not vmcb.v_ign_tpr and vmcb.v_intr_prio <= vmcb.v_tpr % 16:
        return Hold(True, "below-v-tpr", ("S5-08", "S5-09"))
    return _by_shadow(ref, True, "S2-31")


def _machine_check_taken(ref: Reference) -> bool:
    """#MC: with GIF=0 held, or a shutdown (S3-15); otherwise before, between or after the others (S4-40)."""
    cpu = ref.cpu
    if not ref.sees_acknowledged(KIND_MCE):
        if cpu.gif and not (ref.sees_exit() >= 0 or _any_other_taken(ref)):
            ref.object("mce-not-taken", "a machine check is pending, nothing holds it, and it was not taken", "S2-35")
        return False
    cpu.pend_mce = False
    ref.acknowledge(KIND_MCE, VECTOR_MC)
    if cpu.guest and cpu.vmcb.intercepts[EXIT_EXCEPTION + VECTOR_MC] and cpu.gif:
        vmexit(ref, EXIT_EXCEPTION + VECTOR_MC)
    elif not cpu.gif or not cpu.regs.cr4 & CR4_MCE:
        shut_down(ref)
    else:
        deliver(ref, KIND_MCE, event_word(TYPE_EXCEPTION, VECTOR_MC), cpu.regs.rip, False)
    return True


def _any_other_taken(ref: Reference) -> bool:
    kinds = (KIND_SMI, KIND_INIT, KIND_NMI, KIND_INTR)
    return any(map(ref.sees_acknowledged, kinds)) or any(map(ref.sees_handler, (KIND_EXCEPTION, KIND_VIRQ, KIND_VNMI)))


def _smi(ref: Reference) -> bool:
    """Exit, still pending if it came from outside (S5-25); else System Management Mode and back."""
    cpu = ref.cpu
    if cpu.guest and cpu.vmcb.intercepts[EXIT_SMI]:
        external = cpu.pend_smi == SMI_EXTERNAL
        if not external:
            ref.acknowledge(KIND_SMI, 0)
            cpu.pend_smi = SMI_NONE
        vmexit(ref, EXIT_SMI, (int(external),))
        return True
    ref.acknowledge(KIND_SMI, 0)
    cpu.pend_smi = SMI_NONE
    ref.enter_handler(KIND_SMI, 0, WORLD_SMM, cpu.regs.rip, (-1,))
    return True


def _init(ref: Reference) -> bool:
    """Exit, still pending; reset; or #SX with R_INIT=1 (S5-24)."""
    cpu = ref.cpu
    if cpu.guest and cpu.vmcb.intercepts[EXIT_INIT]:
        vmexit(ref, EXIT_INIT)
        return True
    ref.acknowledge(KIND_INIT, 0)
    cpu.pend_init = False
    if not cpu.r_init:
        ref.stop(INIT_RESET)
    elif cpu.guest and cpu.vmcb.intercepts[EXIT_EXCEPTION + VECTOR_SX]:
        vmexit(ref, EXIT_EXCEPTION + VECTOR_SX, (1,))
    else:
        deliver(ref, KIND_EXCEPTION, event_word(TYPE_EXCEPTION, VECTOR_SX, 1), cpu.regs.rip, False)
    return True


def _debug_trap(ref: Reference) -> bool:
    """The trap-class #DB of the last instruction; with GIF=0 breakpoints may be dropped (S3-16), single steps not."""
    cpu = ref.cpu
    regs = cpu.regs
    if not cpu.gif and cpu.debug_trap & ~DR6_BS and ref.sees_discarded(KIND_EXCEPTION):
        ref.discard(KIND_EXCEPTION)
        cpu.debug_trap &= DR6_BS
    if not cpu.debug_trap or cpu.shadow & SHADOW_LOADED == SHADOW_MOVSS:  # S2-37, S2-39
        return False
    regs.dr6 |= cpu.debug_trap
    regs.dr7 &= ~DR7_GD
    cpu.debug_trap = 0
    if cpu.guest and cpu.vmcb.intercepts[EXIT_EXCEPTION + VECTOR_DB]:
        vmexit(ref, EXIT_EXCEPTION + VECTOR_DB)
    else:
        deliver(ref, KIND_EXCEPTION, event_word(TYPE_EXCEPTION, VECTOR_DB), regs.rip, False)
    return True


def _nmi(ref: Reference) -> bool:
    """Exit, still pending (S4-03); else vector 2 with further NMIs masked (S4-01)."""
    cpu = ref.cpu
    if cpu.guest and cpu.vmcb.intercepts[EXIT_NMI]:
        vmexit(ref, EXIT_NMI)
        return True
    ref.acknowledge(KIND_NMI, VECTOR_NMI)
    cpu.pend_nmi = False
    ref.nmi_mask = 1
    deliver(ref, KIND_NMI, NMI_WORD, cpu.regs.rip, False)
    return True


def _virtual_nmi(ref: Reference) -> bool:
    """S4-32: the bits change before the IDT is read."""
    ref.cpu.vmcb.v_nmi = False
    ref.cpu.vmcb.v_nmi_mask = True
    deliver(ref, KIND_VNMI, NMI_WORD, ref.cpu.regs.rip, False)
    return True


def _intr(ref: Reference) -> bool:
    """Exit, not acknowledged (S5-06); else acknowledged and delivered (S5-07)."""
    cpu = ref.cpu
    if cpu.guest and cpu.vmcb.intercepts[EXIT_INTR]:
        vmexit(ref, EXIT_INTR)
        return True
    vector = max(cpu.irr)
    ref.acknowledge(KIND_INTR, vector)
    cpu.irr.remove(vector)
    deliver(ref, KIND_INTR, event_word(TYPE_INTR, vector), cpu.regs.rip, False)
    return True


def _virtual_intr(ref: Reference) -> bool:
    """Exit with V_IRQ still set (S5-10); else cleared before the IDT is read (S5-11)."""
    cpu = ref.cpu
    if cpu.vmcb.intercepts[EXIT_VINTR]:
        vmexit(ref, EXIT_VINTR)
        return True
    cpu.vmcb.v_irq = False
    deliver(ref, KIND_VIRQ, event_word(TYPE_INTR, cpu.vmcb.v_intr_vector), cpu.regs.rip, False)
    return True


def latch(ref: Reference, kind: str, vector: int, internal: bool) -> None:
    """An event arrives (S1-10, S1-11); an internal SMI with GIF=0 is dropped (S3-13)."""
    cpu = ref.cpu
    if kind == "intr":
        if vector not in cpu.irr:
            cpu.irr.append(vector)
    elif kind == "nmi":
        cpu.pend_nmi = True
    elif kind == "init":
        cpu.pend_init = True
    elif kind == "mce":
        cpu.pend_mce = True
    elif not internal:
        cpu.pend_smi = SMI_EXTERNAL
    else:
        internal_smi(ref)


def internal_smi(ref: Reference) -> None:
    """I/O raises an SMI: ignored and dropped with GIF=0 (S3-13)."""
    if not ref.cpu.gif:
        ref.discard(KIND_SMI)
    elif not ref.cpu.pend_smi:
        ref.cpu.pend_smi = SMI_INTERNAL
