"""The predicates of kernel/locking/lockdep.c (S8-60 to S8-67), on a kernel alone and on a path."""

import pytest
from tests.helpers import exit_codes, linux, play, warnings

from worldswitch.core.state import IDLE
from worldswitch.kernel import lockdep
from worldswitch.kernel.state import Kernel

PATH = """
clgi:   clgi
        .noinstr
enter:  guest_state_enter_irqoff
sti:    raw_local_irq_enable
        nop
vmrun:  vmrun
cli:    raw_local_irq_disable
exit:   guest_state_exit_irqoff
        .text
stgi:   stgi
        traceable after
"""


def kernel(**state: object) -> Kernel:
    made = Kernel(True)
    for name, value in state.items():
        setattr(made, name, value)
    return made


def causes(made: Kernel) -> list[str]:
    return [warning.cause for warning in made.warnings]


# --- lockdep_assert_irqs_disabled (S8-40)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"hardirqs_enabled": True}, ["assert-irqs-disabled"]),
        ({"hardirqs_enabled": False}, []),
        ({"hardirqs_enabled": True, "debug_locks": False}, []),
    ],
)
def test_assert_irqs_disabled(state: dict[str, object], expected: list[str]) -> None:
    """S8-40: of lockdep's own view; once, and lockdep goes on."""
    made = kernel(**state)
    debug_locks = made.debug_locks
    lockdep.assert_irqs_disabled(made, 1, 1)
    lockdep.assert_irqs_disabled(made, 2, 2)
    assert (causes(made), made.debug_locks) == (expected, debug_locks)


@pytest.mark.parametrize("tracking", [True, False])
def test_the_context_is_entered_with_lockdep_off(tracking: bool) -> None:
    """S8-40, S8-42: lockdep is told "on" after the context has been entered, and never before."""
    right = ("lockdep_hardirqs_on_prepare", "guest_context_enter_irqoff", "lockdep_hardirqs_on")
    wrong = ("lockdep_hardirqs_on_prepare", "lockdep_hardirqs_on", "guest_context_enter_irqoff")
    for calls, expected in ((right, []), (wrong, ["assert-irqs-disabled"])):
        run = play(path=linux("\n".join(calls) + "\n"), kernel={"context_tracking": tracking})
        assert [warning.cause for warning in run.kernel.warnings] == expected


# --- on_prepare (S8-60)


def test_on_prepare_records_the_chain_key() -> None:
    """S8-60."""
    made = kernel(chain_key=5)
    lockdep.hardirqs_on_prepare(made, False, 1, 1)
    assert (made.recorded_chain_key, causes(made), made.redundant) == (5, [], 0)


@pytest.mark.parametrize("state", [{"debug_locks": False}, {"in_nmi": 1}])
@pytest.mark.parametrize("hw_if", [False, True])
def test_on_prepare_is_silent(state: dict[str, object], hw_if: bool) -> None:
    """S8-60: with debug_locks off, and in an NMI, nothing is checked, counted or recorded."""
    made = kernel(chain_key=5, hardirqs_enabled=True, **state)
    lockdep.hardirqs_on_prepare(made, hw_if, 1, 1)
    assert (made.recorded_chain_key, causes(made), made.redundant) == (-1, [], 0)


def test_on_prepare_when_on_already_is_redundant() -> None:
    """S8-60: counted before the hardware state is looked at."""
    made = kernel(hardirqs_enabled=True, chain_key=5)
    lockdep.hardirqs_on_prepare(made, True, 1, 1)
    assert (made.redundant, causes(made), made.recorded_chain_key) == (1, [], -1)


def test_on_prepare_with_interrupts_enabled() -> None:
    """S8-60."""
    made = kernel(chain_key=5)
    lockdep.hardirqs_on_prepare(made, True, 1, 1)
    assert (causes(made), made.recorded_chain_key) == (["on-prepare-with-irqs-enabled"], -1)


def test_on_prepare_in_a_hard_interrupt() -> None:
    """S8-60."""
    made = kernel(hardirq_context=1)
    lockdep.hardirqs_on_prepare(made, False, 1, 1)
    assert causes(made) == ["on-prepare-in-hardirq"]


# --- on (S8-61)


def test_on() -> None:
    """S8-61."""
    made = kernel()
    lockdep.hardirqs_on(made, False, 1, 1)
    assert (made.hardirqs_enabled, causes(made)) == (True, [])


def test_on_with_debug_locks_off() -> None:
    """S8-61: LD stays as it is."""
    made = kernel(debug_locks=False)
    lockdep.hardirqs_on(made, False, 1, 1)
    assert made.hardirqs_enabled is False


@pytest.mark.parametrize("hw_if", [False, True])
def test_on_in_an_nmi_skips_the_checks(hw_if: bool) -> None:
    """S8-61: neither hardware state nor chain key; x86 has TRACE_IRQFLAGS_NMI."""
    made = kernel(in_nmi=1, chain_key=5)
    lockdep.hardirqs_on(made, hw_if, 1, 1)
    assert (made.hardirqs_enabled, causes(made)) == (True, [])


def test_on_when_on_already_is_redundant() -> None:
    """S8-61."""
    made = kernel(hardirqs_enabled=True)
    lockdep.hardirqs_on(made, True, 1, 1)
    assert (made.redundant, causes(made)) == (1, [])


def test_on_with_interrupts_enabled() -> None:
    """S8-61: it returns, LD stays 0."""
    made = kernel()
    lockdep.hardirqs_on(made, True, 1, 1)
    assert (causes(made), made.hardirqs_enabled) == (["on-with-irqs-enabled"], False)


def test_on_with_another_chain_key() -> None:
    """S8-61: the warning does not return, LD:=1 follows."""
    made = kernel(chain_key=5)
    lockdep.hardirqs_on(made, False, 1, 1)
    assert (causes(made), made.hardirqs_enabled) == (["on-chain-key"], True)


def test_stale_chain_key_hides_a_missing_prepare() -> None:
    """S8-61: recorded once, and no lock taken since."""
    made = kernel()
    lockdep.hardirqs_on_prepare(made, False, 1, 1)
    lockdep.hardirqs_on(made, False, 2, 2)
    lockdep.hardirqs_off(made, False, 3, 3)
    lockdep.hardirqs_on(made, False, 4, 4)
    assert (made.hardirqs_enabled, causes(made)) == (True, [])


# --- off (S8-62)


def test_off() -> None:
    """S8-62."""
    made = kernel(hardirqs_enabled=True)
    lockdep.hardirqs_off(made, False, 1, 1)
    assert (made.hardirqs_enabled, made.redundant) == (False, 0)
    lockdep.hardirqs_off(made, False, 2, 2)
    assert (made.hardirqs_enabled, made.redundant) == (False, 1)


def test_off_with_interrupts_enabled() -> None:
    """S8-62: it returns, LD stays."""
    made = kernel(hardirqs_enabled=True)
    lockdep.hardirqs_off(made, True, 1, 1)
    assert (causes(made), made.hardirqs_enabled) == (["off-with-irqs-enabled"], True)


def test_off_works_in_an_nmi() -> None:
    """S8-62, S8-76: with TRACE_IRQFLAGS_NMI."""
    made = kernel(hardirqs_enabled=True, in_nmi=1)
    lockdep.hardirqs_off(made, False, 1, 1)
    assert made.hardirqs_enabled is False


# --- check_flags (S8-63) and the once-only warning (S8-64)


@pytest.mark.parametrize(("hw_if", "enabled", "expected"), [
    (False, False, []), (True, True, []),
    (False, True, ["unannotated-irqs-off"]), (True, False, ["unannotated-irqs-on"]),
])  # fmt: skip
def test_check_flags(hw_if: bool, enabled: bool, expected: list[str]) -> None:
    """S8-63."""
    made = kernel(hardirqs_enabled=enabled)
    lockdep.check_flags(made, hw_if, 1, 1)
    assert causes(made) == expected


@pytest.mark.parametrize("state", [{"in_nmi": 1}, {"debug_locks": False}])
def test_check_flags_is_silent(state: dict[str, object]) -> None:
    """S8-63: an NMI turns lock tracking off; so does an earlier warning."""
    made = kernel(hardirqs_enabled=True, **state)
    lockdep.check_flags(made, False, 1, 1)
    assert causes(made) == []


def test_first_warning_silences_lockdep() -> None:
    """S8-64."""
    made = kernel()
    lockdep.hardirqs_on(made, True, 1, 1)
    lockdep.hardirqs_off(made, True, 2, 2)
    lockdep.check_flags(made, True, 3, 3)
    lockdep.hardirqs_on(made, False, 4, 4)
    assert (causes(made), made.debug_locks, made.hardirqs_enabled) == (["on-with-irqs-enabled"], False, False)


# --- on a path (S8-65 to S8-67)


def test_required_order() -> None:
    """S8-65: lockdep on, raw STI, raw CLI, lockdep off, all without a word; LD ends as it began."""
    run = play(path=linux(PATH), intercept=["intr"])
    assert (warnings(run), run.kernel.hardirqs_enabled, run.kernel.redundant) == ([], False, 0)


def move(line: str, after: str) -> str:
    """The path with one line moved to the place after another; "" drops it."""
    lines = [text for text in PATH.splitlines() if line not in text]
    if after:
        place = next(number for number, text in enumerate(lines) if after in text)
        lines.insert(place + 1, line)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(("listing", "expected"), [
    (move("raw_local_irq_enable", "clgi:"), ["on-prepare-with-irqs-enabled"]),
    (move("raw_local_irq_disable", "guest_state_exit_irqoff"), ["off-with-irqs-enabled"]),
    (move("raw_local_irq_disable", ""), ["off-with-irqs-enabled"]),
    (move("raw_local_irq_enable", ""), []),
])  # fmt: skip
def test_mutants(listing: str, expected: list[str]) -> None:
    """S8-66, T-149, T-150."""
    assert warnings(play(path=linux(listing))) == expected


def test_missing_sti_lets_no_intr_exit() -> None:
    """S8-66, S5-03, S5-15, T-149: the guest spins for ever with the INTR pending, and lockdep is content."""
    run = play(path=linux(move("raw_local_irq_enable", "")), guest=["spin"], intercept=["intr"], events=["intr@guest"])
    assert (run.cpu.stop, run.recorder.exits, run.cpu.irr, warnings(run)) == (IDLE, [], [0x20], [])
    run = play(path=linux(PATH), guest=["spin"], intercept=["intr"], events=["intr@guest"])
    assert exit_codes(run) == ["intr"]


@pytest.mark.parametrize(("after", "expected"), [
    ("guest_state_enter_irqoff", ["unannotated-irqs-off"]), ("raw_local_irq_disable", ["unannotated-irqs-off"]),
    ("raw_local_irq_enable", []), ("clgi:", []), ("guest_state_exit_irqoff", []),
])  # fmt: skip
def test_lock_operations_around_the_switch(after: str, expected: list[str]) -> None:
    """S8-63, S8-67, T-156: only where IF=0 and LD=1 they hit the warning, once."""
    lines = PATH.replace(".noinstr", "nop").replace(".text", "nop").splitlines()
    place = next(number for number, text in enumerate(lines) if after in text)
    lines[place + 1 : place + 1] = ["lock_acquire", "lock_release"]
    assert warnings(play(path=linux("\n".join(lines) + "\n"))) == expected


def test_lock_taken_between_prepare_and_on() -> None:
    """S8-61, T-153: another chain key; and without the prepare as well."""
    steps = "lockdep_hardirqs_on_prepare\n{}lockdep_hardirqs_on\n"
    assert warnings(play(path=linux(steps.format("lock_acquire\n")))) == ["on-chain-key"]
    assert warnings(play(path=linux(steps.format("")))) == []
    assert warnings(play(path=linux("lock_acquire\nlockdep_hardirqs_on\n"))) == ["on-chain-key"]
