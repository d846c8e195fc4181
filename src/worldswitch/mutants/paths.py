"""Mutants of entry paths: something missing, twice, out of order, or done by the wrong helper."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from worldswitch.mutants.model import OPEN, OUTSIDE, PATH, SAME, Mutant
from worldswitch.paths.catalogue import find
from worldswitch.paths.listing import parse_listing
from worldswitch.paths.model import EntryPath
from worldswitch.paths.mutate import mutants
from worldswitch.program.layout import Line, find_landmarks

NEW: Final = "linux-6.14"
OLD: Final = "linux-6.1"
ENABLE: Final = "raw_local_irq_enable"
DISABLE: Final = "raw_local_irq_disable"

_KEPT: Final = ("clgi", "sti", "vmrun", "cli", "stgi")
"""Landmarks that are found by their instruction: labelled before an edit, so that it does not move them elsewhere."""

Lines = list[Line]


def single_edit(base: str, name: str) -> EntryPath:
    """One of ``paths.mutate``'s edits by its name (``remove sti``)."""
    return next(found.path for found in mutants(find(base)) if found.name == name)


def edited(base: str, edit: Callable[[Lines], Lines]) -> EntryPath:
    """A path whose lines ``edit`` has changed; its landmarks keep the lines they are on."""
    path = find(base)
    names = {number: name for name, number in find_landmarks(path.lines).items() if name in _KEPT}
    lines = [replace(line, label=line.label or names.get(number, "")) for number, line in enumerate(path.lines)]
    return replace(path, lines=tuple(edit(lines)))


def moved(text: str, before: str) -> Callable[[Lines], Lines]:
    """The first line with that instruction goes before the first with another; its label stays with it."""

    def edit(lines: Lines) -> Lines:
        line = lines.pop(_find(lines, text))
        target = _find(lines, before)
        lines.insert(target, replace(line, noinstr=lines[target].noinstr))
        return lines

    return edit


def inserted(listing: str, before: str) -> Callable[[Lines], Lines]:
    """New lines before the first with an instruction; a label there stays where it was."""

    def edit(lines: Lines) -> Lines:
        target = _find(lines, before)
        fresh = [replace(line, noinstr=lines[target].noinstr) for line in parse_listing(listing)]
        return [*lines[:target], *fresh, *lines[target:]]

    return edit


def instead_of(text: str, listing: str) -> Callable[[Lines], Lines]:
    """Other lines in place of the first with an instruction; the first of them takes the label."""

    def edit(lines: Lines) -> Lines:
        target = _find(lines, text)
        fresh = [replace(line, noinstr=lines[target].noinstr) for line in parse_listing(listing)]
        fresh[0] = replace(fresh[0], label=lines[target].label)
        return [*lines[:target], *fresh, *lines[target + 1 :]]

    return edit


def without(text: str) -> Callable[[Lines], Lines]:
    """The first line with an instruction goes; it must not carry a label."""

    def edit(lines: Lines) -> Lines:
        del lines[_find(lines, text)]
        return lines

    return edit


def without_fixup(text: str) -> Callable[[Lines], Lines]:
    """The first line with an instruction loses its exception-table entry."""

    def edit(lines: Lines) -> Lines:
        number = _find(lines, text)
        lines[number] = replace(lines[number], fixup=False)
        return lines

    return edit


def chained(*edits: Callable[[Lines], Lines]) -> Callable[[Lines], Lines]:
    """One edit after another."""

    def edit(lines: Lines) -> Lines:
        for one in edits:
            lines = one(lines)
        return lines

    return edit


def _find(lines: Lines, text: str) -> int:
    for number, line in enumerate(lines):
        if line.instruction.text == text:
            return number
    raise LookupError(f"no line {text!r}")


def _path(
    name: str,
    base: str,
    rule: str,
    about: str,
    oracle: str,
    why: str,
    make: Callable[[], EntryPath],
    equivalent: str = "",
    grounds: str = SAME,
) -> Mutant:
    def renamed() -> EntryPath:
        return replace(make(), name=name)

    return Mutant(name, PATH, about, tuple(rule.split()), base, oracle, why, base, path=renamed, equivalent=equivalent,
                  grounds=grounds)  # fmt: skip


def _single(
    name: str, base: str, edit: str, rule: str, about: str, oracle: str, why: str, equivalent: str = "",
    grounds: str = SAME,
) -> Mutant:  # fmt: skip
    return _path(name, base, rule, about, oracle, why, lambda: single_edit(base, edit), equivalent, grounds)


def _hand(
    name: str,
    base: str,
    edit: Callable[[Lines], Lines],
    rule: str,
    about: str,
    oracle: str,
    why: str,
    equivalent: str = "",
    grounds: str = SAME,
) -> Mutant:
    return _path(name, base, rule, about, oracle, why, lambda: edited(base, edit), equivalent, grounds)


_IN_GAP: Final = "instrumentation_begin\nlock_acquire\nlock_release\ninstrumentation_end"

MUTANTS: Final = (
    # --- something is missing
    _single("clgi-missing", NEW, "remove clgi", "S8-70", "CLGI left out", "nmi-exposure",
            "GIF is 1 in segments for which the path documents no NMI"),
    _single("clgi-missing-old", OLD, "remove clgi", "S8-70", "CLGI left out", "nmi-exposure",
            "GIF is 1 in segments for which the path documents no NMI"),
    _single("stgi-missing", NEW, "remove stgi", "S3-03", "STGI left out", "end-state",
            "#VMEXIT cleared GIF, and nothing sets it again"),
    _single("sti-missing", NEW, "remove sti", "S5-03 S8-66", "raw_local_irq_enable() left out", "irq-exposure",
            "host IF is 0 at VMRUN, and a pending INTR never leaves the guest; lockdep is silent"),
    _single("sti-missing-old", OLD, "remove sti", "S5-03 S8-66", "STI left out", "irq-exposure",
            "host IF is 0 at VMRUN, and a pending INTR never leaves the guest; lockdep is silent"),
    _single("cli-missing", NEW, "remove cli", "S8-62 S8-66", "raw_local_irq_disable() left out", "lockdep-if-mismatch",
            "lockdep_hardirqs_off() finds IF=1 and warns"),
    _single("cli-missing-old", OLD, "remove cli", "S8-62 S8-66", "CLI left out", "lockdep-if-mismatch",
            "lockdep_hardirqs_off() finds IF=1 and warns"),
    _single("instrumentation-begin-missing", NEW, "remove enter", "S8-44", "instrumentation_begin() left out on entry",
            "noinstr", "the calls that follow leave .noinstr.text"),
    _single("trace-prepare-missing", NEW, "remove enter+1", "S8-42", "trace_hardirqs_on_prepare() left out",
            "lockdep-order", "one of the four calls before VMRUN was not made"),
    _single("lockdep-prepare-missing", NEW, "remove enter+2", "S8-60 S8-61", "lockdep_hardirqs_on_prepare() left out",
            "lockdep-order", "not made before VMRUN; lockdep itself does not notice while the chain key is the old one"),
    _single("instrumentation-end-missing", NEW, "remove enter+3", "S8-44", "instrumentation_end() left out on entry",
            "noinstr", "the path ends with instrumentation allowed"),
    _single("context-enter-missing", NEW, "remove enter+4", "S8-42 S8-43", "guest_context_enter_irqoff() left out",
            "lockdep-order", "one of the four calls before VMRUN was not made; nothing in the kernel warns"),
    _single("lockdep-on-missing", NEW, "remove enter+5", "S8-61 S8-65", "lockdep_hardirqs_on() left out",
            "lockdep-if-mismatch", "IF=1 after STI while lockdep says off"),
    _single("lockdep-off-missing", NEW, "remove exit", "S8-62 S8-65", "lockdep_hardirqs_off() left out",
            "lockdep-if-mismatch", "IF=0 while lockdep says on, in code that is traced"),
    _single("context-exit-missing", NEW, "remove exit+1", "S8-42", "guest_context_exit_irqoff() left out",
            "end-state", "the path ends in the context guest"),
    _single("trace-finish-missing", NEW, "remove exit+3", "S8-53", "trace_hardirqs_off_finish() left out", "end-state",
            "the tracepoints last said that interrupts are on"),
    _single("instrumentation-exit-end-missing", NEW, "remove exit+4", "S8-44", "instrumentation_end() left out on exit",
            "noinstr", "the path ends with instrumentation allowed"),
    _hand("fixup-missing-vmrun", NEW, without_fixup("vmrun"), "S7-08 S7-09", "VMRUN without an exception-table entry",
          "kernel-entry", "while rebooting its #UD is a BUG, which the table must prevent"),
    _hand("fixup-missing-vmload", OLD, without_fixup("vmload vmcb01"), "S7-08 S7-09",
          "VMLOAD without an exception-table entry", "kernel-entry",
          "while rebooting its #UD is a BUG, which the table must prevent"),
    # --- the wrong helper
    _single("traced-enable", NEW, "trace sti", "S8-03 S8-51", "local_irq_enable() in place of the raw one", "noinstr",
            "trace_hardirqs_on() is called from .noinstr.text, as objtool said of the first version of the fix"),
    _single("traced-disable", NEW, "trace cli", "S8-03 S8-52", "local_irq_disable() in place of the raw one", "noinstr",
            "trace_hardirqs_off() is called from .noinstr.text"),
    _hand("traced-instead-of-prepare", NEW, instead_of("trace_hardirqs_on_prepare", "trace_hardirqs_on"), "S8-42 S8-51",
          "trace_hardirqs_on() in place of its first half", "lockdep-order",
          "the half that belongs there was not called, and lockdep is on too early"),
    _hand("popf-instead-of-cli", NEW, instead_of(DISABLE, "popf"), "S8-50", "POPF with IF=0 in place of CLI", "end-state",
          "", "both clear IF and nothing else that the path looks at (S8-50)"),
    _hand("adjacent-sti", NEW, moved(ENABLE, "vmrun"), "S2-70 S8-06", "STI moved back to right before VMRUN",
          "shadow-bleed", "VMRUN executes in the STI shadow, which the fix took it out of"),
    _hand("mov-ss-before-vmrun", NEW, inserted("mov_ss", "vmrun"), "S2-77", "MOV SS right before VMRUN", "shadow-bleed",
          "", "whether a MOV SS shadow bleeds has no source (S2-77); by default the model's does not", OPEN),
    # --- out of order
    _hand("clgi-after-sti", NEW, moved("clgi", "call __svm_vcpu_run"), "S3-23 S8-70", "CLGI after STI", "irq-exposure",
          "an INTR can be taken between STI and CLGI, with lockdep on and context guest"),
    _hand("clgi-in-shadow", NEW, moved("clgi", "inline amd_clear_divider"), "S3-24 S8-70", "CLGI right after STI",
          "nmi-exposure", "the STI shadow holds an INTR, but NMIs come until CLGI"),
    _hand("sti-before-enter", NEW, moved(ENABLE, "instrumentation_begin"), "S8-60 S8-66",
          "STI before guest_state_enter_irqoff()", "lockdep-if-mismatch",
          "lockdep_hardirqs_on_prepare() finds IF=1 and warns"),
    _single("sti-before-lockdep-on", NEW, "exchange enter+5", "S8-61 S8-65", "STI before lockdep_hardirqs_on()",
            "lockdep-if-mismatch", "lockdep_hardirqs_on() finds IF=1 and warns"),
    _hand("cli-after-exit", NEW, moved(DISABLE, "inline x86_spec_ctrl_restore_host"), "S8-62 S8-66",
          "CLI after guest_state_exit_irqoff()", "lockdep-if-mismatch",
          "lockdep_hardirqs_off() finds IF=1 and warns"),
    _single("lockdep-off-before-cli", NEW, "exchange cli", "S8-62 S8-65", "lockdep_hardirqs_off() before CLI",
            "lockdep-if-mismatch", "lockdep_hardirqs_off() finds IF=1 and warns"),
    _hand("stgi-before-exit", NEW, moved("stgi", "lockdep_hardirqs_off"), "S8-70",
          "STGI before guest_state_exit_irqoff()", "kernel-entry",
          "an NMI can come after STGI, where the path documents one, but in the context guest"),
    _hand("stgi-before-cli", NEW, moved("stgi", DISABLE), "S8-70 S5-21", "STGI before CLI", "irq-exposure",
          "GIF=1 with IF=1: an INTR is taken with lockdep on and context guest"),
    _hand("clgi-missing-in-window", NEW, inserted("stgi", "vmrun"), "S3-23 S8-70", "STGI right before VMRUN",
          "irq-exposure", "an INTR is taken between STGI and VMRUN"),
    _single("prepare-before-trace", NEW, "exchange enter+1", "S8-42",
            "lockdep_hardirqs_on_prepare() before the tracepoint", "lockdep-order", "the order is tracing, then lockdep"),
    _single("lockdep-on-before-context", NEW, "exchange enter+4", "S8-42",
            "lockdep_hardirqs_on() before the context changes", "lockdep-order", "lockdep changes while RCU is off"),
    _single("context-before-lockdep-off", NEW, "exchange exit", "S8-42",
            "the context changes before lockdep_hardirqs_off()", "lockdep-order", "lockdep changes while RCU is off"),
    _single("finish-after-instrumentation", NEW, "exchange exit+3", "S8-44",
            "instrumentation_end() before the tracepoint", "noinstr", "the call leaves .noinstr.text"),
    _single("vmrun-before-sti", OLD, "exchange sti", "S5-03", "VMRUN before STI", "irq-exposure",
            "host IF is 0 at VMRUN"),
    _single("cli-before-vmrun", OLD, "exchange vmrun", "S5-03", "CLI before VMRUN", "irq-exposure",
            "host IF is 0 at VMRUN"),
    _single("cli-late-old", OLD, "exchange cli", "S8-11 S7-15", "one instruction between VMRUN and CLI",
            "irq-exposure", "while rebooting an INTR can come where the path documents none"),
    # --- something too much
    _single("context-enter-twice", NEW, "repeat enter+4", "S8-42", "guest_context_enter_irqoff() twice",
            "lockdep-order", "called more often than once a round"),
    _single("lockdep-on-twice", NEW, "repeat enter+5", "S8-61", "lockdep_hardirqs_on() twice", "lockdep-order",
            "called more often than once a round; lockdep counts it as redundant and is silent"),
    _single("lockdep-off-twice", NEW, "repeat exit", "S8-62", "lockdep_hardirqs_off() twice", "lockdep-order",
            "called more often than once a round; lockdep counts it as redundant and is silent"),
    _hand("trace-in-window", NEW, inserted("traceable trace_kvm_entry", "vmrun"), "S8-41 S8-44",
          "a traced call between STI and VMRUN", "noinstr", "a call that leaves .noinstr.text"),
    _hand("lock-in-gap", NEW, inserted(_IN_GAP, ENABLE), "S8-63 S8-67", "a lock taken between lockdep-on and STI",
          "lockdep-if-mismatch", "check_flags() finds IF=0 with lockdep on and warns"),
    _hand("prepare-missing-lock-held", NEW,
          chained(inserted("lock_acquire", "traceable pre_svm_run"),
                  inserted("lock_release", "traceable svm_complete_interrupts"),
                  without("lockdep_hardirqs_on_prepare")),
          "S8-60 S8-61", "lockdep_hardirqs_on_prepare() left out with a lock held", "lockdep-if-mismatch",
          "lockdep_hardirqs_on() finds another chain key than it recorded"),
    _hand("irqs-on-at-end", NEW, inserted("local_irq_enable", "traceable svm_complete_interrupts"), "S8-02 I-06",
          "interrupts are enabled before the path returns", "end-state", "IF is 0 at the start and 1 at the end"),
    # --- nothing that matters
    _single("clgi-twice", NEW, "repeat clgi", "S3-01", "CLGI twice", "nmi-exposure", "", "CLGI with GIF=0 changes nothing"),
    _single("clgi-earlier", NEW, "exchange start+1", "S8-70", "CLGI one call earlier", "nmi-exposure", "",
            "GIF=0 begins earlier; what may not be interrupted is still within"),
    _single("stgi-later", NEW, "exchange stgi", "S3-21", "STGI one call later", "nmi-exposure", "",
            "GIF=0 ends later; what was held is taken then"),
    _single("sti-later", NEW, "exchange sti", "S8-05", "STI one call later", "irq-exposure", "",
            "GIF=0 holds interrupts on either side, and VMRUN still is far from STI"),
    _single("vmload-missing", NEW, "remove vmexit+4", "S8-20 S1-62", "the host's VMLOAD left out", "end-state", "",
            "what VMLOAD and VMSAVE move is outside the model, which has no FS, GS or TR", OUTSIDE),
)  # fmt: skip
