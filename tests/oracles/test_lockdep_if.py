import pytest
from tests.oracles.judging import NEW, OLD, PLAIN, REBOOTING, mutant, run, signatures, variant, verdict

from worldswitch.oracles import lockdep_if
from worldswitch.paths.model import EntryPath

NAME = lockdep_if.NAME
ROUNDS = PLAIN.replace("[vmcb]", 'rounds = 2\nbetween = ["lock_acquire"]\n[vmcb]')


@pytest.mark.parametrize("path", [OLD, NEW])
def test_the_shipped_paths_agree_with_lockdep(path: str) -> None:
    assert signatures(PLAIN, path, oracle=NAME) == []
    assert signatures(ROUNDS, path, oracle=NAME) == []


@pytest.mark.parametrize("path", [OLD, NEW])
def test_single_steps_save_and_restore_lockdep(path: str) -> None:
    """S8-76: an exception at every boundary, some with IF=1 and lockdep on, some with IF=0 and lockdep on."""
    assert signatures("[cpu]\ntf = true\n" + PLAIN, path, oracle=NAME) == []


def test_if_and_lockdep_may_disagree_where_nobody_looks() -> None:
    """S8-67, I-10: between lockdep-on and STI, and between CLI and lockdep-off."""
    rows = run(PLAIN, traced=True).trace
    assert rows is not None
    assert [row.text for row in rows.rows if row.world == "host" and row.interrupts != row.lockdep] == [
        "raw_local_irq_enable",
        "lockdep_hardirqs_off",
    ]


# --- lockdep's own warnings


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        (variant(NEW, "inline x86_spec_ctrl_set_guest", "sti"), "on-prepare-with-irqs-enabled.enter"),  # S8-66, T-150
        (mutant(NEW, "exchange enter+5"), "on-with-irqs-enabled.sti"),  # S8-61
        (mutant(NEW, "remove cli"), "off-with-irqs-enabled.exit"),  # S8-66
        (mutant(NEW, "exchange cli"), "off-with-irqs-enabled.exit"),
        (mutant(NEW, "remove exit"), "unannotated-irqs-off.exit"),  # S8-63
        (variant(NEW, "inline amd_clear_divider", "cli\nlock_acquire\nlock_release\nsti"), "unannotated-irqs-off.sti"),
    ],
)
def test_a_warning_is_a_finding(path: EntryPath, cause: str) -> None:
    """S8-60 to S8-63, the first of them alone (S8-64)."""
    assert signatures(PLAIN, path, oracle=NAME) == [f"{NAME}.{cause}"]


def test_a_lock_in_the_window_meets_if_clear_with_lockdep_on() -> None:
    """T-156: between lockdep-on and STI."""
    path = variant(NEW, "raw_local_irq_enable", "lock_acquire\nlock_release\nsti: raw_local_irq_enable")
    assert signatures(PLAIN, path, oracle=NAME) == [f"{NAME}.unannotated-irqs-off.enter"]


def test_the_chain_key_gives_a_missing_prepare_away_only_if_a_lock_was_taken() -> None:
    """S8-61, T-153."""
    path = mutant(NEW, "remove enter+2")
    assert signatures(PLAIN, path, oracle=NAME) == []
    assert signatures(ROUNDS, path, oracle=NAME) == [f"{NAME}.on-chain-key.enter"]


def test_after_a_warning_its_view_proves_nothing() -> None:
    """S8-64: lockdep stops following, so that its view stays on where IF is 0 for the rest of the path."""
    path = variant(NEW, "raw_local_irq_disable", "lockdep_hardirqs_off\ncli: raw_local_irq_disable")
    ended = run(PLAIN, path)
    assert ended.kernel.hardirqs_enabled
    assert not ended.kernel.debug_locks
    assert [finding.signature for finding in lockdep_if.judge(ended)] == [f"{NAME}.off-with-irqs-enabled.vmexit"]


# --- disagreement that lockdep itself does not see


def test_sti_without_lockdep_is_seen_although_nothing_takes_a_lock() -> None:
    """I-10: IF=1 with lockdep off."""
    found = signatures(PLAIN, mutant(NEW, "remove enter+5"))
    assert run(PLAIN, mutant(NEW, "remove enter+5")).kernel.warnings == []
    assert f"{NAME}.irqs-on-with-lockdep-off.sti" in found


def test_the_message_says_whether_interrupts_can_be_taken() -> None:
    """With GIF=0 they cannot; with GIF=1 they can."""
    (first, *_) = lockdep_if.judge(run(PLAIN, mutant(NEW, "remove enter+5")))
    assert "can be taken" not in first.message
    (first, *_) = lockdep_if.judge(run(PLAIN, variant(NEW, "lockdep_hardirqs_on", "stgi")))
    assert "can be taken" in first.message


def test_traceable_code_that_is_never_reached_still_stands_in_the_wrong_state() -> None:
    """Lockdep would warn if the call ran; here an INIT at the boundary before it resets the processor."""
    path = variant(NEW, "lockdep_hardirqs_off", "exit: stgi\ntraceable printk")
    reset = run(PLAIN + '[[event]]\nkind = "init"\nat = "exit+1"\n', path)
    assert reset.kernel.warnings == []
    assert [finding.signature for finding in lockdep_if.judge(reset)] == [f"{NAME}.disagree-in-traceable-code.exit"]


# --- where it is documented, and where it does not apply


def test_rebooting_leaves_lockdep_off_between_sti_and_vmrun_on_the_old_path() -> None:
    """I-10: reported as documented, with the rules; and no such thing on the new path."""
    old = verdict(REBOOTING + PLAIN, OLD)
    assert old.findings == []
    (reason,) = (why for finding, why in old.documented if finding.oracle == NAME)
    assert "I-10" in reason
    assert "S8-74" in reason
    (known,) = (finding for finding, _ in old.documented if finding.oracle == NAME)
    assert "can be taken" not in known.message  # the one boundary is in the STI shadow
    assert [f.signature for f, _ in verdict(REBOOTING + PLAIN, NEW).documented if f.oracle == NAME] == []


def test_the_same_disagreement_is_news_where_nothing_reboots() -> None:
    """The old path without lockdep-on shows the same signature."""
    assert f"{NAME}.irqs-on-with-lockdep-off.sti" in signatures(PLAIN, mutant(OLD, "remove enter+5"))


def test_an_interrupt_that_came_between_adds_nothing() -> None:
    """T-144: with SVM disabled an INTR is taken in the window on both paths, and nothing warns."""
    text = REBOOTING + PLAIN + '[[event]]\nkind = "intr"\nat = "sti+1"\n'
    for path in (OLD, NEW):
        ended = run(text, path)
        assert [handler.vector for handler in ended.recorder.handlers if handler.vector >= 0x20] == [0x20]
        assert ended.kernel.warnings == []


def test_a_host_without_lockdep_is_none_of_its_business() -> None:
    text = '[host]\nprogram = ["sti", "vmrun", "lock_acquire"]\n'
    assert lockdep_if.applies(run(text, "")) == "this host has no lockdep"
    assert NAME in verdict(text, "").not_applicable
