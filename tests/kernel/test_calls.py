"""The kernel calls of a path: what each does, and what the composite ones are made of (8.5, 8.6)."""

import pytest
from tests.helpers import linux, play, warnings

from worldswitch.core.bits import RFLAGS_IF
from worldswitch.core.state import END
from worldswitch.kernel.calls import CALLS, EXPANSIONS, OPERAND_CALLS, ORDERED
from worldswitch.kernel.state import CONTEXT_GUEST, CONTEXT_KERNEL, WARN_NOINSTR
from worldswitch.machine.run import Run


def after(*calls: str, interrupts: bool = False, lockdep: bool = False, context_tracking: bool = True) -> Run:
    """Run these calls in kernel text."""
    listing = "\n".join(calls) + "\n"
    path = linux(listing, interrupts=interrupts, lockdep=lockdep)
    return play(path=path, kernel={"context_tracking": context_tracking})


def interrupts(run: Run) -> bool:
    return bool(run.cpu.regs.rflags & RFLAGS_IF)


# --- 8.6 the irq-flag helpers


@pytest.mark.parametrize("before", [False, True])
def test_raw_local_irq_enable(before: bool) -> None:
    """S8-50, S8-04: IF alone; neither lockdep nor the tracepoints hear of it."""
    run = after("raw_local_irq_enable", interrupts=before)
    assert (interrupts(run), run.kernel.hardirqs_enabled, run.kernel.hardirqs_traced_on) == (True, False, False)


@pytest.mark.parametrize("before", [False, True])
def test_raw_local_irq_disable(before: bool) -> None:
    """S8-50, S8-04."""
    run = after("raw_local_irq_disable", interrupts=before, lockdep=True)
    assert (interrupts(run), run.kernel.hardirqs_enabled, run.kernel.hardirqs_traced_on) == (False, True, True)


def test_local_irq_enable() -> None:
    """S8-51: lockdep and tracing first, then IF."""
    run = after("local_irq_enable")
    assert (interrupts(run), run.kernel.hardirqs_enabled, run.kernel.hardirqs_traced_on) == (True, True, True)
    assert (EXPANSIONS["local_irq_enable"][-1], warnings(run)) == ("sti", [])


def test_local_irq_enable_with_interrupts_on() -> None:
    """S8-51, S8-60: lockdep says so."""
    assert warnings(after("local_irq_enable", interrupts=True)) == ["on-prepare-with-irqs-enabled"]


def test_local_irq_enable_when_lockdep_is_on_is_redundant() -> None:
    """T-152: counted twice, by on_prepare and by on."""
    run = after("guest_state_enter_irqoff", "local_irq_enable")
    assert (warnings(run), run.kernel.redundant) == ([], 2)


def test_local_irq_disable() -> None:
    """S8-52: IF first; lockdep and tracing because IF was 1."""
    run = after("local_irq_disable", interrupts=True, lockdep=True)
    assert (interrupts(run), run.kernel.hardirqs_enabled, run.kernel.hardirqs_traced_on) == (False, False, False)
    assert warnings(run) == []


def test_local_irq_disable_with_interrupts_off() -> None:
    """S8-52: trace_hardirqs_off() only if IF was 1, so LD and the count of redundant calls stay."""
    run = after("local_irq_disable", lockdep=True)
    assert (interrupts(run), run.kernel.hardirqs_enabled, run.kernel.redundant) == (False, True, 0)


def test_local_irq_disable_is_not_confused_by_a_handler() -> None:
    """S8-52: the old IF is a local variable; an interrupt between its steps has one of its own."""
    path = linux("local_irq_disable\nnop\n", interrupts=True, lockdep=True)
    run = play(path=path, events=["intr@start+1"], host_handlers={0x20: ["local_irq_disable"]})
    assert len(run.recorder.handlers) == 1
    assert (run.kernel.hardirqs_enabled, warnings(run)) == (False, [])


def test_trace_calls_touch_the_tracepoint_state_only() -> None:
    """S8-53."""
    run = after("trace_hardirqs_on_prepare")
    assert (run.kernel.hardirqs_traced_on, run.kernel.hardirqs_enabled, interrupts(run)) == (True, False, False)
    run = after("trace_hardirqs_off_finish", lockdep=True)
    assert (run.kernel.hardirqs_traced_on, run.kernel.hardirqs_enabled) == (False, True)


# --- 8.5 guest_state_enter_irqoff and exit


def test_order_of_guest_state_enter() -> None:
    """S8-42, table 8.1 P3: tracing, lockdep-prepare, context, lockdep-on; the first two inside instrumentation."""
    assert EXPANSIONS["guest_state_enter_irqoff"] == (
        "instrumentation_begin", "trace_hardirqs_on_prepare", "lockdep_hardirqs_on_prepare", "instrumentation_end",
        "guest_context_enter_irqoff", "lockdep_hardirqs_on",
    )  # fmt: skip


def test_order_of_guest_state_exit() -> None:
    """S8-42, table 8.1 P8: lockdep-off, context, tracing."""
    assert EXPANSIONS["guest_state_exit_irqoff"] == (
        "lockdep_hardirqs_off", "guest_context_exit_irqoff", "instrumentation_begin", "trace_hardirqs_off_finish",
        "instrumentation_end",
    )  # fmt: skip


@pytest.mark.parametrize(("tracking", "watching"), [(True, False), (False, True)])
def test_guest_context(tracking: bool, watching: bool) -> None:
    """S8-43, table 8.1: CT=G; RCU does not watch there, unless context tracking is off on this CPU."""
    run = after("guest_state_enter_irqoff", context_tracking=tracking)
    assert (run.kernel.context, run.kernel.rcu_watching, run.kernel.hardirqs_enabled) == (CONTEXT_GUEST, watching, True)
    run = after("guest_state_enter_irqoff", "guest_state_exit_irqoff", context_tracking=tracking)
    assert (run.kernel.context, run.kernel.rcu_watching, run.kernel.hardirqs_enabled) == (CONTEXT_KERNEL, True, False)


@pytest.mark.parametrize("call", ["guest_state_enter_irqoff", "guest_state_exit_irqoff"])
def test_callers_must_have_interrupts_off(call: str) -> None:
    """S8-40: lockdep warns of either with IF=1."""
    assert len(warnings(after(call, interrupts=True))) == 1
    assert warnings(after(call)) == []


def test_calls_whose_order_matters_are_logged() -> None:
    """S8-42: in the order in which they were made, and no others."""
    run = after("guest_state_enter_irqoff", "guest_state_exit_irqoff", "traceable foo")
    assert [ORDERED[op] for _, op in run.kernel.call_log] == [
        call
        for name in ("guest_state_enter_irqoff", "guest_state_exit_irqoff")
        for call in EXPANSIONS[name]
        if not call.startswith("instrumentation")
    ]


# --- noinstr


@pytest.mark.parametrize(("call", "cause"), [
    ("traceable foo", "call-to-traceable"), ("lock_acquire", "call-to-lock"), ("lock_release", "call-to-lock"),
    ("trace_hardirqs_on", "call-to-trace-hardirqs-on"), ("trace_hardirqs_off", "call-to-trace-hardirqs-off"),
    ("trace_hardirqs_on_prepare", "call-to-trace-hardirqs-on-prepare"),
    ("trace_hardirqs_off_finish", "call-to-trace-hardirqs-off-finish"),
    ("lockdep_hardirqs_on_prepare", "call-to-lockdep-hardirqs-on-prepare"),
])  # fmt: skip
def test_instrumentable_calls_from_noinstr_text(call: str, cause: str) -> None:
    """S8-41, S8-44: a complaint, unless between instrumentation_begin and end, or in ordinary text."""
    run = play(path=linux(f"nop\n.noinstr\n{call}\n.text\nnop\n"))
    assert [(w.kind, w.cause) for w in run.kernel.warnings] == [(WARN_NOINSTR, cause)]
    assert warnings(play(path=linux(f".noinstr\ninstrumentation_begin\n{call}\ninstrumentation_end\n"))) == []
    assert warnings(play(path=linux(f"{call}\n"))) == []


@pytest.mark.parametrize("call", ["lockdep_hardirqs_on", "lockdep_hardirqs_off", "guest_context_enter_irqoff",
                                  "guest_context_exit_irqoff", "inline foo"])  # fmt: skip
def test_calls_that_noinstr_text_may_make(call: str) -> None:
    """S8-41, S8-44."""
    assert warnings(play(path=linux(f".noinstr\n{call}\n"))) == []


def test_traced_helpers_around_vmrun() -> None:
    """S8-03, T-152: why the raw variants are required."""
    listing = ".noinstr\nguest_state_enter_irqoff\n{}\nguest_state_exit_irqoff\n"
    traced = play(path=linux(listing.format("local_irq_enable\nlocal_irq_disable")))
    raw = play(path=linux(listing.format("raw_local_irq_enable\nraw_local_irq_disable")))
    assert warnings(traced) == ["call-to-trace-hardirqs-on", "call-to-trace-hardirqs-off"]
    assert warnings(raw) == []


def test_one_complaint_a_call() -> None:
    """S8-44: objtool names a call once."""
    assert warnings(play(path=linux(".noinstr\ntraceable a\ntraceable b\n"))) == ["call-to-traceable"]


def test_traceable_code_may_take_a_lock() -> None:
    """S8-63, S8-67: so it checks the flags."""
    assert warnings(after("guest_state_enter_irqoff", "traceable foo")) == ["unannotated-irqs-off"]


# --- calls as instructions


JUMPS = ("exc_nmi_begin", "exc_nmi_end", "fixup_exception")  # these have a place in handlers only


@pytest.mark.parametrize("call", sorted(CALLS.keys() - OPERAND_CALLS - set(JUMPS)))
def test_a_call_ends_the_shadow(call: str) -> None:
    """S2-20, S2-75: to the processor it is some instruction; the INTR comes right after it."""
    run = play(["sti", call, "nop"], cpu={"if": False, "pending": ["intr:0x20"]})
    assert [h.rip - 1 for h in run.recorder.handlers] == [2]


def test_calls_in_a_guest_do_not_concern_the_hosts_kernel() -> None:
    """Section 8: a guest's kernel has books of its own."""
    run = play(path="linux-6.14", guest=["lockdep_hardirqs_off", "lock_acquire", "traceable x", "vmmcall"])
    assert (run.cpu.stop, warnings(run), run.kernel.chain_key, run.kernel.redundant) == (END, [], -1, 0)
