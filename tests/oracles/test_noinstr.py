import pytest
from tests.oracles.judging import NEW, OLD, PLAIN, REBOOTING, TRACED, mutant, run, signatures, variant, verdict

from worldswitch.oracles import noinstr
from worldswitch.paths.model import EntryPath

NAME = noinstr.NAME


def said(path: str | EntryPath, text: str = PLAIN) -> list[str]:
    return signatures(text, path, oracle=NAME)


@pytest.mark.parametrize("path", [OLD, NEW])
def test_the_raw_helpers_leave_noinstr_text_alone(path: str) -> None:
    """S8-50, S8-04."""
    assert said(path) == []


def test_the_first_version_of_the_fix_does_not() -> None:
    """S8-03, T-152: the traced helpers leave .noinstr.text."""
    expected = [f"{NAME}.call-to-trace-hardirqs-off.cli", f"{NAME}.call-to-trace-hardirqs-on.sti"]
    assert said(TRACED) == expected
    assert said(TRACED, REBOOTING + PLAIN) == expected


@pytest.mark.parametrize(
    ("edit", "signature"),
    [("trace sti", "call-to-trace-hardirqs-on.sti"), ("trace cli", "call-to-trace-hardirqs-off.cli")],
)
def test_each_traced_helper_alone(edit: str, signature: str) -> None:
    assert said(mutant(NEW, edit)) == [f"{NAME}.{signature}"]


@pytest.mark.parametrize("call", ["traceable printk", "lock_acquire", "trace_hardirqs_off_finish"])
def test_an_instrumentable_call_in_noinstr_text(call: str) -> None:
    """S8-41, S8-44."""
    name = call.split()[0].replace("lock_acquire", "lock").replace("_", "-")
    assert f"{NAME}.call-to-{name}.sti" in said(variant(NEW, "inline amd_clear_divider", call))


def test_inline_functions_may_be_called_there() -> None:
    assert said(variant(NEW, "inline amd_clear_divider", "inline another\ninline third")) == []


def test_begin_and_end_permit_it() -> None:
    """S8-44."""
    allowed = "instrumentation_begin\ntrace_hardirqs_off_finish\ninstrumentation_end"
    assert said(variant(NEW, "inline amd_clear_divider", allowed)) == []


def test_outside_noinstr_text_it_is_allowed() -> None:
    assert said(variant(NEW, "inline x86_spec_ctrl_restore_host", "traceable printk")) == []


@pytest.mark.parametrize("edit", ["remove enter+3", "repeat enter", "remove exit+4", "repeat exit+2"])
def test_instrumentation_that_is_left_on(edit: str) -> None:
    assert said(mutant(NEW, edit)) == [f"{NAME}.instrumentation-left-on.end"]


@pytest.mark.parametrize("edit", ["remove enter", "remove exit+2"])
def test_a_begin_that_is_missing_shows_twice(edit: str) -> None:
    """The calls it would have allowed, and the end that has no begin."""
    found = said(mutant(NEW, edit))
    assert f"{NAME}.instrumentation-end-unmatched.end" in found
    assert any(signature.startswith(f"{NAME}.call-to-") for signature in found)


def test_the_messages_name_the_call_without_counterpart() -> None:
    def message(edit: str) -> str:
        return noinstr.judge(run(PLAIN, mutant(NEW, edit)))[-1].message

    assert message("remove enter+3") == "instrumentation_begin() without its counterpart"
    assert message("remove enter") == "instrumentation_end() without its counterpart"


def test_what_the_run_did_not_reach_is_not_judged() -> None:
    """A guest that never exits: the call after it is not seen, the one before is."""
    text = PLAIN.replace('program = ["vmmcall"]', 'program = ["spin"]')
    assert said(TRACED, text) == [f"{NAME}.call-to-trace-hardirqs-on.sti"]


def test_a_run_that_ends_within_leaves_nothing_on() -> None:
    """An INIT between begin and end."""
    ended = run(PLAIN + '[[event]]\nkind = "init"\nat = "enter+1"\n', mutant(NEW, "remove clgi"))
    assert ended.kernel.instrumentation == 1
    assert noinstr.judge(ended) == []


def test_a_host_without_the_rule() -> None:
    text = '[host]\nprogram = ["traceable printk"]\n'
    assert noinstr.applies(run(text, "")) == "this host has no noinstr rule"
    assert verdict(text, "").findings == []
