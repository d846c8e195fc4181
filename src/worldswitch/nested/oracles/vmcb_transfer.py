"""``vmcb-transfer``: what L0 carries between vmcb12, vmcb02 and its queues is what it must be (S9-01 to S9-22, S8-90).

A second reading of the facts. It follows L1's VMRUNs, the executions of the path and the exits to L1 in their order,
and compares what each of them says with what the one before it left. It shares data types with the model of L0 and none
of its functions. Where Xen is another L0 than KVM (S9-30), only what both do is judged.

=============================  ====================================================================
``entry-FIELD``                L2 is entered with another value than vmcb12 has, or than L0 must choose (S9-03, S9-04)
``vmrun-not-permitted``        L2 is entered although L1 may not execute VMRUN (S9-01)
``vmrun-inconsistent``         L2 is entered although ASID is 0 (S6-31, S9-01)
``exit-FIELD``                 vmcb12 has another value after an exit than the processor left (S9-20)
``exit-not-reflected``         an exit that L1 intercepts did not reach it (S9-11)
``host-event-reflected``       an interrupt or NMI of the host went to L1 (S9-11)
``exit-out-of-order``          an exit to L1 for one event while another comes first (S4-44)
``resumed-elsewhere``          L1 goes on at another instruction than the one after its VMRUN (S9-02)
``no-single-step-trap``        L1's TF raised no #DB after the exit (S9-21)
``shadow-after-skip``          L0 stepped over an instruction and left its shadow (S2-54, S8-93)
``injected-again-otherwise``   an event whose delivery L0's own page tables broke off comes back as another (S9-12)
``exit-while-injecting``       an exit to L1 for an event of L1's while one of L2's is under injection (S9-13)
``not-injected``               L1 is entered without the interrupt that waits, though nothing holds it (S8-91)
``injected-with-gif-clear``    L0 injects an event of L1's that L1's GIF holds (S8-91, S4-24)
``injected-with-if-clear``     ... that IF holds (S8-91)
``injected-in-shadow``         ... that the shadow holds (S8-91, S4-23)
=============================  ====================================================================
"""

from collections.abc import Iterator
from typing import Final

from worldswitch.core.bits import (
    EVENT_RESERVED,
    EVENT_V,
    EXIT_CLGI,
    EXIT_EXCEPTION,
    EXIT_INIT,
    EXIT_INTR,
    EXIT_INVALID,
    EXIT_NMI,
    EXIT_NPF,
    EXIT_SMI,
    EXIT_STGI,
    EXIT_VINTR,
    INTERCEPT_BITS,
    RFLAGS_IF,
    RFLAGS_RF,
    RFLAGS_TF,
    TYPE_EXCEPTION,
    TYPE_INTR,
    TYPE_NMI,
    TYPE_SOFT,
    VECTOR_AC,
    VECTOR_BP,
    VECTOR_DB,
    VECTOR_MC,
    VECTOR_OF,
    VECTOR_UD,
    event_type,
)
from worldswitch.core.names import event_name, exit_name
from worldswitch.core.record import Exit
from worldswitch.nested.record import VMCB01, VMCB02, Asked, Control, Decided, NestedExit, Ran, Wrote
from worldswitch.nested.run import NestedRun
from worldswitch.oracles.finding import Finding

NAME: Final = "vmcb-transfer"

OWN_EXCEPTIONS: Final = tuple(EXIT_EXCEPTION + vector for vector in (VECTOR_DB, VECTOR_UD, VECTOR_AC, VECTOR_MC))
"""What KVM intercepts for itself, and may hand on to L1 as an exception (S9-11)."""

STEPPED: Final = RFLAGS_TF | RFLAGS_RF
"""Bits of RFLAGS that L0 sets for a single step of its own (S4-21)."""

WINDOW: Final = (0xF, 0)
"""Priority and vector of the V_IRQ that is L0's interrupt window (S5-17)."""

EVENT_EXITS: Final = (EXIT_INTR, EXIT_NMI, EXIT_SMI, EXIT_INIT)

SOFT_EXCEPTIONS: Final = (VECTOR_BP, VECTOR_OF)

COPIED: Final = ("code", "exitinfo1", "exitinfo2", "int_state", "rip", "nrip", "cr2", "v_tpr")
"""What vmcb12 has of the processor's exit, unchanged (S9-20)."""

Objection = tuple[str, str, int, str, tuple[str, ...]]
"""cause, place, step, message, rules"""


def judge(run: NestedRun) -> list[Finding]:
    """One finding for each cause and place, the first."""
    return [
        Finding(NAME, cause, place, message, (step,), rules, "L0")
        for cause, place, step, message, rules in _Follower(run).follow()
    ]


def same_event(word: int, other: int) -> bool:
    """Two words for one event: an NMI's vector, reserved bits, and a code without EV do not count."""
    return _plain(word) == _plain(other)


def _plain(word: int) -> int:
    if not word & EVENT_V:
        return 0
    if event_type(word) == TYPE_NMI:
        return EVENT_V | TYPE_NMI << 8
    word &= ~EVENT_RESERVED
    return word if word >> 11 & 1 else word & 0xFFFF_FFFF


class _Follower:
    """What is known of L1 and of each VMCB at this point of the run."""

    def __init__(self, run: NestedRun) -> None:
        self.run = run
        self.nested = run.nested
        self.kvm = run.nested.flavour == "kvm"
        self.asked: Asked | None = None
        self.pending = False  # L1's VMRUN has not been executed by the processor yet
        self.gif = True  # L1's
        self.after: Asked | None = None  # L1 was resumed after this VMRUN, and has not run yet
        self.last: dict[str, Exit] = {}  # the last exit of each VMCB, while L0 handles it
        self.int_state: dict[str, int] = {}  # what each VMCB has
        self.v_irq = False  # L1's own V_IRQ for L2
        self.decided: Decided | None = None  # what L0 has just decided for the next entry

    def follow(self) -> Iterator[Objection]:
        """Item by item."""
        for item in self.run.journal.items:
            if isinstance(item, Asked):
                self.asked, self.pending = item, True
                self.v_irq = item.control.v_irq
                self.last.pop(VMCB02, None)
            elif isinstance(item, Wrote):
                self.int_state[item.vmcb] = item.value
            elif isinstance(item, NestedExit):
                yield from self._reflected(item)
            elif isinstance(item, Decided):
                self.decided = item
            elif isinstance(item, Ran):
                yield from self._ran(item)

    # --- VMRUN of the processor

    def _ran(self, ran: Ran) -> Iterator[Objection]:
        before = self.last.pop(ran.vmcb, None)
        if ran.vmcb == VMCB02 and self.asked is not None:
            if self.pending:
                yield from self._entered(ran, self.asked)
            elif before is not None and self._is_for_l1(before, self.asked):
                message = f"L1 intercepts {exit_name(before.code)}, and L2 goes on"
                yield "exit-not-reflected", "vmcb12", before.step, message, ("S9-11",)
            yield from self._own_v_irq(ran, self.asked)
            self.pending = False
        elif self.after is not None:
            yield from self._resumed(ran, self.after)
            self.after = None
        if before is not None:
            yield from self._again(ran, before)
        yield from self._injected(ran, before)
        yield from self._passed_over(ran)
        if ran.exit is not None:
            self.last[ran.vmcb] = ran.exit
            self.int_state[ran.vmcb] = ran.exit.int_state
            if ran.vmcb == VMCB02 and self.asked is not None and not self._window(ran.control, self.asked):
                self.v_irq = ran.exit.v_irq

    def _entered(self, ran: Ran, asked: Asked) -> Iterator[Objection]:
        """vmcb02 against vmcb12, at the first entry after L1's VMRUN."""
        step, control, wanted = ran.entry.step, ran.control, asked.control
        if not asked.permitted:
            yield "vmrun-not-permitted", VMCB02, step, "L2 runs although L1 may not execute VMRUN", ("S9-01",)
            return
        if wanted.asid == 0:
            yield "vmrun-inconsistent", VMCB02, step, "L2 runs although vmcb12 has ASID 0", ("S6-31", "S9-01")
            return
        pairs: list[tuple[str, object, object, str]] = [
            ("v_intr_masking", control.v_intr_masking, True, "S9-03"),
            ("rip", ran.entry.rip, asked.rip, "S9-01"),
        ]
        if self.kvm:  # Xen may have injected an event of L1's already (S9-30)
            pairs += [
                ("eventinj", _plain(ran.entry.eventinj), _plain(asked.eventinj), "S9-04"),
                ("int_state", ran.entry.int_state & 1, asked.int_state & 1, "S9-04"),
            ]
        vnmi = self.nested.vnmi and wanted.v_nmi_enable
        own_vgif = self._l2_has_gif(asked)
        pairs += [
            ("v_tpr", control.v_tpr, wanted.v_tpr, "S9-03"),
            ("v_nmi_enable", control.v_nmi_enable, vnmi, "S9-03"),
            ("v_nmi", control.v_nmi, vnmi and wanted.v_nmi, "S9-03"),
            ("v_nmi_mask", control.v_nmi_mask, vnmi and wanted.v_nmi_mask, "S9-03"),
        ]
        if self.nested.vgif:
            pairs.append(("vgif", control.vgif, wanted.vgif if own_vgif else True, "S9-03" if own_vgif else "S9-07"))
        for name, found, right, rule in pairs:
            if found != right:
                yield _differs("entry", name, VMCB02, step, found, right, rule)
        missing = [code for code in range(INTERCEPT_BITS) if wanted.intercepts[code] and not control.intercepts[code]]
        if missing or not control.intercepts[EXIT_INTR]:
            name = exit_name(missing[0] if missing else EXIT_INTR)
            yield "entry-intercepts", VMCB02, step, f"vmcb02 does not intercept {name}", ("S9-05", "S5-16")
        self.gif = True  # S9-07

    def _own_v_irq(self, ran: Ran, asked: Asked) -> Iterator[Objection]:
        """V_IRQ is L1's own unless it is L0's window (S9-03, S9-10)."""
        control, wanted = ran.control, asked.control
        if self._window(control, asked):
            return
        for name, found, right in (
            ("v_irq", control.v_irq, self.v_irq),
            ("v_intr_prio", control.v_intr_prio, wanted.v_intr_prio),
            ("v_ign_tpr", control.v_ign_tpr, wanted.v_ign_tpr),
            ("v_intr_vector", control.v_intr_vector, wanted.v_intr_vector),
        ):
            if found != right:
                yield _differs("entry", name, VMCB02, ran.entry.step, found, right, "S9-03")

    def _window(self, control: Control, asked: Asked) -> bool:
        own = (asked.control.v_intr_prio, asked.control.v_intr_vector)
        armed = control.v_irq and (control.v_intr_prio, control.v_intr_vector) == WINDOW
        return bool(armed and own != WINDOW and control.intercepts[EXIT_VINTR])

    def _l2_has_gif(self, asked: Asked) -> bool:
        return self.nested.vgif and asked.control.vgif_enable

    def _resumed(self, ran: Ran, asked: Asked) -> Iterator[Objection]:
        """L1 runs for the first time since the exit (S9-21)."""
        entry = ran.entry
        if entry.rip != asked.l1_rip + 1:
            message = f"L1 goes on at {entry.rip} and not at {asked.l1_rip + 1}, after its VMRUN"
            yield "resumed-elsewhere", VMCB01, entry.step, message, ("S9-02", "S9-21")
        word = entry.eventinj
        trapped = word & EVENT_V and event_type(word) == TYPE_EXCEPTION and word & 0xFF == VECTOR_DB
        if asked.l1_rflags & RFLAGS_TF and not trapped:
            yield "no-single-step-trap", VMCB01, entry.step, "L1's TF raises no #DB after the exit", ("S9-21",)

    def _again(self, ran: Ran, before: Exit) -> Iterator[Objection]:
        """The same VMCB again, after an exit that L0 handled itself."""
        entry = ran.entry
        if entry.rip != before.rip and entry.int_state & 1:
            message = "L0 stepped over an instruction, and the guest is still in its shadow"
            yield "shadow-after-skip", ran.vmcb, entry.step, message, ("S2-54", "S8-93")
        word = before.exitintinfo
        if before.code == EXIT_NPF and word & EVENT_V and not same_event(word, entry.eventinj):
            message = f"{event_name(word)} was broken off by an #NPF of L0's, and {event_name(entry.eventinj)} follows"
            yield "injected-again-otherwise", ran.vmcb, entry.step, message, ("S9-12", "S8-90")
        if before.code in (EXIT_STGI, EXIT_CLGI) and entry.rip != before.rip:
            self.gif = before.code == EXIT_STGI

    def _injected(self, ran: Ran, before: Exit | None) -> Iterator[Objection]:
        """An event for L1 that L0 injects, and that is neither L1's own for L2 nor injected again (S8-91, S4-24)."""
        word, control, entry = ran.entry.eventinj, ran.control, ran.entry
        if not word & EVENT_V or event_type(word) not in (TYPE_INTR, TYPE_NMI):
            return
        if before is not None and before.exitintinfo & EVENT_V:
            return
        asked = self.asked
        if ran.vmcb == VMCB02:
            if asked is None or same_event(word, asked.eventinj):
                return
            gif = self.gif if self._l2_has_gif(asked) or not self.nested.vgif else control.vgif
        else:
            gif = control.vgif if self.nested.vgif else self.gif
        text = f"L0 injects {event_name(word)} into {'L2' if ran.level == 2 else 'L1'} "
        if not gif:
            yield "injected-with-gif-clear", ran.vmcb, entry.step, text + "with L1's GIF=0", ("S8-91", "S4-24")
        masked_by_l1 = ran.vmcb == VMCB02 and asked is not None and asked.control.v_intr_masking
        if event_type(word) == TYPE_INTR and not control.rflags & RFLAGS_IF and not masked_by_l1:
            yield "injected-with-if-clear", ran.vmcb, entry.step, text + "with IF=0", ("S8-91",)
        if entry.int_state & 1:
            yield "injected-in-shadow", ran.vmcb, entry.step, text + "in a shadow", ("S8-91", "S4-23")

    def _passed_over(self, ran: Ran) -> Iterator[Objection]:
        """L1 is entered without an event, no window is armed, and nothing forces an exit (S8-91, S5-17, S9-06)."""
        decided, control, entry = self.decided, ran.control, ran.entry
        if decided is None or ran.vmcb != VMCB01 or decided.forced or not decided.intr or control.v_irq:
            return
        held = entry.eventinj & EVENT_V or entry.int_state & 1 or not control.rflags & RFLAGS_IF
        if not held and (control.vgif if self.nested.vgif else self.gif):
            message = "an interrupt waits, nothing holds it, and L1 is entered without it"
            yield "not-injected", VMCB01, entry.step, message, ("S8-91", "S9-08")

    # --- exits to L1

    def _is_for_l1(self, record: Exit, asked: Asked) -> bool:
        """Whether an exit of L2 has to reach L1 whatever else is so."""
        code = record.code
        if code in (EXIT_INTR, EXIT_NMI, EXIT_NPF) or code in OWN_EXCEPTIONS or code >= INTERCEPT_BITS:
            return code == EXIT_INVALID
        return bool(asked.control.intercepts[code])

    def _reflected(self, record: NestedExit) -> Iterator[Objection]:
        asked, before = self.asked, self.last.pop(VMCB02, None)
        self.gif = False  # S9-07
        if asked is None:
            return
        self.after, self.asked = asked, None
        if record.code == EXIT_INVALID:
            return
        step = record.step
        if record.synthesised:
            if self.kvm and record.code in EVENT_EXITS and record.exitintinfo & EVENT_V:
                message = (
                    f"exit {exit_name(record.code)} to L1 while {event_name(record.exitintinfo)} is under injection"
                )
                yield "exit-while-injecting", "vmcb12", step, message, ("S9-13", "I-03")
            first = next((code for code in record.waiting if asked.control.intercepts[code]), record.code)
            if record.code in record.waiting and first != record.code:
                message = f"exit {exit_name(record.code)} to L1, and {exit_name(first)} comes first"
                yield "exit-out-of-order", "vmcb12", step, message, ("S4-44",)
        elif before is not None:
            if record.code in (EXIT_INTR, EXIT_NMI):
                message = f"{exit_name(record.code)} of the host's reached L1"
                yield "host-event-reflected", "vmcb12", step, message, ("S9-11",)
            for name in COPIED:
                found, right = getattr(record, name), getattr(before, name)
                if name == "nrip" and (not self.nested.nrips or _is_soft(before.exitintinfo)):
                    continue  # L0 gives back what a soft event was injected with, which the exit cleared (S1-72)
                if found != right:
                    yield _differs("exit", name, "vmcb12", step, found, right, "S9-20")
            if (record.rflags ^ before.rflags) & ~STEPPED:
                yield _differs("exit", "rflags", "vmcb12", step, record.rflags, before.rflags, "S9-20")
            if not same_event(record.exitintinfo, before.exitintinfo):
                found_name, right_name = event_name(record.exitintinfo), event_name(before.exitintinfo)
                yield _differs("exit", "exitintinfo", "vmcb12", step, found_name, right_name, "S9-20")
            yield from self._int_ctl(record, before, asked)
        if record.v_irq != self.v_irq:
            yield _differs("exit", "v_irq", "vmcb12", step, record.v_irq, self.v_irq, "S9-10")

    def _int_ctl(self, record: NestedExit, before: Exit, asked: Asked) -> Iterator[Objection]:
        names = ["vgif"] if self._l2_has_gif(asked) else []
        names += ["v_nmi", "v_nmi_mask"] if self.nested.vnmi and asked.control.v_nmi_enable else []
        for name in names:
            found, right = getattr(record, name), getattr(before, name)
            if found != right:
                yield _differs("exit", name, "vmcb12", record.step, found, right, "S9-10")


def _is_soft(word: int) -> bool:
    kind = event_type(word)
    return bool(word & EVENT_V) and (kind == TYPE_SOFT or (kind == TYPE_EXCEPTION and word & 0xFF in SOFT_EXCEPTIONS))


def _differs(side: str, name: str, vmcb: str, step: int, found: object, right: object, rule: str) -> Objection:
    message = f"{vmcb}: {name} is {found} and not {right}"
    return f"{side}-{name.replace('_', '-')}", vmcb, step, message, (rule,)
