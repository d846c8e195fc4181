"""KVM's functions for a nested guest, one by one, on a vCPU that no run has touched."""

import pytest

from worldswitch.core.bits import (
    EXIT_INTR,
    EXIT_IRET,
    EXIT_NMI,
    EXIT_NPF,
    EXIT_STGI,
    EXIT_VINTR,
    EXIT_VMMCALL,
    RFLAGS_IF,
    RFLAGS_RF,
    RFLAGS_TF,
    TYPE_INTR,
    event_word,
)
from worldswitch.core.state import Vmcb
from worldswitch.machine.compile import compile_scenario
from worldswitch.nested.blocked import EBUSY, interrupt_blocked, nmi_blocked, nmi_held
from worldswitch.nested.compile import NestedPlan
from worldswitch.nested.events import check_and_inject, check_nested_events
from worldswitch.nested.l1 import violates_s9_27
from worldswitch.nested.machine import NestedMachine
from worldswitch.nested.memory import Memory
from worldswitch.nested.record import Query
from worldswitch.nested.reflect import nested_vmexit
from worldswitch.nested.skip import skip_instruction
from worldswitch.nested.vcpu import Vcpu, with_intercept
from worldswitch.nested.vmcb02 import sync_control
from worldswitch.nested.windows import clear_vintr, enable_nmi_window, set_gif, set_vintr
from worldswitch.scenario.read import read_text

INTR_68 = event_word(TYPE_INTR, 0x68)


def vcpu_of(text: str = "", l2: bool = False) -> Vcpu:
    """A vCPU of KVM; with ``l2`` as if L1 had executed VMRUN and L2 had run."""
    plan = compile_scenario(read_text(f'format = 1\n[l0]\npath = "linux-6.14"\n{text}'))
    assert isinstance(plan, NestedPlan)
    machine = NestedMachine(plan)
    vcpu = Vcpu(machine, plan.nested, Memory(plan.nested, machine.worlds))
    machine.vcpu = vcpu
    vcpu.guest_mode = l2
    set_gif(vcpu, True)
    vcpu.request_event = False
    for vmcb in (vcpu.vmcb01, vcpu.vmcb02, vcpu.cache):
        vmcb.save.rflags |= RFLAGS_IF
    return vcpu


def l1_intercepts(vcpu: Vcpu, *codes: int) -> None:
    for code in codes:
        vcpu.cache.intercepts = with_intercept(vcpu.cache.intercepts, code, True)


def test_kvm_masks_interrupts_by_its_own_if_and_intercepts_them() -> None:
    """S5-16."""
    vmcb = vcpu_of().vmcb01
    assert vmcb.v_intr_masking
    assert vmcb.intercepts[EXIT_INTR]


def test_nmi_window_of_a_masked_guest_is_a_single_step() -> None:
    """S4-21: with TF and RF set until IRET has retired."""
    vcpu = vcpu_of()
    vcpu.nmi_masked = vcpu.awaiting_iret = True
    enable_nmi_window(vcpu)
    assert vcpu.nmi_singlestep
    assert vcpu.vmcb01.save.rflags & (RFLAGS_TF | RFLAGS_RF) == RFLAGS_TF | RFLAGS_RF


def test_nmi_window_waits_while_the_iret_intercept_is_armed() -> None:
    """S4-21."""
    vcpu = vcpu_of()
    vcpu.nmi_masked = True
    enable_nmi_window(vcpu)
    assert not vcpu.nmi_singlestep
    assert not vcpu.vmcb01.intercepts[EXIT_STGI]


@pytest.mark.parametrize("vgif", [True, False])
def test_nmi_window_with_gif_clear_is_the_stgi_intercept(vgif: bool) -> None:
    """S4-21: with vGIF it has to be set; without, it always is."""
    vcpu = vcpu_of() if vgif else vcpu_of("vgif = false\n")
    set_gif(vcpu, False)
    assert bool(vcpu.vmcb01.intercepts[EXIT_STGI]) is not vgif
    enable_nmi_window(vcpu)
    assert vcpu.vmcb01.intercepts[EXIT_STGI]
    assert not vcpu.nmi_singlestep


def test_what_holds_an_nmi_in_order() -> None:
    """S4-24: GIF; an NMI that L1 intercepts is not held at all; the NMI mask; the shadow."""
    vcpu = vcpu_of()
    assert (nmi_held(vcpu, False), nmi_held(vcpu, True)) == (False, True)
    vcpu.nmi_masked = True
    assert nmi_held(vcpu, False)
    vcpu.guest_mode = True
    set_gif(vcpu, True)
    assert nmi_held(vcpu, False)
    l1_intercepts(vcpu, EXIT_NMI)
    assert not nmi_held(vcpu, True)
    set_gif(vcpu, False)
    assert nmi_held(vcpu, False)


def test_skipping_an_instruction_clears_int_state() -> None:
    """S8-93."""
    vcpu = vcpu_of()
    vcpu.vmcb01.int_state = 1
    before = vcpu.vmcb01.save.rip
    skip_instruction(vcpu)
    assert (vcpu.vmcb01.int_state, vcpu.vmcb01.save.rip) == (0, before + 1)


@pytest.mark.parametrize("pending", ["irr", "nmi_pending", "smi_pending", "init_pending", ""])
def test_setting_gif_looks_at_what_waits_again(pending: str) -> None:
    """S9-08: and the STGI intercept and the dummy V_IRQ go."""
    vcpu = vcpu_of()
    set_gif(vcpu, False)
    enable_nmi_window(vcpu)
    set_vintr(vcpu)
    assert vcpu.vmcb01.v_irq
    if pending:
        setattr(vcpu, pending, {"irr": [0x31], "nmi_pending": 1}.get(pending, True))
    set_gif(vcpu, True)
    assert vcpu.request_event is bool(pending)
    assert not vcpu.vmcb01.intercepts[EXIT_STGI]
    assert not vcpu.vmcb01.intercepts[EXIT_VINTR]
    assert not vcpu.vmcb01.v_irq


def test_what_a_run_of_l2_left_is_copied_into_the_cached_vmcb12() -> None:
    """S9-10."""
    vcpu = vcpu_of(l2=True)
    vmcb02 = vcpu.vmcb02
    vmcb02.eventinj, vmcb02.int_state, vmcb02.v_irq, vmcb02.v_tpr = 0x31, 1, True, 5
    sync_control(vcpu)
    cache = vcpu.cache
    assert (cache.eventinj, cache.int_state, cache.v_irq, cache.v_tpr) == (0x31, 1, True, 5)


def test_v_irq_of_an_interrupt_window_is_not_l1s() -> None:
    """S9-10: while L0 uses V_IRQ itself it is not copied, and L1's own takes its place again."""
    vcpu = vcpu_of(l2=True)
    vcpu.vmcb02.intercepts = with_intercept(vcpu.vmcb02.intercepts, EXIT_VINTR, True)
    set_vintr(vcpu)
    vcpu.vmcb02.v_irq = True
    sync_control(vcpu)
    assert not vcpu.cache.v_irq
    clear_vintr(vcpu)
    assert not vcpu.vmcb02.v_irq


@pytest.mark.parametrize(("waiting", "code"), [("nmi_pending", EXIT_NMI), ("irr", EXIT_INTR)])
@pytest.mark.parametrize("block", ["nested_run_pending", "interrupt_injected", ""])
def test_a_pending_vmrun_and_a_pending_injection_block_events_for_l1(block: str, waiting: str, code: int) -> None:
    """S9-13."""
    vcpu = vcpu_of(l2=True)
    l1_intercepts(vcpu, EXIT_INTR, EXIT_NMI)
    setattr(vcpu, waiting, [0x31] if waiting == "irr" else 1)
    if block:
        setattr(vcpu, block, True)
    assert check_nested_events(vcpu) == (EBUSY if block else 0)
    assert [x.code for x in vcpu.journal.exits] == ([] if block else [code])


@pytest.mark.parametrize("pending", [True, False])
def test_an_exception_for_l1_is_blocked_by_a_pending_vmrun_alone(pending: bool) -> None:
    """S9-13, its correction: not by the need to inject an event again."""
    vcpu = vcpu_of(l2=True)
    vcpu.interrupt_injected = True
    vcpu.nested_run_pending = pending
    vcpu.exception_vmexit.pending = True
    vcpu.exception_vmexit.vector = 6
    assert check_nested_events(vcpu) == (EBUSY if pending else 0)
    assert [x.code for x in vcpu.journal.exits] == ([] if pending else [0x46])


def test_queued_events_are_dropped_once_l1_has_been_told() -> None:
    """S9-22: and EXITINTINFO of vmcb01 is cleared."""
    vcpu = vcpu_of(l2=True)
    vcpu.interrupt_injected, vcpu.interrupt_nr = True, 0x68
    vcpu.vmcb02.exit_code = EXIT_NPF
    vcpu.vmcb01.exitintinfo = INTR_68
    nested_vmexit(vcpu)
    assert vcpu.vmcb12.exitintinfo == INTR_68
    assert not vcpu.interrupt_injected
    assert vcpu.vmcb01.exitintinfo == 0


@pytest.mark.parametrize("int_state", [0, 1])
def test_int_state_reaches_l1_as_it_is(int_state: int) -> None:
    """S2-83: from vmcb02 to vmcb12."""
    vcpu = vcpu_of(l2=True)
    vcpu.vmcb02.exit_code = EXIT_VMMCALL
    vcpu.vmcb02.int_state = int_state
    nested_vmexit(vcpu)
    assert vcpu.vmcb12.int_state == int_state


@pytest.mark.parametrize(
    ("int_state", "exitintinfo", "violated"),
    [(1, INTR_68, True), (0, INTR_68, False), (1, 0, False), (1, INTR_68 | 3 << 8, False)],
)
def test_vmwares_assertion(int_state: int, exitintinfo: int, violated: bool) -> None:
    """S2-84: a shadow and an external interrupt under delivery do not go together."""
    vmcb = Vmcb()
    vmcb.int_state, vmcb.exitintinfo = int_state, exitintinfo
    assert violates_s9_27(vmcb) is violated


@pytest.mark.parametrize("injected", [True, False])
def test_a_shadow_bit_makes_kvm_believe_interrupts_and_nmis_blocked(injected: bool) -> None:
    """S8-92: with a bled bit there is an event to be injected again, so that nothing else could be injected anyway."""
    vcpu = vcpu_of()
    vcpu.vmcb01.int_state = 1
    vcpu.interrupt_injected = injected
    assert interrupt_blocked(vcpu)
    assert nmi_blocked(vcpu)
    queries = [item for item in vcpu.journal.items if isinstance(item, Query)]
    assert [(q.what, q.blocked, q.without_shadow, q.occupied) for q in queries] == [
        ("intr", True, False, injected),
        ("nmi", True, False, injected),
    ]


def test_the_iret_intercept_of_an_injected_nmi_is_what_opens_the_window() -> None:
    """S4-21, S4-20: before that nothing is single-stepped."""
    vcpu = vcpu_of()
    vcpu.nmi_pending = 1
    check_and_inject(vcpu)
    assert vcpu.nmi_masked
    assert vcpu.vmcb01.intercepts[EXIT_IRET]
    assert not vcpu.nmi_singlestep
