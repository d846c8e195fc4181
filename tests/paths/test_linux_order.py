"""The order of the Linux paths as section 8 of the facts has it, release by release."""

import pytest

from worldswitch.paths.catalogue import find

PLAIN = ("linux-6.1", "linux-6.6-verw", "linux-6.14", "linux-7.x", "linux-fix-v1")
SEV_ES = (
    "linux-5.11-sev-es", "linux-5.13-sev-es", "linux-6.1-sev-es", "linux-6.6-verw-sev-es", "linux-6.14-sev-es",
    "linux-7.x-sev-es", "linux-fix-v1-sev-es",
)  # fmt: skip


def texts(name: str) -> list[str]:
    return [line.instruction.text for line in find(name).lines]


def in_order(texts: list[str], wanted: tuple[str, ...]) -> str:
    """The first of ``wanted`` that does not follow those before it; "" where all do."""
    at = 0
    for text in wanted:
        try:
            at = texts.index(text, at) + 1
        except ValueError:
            return text
    return ""


@pytest.mark.parametrize("name", PLAIN)
def test_the_assembly_since_6_1(name: str) -> None:
    """S8-20."""
    order = (
        "push callee-saved", "wrmsr guest SPEC_CTRL", "vmload vmcb01", "mov guest GPRs", "vmrun", "mov guest GPRs",
        "vmsave vmcb01", "vmload hsave", "call fill return buffer", "wrmsr host SPEC_CTRL", "jmp untrain_ret",
        "xor GPRs", "ret",
    )  # fmt: skip
    assert in_order(texts(name), order) == ""
    assert in_order(texts(name), ("vmrun", "vmload vmcb01")) == "vmload vmcb01", "the order says nothing"


@pytest.mark.parametrize("name", SEV_ES)
def test_sev_es_leaves_to_the_processor_what_software_does_elsewhere(name: str) -> None:
    """S8-22: no VMLOAD, no VMSAVE, no guest registers."""
    assert not [text for text in texts(name) if text.startswith(("vmload", "vmsave", "mov guest GPRs"))]


@pytest.mark.parametrize(
    ("name", "between", "after"),
    [
        ("linux-pre-asm", None, None),
        ("linux-5.9", ["vmload vmcb", "jmp"], ["jmp", "vmsave vmcb", "jmp"]),
        ("linux-5.11-sev-es", [], ["jmp"]),
        ("linux-5.13", [], ["jmp"]),
        ("linux-6.1-sev-es", [], []),
        ("linux-6.1", [], []),
        ("linux-6.6-verw", [], []),
        ("linux-6.6-verw-sev-es", [], []),
    ],
)
def test_what_stands_between_sti_and_vmrun(name: str, between: list[str] | None, after: list[str] | None) -> None:
    """S8-30 (the table of older kernels), S8-22; S8-12: stable before the backport is as before the fix."""
    lines = texts(name)
    vmrun = lines.index("vmrun")
    if between is None or after is None:
        assert "local_irq_enable" in find_in(name), "IF is set in C, with tracing"
        return
    sti = max(index for index in range(vmrun) if lines[index] == "sti")
    jumps = [text.split()[0] if text.startswith("jmp") else text for text in lines]
    assert jumps[sti + 1 : vmrun] == between
    assert jumps[vmrun + 1 : lines.index("cli", vmrun)] == after


def find_in(name: str) -> str:
    """The path's file as text, before its helpers are written out."""
    from importlib import resources

    return (resources.files("worldswitch.paths") / "data" / f"{name}.toml").read_text(encoding="utf-8")


def test_lockdep_and_context_in_5_9() -> None:
    """S8-31: step by step what is guest_state_enter_irqoff() later."""
    order = (
        "instrumentation_begin", "trace_hardirqs_on_prepare", "lockdep_hardirqs_on_prepare", "instrumentation_end",
        "guest_context_enter_irqoff", "lockdep_hardirqs_on", "vmrun", "wrmsr host GS base", "lockdep_hardirqs_off",
        "guest_context_exit_irqoff", "instrumentation_begin", "trace_hardirqs_off_finish", "instrumentation_end",
    )  # fmt: skip
    assert in_order(texts("linux-5.9"), order) == ""
    assert in_order(texts("linux-5.9"), tuple(reversed(order))) != ""
