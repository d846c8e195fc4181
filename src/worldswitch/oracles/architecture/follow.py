"""The loop: a run followed from its first step to its last."""

from typing import Any, Final

from worldswitch.core import isa
from worldswitch.core.bits import DR7_L0, DR7_L1, RFLAGS_IF, RFLAGS_TF
from worldswitch.core.state import Code, Cpu
from worldswitch.kernel import calls as k
from worldswitch.machine.run import Run
from worldswitch.oracles.architecture.events import latch, recognise
from worldswitch.oracles.architecture.instructions import execute
from worldswitch.oracles.architecture.reference import (
    MASK_UNSURE,
    UNSURE,
    Fields,
    LostTrack,
    Objection,
    Reference,
)

State = tuple[int, ...]


def follow(run: Run) -> Objection | None:
    """Where the run leaves the architecture; None where it does not."""
    ref = Reference(run)
    try:
        while ref.step < run.cpu.step and not ref.stopped:
            _unrecorded(ref, ref.next_record())
            ref.step += 1
            _arrive(ref)
            if not recognise(ref):
                execute(ref)
            ref.nothing_left()
        _compare_end(ref)
    except Objection as objection:
        return objection
    except LostTrack:
        pass
    return None


def _unrecorded(ref: Reference, mark: int) -> None:
    """The steps before ``mark``, in which the run recorded nothing: no event is taken, every instruction retires."""
    cpu = ref.cpu
    on_path = ref.run.plan.path is not None  # free programs are too short and too many to remember
    while ref.step + 1 < mark:
        if on_path and not cpu.guest and _skip(ref, mark):
            continue
        ref.step += 1
        if cpu.irr or cpu.pend_nmi or cpu.pend_smi or cpu.pend_init or cpu.pend_mce or cpu.debug_trap or cpu.guest:
            recognise(ref)
        execute(ref)


def _arrive(ref: Reference) -> None:
    while ref.next_arrival < len(ref.arrivals) and ref.arrivals[ref.next_arrival][0] == ref.step:
        event = ref.run.plan.scenario.events[ref.arrivals[ref.next_arrival][1]]
        ref.next_arrival += 1
        latch(ref, event.kind, event.vector, event.origin == "internal")


def _compare_end(ref: Reference) -> None:
    """The state that the run was left in."""
    found, cpu = ref.run.cpu, ref.cpu
    ref.agree("final", FINAL, _state(found), _state(cpu))
    if not cpu.shadow & UNSURE:
        ref.same("final", "shadow", bool(found.shadow), bool(cpu.shadow), "S2-20")
    if ref.nmi_mask != MASK_UNSURE:
        ref.same("final", "nmi-mask", int(found.nmi_masked), ref.nmi_mask, "S4-01")
    if cpu.irr or found.irr:
        ref.same("final", "intr-pending", sorted(found.irr), sorted(cpu.irr), "I-06")
    if cpu.guest:
        ref.agree("final", FINAL_VMCB, _vmcb_state(found), _vmcb_state(cpu))


FINAL: Final[Fields] = (
    ("world", ("S6-10", "S6-50")), ("rip", ("S6-56",)), ("rflags", ("S6-59",)), ("cpl", ("S6-56",)),
    ("cr2", ("S6-56", "S6-90")), ("dr6", ("S1-04",)), ("dr7", ("S6-56",)), ("gif", ("S3-01", "S3-02", "S3-03")),
    ("halted", ("S6-15",)), ("tpr", ("S5-01", "S5-02")), ("nmi-pending", ("I-06",)), ("smi-pending", ("S5-25",)),
    ("init-pending", ("S5-24",)), ("mce-pending", ("S3-15",)),
)  # fmt: skip
FINAL_VMCB: Final[Fields] = (
    ("v-irq", ("S5-11",)), ("v-nmi", ("S4-32",)), ("v-nmi-mask", ("S4-32", "S4-33")), ("vgif", ("S3-31",)),
    ("v-tpr", ("S5-02",)),
)  # fmt: skip


def _state(cpu: Cpu) -> tuple[Any, ...]:
    regs = cpu.regs
    return (
        cpu.guest, regs.rip, regs.rflags, regs.cpl, regs.cr2, regs.dr6, regs.dr7, cpu.gif, cpu.halted, cpu.tpr,
        cpu.pend_nmi, cpu.pend_smi, cpu.pend_init, cpu.pend_mce,
    )  # fmt: skip


def _vmcb_state(cpu: Cpu) -> tuple[Any, ...]:
    vmcb = cpu.vmcb
    return (vmcb.v_irq, vmcb.v_nmi, vmcb.v_nmi_mask, vmcb.vgif, vmcb.v_tpr)


# Host code between two VMRUNs does the same every time, and with nothing pending that could be taken it is not looked
# at again: each stretch is followed once and then skipped.

_ENDS: Final = frozenset(
    {isa.OP_VMRUN, isa.OP_SET, isa.OP_END, isa.OP_SPIN, k.K_EXCEPTION, k.K_EXC_NMI_BEGIN, k.K_EXC_NMI_END}
)
_CODES: Final = 64
_known: dict[int, tuple[Code, dict[State, "Stretch"]]] = {}  # by identity of the code, which it holds on to


class Stretch:
    """Where a stretch of host code ends, in which state, and whether an event could have been taken in it."""

    __slots__ = ("gif", "gif_set", "intr_open", "nmi_mask", "rflags", "rip", "shadow", "steps", "tpr")

    def __init__(self, ref: Reference, steps: int, gif_set: bool, intr_open: bool) -> None:
        cpu = ref.cpu
        self.steps: int = steps
        self.rip: int = cpu.regs.rip
        self.rflags: int = cpu.regs.rflags
        self.gif: bool = cpu.gif
        self.shadow: int = cpu.shadow
        self.nmi_mask: int = ref.nmi_mask
        self.tpr: int = cpu.tpr
        self.gif_set: bool = gif_set  # at some boundary GIF=1 ...
        self.intr_open: bool = intr_open  # ... and IF=1 too


def _skip(ref: Reference, mark: int) -> bool:
    """Advance over a stretch in which nothing is recorded and nothing can be taken; False where there is none."""
    cpu, regs = ref.cpu, ref.cpu.regs
    if (
        cpu.debug_trap or cpu.halted or cpu.host_world.frames or regs.rflags & RFLAGS_TF or regs.dr7 & (DR7_L0 | DR7_L1)
        or cpu.host_world.code.ops[regs.rip] in _ENDS
    ):  # fmt: skip
        return False
    code = cpu.host_world.code
    entry = _known.get(id(code))
    if entry is None:
        if len(_known) >= _CODES:
            _known.clear()
        entry = _known[id(code)] = (code, {})
    key = (
        regs.rip, regs.rflags, int(cpu.gif), cpu.shadow, ref.nmi_mask, regs.efer, regs.cr0, regs.cpl, regs.rax,
        cpu.tpr, int(cpu.skinit),
    )  # fmt: skip
    stretch = entry[1].get(key)
    if stretch is None:
        return _first_time(ref, mark, entry[1], key)
    if ref.step + stretch.steps >= mark or not _held(ref, stretch.gif_set, stretch.intr_open):
        return False
    ref.step += stretch.steps
    regs.rip, regs.rflags = stretch.rip, stretch.rflags
    cpu.gif, cpu.shadow, ref.nmi_mask, cpu.tpr = stretch.gif, stretch.shadow, stretch.nmi_mask, stretch.tpr
    return True


def _held(ref: Reference, gif_set: bool, intr_open: bool) -> bool:
    """Whether nothing that is pending could be taken."""
    cpu = ref.cpu
    if gif_set and (cpu.pend_nmi or cpu.pend_smi or cpu.pend_init or cpu.pend_mce):
        return False
    return not (intr_open and cpu.irr)


def _first_time(ref: Reference, mark: int, known: dict[State, Stretch], key: State) -> bool:
    """Follow a stretch and remember it if it comes to its end undisturbed."""
    cpu, regs = ref.cpu, ref.cpu.regs
    ops = cpu.host_world.code.ops
    start = ref.step
    gif_set = intr_open = False
    while ref.step + 1 < mark and ops[regs.rip] not in _ENDS:
        gif_set |= cpu.gif
        intr_open |= cpu.gif and bool(regs.rflags & RFLAGS_IF)
        if not _held(ref, gif_set, intr_open):
            return ref.step > start
        ref.step += 1
        execute(ref)
        if cpu.debug_trap or cpu.halted or cpu.host_world.frames:
            return True
    if ops[regs.rip] in _ENDS:
        known[key] = Stretch(ref, ref.step - start, gif_set, intr_open)
    return ref.step > start
