"""Mutants of L0's C code under nested virtualisation: re-injection, the copying of vmcb12, windows (sections 8.5 and 9)."""

from collections.abc import Callable
from typing import Final

from worldswitch.core.bits import (
    EVENT_V,
    EXIT_INTR,
    EXIT_NPF,
    RFLAGS_TF,
    TYPE_EXCEPTION,
    event_type,
)
from worldswitch.core.state import Vmcb
from worldswitch.mutants.model import NESTED, OUTSIDE, SAME, Maker, Mutant, Replacement
from worldswitch.mutants.planting import Rule, always, first, only_if, then
from worldswitch.nested import reflect
from worldswitch.nested.blocked import exits_on, interrupt_blocked
from worldswitch.nested.events import has_interrupt
from worldswitch.nested.queues import needs_reinjection
from worldswitch.nested.vcpu import Vcpu

PATH: Final = "linux-6.14"
TRANSFER: Final = "vmcb-transfer"
STUCK: Final = "stuck-event"
TWICE: Final = "double-injection"
SANITY: Final = "l1-sanity"


def _mutant(
    name: str, rule: str, about: str, oracle: str, why: str, where: str, make: Maker, *,
    equivalent: str = "", grounds: str = SAME,
) -> Mutant:  # fmt: skip
    module, _, function = where.rpartition(".")
    return Mutant(
        name, NESTED, about, tuple(rule.split()), f"nested.{where}", oracle, why, PATH,
        (Replacement(f"nested.{module}", function, make),), equivalent=equivalent, grounds=grounds,
    )  # fmt: skip


def _put(name: str, value: object) -> Callable[[Vcpu], None]:
    """A change: a field of what L0 remembers."""
    return lambda vcpu: setattr(vcpu, name, value)


def _vmcb02(name: str, value: Callable[[Vcpu], object]) -> Maker:
    """A field of vmcb02 is another after the rule."""
    return then(lambda vcpu: setattr(vcpu.vmcb02, name, value(vcpu)))


def _in_vmcb12(name: str, value: object) -> Maker:
    """Of ``reflect.copy_int_ctl``, which comes when all else is copied: a field of vmcb12 is another."""

    def make(right: Rule) -> Rule:
        def wrong(target: Vmcb, source: Vmcb) -> None:
            right(target, source)
            setattr(target, name, value)

        return wrong

    return make


def _keeping(name: str) -> Maker:
    """Of a rule that copies one VMCB's int_ctl to another: one field stays."""

    def make(right: Rule) -> Rule:
        def wrong(target: Vmcb, source: Vmcb) -> None:
            kept = getattr(target, name)
            right(target, source)
            setattr(target, name, kept)

        return wrong

    return make


def _cache_keeps(name: str) -> Maker:
    def make(right: Rule) -> Rule:
        def wrong(vcpu: Vcpu) -> None:
            kept = getattr(vcpu.cache, name)
            right(vcpu)
            setattr(vcpu.cache, name, kept)

        return wrong

    return make


def _leaks_window(vcpu: Vcpu) -> None:
    vcpu.cache.v_irq = vcpu.vmcb02.v_irq


def _forgets(vcpu: Vcpu) -> None:
    vcpu.exception.clear()
    vcpu.nmi_injected = vcpu.interrupt_injected = False


def _hard(vcpu: Vcpu) -> None:
    vcpu.interrupt_soft = False


def _other_vector(vcpu: Vcpu) -> None:
    vcpu.interrupt_nr ^= 1


def _code_lost(vcpu: Vcpu) -> None:
    vcpu.exception.error_code = -1


def _only_theirs(vcpu: Vcpu) -> None:
    if vcpu.guest_mode:
        vcpu.vmcb02.intercepts = vcpu.cache.intercepts


def _only_own(vcpu: Vcpu) -> None:
    if vcpu.guest_mode:
        vcpu.vmcb02.intercepts = vcpu.vmcb01.intercepts


def _word_without_code(right: Rule) -> Rule:
    def wrong(vcpu: Vcpu) -> int:
        word = int(right(vcpu))
        return word & 0xFFFF_F7FF if event_type(word) == TYPE_EXCEPTION else word

    return wrong


def _shadow_survives(right: Rule) -> Rule:
    """Of ``skip_instruction``: int_state stays."""

    def wrong(vcpu: Vcpu, single_step: bool = True) -> None:
        vmcb = vcpu.vmcb
        kept = vmcb.int_state
        right(vcpu, single_step)
        vmcb.int_state = kept

    return wrong


def _intr_first(right: Rule) -> Rule:
    """Of ``check_nested_events``: INTR comes before all others."""

    def wrong(vcpu: Vcpu) -> int:
        held = vcpu.nested_run_pending or needs_reinjection(vcpu) or vcpu.exception_vmexit.pending
        if not held and has_interrupt(vcpu) and exits_on(vcpu, EXIT_INTR) and not interrupt_blocked(vcpu):
            reflect.simple_vmexit(vcpu, EXIT_INTR)
            return 0
        return int(right(vcpu))

    return wrong


def _can_always(right: Rule) -> Rule:
    return lambda vcpu, can_inject: right(vcpu, True)


def _event_comes_back(vcpu: Vcpu) -> None:
    vcpu.vmcb12.eventinj = vcpu.vmcb12.exitintinfo


def _eventinj_stays(vcpu: Vcpu) -> None:
    vcpu.vmcb12.eventinj = vcpu.cache.eventinj


def _keeps_eventinj(right: Rule) -> Rule:
    """Of ``record_exit`` after a failed VMRUN."""

    def wrong(vcpu: Vcpu, synthesised: bool) -> None:
        _eventinj_stays(vcpu)
        right(vcpu, synthesised)

    return wrong


def _reports_eventinj(right: Rule) -> Rule:
    def wrong(vcpu: Vcpu, synthesised: bool) -> None:
        _event_comes_back(vcpu)
        right(vcpu, synthesised)

    return wrong


def _without_trap(right: Rule) -> Rule:
    def wrong(vcpu: Vcpu) -> None:
        save = vcpu.vmcb01.save
        trap = save.rflags & RFLAGS_TF
        save.rflags &= ~RFLAGS_TF
        right(vcpu)
        save.rflags |= trap

    return wrong


def _window_takes_v_irq(vcpu: Vcpu) -> None:
    if vcpu.guest_mode:
        vcpu.vmcb02.v_irq = False


def _intr_is_l1s(right: Rule) -> Rule:
    return lambda vcpu: bool(vcpu.cache.intercepts[EXIT_INTR]) if vcpu.vmcb02.exit_code == EXIT_INTR else right(vcpu)


def _npf_forgets(vcpu: Vcpu) -> None:
    """Before ``handle_exit``: an event whose delivery an #NPF broke off is dropped."""
    if vcpu.vmcb.exit_code == EXIT_NPF and vcpu.vmcb.exitintinfo & EVENT_V:
        _forgets(vcpu)


MUTANTS: Final = (
    # --- what was being injected
    _mutant("reinjection-forgotten", "S8-90 S9-12", "an event whose delivery was broken off is not queued again", STUCK,
            "it came, and was neither delivered nor reported", "kvm.complete_interrupts", then(_forgets)),
    _mutant("reinjection-not-requested", "S8-90", "events are not looked at again after an exit during delivery", STUCK,
            "the queued event is never injected, and the next exit clears the queue",
            "kvm.complete_interrupts", then(_put("request_event", False))),
    _mutant("queue-survives-delivery", "S8-90 S6-57", "an exit does not clear the queue of injected events", TWICE,
            "a delivered event is injected again", "queues.clear_queues", always(None)),
    _mutant("nmi-not-requeued", "S8-90", "an NMI in EXITINTINFO is not queued again", STUCK,
            "it came, and was neither delivered nor reported",
            "kvm.complete_interrupts", then(_put("nmi_injected", False))),
    _mutant("intr-not-requeued", "S8-90", "an interrupt in EXITINTINFO is not queued again", STUCK,
            "it came, and was neither delivered nor reported",
            "kvm.complete_interrupts", then(_put("interrupt_injected", False))),
    _mutant("soft-event-requeued-as-hard", "S8-90", "a soft interrupt in EXITINTINFO is queued as a hard one", TRANSFER,
            "another TYPE is injected than was broken off", "kvm.complete_interrupts", then(_hard)),
    _mutant("requeued-with-other-vector", "S8-90", "an interrupt is queued again with another vector", TRANSFER,
            "another event is injected than was broken off", "kvm.complete_interrupts", then(_other_vector)),
    _mutant("requeued-without-error-code", "S8-90", "an exception is queued again without its error code", TRANSFER,
            "another event is injected than was broken off", "kvm.complete_interrupts", then(_code_lost)),
    _mutant("second-event-injected", "S8-91 S5-18", "an interrupt is injected while another event waits to be injected again",
            STUCK, "the one that waited is overwritten", "events._interrupt", _can_always),
    _mutant("second-nmi-injected", "S8-91", "an NMI is injected while another event waits to be injected again",
            STUCK, "the one that waited is overwritten", "events._nmi", _can_always),
    _mutant("npf-of-l0-forgets-event", "S9-12", "a nested page fault that L0 handles itself drops the event", STUCK,
            "it came, and was neither delivered nor reported", "kvm.handle_exit", first(_npf_forgets)),
    # --- what L1 finds in vmcb12
    _mutant("exitintinfo-not-rebuilt", "S9-20 S9-24", "vmcb12 does not say which event's delivery was broken off",
            STUCK, "it came, and was neither delivered nor reported", "reflect.queued_word", always(0)),
    _mutant("exitintinfo-without-error-code", "S9-20", "EXITINTINFO of vmcb12 lacks the error code", TRANSFER,
            "vmcb12 differs from what the processor left", "reflect.queued_word", _word_without_code),
    _mutant("queue-survives-exit-to-l1", "S9-22", "what was reported to L1 stays queued", TWICE,
            "L1 gets L2's event", "reflect.clear_queues", always(None)),
    _mutant("int-state-not-reflected", "S9-20 S2-83", "int_state of vmcb12 is always 0 after an exit", TRANSFER,
            "vmcb12 differs from what the processor left", "reflect.copy_int_ctl", _in_vmcb12("int_state", 0)),
    _mutant("exitinfo1-not-reflected", "S9-20", "EXITINFO1 of vmcb12 is always 0 after an exit", TRANSFER,
            "vmcb12 differs from what the processor left", "reflect.copy_int_ctl", _in_vmcb12("exitinfo1", 0)),
    _mutant("exitinfo2-not-reflected", "S9-20", "EXITINFO2 of vmcb12 is always 0 after an exit", TRANSFER,
            "vmcb12 differs from what the processor left", "reflect.copy_int_ctl", _in_vmcb12("exitinfo2", 0)),
    _mutant("nrip-not-reflected", "S9-20", "the next RIP of vmcb12 is always 0 after an exit", TRANSFER,
            "vmcb12 differs from what the processor left", "reflect.copy_int_ctl", _in_vmcb12("nrip", 0)),
    _mutant("v-irq-not-reflected", "S9-20 S9-10", "V_IRQ of vmcb12 stays as L1 set it", TRANSFER,
            "vmcb12 has V_IRQ=1 after the interrupt was taken", "reflect.copy_int_ctl", _keeping("v_irq")),
    _mutant("virtual-gif-not-reflected", "S9-20 S9-10", "L2's own GIF does not come back in vmcb12", TRANSFER,
            "vmcb12 differs from what the processor left", "reflect.copy_int_ctl", _keeping("vgif")),
    _mutant("v-nmi-mask-not-reflected", "S9-20 S9-10", "V_NMI_MASK does not come back in vmcb12", TRANSFER,
            "vmcb12 differs from what the processor left", "reflect.copy_int_ctl", _keeping("v_nmi_mask")),
    _mutant("event-reflected-twice", "S9-20 S6-57", "an event broken off comes back in EVENTINJ of vmcb12, too", SANITY,
            "EVENTINJ.V=1 after an exit", "reflect.record_exit", _reports_eventinj),
    _mutant("failed-vmrun-keeps-eventinj", "S9-01 S9-20", "a VMRUN that fails its checks leaves EVENTINJ of vmcb12", SANITY,
            "EVENTINJ.V=1 after an exit", "vmrun.record_exit", _keeps_eventinj),
    # --- from L2 to L1
    _mutant("l1-resumes-with-gif-set", "S9-07 S9-21", "an exit to L1 does not clear L1's GIF", SANITY,
            "L1 goes on with GIF=1", "reflect.set_gif", always(None)),
    _mutant("l1-resumes-at-vmrun", "S9-02 S9-21", "L1 goes on at its VMRUN", TRANSFER,
            "L1's RIP is not the one after VMRUN", "vmrun.skip_instruction", always(None)),
    _mutant("l1-single-step-lost", "S9-21", "an exit to L1 raises no #DB for L1's TF", TRANSFER,
            "L1 is resumed without #DB", "reflect.leave_l2", _without_trap),
    _mutant("host-interrupts-reflected", "S9-11", "exits for the host's interrupts go to L1 if it intercepts INTR", TRANSFER,
            "exit 60h reaches L1 though none was made up for it", "kvm.belongs_to_l1", _intr_is_l1s),
    _mutant("every-exit-reflected", "S9-11", "every exit of L2 goes to L1", SANITY, "L1 does not intercept it",
            "kvm.belongs_to_l1", always(True)),
    _mutant("no-exit-reflected", "S9-11", "exits that L1 intercepts are handled by L0", TRANSFER,
            "L2 goes on after an exit that L1 intercepts", "kvm.belongs_to_l1", always(False)),
    _mutant("intr-exit-before-nmi", "S4-44 S9-13", "INTR goes to L1 before INIT, SMI and NMI", TRANSFER,
            "exit 60h while another waits that L1 intercepts", "events.check_nested_events", _intr_first),
    # --- from L1 to L2
    _mutant("int-state-not-loaded", "S9-04", "vmcb02 does not take int_state of vmcb12", TRANSFER,
            "L2 is entered with another value", "vmcb02.load_int_state", _vmcb02("int_state", lambda vcpu: 0)),
    _mutant("eventinj-not-loaded", "S9-04", "vmcb02 does not take EVENTINJ of vmcb12", STUCK,
            "L1's event was neither delivered nor reported", "vmrun.prepare_control", _vmcb02("eventinj", lambda vcpu: 0)),
    _mutant("v-irq-not-loaded", "S9-03", "vmcb02 does not take V_IRQ of vmcb12", TRANSFER,
            "L2 is entered with another value", "vmrun.prepare_control", _vmcb02("v_irq", lambda vcpu: False)),
    _mutant("v-intr-prio-not-loaded", "S9-03", "vmcb02 does not take V_INTR_PRIO of vmcb12", TRANSFER,
            "L2 is entered with another value", "vmrun.prepare_control", _vmcb02("v_intr_prio", lambda vcpu: 0)),
    _mutant("l1-v-intr-masking-loaded", "S9-03 S5-16", "vmcb02 takes V_INTR_MASKING of vmcb12", TRANSFER,
            "L2 masks the host's interrupts", "vmrun.prepare_control",
            _vmcb02("v_intr_masking", lambda vcpu: vcpu.cache.v_intr_masking)),
    _mutant("l1-intercepts-not-merged", "S9-05", "vmcb02 has L0's intercepts alone", TRANSFER,
            "vmcb02 lacks one of vmcb12's", "vmcb02.recalc_intercepts", then(_only_own)),
    _mutant("l0-intercepts-not-merged", "S9-05 S5-16", "vmcb02 has L1's intercepts alone", TRANSFER,
            "vmcb02 does not intercept INTR", "vmcb02.recalc_intercepts", then(_only_theirs)),
    _mutant("virtual-gif-not-loaded", "S9-03 S9-07", "vmcb02 always starts with the virtual GIF 0", TRANSFER,
            "L2 is entered with another value", "vmrun.prepare_save", _vmcb02("vgif", lambda vcpu: False)),
    _mutant("v-nmi-not-loaded", "S9-03", "vmcb02 does not take V_NMI of vmcb12", TRANSFER,
            "L2 is entered with another value", "vmrun.prepare_control", _vmcb02("v_nmi", lambda vcpu: False)),
    _mutant("gif-not-set-for-l2", "S9-07", "VMRUN by L1 does not set its GIF", TRANSFER,
            "L2 is entered with L1's GIF 0", "vmrun.set_gif", always(None)),
    _mutant("vmrun-needs-no-permission", "S9-01 S6-01", "L1 may execute VMRUN with EFER.SVME=0", TRANSFER,
            "L2 runs", "vmrun.permitted", always(True)),
    _mutant("vmcb12-not-checked", "S9-01 S6-31", "vmcb12 is not checked for consistency", TRANSFER,
            "L2 runs with ASID 0", "vmrun.acceptable", always(True)),
    _mutant("l1-shadow-survives-vmrun", "S9-02 S2-54", "stepping over L1's VMRUN leaves L1's shadow", TRANSFER,
            "L1 is entered in a shadow at another instruction than the one it was left at",
            "vmrun.skip_instruction", _shadow_survives),
    _mutant("shadow-survives-emulation", "S2-54 S8-93", "stepping over an emulated instruction leaves the shadow", TRANSFER,
            "the guest is entered in a shadow at another instruction than the one it was left at",
            "exits.skip_instruction", _shadow_survives),
    # --- what L0 keeps while L2 runs
    _mutant("v-irq-not-synchronised", "S9-10", "V_IRQ of vmcb02 is not copied back after a run of L2", TRANSFER,
            "vmcb12 has V_IRQ=1 after the interrupt was taken", "kvm.sync_control", _cache_keeps("v_irq")),
    _mutant("window-becomes-l1s-v-irq", "S9-10 S5-17", "L0's interrupt window is taken for L1's V_IRQ", TRANSFER,
            "vmcb12 has V_IRQ=1, which L1 never set", "kvm.sync_control", then(_leaks_window)),
    _mutant("window-takes-l1s-v-irq", "S9-10 S5-17", "closing an interrupt window does not bring L1's V_IRQ back", TRANSFER,
            "L2 is entered without L1's V_IRQ", "exits.clear_vintr", then(_window_takes_v_irq)),
    _mutant("cached-int-state-not-synchronised", "S9-10 S9-26", "int_state of vmcb02 is not copied into the cache", TRANSFER,
            "", "kvm.sync_control", _cache_keeps("int_state"), grounds=OUTSIDE,
            equivalent="only KVM_GET_NESTED_STATE reads the cached value (S9-26), and no scenario saves a vCPU"),
    # --- events for L1
    _mutant("pending-vmrun-holds-nothing", "S9-06", "an exit to L1 may come before L2 has run", STUCK,
            "L1's EVENTINJ was neither delivered nor reported",
            "vmrun.prepare_save", then(_put("nested_run_pending", False))),
    _mutant("reinjection-holds-nothing", "S9-13", "an exit to L1 may come while an event waits to be injected again", TRANSFER,
            "EXITINTINFO of an exit for an event of L1's", "events.needs_reinjection", always(False)),
    _mutant("intr-injected-with-gif-clear", "S8-91", "L1's GIF does not hold an interrupt", TRANSFER,
            "an interrupt is injected with GIF=0", "blocked.gif_set", always(True)),
    _mutant("events-injected-in-shadow", "S8-91 S4-23", "the shadow holds no event of L1's", TRANSFER,
            "an event is injected in a shadow", "blocked._shadow", always(False)),
    _mutant("intr-injected-with-if-clear", "S8-91", "IF does not hold an interrupt", TRANSFER,
            "an interrupt is injected with IF=0", "blocked.interrupt_held", only_if(lambda vcpu: False)),
    _mutant("no-nmi-window", "S4-21", "an NMI that cannot be injected opens no window", STUCK,
            "it waits, nothing blocks it, and nothing happens", "events.enable_nmi_window", always(None)),
    _mutant("halted-vcpu-not-woken", "S2-21 S4-06", "nothing ends a halt of L1's", STUCK,
            "an NMI waits, nothing blocks it, and nothing happens", "kvm.runnable", always(False)),
    _mutant("gif-opens-nothing", "S9-08", "setting GIF does not look at what waits", TRANSFER,
            "L1 is entered without an interrupt that nothing holds", "exits.set_gif",
            lambda right: lambda vcpu, value: _without_request(right, vcpu, value)),
)  # fmt: skip


def _without_request(right: Rule, vcpu: Vcpu, value: bool) -> None:
    before = vcpu.request_event
    right(vcpu, value)
    vcpu.request_event = before
