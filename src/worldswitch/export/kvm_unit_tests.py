"""A test in the form of kvm-unit-tests (``x86/svm_npt.c``): a file of its own for the x86 directory of a checkout.

The instructions of the entry path that matter to the processor are executed as they stand, in order; every other one is
a NOP, so that distances stay the same. The exits that the model shows are what the test asserts. Asynchronous events,
handlers and most fields of the VMCB have no counterpart: a scenario that has them is refused with the reason.
"""

from pathlib import Path
from typing import Final

import worldswitch
from worldswitch.core import isa
from worldswitch.core.bits import RFLAGS_FIXED, RFLAGS_IF
from worldswitch.core.names import event_name, exit_name
from worldswitch.core.record import WORLD_HOST
from worldswitch.core.state import END
from worldswitch.export.finding import Prepared
from worldswitch.kernel.calls import CALLS
from worldswitch.machine.machine import Machine
from worldswitch.result import Result
from worldswitch.scenario.kinds import Event

_HOST: Final = {
    isa.OP_STI: "sti", isa.OP_CLI: "cli", isa.OP_CLGI: "clgi", isa.OP_STGI: "stgi", isa.OP_VMRUN: "vmrun %%rax",
}  # fmt: skip
_HARMLESS: Final = frozenset({isa.OP_PLAIN, isa.OP_INTERCEPTABLE, isa.OP_VMLOAD, isa.OP_VMSAVE, isa.OP_PUSHF})
"""What may become a NOP on the host's side."""

_GUEST: Final = {
    isa.OP_PLAIN: "nop", isa.OP_STI: "sti", isa.OP_CLI: "cli", isa.OP_HLT: "hlt", isa.OP_VMMCALL: "vmmcall",
    isa.OP_STGI: "stgi", isa.OP_CLGI: "clgi", isa.OP_INT3: "int3", isa.OP_ICEBP: ".byte 0xf1", isa.OP_UD2: "ud2",
    isa.OP_SPIN: "jmp .",
}  # fmt: skip
_FIELDS: Final = frozenset(
    {"vmcb.eventinj", "vmcb.int_state", "vmcb.intercepts", "vmcb.v_intr_masking", "guest.rip", "guest.if"}
)
"""Fields that the test sets; those of the kernel have no counterpart and no effect."""

_HEADER: Final = """\
// SPDX-License-Identifier: GPL-2.0
/*
 * {signature}, written by worldswitch {version}.
 *
{message}
 *
 * Put this file into x86/ of a checkout of kvm-unit-tests and add to x86/Makefile.x86_64
 *
 *	tests += $(TEST_DIR)/{name}.$(exe)
 *	$(TEST_DIR)/{name}.$(bin): $(TEST_DIR)/svm.o
 *
 * then build it and run x86/{name}.flat with `-cpu max,+svm -m 4g`.
 *
 * A test passes where the processor, or what emulates it, does what the model's profile {profile} says. Where the
 * finding is a defect, a pass reproduces it.
 *
 * What this form cannot express: the kernel around the world switch. STI, CLI, CLGI, STGI and VMRUN are executed as the
 * entry path has them; its other instructions and its calls (lockdep, tracing, context tracking, VMLOAD, VMSAVE) are
 * NOPs, which keep the distances. Nothing checks what lockdep or a handler would see. FS, GS and the like stay the
 * host's own in the guest.
 */

#include "libcflat.h"
#include "processor.h"
#include "desc.h"
#include "vm.h"
#include "alloc_page.h"
#include "svm.h"
"""

_IDT: Final = """
/* A copy of the host's IDT in a page of its own, for the guest. */
static idt_entry_t *guest_idt;

static void use_guest_idt(void)
{
	struct descriptor_table_ptr host_idt;

	if (!guest_idt)
		guest_idt = alloc_page();
	sidt(&host_idt);
	memcpy(guest_idt, (void *)host_idt.base, 256 * sizeof(*guest_idt));
	vmcb->save.idtr.base = (u64)guest_idt;
	vmcb->save.idtr.limit = 256 * sizeof(*guest_idt) - 1;
}

/* Delivery of any event meets a nested page fault while the IDT's page is absent. */
static void guest_idt_present(bool present)
{
	u64 *pte = npt_get_pte(virt_to_phys(guest_idt));

	*pte = present ? *pte | PT_PRESENT_MASK : *pte & ~PT_PRESENT_MASK;
	vmcb->control.tlb_ctl = TLB_CONTROL_FLUSH_ALL_ASID;
}
"""


class InexpressibleError(Exception):
    """The scenario has something that a test of kvm-unit-tests cannot do; ``str()`` says what."""


def kvm_unit_test(prepared: Prepared, name: str) -> str:
    """The C file called ``name``; raises ``InexpressibleError``."""
    for result in prepared.results:
        _check(result)
    scenario = prepared.scenario
    parts = [
        _HEADER.format(
            signature=prepared.finding.signature, version=worldswitch.__version__, name=name,
            message=_comment(prepared.finding.message), profile=scenario.profile,
        ),
        _guest(prepared.results[0]),
    ]  # fmt: skip
    if scenario.guest.idt:
        parts.append(_IDT)
    functions = []
    for number, result in enumerate(prepared.results):
        function = f"path_{number}_{_word(result.path)}"
        functions.append(function)
        parts.append(_test(function, result))
    rows = "".join(f"\tTEST({function}),\n" for function in functions)
    supported = "npt_supported" if scenario.guest.idt else "default_supported"
    parts.append(
        f"\n#define TEST(fn)\t{{ #fn, .supported = {supported}, .v2 = fn }}\n\n"
        f"static struct svm_test tests[] = {{\n{rows}\t{{ NULL }}\n}};\n\n"
        "int main(int ac, char **av)\n{\n\tsetup_vm();\n\treturn run_svm_tests(ac, av, tests);\n}\n"
    )
    return "".join(parts)


def default_name(prepared: Prepared) -> Path:
    """The file's name."""
    return Path(f"worldswitch_{_word(prepared.finding.signature)}.c")


def _check(result: Result) -> None:
    """Raise ``InexpressibleError`` for what the test could not do, or would do otherwise."""
    scenario, run = result.scenario, result.run
    if scenario.nested is not None:
        raise InexpressibleError("it has nested levels, and a test is L1 alone")
    if scenario.events:
        raise InexpressibleError(f"it has asynchronous events ({scenario.events[0].kind} at {scenario.events[0].at})")
    for name in scenario.settings:
        if name not in _FIELDS and not name.startswith("kernel."):
            raise InexpressibleError(f"it sets {name}")
    if scenario.host.idt or scenario.host.handlers or scenario.guest.handlers:
        raise InexpressibleError("it has handlers, or gates of the host, of its own")
    if run.cpu.stop != END:
        raise InexpressibleError(f"the run on {result.path} does not come to its end")
    if any(handler.world == WORLD_HOST for handler in run.recorder.handlers):
        raise InexpressibleError(f"a handler of the host runs on {result.path}")
    outcomes = {gate.outcome for gate in scenario.guest.idt.values()}
    if outcomes - {isa.GATE_NPF}:
        raise InexpressibleError("a delivery meets something else than a nested page fault")
    if outcomes and run.recorder.handlers:
        raise InexpressibleError("one delivery meets a nested page fault and another succeeds")


def _guest(result: Result) -> str:
    code = result.run.plan.guest.code
    program = result.scenario.guest.program
    lines = []
    for number, text in enumerate(program):
        op = code.ops[code.start + number]
        if op not in _GUEST:
            raise InexpressibleError(f"the guest executes {text}")
        lines.append(f'\t"guest_{number}:\\n\\t"\n\t"{_GUEST[op]}\\n\\t" /* {_safe(text)} */')
    lines.append('\t"jmp .\\n\\t"')
    labels = "".join(f"extern char guest_{number}[];\n" for number in range(len(program)))
    assembly = "\n".join(lines)
    return f"\n{labels}\n/* The guest; it never returns into C. */\nasm (\n{assembly}\n);\n"


def _test(function: str, result: Result) -> str:
    scenario = result.scenario
    body = [*_setup(result), ""]
    if not _entry_if(result):
        body += ["cli();", ""]
    exits = list(result.run.recorder.exits)
    if len(exits) != scenario.rounds:
        raise InexpressibleError("a round has more than one exit, or none")
    for number, record in enumerate(exits):
        body += _between(scenario.between) if number else []
        body.append(f"vmrun_{function}();")
        state = f"int_state {record.int_state & 1}"
        info = f", EXITINTINFO {event_name(record.exitintinfo)}" if record.exitintinfo else ""
        body.append(f"/* {exit_name(record.code)}, {state}{info} */")
        for field, value in (
            ("exit_code", record.code),
            ("int_state & 1", record.int_state & 1),
            # Of one that is not valid the other bits mean nothing.
            (
                "exit_int_info" if record.exitintinfo else "exit_int_info & SVM_EXITINTINFO_VALID",
                record.exitintinfo & 0xFFFFFFFF,
            ),
        ):
            shown = field.partition(" ")[0]
            body += [
                f"report((vmcb->control.{field}) == {value:#x}ull,",
                f'       "exit {number + 1}: {shown} %#lx, expected {value:#x}", (ulong)(vmcb->control.{field}));',
            ]
        body.append("")
    if scenario.guest.idt:
        body.append("guest_idt_present(true);")
    inner = "\n".join(f"\t{line}" if line else "" for line in body).rstrip()
    return f"{_switch(function, result)}\nstatic void {function}(void)\n{{\n{inner}\n}}\n"


def _switch(function: str, result: Result) -> str:
    """The world switch of one path as a C function."""
    lines = []
    for op, text in _instructions(result):
        if op in _HOST:
            instruction = _HOST[op]
        elif op in _HARMLESS or (op >= isa.FIRST_KERNEL_OP and text.split()[0] in CALLS):
            instruction = "nop"
        else:
            raise InexpressibleError(f"the path {result.path} executes {text}")
        lines.append(f'\t\t"{instruction}\\n\\t" /* {_safe(text)} */')
    assembly = "\n".join(lines)
    return (
        f"\n/* The world switch of {_safe(result.path)}. */\nstatic noinline void vmrun_{function}(void)\n{{\n"
        f"\tasm volatile (\n{assembly}\n"
        '\t\t: : "a" (virt_to_phys(vmcb)) : "memory", "cc");\n}\n'
    )


def _instructions(result: Result) -> list[tuple[int, str]]:
    """Operation and text of one round of the world switch."""
    plan = result.run.plan
    if plan.path is not None:
        return [(line.instruction.op, line.instruction.text) for line in plan.path.lines]
    if result.scenario.rounds > 1:
        raise InexpressibleError("a free host program has several rounds")
    code = plan.host.code
    return [(code.ops[rip], code.texts[rip]) for rip in range(code.start, plan.host.end)]


def _setup(result: Result) -> list[str]:
    """The VMCB at the start, as the model starts with it."""
    scenario = result.scenario
    control = Machine(result.run.plan).cpu.vmcb
    lines = ["memset(vmcb->control.intercept, 0, sizeof(vmcb->control.intercept));"]
    lines += [f"vmcb_set_intercept({code:#x}); /* {exit_name(code)} */"
              for code, on in enumerate(control.intercepts) if on]  # fmt: skip
    masking = "|= V_INTR_MASKING_MASK" if control.v_intr_masking else "&= ~V_INTR_MASKING_MASK"
    lines.append(f"vmcb->control.int_ctl {masking};")
    lines.append(f"vmcb->control.int_state = {int(scenario.settings.get('vmcb.int_state', 0)):#x};")
    lines += _inject(control.eventinj)
    interrupts = RFLAGS_IF if scenario.settings.get("guest.if", True) else 0
    lines.append(f"vmcb->save.rflags = {RFLAGS_FIXED | interrupts:#x};")
    first = int(scenario.settings.get("guest.rip", 1)) - 1
    if not 0 <= first < len(scenario.guest.program):
        raise InexpressibleError("the guest starts outside of its program")
    lines.append(f"svm_setup_vmrun((u64)guest_{first});")
    if scenario.guest.idt:
        lines += ["use_guest_idt();", "guest_idt_present(false);"]
    return lines


def _inject(event: int) -> list[str]:
    name = f" /* {event_name(event)} */" if event else ""
    return [
        f"vmcb->control.event_inj = {event & 0xFFFFFFFF:#x};{name}",
        f"vmcb->control.event_inj_err = {event >> 32:#x};",
    ]


def _between(program: tuple[str, ...]) -> list[str]:
    """What software does between two rounds."""
    lines = []
    for text in program:
        word, _, assignment = text.partition(" ")
        field, _, value = assignment.partition("=")
        if text == "set vmcb.eventinj=exitintinfo":
            lines += [
                "vmcb->control.event_inj = vmcb->control.exit_int_info;",
                "vmcb->control.event_inj_err = vmcb->control.exit_int_info_err;",
            ]
        elif text == "set guest.memory=ok":
            lines.append("guest_idt_present(true);")
        elif word == "set" and field == "vmcb.eventinj":
            lines += _inject(Event().parse(value))
        elif word == "set" and field == "vmcb.int_state":
            lines.append(f"vmcb->control.int_state = {int(value, 0):#x};")
        elif word not in CALLS:
            raise InexpressibleError(f"between two rounds software does {text}")
    return lines


def _entry_if(result: Result) -> bool:
    path = result.run.plan.path
    return path.entry_if if path else True


def _word(text: str) -> str:
    """A text as part of an identifier of C."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in text)


def _safe(text: str) -> str:
    """A text that cannot end a comment or a string."""
    return text.replace("*/", "* /").encode("ascii", "replace").decode()


def _comment(text: str) -> str:
    import textwrap

    return "\n".join(f" * {line}" for line in textwrap.wrap(_safe(text), 110))
