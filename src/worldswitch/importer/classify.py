"""The straight line to rows of a path file: each instruction's word, its marks, and what is not known of it.

Calls of a Linux kernel:

- those that the kernel model has (lockdep, tracing, context tracking, locks) are written by their names;
- one from ``.text`` is ``traceable``: every function there may be traced;
- one from ``.noinstr.text`` is ``inline`` where the callee is in the object and not traced, or not in it: objtool
  refuses builds that call anything else there outside instrumentation_begin() and -end(). The calls that the kernel's
  source makes between these two are put between them again, since they leave no trace in the object.

Only a path that makes lockdep calls speaks to lockdep. Without one (distributions build none in) the path is of system
"none": there is no lockdep state to be wrong.
"""

from dataclasses import dataclass
from typing import Final

from worldswitch.importer import pv_ops
from worldswitch.importer.decode import Decoded, Flow, shown
from worldswitch.importer.fixups import resolve
from worldswitch.importer.flow import Functions
from worldswitch.importer.image import clean
from worldswitch.importer.patch import AS_BUILT, KEY, Code, Site, is_tracer
from worldswitch.importer.walk import Line, Step, ends_call, is_label_call
from worldswitch.importer.words import OTHER, word_for
from worldswitch.kernel.calls import CALLS, OPERAND_CALLS

LOCKDEP_CALLS: Final = frozenset({
    "lockdep_hardirqs_on_prepare", "lockdep_hardirqs_on", "lockdep_hardirqs_off", "trace_hardirqs_on_prepare",
    "trace_hardirqs_off_finish", "trace_hardirqs_on", "trace_hardirqs_off",
})  # fmt: skip
_OTHER_NAMES: Final = {
    "trace_hardirqs_on_caller": "trace_hardirqs_on",
    "trace_hardirqs_off_caller": "trace_hardirqs_off",
    "__trace_hardirqs_on_caller": "trace_hardirqs_on",
    "__trace_hardirqs_off_caller": "trace_hardirqs_off",
}
_CONTEXT_ENTER: Final = frozenset({"__ct_user_enter", "__context_tracking_enter", "rcu_note_context_switch"})
_CONTEXT_EXIT: Final = frozenset({"__ct_user_exit", "__context_tracking_exit", "rcu_note_context_switch"})
_CONTEXT_KEYS: Final = ("context_tracking_key", "context_tracking_enabled")
_INSTRUMENTABLE: Final = frozenset({
    "trace_hardirqs_on_prepare", "lockdep_hardirqs_on_prepare", "trace_hardirqs_off_finish",
    "traceable rcu_note_context_switch",
})  # fmt: skip
_NOINSTR_SECTIONS: Final = (".noinstr.text", ".entry.text")
_CONCERNS_INTERRUPTS: Final = ("sti", "cli", "clgi", "stgi", "vmrun", "popfq", "hlt")
_RETPOLINE: Final = "__x86_indirect_thunk_"


@dataclass(slots=True)
class Row:
    """A line of the listing."""

    text: str
    step: Step | None = None  # None: no instruction of the object
    place: str = ""  # the address as the file's tools print it
    label: str = ""
    fixup: bool = False
    noinstr: bool = False
    data: bytes = b""  # as the file has it, or as it is patched
    remark: str = ""


@dataclass(slots=True)
class Doubt:
    """What could not be classified."""

    place: str
    text: str
    reason: str


@dataclass(slots=True)
class Rows:
    """A classified line."""

    rows: list[Row]
    doubts: list[Doubt]
    lockdep: bool


def classify(code: Code, functions: Functions, line: Line, system: str, version: str, entry_if: bool) -> Rows:
    """The rows of a line, one an instruction; ``system`` is "linux", "xen" or "other"."""
    return _Classifier(code, functions, line, system, version, entry_if).run()


class _Classifier:
    def __init__(self, code: Code, functions: Functions, line: Line, system: str, version: str, entry_if: bool) -> None:
        self.code = code
        self.image = code.image
        self.functions = functions
        self.line = line
        self.system = system
        self.version = version
        self.doubts: list[Doubt] = []
        self.taken = {choice.step: choice.taken for choice in line.choices}
        self.names = [self.called_name(step) for step in line.steps]
        self.lockdep = system == "linux" and any(name in LOCKDEP_CALLS for name in self.names)
        self.interrupts: bool | None = entry_if
        self.pushed: list[bool | None] = []
        self.saved: bool | None = None  # RFLAGS.IF as a register keeps it

    def run(self) -> Rows:
        rows = [self.row(number, step) for number, step in enumerate(self.line.steps)]
        if self.system == "linux":
            self.mark_context(rows)
        if self.lockdep:
            rows = _instrumented(rows)
        return Rows(rows, self.doubts, self.lockdep)

    def row(self, number: int, step: Step) -> Row:
        instruction = step.instruction
        site = self.code.site(instruction.address)
        row = Row("", step, self.image.shown(instruction.address), data=self.bytes_of(instruction, site))
        section = self.image.section_at(instruction.address)
        row.noinstr = section is not None and section.name.startswith(_NOINSTR_SECTIONS)
        row.remark = _origin(site)
        doubt = self.fill(row, number, step)
        if instruction.flow is Flow.BRANCH and number in self.taken:
            self.remark(row, "taken" if self.taken[number] else "not taken")
        if site is not None and site.unknown:
            self.doubt(row, f"feature {site.unknown} has no name here: taken as absent")
        if instruction.address in self.code.fixups:
            doubt = self.fix(row, number, self.code.fixups[instruction.address]) or doubt
        if doubt:
            self.doubt(row, doubt)
        return row

    def bytes_of(self, instruction: Decoded, site: Site | None) -> bytes:
        """The instruction's bytes, with zeros where a relocation is yet to be applied."""
        size = len(instruction.data)
        if site is None:
            return self.image.raw(instruction.address, size)
        outside = instruction.target is not None and self.image.external(instruction.target) is not None
        return instruction.data[:-4] + bytes(4) if outside and size > 4 else instruction.data

    def fill(self, row: Row, number: int, step: Step) -> str:
        """Give the row its text; returns what is open."""
        instruction = step.instruction
        operands = shown(instruction, self.image).removeprefix(instruction.prefix).strip()
        operands = operands.partition(" ")[2]
        if is_tracer(self.image, instruction):
            row.text = "nop"
            self.remark(row, f"{instruction.mnemonic} {operands}: a NOP while nobody traces")
            return ""
        if ends_call(self.functions, step) and step.called is None:
            row.text = "ret"
            if instruction.flow is not Flow.RETURN:
                self.remark(row, f"{instruction.mnemonic} {operands}")
            return ""
        if is_label_call(self.functions, step):
            row.text = f"call {self.image.shown(instruction.target or 0)}"
            self.remark(row, "the return address is thrown away")
            return ""
        if instruction.flow is Flow.CALL or step.called is not None:
            return self.call(row, self.names[number], step)
        match instruction.mnemonic:
            case "sti" | "cli":
                self.interrupts = instruction.mnemonic == "sti"
                row.text = instruction.mnemonic
                return ""
            case "pushfq" | "pushf":
                self.pushed.append(self.interrupts)
                row.text = "pushf"
                return ""
            case "popfq" | "popf":
                return self.popf(row, number)
            case "pop" if self.previous(number) == "pushfq" and self.pushed:
                self.saved = self.pushed.pop()
        if instruction.flow is Flow.JUMP and instruction.indirect:
            row.text = "jmp"
            return f"a jump to where {instruction.operands} says: not followed"
        word = word_for(instruction, operands)
        row.text = word.text
        if word.text == OTHER != instruction.mnemonic:
            self.remark(row, shown(instruction, self.image))
        return word.doubt

    def popf(self, row: Row, number: int) -> str:
        """POPF sets IF to what was pushed, which the line knows where PUSHF and POPF are in pairs."""
        if self.previous(number) == "push":
            value, self.saved = self.saved, None
        else:
            value = self.pushed.pop() if self.pushed else None
        self.interrupts = value
        row.text = "popf if" if value else "popf"
        return "" if value is not None else "the flags that POPF loads are not known: taken as IF=0"

    def previous(self, number: int) -> str:
        return self.line.steps[number - 1].instruction.mnemonic if number else ""

    def call(self, row: Row, name: str, step: Step) -> str:
        instruction = step.instruction
        if not name:
            row.text = "call"
            where = shown(instruction, self.image).partition(" ")[2]
            return f"a call of what {where} says: not known"
        tail = instruction.flow is Flow.JUMP
        if tail:
            self.remark(row, "a jump in place of a call and a return")
        if step.entered:
            row.text = f"jmp {name}" if tail else f"call {name}"
            return ""
        if self.system == "linux" and name in CALLS and name not in OPERAND_CALLS:
            row.text = name
            return ""
        if self.system != "linux" or name.startswith("pv_ops."):
            row.text = f"call {name}"
        else:
            row.text = f"{'traceable' if self.is_traced(row, step.called, name) else 'inline'} {name}"
        touched = self.touched(step.called)
        return f"{name} has {touched}, which is passed over" if touched else ""

    def is_traced(self, row: Row, target: int | None, name: str) -> bool:
        """Whether the function called may be traced."""
        if target is None or not self.image.is_code(target):
            return not row.noinstr or f"traceable {name}" in _INSTRUMENTABLE
        first = self.code.at(target)
        if first is not None and first.mnemonic.startswith("endbr"):
            first = self.code.at(first.next)
        return first is not None and is_tracer(self.image, first)

    def touched(self, target: int | None) -> str:
        """Those instructions of a function passed over that concern interrupts."""
        if target is None or not self.image.is_code(target):
            return ""
        function = self.functions.at(target)
        return ", ".join(name.upper() for name in _CONCERNS_INTERRUPTS if function.of(name))

    def called_name(self, step: Step) -> str:
        """The name of what a step calls; "" where it calls nothing, or what is not known."""
        instruction = step.instruction
        target = step.called
        if target is not None:
            name = self.image.name_of(target)
            if name.startswith(_RETPOLINE):
                return ""
            name = clean(name.removeprefix("__SCT__"))
            return _OTHER_NAMES.get(name, name)
        if instruction.flow is Flow.CALL and instruction.memory is not None:
            function = pv_ops.function(self.image, instruction.memory, self.version)
            return f"pv_ops.{clean(function)}" if function else ""
        return ""

    def fix(self, row: Row, number: int, resume: int) -> str:
        """Mark a row that has an exception-table entry; returns what is open."""
        after = self.line.steps[number + 1].instruction.address if number + 1 < len(self.line.steps) else None
        fixup = resolve(self.code, resume, after)
        row.fixup = fixup.survived
        if fixup.remark:
            self.remark(row, fixup.remark)
        return fixup.doubt

    def mark_context(self, rows: list[Row]) -> None:
        """Name the places where the guest's context is entered and left; with lockdep, write them as those calls."""
        vmrun = next(number for number, row in enumerate(rows) if row.text == "vmrun")
        for label, numbers, names, call in (
            ("enter", range(vmrun), _CONTEXT_ENTER, "guest_context_enter_irqoff"),
            ("exit", range(vmrun + 1, len(rows)), _CONTEXT_EXIT, "guest_context_exit_irqoff"),
        ):
            places = [number for number in numbers if self.is_context(rows[number], number, names)]
            calls = [number for number in numbers if self.lockdep and rows[number].text in LOCKDEP_CALLS]
            if places or calls:
                rows[min(places + calls)].label = label
            if not self.lockdep:
                continue
            if not places:
                self.doubts.append(Doubt("", call, f"no place is found where the path makes this call ({label})"))
                continue
            number = next((n for n in places if self.names[n].startswith("__c")), places[0])
            self.remark(rows[number], rows[number].text)
            rows[number].text = call

    def is_context(self, row: Row, number: int, names: frozenset[str]) -> bool:
        if self.names[number] in names:
            return True
        site = self.code.site(row.step.instruction.address) if row.step else None
        return site is not None and site.kind == KEY and site.about in _CONTEXT_KEYS

    def remark(self, row: Row, text: str) -> None:
        row.remark = f"{row.remark}; {text}" if row.remark else text

    def doubt(self, row: Row, reason: str) -> None:
        text = shown(row.step.instruction, self.image) if row.step else row.text
        self.doubts.append(Doubt(row.place, text, " ".join(reason.split())))


def _origin(site: Site | None) -> str:
    if site is None:
        return ""
    option = site.options[site.chosen]
    if site.kind == KEY:
        return f"{site.kind} {clean(site.about)}: {option.name}"
    if option.name == AS_BUILT:
        return f"{site.kind} {clean_list(site.about)}: {AS_BUILT}" if site.about else ""
    return f"{site.kind}: {clean_list(option.name)}"


def clean_list(text: str) -> str:
    """Names of features as text that may stand in a listing."""
    return "".join(c for c in text if c.isascii() and (c.isalnum() or c in "_ ,*+.-"))


def _instrumented(rows: list[Row]) -> list[Row]:
    """With instrumentation_begin() and -end() where the kernel's source has them (S8-42); they are no code."""
    result = []
    for row in rows:
        if row.noinstr and row.text in _INSTRUMENTABLE:
            begin = Row("instrumentation_begin", noinstr=True, label=row.label, remark="no code of its own")
            end = Row("instrumentation_end", noinstr=True, remark="no code of its own")
            row.label = ""
            result += [begin, row, end]
        else:
            result.append(row)
    return result
