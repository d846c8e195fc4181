"""What L0 does between two executions of its path, rule by rule, as L1, L2 and the processor see it."""

from typing import cast

import pytest

from worldswitch.core.bits import EXIT_INIT, EXIT_INTR, EXIT_NMI, EXIT_NPF, EXIT_VMMCALL, EXIT_VMRUN
from worldswitch.core.names import event_name, exit_name
from worldswitch.core.record import KIND_INJECTED, WORLD_GUEST
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import run_plan
from worldswitch.nested.observe import HANDLER
from worldswitch.nested.record import Decided
from worldswitch.nested.run import NestedRun
from worldswitch.scenario.read import read_text

L0 = 'format = 1\n[l0]\npath = "linux-6.14"\n'


def run(text: str, path: str = "") -> NestedRun:
    return cast(NestedRun, run_plan(compile_scenario(read_text(text), path or None)))


def event(kind: str, at: str, receiver: str = "L1", vector: int = 0) -> str:
    return f'[[event]]\nkind = "{kind}"\nat = "{at}"\nfor = "{receiver}"\n' + (f"vector = {vector}\n" if vector else "")


def exits(found: NestedRun) -> list[str]:
    """Exits of the processor: the guest's level and the exit."""
    return [f"L{found.level_at(x.entry.step)} {exit_name(x.code)}" for x in found.recorder.exits]


def reflected(found: NestedRun) -> list[int]:
    return [x.code for x in found.journal.exits]


def injected(found: NestedRun) -> list[tuple[int, str]]:
    """Vector and place of every injected event that a guest took."""
    return [
        (h.vector, HANDLER["where"](found, h))
        for h in found.recorder.handlers
        if h.world == WORLD_GUEST and h.kind == KIND_INJECTED
    ]


def test_an_event_is_injected_again_until_it_is_delivered_once() -> None:
    """S8-90, S9-12."""
    found = run(L0 + '[vmcb12]\neventinj = "intr:0x68"\n[npt]\nl0 = ["idt:0x68", "stack"]\n')
    assert exits(found) == ["L1 vmrun", "L2 npf", "L2 npf", "L2 vmmcall"]
    assert [event_name(x.exitintinfo) for x in found.recorder.exits] == ["none", "intr:0x68", "intr:0x68", "none"]
    assert injected(found) == [(0x68, "L2.guest")]
    assert reflected(found) == [EXIT_VMMCALL]


@pytest.mark.parametrize("nrips", ["true", "false"])
def test_a_software_interrupt_returns_after_itself_although_nrip_was_lost(nrips: str) -> None:
    """S1-72, S1-73: every exit while vectoring clears nRIP."""
    text = L0 + f'nrips = {nrips}\n[l2]\nprogram = ["int 0x80", "vmmcall"]\n[npt]\nl0 = ["stack", "idt:0x80"]\n'
    found = run(text)
    assert exits(found) == ["L1 vmrun", "L2 npf", "L2 npf", "L2 vmmcall"]
    assert injected(found) == [(0x80, "L2.guest+1")]


def test_a_second_interrupt_forces_an_immediate_exit() -> None:
    """S2-82, S5-18: it cannot be injected with the first, so L0 comes back right after the delivery."""
    text = L0 + '[l1]\nprogram = ["nop", "nop"]\nhandlers = { 0x20 = ["nop", "iret"] }\n[npt]\nl0 = ["L1.stack"]\n'
    found = run(text + event("intr", "L1.start+1") + event("intr", "vmrun@2", vector=0x31))
    decided = [item for item in found.journal.items if isinstance(item, Decided)]
    assert any(item.forced and item.eventinj for item in decided)
    assert exits(found)[:3] == ["L1 intr", "L1 npf", "L1 intr"]
    assert sorted(vector for vector, _ in injected(found)) == [0x20, 0x31]


def test_vmrun_is_executed_before_anything_exits_to_l1() -> None:
    """S9-06: nested_run_pending; the event of L1's VMRUN is delivered first, then L0 is back at once (S5-18)."""
    text = (
        L0 + '[vmcb12]\nintercepts = ["intr", "vmrun", "vmmcall"]\neventinj = "intr:0x68"\n' + event("intr", "vmexit@1")
    )
    found = run(text)
    assert injected(found)[0] == (0x68, "L2.guest")
    assert reflected(found) == [EXIT_INTR]
    assert found.journal.exits[0].exitintinfo == 0


def test_an_nmi_exits_to_l1_before_an_interrupt() -> None:
    """S4-44."""
    text = L0 + '[l1]\nrounds = 2\n[vmcb12]\nintercepts = ["intr", "nmi", "vmrun", "vmmcall"]\n'
    found = run(text + event("intr", "L2.guest") + event("nmi", "L2.guest"))
    assert reflected(found)[0] == EXIT_NMI


def test_an_init_for_l1_exits_where_l1_asked_for_it() -> None:
    """S4-44, S5-24."""
    text = L0 + 'vgif = false\n[vmcb12]\nintercepts = ["init", "vmrun", "vmmcall"]\n' + event("init", "L2.guest")
    found = run(text)
    assert reflected(found) == [EXIT_INIT]
    assert found.stop_name == "l1-reset"  # it waited for GIF=1, which L0 sees at L1's STGI (S3-14)


def test_events_for_l1_that_it_does_not_intercept_are_delivered_in_l2() -> None:
    """S8-91: with L1's V_INTR_MASKING it is L1's IF that counts, not L2's (S9-05)."""
    text = L0 + '[l2]\nif = false\nprogram = ["nop", "nop", "vmmcall"]\n' + event("intr", "L2.guest+1")
    assert injected(run(text)) == [(0x20, "L2.guest+1")]
    assert injected(run(text.replace("[l2]", "[vmcb12]\nv_intr_masking = false\n[l2]"))) != [(0x20, "L2.guest+1")]


def test_reserved_bits_of_eventinj_do_not_reach_the_processor() -> None:
    """S9-04."""
    found = run(L0 + '[vmcb12]\neventinj = "0x80fff068"\n')
    assert [x.eventinj for x in found.recorder.entries if x.eventinj] == [0x8000_0068]


@pytest.mark.parametrize(
    ("settings", "vector"),
    [("svme = false", 6), ("hsave = false", 13), ("cpl = 3", 13), ("cr0 = 0x33\nmode = 'protected'", 6)],
)
def test_l1s_vmrun_is_checked(settings: str, vector: int) -> None:
    """S9-01, S7-14: #UD without SVME or paging, #GP at CPL 3 or without HSAVE."""
    program = '["vmrun"]' if "cpl" not in settings else '["vmrun", "nop"]'
    handler = f'handlers = {{ 0x{vector:02x} = ["set frame.rip=next", "iret"] }}\n'
    found = run(L0 + f"[l1]\nprogram = {program}\n{handler}{settings}\n")
    assert reflected(found) == []
    vectors = [h.vector for h in found.recorder.handlers if h.world == WORLD_GUEST]
    assert vectors == [vector]


def test_what_l1_did_not_intercept_stays_with_l0() -> None:
    """S9-11."""
    text = L0 + '[l2]\nprogram = ["cpuid", "vmmcall"]\n'
    assert reflected(run(text)) == [EXIT_VMMCALL]
    asked = run(text.replace("[l2]", '[vmcb12]\nintercepts = ["cpuid", "vmrun", "vmmcall"]\n[l2]'))
    assert [exit_name(code) for code in reflected(asked)] == ["cpuid"]


def test_without_nested_paging_every_npf_is_l0s() -> None:
    """S9-11: L1 has no table that could miss a page."""
    text = L0 + '[vmcb12]\neventinj = "intr:0x68"\nnp_enable = false\n[npt]\nl1 = ["stack"]\n'
    found = run(text)
    assert EXIT_NPF in [x.code for x in found.recorder.exits]
    assert reflected(found) == [EXIT_VMMCALL]


def test_the_cached_int_state_shows_the_bleed_as_well() -> None:
    """S9-26: KVM_GET_NESTED_STATE."""
    text = L0 + '[vmcb12]\neventinj = "intr:0x68"\n[npt]\nl1 = ["stack"]\n'
    assert run(text, "linux-6.1").vcpu.cache.int_state == 1
    assert run(text).vcpu.cache.int_state == 0


def test_xen_waits_while_an_event_is_under_delivery() -> None:
    """S9-31: no synthesised INTR exit while EXITINTINFO is valid; it comes when the event is delivered."""
    text = L0 + 'flavour = "xen"\n[vmcb12]\nintercepts = ["intr", "vmrun", "vmmcall"]\neventinj = "intr:0x68"\n'
    found = run(text + '[npt]\nl0 = ["stack"]\n' + event("intr", "vmexit@2"))
    assert injected(found)[0] == (0x68, "L2.guest")
    assert [(x.code, x.exitintinfo) for x in found.journal.exits] == [(EXIT_INTR, 0)]


def test_xen_reports_eventinj_that_was_never_tried() -> None:
    """S9-30."""
    text = L0 + 'flavour = "xen"\n[vmcb12]\nintercepts = ["intr", "vmrun", "vmmcall"]\neventinj = "intr:0x68"\n'
    found = run(text + event("intr", "L1.vmrun"))
    assert [(x.code, event_name(x.exitintinfo)) for x in found.journal.exits] == [(EXIT_INTR, "intr:0x68")]


def test_xen_holds_the_next_nmi_with_a_shadow_over_iret() -> None:
    """S4-22."""
    text = L0 + 'flavour = "xen"\n[l2]\nprogram = ["nop", "nop", "vmmcall"]\nhandlers = { 0x02 = ["nop", "iret"] }\n'
    found = run(text + event("nmi", "L2.guest") + event("nmi", "L2.guest+1"))
    irets = [x for x in found.recorder.exits if exit_name(x.code) == "iret"]
    assert irets
    again = found.recorder.entries[irets[0].entry.number]
    assert again.int_state == 1
    assert [vector for vector, _ in injected(found)] == [2, 2]


def test_a_free_running_l1_uses_the_processor_alone() -> None:
    found = run(L0 + '[l1]\nprogram = ["nop", "sti", "nop"]\n')
    assert exits(found) == []
    assert found.stop_name == "end"
    assert EXIT_VMRUN not in reflected(found)
