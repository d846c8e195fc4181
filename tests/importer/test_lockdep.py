"""Kernels with lockdep: the path makes its calls, and the oracles that watch them apply."""

from pathlib import Path

import pytest
from tests.importer.objects import Source, kvm, needs_gcc

from worldswitch.importer.importing import Imported, Request, import_path

pytestmark = needs_gcc

ON = ("trace_hardirqs_on_prepare", "lockdep_hardirqs_on_prepare", "rcu_note_context_switch", "lockdep_hardirqs_on")
OFF = ("lockdep_hardirqs_off", "__ct_user_exit", "trace_hardirqs_off_finish")


def calls(names: tuple[str, ...]) -> str:
    return "\n".join(f"call {name}" for name in names)


def imported(source: Source, tmp_path: Path) -> Imported:
    return import_path(Request(str(source.assemble(tmp_path / "kvm-amd.ko"))))


@pytest.mark.parametrize("kind", ["6.1", "6.14"])
def test_calls_are_written_by_name(kind: str, tmp_path: Path) -> None:
    result = imported(kvm(kind, enter=calls(ON), leave=calls(OFF)), tmp_path)
    assert result.path.system == "linux"
    assert [row.text for row in result.rows if "hardirqs" in row.text or row.text.startswith("guest_")] == [
        "trace_hardirqs_on_prepare", "lockdep_hardirqs_on_prepare", "guest_context_enter_irqoff", "lockdep_hardirqs_on",
        "lockdep_hardirqs_off", "guest_context_exit_irqoff", "trace_hardirqs_off_finish",
    ]  # fmt: skip
    assert [row.label for row in result.rows if row.label] == ["enter", "exit"]
    assert result.doubts == []
    assert [finding for finding in result.findings if not finding.startswith("shadow-bleed")] == []


def test_static_key_stands_for_context_tracking(tmp_path: Path) -> None:
    """Built with context tracking, but booted without: only a NOP is left where the context is entered."""
    source = Source()
    enter = source.static_key("context_tracking_key", ".Lenter")
    leave = source.static_key("context_tracking_key", ".Lleave")
    source.function(
        "svm_vcpu_run",
        f"clgi\n {calls(ON[:2])}\n {enter}\n .Lentered: {calls(ON[3:])}\n sti\n nop\n vmrun rax\n cli\n"
        f" {calls(OFF[:1])}\n {leave}\n .Lleft: {calls(OFF[2:])}\n stgi\n ret\n"
        " .Lenter: call __ct_user_enter\n jmp .Lentered\n .Lleave: call __ct_user_exit\n jmp .Lleft",
        ".noinstr.text",
    )
    result = imported(source, tmp_path)
    assert [row.text for row in result.rows if row.text.startswith("guest_")] == [
        "guest_context_enter_irqoff",
        "guest_context_exit_irqoff",
    ]
    assert result.findings == ()


def test_lockdep_before_its_preparation(tmp_path: Path) -> None:
    wrong = (ON[0], ON[2], ON[3], ON[1])
    findings = imported(kvm("6.14", enter=calls(wrong), leave=calls(OFF)), tmp_path).findings
    assert any(finding.startswith("lockdep-order.") for finding in findings)


def test_forgotten_lockdep_call(tmp_path: Path) -> None:
    findings = imported(kvm("6.14", enter=calls(ON[:3]), leave=calls(OFF)), tmp_path).findings
    assert any(finding.startswith("lockdep-order.no-lockdep-hardirqs-on.") for finding in findings)


def test_traced_helper_in_noinstr_text(tmp_path: Path) -> None:
    """The first version of the fix: local_irq_enable() calls the tracer from .noinstr.text."""
    source = kvm("6.14", enter=calls((*ON, "trace_hardirqs_on")), leave=calls(OFF))
    findings = imported(source, tmp_path).findings
    assert any(finding.startswith("noinstr.call-to-trace-hardirqs-on") for finding in findings)


def test_context_that_is_not_entered_is_listed(tmp_path: Path) -> None:
    source = kvm("6.14", enter=calls((ON[0], ON[1], ON[3])), leave=calls((OFF[0], OFF[2])))
    assert [(doubt.text, doubt.reason) for doubt in imported(source, tmp_path).doubts] == [
        ("guest_context_enter_irqoff", "no place is found where the path makes this call (enter)"),
        ("guest_context_exit_irqoff", "no place is found where the path makes this call (exit)"),
    ]


def test_without_lockdep_the_path_says_so(tmp_path: Path) -> None:
    """Distributions build none in: there is no lockdep state that could be wrong."""
    result = imported(kvm("6.14"), tmp_path)
    assert result.path.system == "none"
    assert 'system = "none"' in result.text
