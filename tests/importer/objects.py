"""Small objects for the importer's tests, assembled with gcc from text that is laid out as kernels lay out theirs."""

import shutil
import subprocess
from pathlib import Path

import pytest

GCC = shutil.which("gcc")
LD = shutil.which("ld")
needs_gcc = pytest.mark.skipif(GCC is None, reason="needs gcc to assemble an object")
needs_ld = pytest.mark.skipif(GCC is None or LD is None, reason="needs gcc and ld to link an object")

LAYOUTS = {
    "6.3": ".word {feature}, {inverted}; .byte {old}, {new}",
    "5.13": ".word {feature} | ({inverted} << 15); .byte {old}, {new}",
    "4.1": ".word {feature} | ({inverted} << 15); .byte {old}, {new}, 0",
}
"""struct alt_instr after its two offsets, by the release that it came with."""

ALWAYS = 3 * 32 + 21
XENPV = 8 * 32 + 16
V_SPEC_CTRL = 15 * 32 + 20
CLEAR_CPU_BUF_VM = 21 * 32 + 13


class Source:
    """The text of an object under construction: ``add`` code, then ``assemble``."""

    def __init__(self, layout: str = "6.3", version: str = "6.12.1-test") -> None:
        self.layout = layout
        self.texts = [
            ".intel_syntax noprefix",
            f'.section .modinfo, "a"\n .string "vermagic={version} SMP mod_unload"',
        ]
        self.count = 0

    def label(self) -> str:
        self.count += 1
        return f".Lx{self.count}"

    def add(self, text: str) -> "Source":
        self.texts.append(text)
        return self

    def function(self, name: str, body: str, section: str = ".text") -> "Source":
        """A global function with a size, as compilers and SYM_FUNC_START make them."""
        return self.add(
            f'.section {section}, "ax"\n .globl {name}\n .type {name}, @function\n'
            f"{name}:\n{body}\n .size {name}, . - {name}"
        )

    def entry(self, section: str, text: str) -> None:
        """A piece of another section."""
        self.add(f'.pushsection {section}, "a"\n{text}\n.popsection')

    def alternative(self, old: str, *choices: tuple[str, int, bool], room: int) -> str:
        """Code of ``room`` bytes with alternatives: text, feature, whether it is for processors without the feature."""
        start, end = self.label(), self.label()
        for text, feature, inverted in choices:
            first, last = self.label(), self.label()
            self.add(f'.pushsection .altinstr_replacement, "ax"\n{first}: {text}\n{last}:\n.popsection')
            fields = LAYOUTS[self.layout].format(
                feature=feature, inverted=int(inverted), old=f"{end} - {start}", new=f"{last} - {first}"
            )
            self.entry(".altinstructions", f".long {start} - ., {first} - .; {fields}")
        return f"{start}: {old}\n.skip {room} - (. - {start}), 0x90\n{end}:"

    def fixup(self, code: str, target: str) -> str:
        """An instruction with an exception-table entry."""
        here = self.label()
        self.entry("__ex_table", f".long {here} - ., {target} - ., 1")
        return f"{here}: {code}"

    def static_key(self, key: str, target: str, likely: bool = False, jump: bool = False) -> str:
        """A branch that a static key switches; a NOP as built, or a jump."""
        here = self.label()
        self.entry("__jump_table", f".balign 8; .long {here} - ., {target} - .; .quad {key} + {int(likely)} - .")
        return f"{here}: " + (f".byte 0xe9; .long {target} - . - 4" if jump else ".byte 0x0f, 0x1f, 0x44, 0, 0")

    def paravirt(self, offset: int) -> str:
        """A call through pv_ops, as kernels up to 6.7 list them."""
        here, end = self.label(), self.label()
        self.entry(".parainstructions", f".balign 8; .quad {here}; .byte {offset // 8}, {end} - {here}; .short 1")
        return f"{here}: call [rip + pv_ops + {offset}]\n{end}:"

    def pv_irq(self, enable: bool) -> str:
        """raw_local_irq_enable() or -disable() as from Linux 5.12 on."""
        return self.alternative(
            f"call [rip + pv_ops + {0x100 if enable else 0xF8}]",
            ("sti" if enable else "cli", XENPV, True),
            room=6,
        )

    @property
    def text(self) -> str:
        return "\n".join(self.texts) + "\n"

    def assemble(self, target: Path) -> Path:
        """The object, at ``target``."""
        source = target.with_suffix(".s")
        source.write_text(self.text)
        assert GCC is not None
        subprocess.run([GCC, "-c", "-o", str(target), str(source)], check=True, capture_output=True)
        return target


def link(target: Path, *objects: Path, options: tuple[str, ...] = ()) -> Path:
    """Link objects at a high address; what they leave undefined stays so."""
    assert LD is not None
    command = [LD, "--unresolved-symbols=ignore-all", "-Ttext=0xffffffff81000000", "-e", "0", *options]
    subprocess.run([*command, "-o", str(target), *map(str, objects)], check=True, capture_output=True)
    return target


def assembly(source: Source, kind: str, name: str = "__svm_vcpu_run") -> None:
    """``__svm_vcpu_run`` of a generation: "5.9", "6.1" or "6.14"."""
    fixups = ""

    def svm(mnemonic: str) -> str:
        """An instruction that is survived while kvm_rebooting."""
        nonlocal fixups
        fix, after = source.label(), source.label()
        fixups += f"{fix}: cmp byte ptr [rip + kvm_rebooting], 0\n jne {after}\n ud2\n"
        return f"{source.fixup(f'{mnemonic} rax', fix)}\n{after}:"

    load, registers = svm("vmload"), "mov rcx, [rdi + 0x120]"
    before = {"5.9": (registers, "sti", load), "6.1": (load, registers, "sti"), "6.14": (load, registers)}[kind]
    source.function(
        name,
        "\n".join((
            "push rbp", "push rdi", *before, svm("vmrun"), "" if kind == "6.14" else "cli", "pop rax",
            "mov [rax + 0x120], rcx", svm("vmsave"), "pop rbp", "jmp __x86_return_thunk", fixups,
        )),
        ".noinstr.text",
    )  # fmt: skip


def kvm(kind: str, layout: str = "6.3", version: str = "6.12.1-test", enter: str = "", leave: str = "") -> Source:
    """An object with svm_vcpu_run() and what it calls, of a generation; ``enter`` and ``leave`` go around it."""
    source = Source(layout, version)
    assembly(source, kind)
    fixed = kind == "6.14"
    source.function(
        "svm_vcpu_enter_exit",
        f"""push rbx
        {enter or "call rcu_note_context_switch"}
        {source.pv_irq(True) if fixed else ""}
        call __svm_vcpu_run
        {source.pv_irq(False) if fixed else ""}
        {leave}
        pop rbx
        jmp __x86_return_thunk""",
        ".noinstr.text",
    )
    source.function("kvm_load_guest_xsave_state_here", "call __fentry__\n ret")
    source.function(
        "svm_vcpu_run",
        f"""call __fentry__
        push rbp
        mov rbp, rdi
        test dword ptr [rbp + 0x2f8], 0x20
        jne .Lrare
        .Lback:
        {source.fixup("clgi", ".Lspurious")}
        jmp .Lgo
        .Lspurious: call kvm_spurious_fault
        .Lgo:
        call kvm_load_guest_xsave_state_here
        call kvm_wait_lapic_expire
        call svm_vcpu_enter_exit
        call kvm_load_host_xsave_state
        {source.fixup("stgi", ".Lspurious2")}
        jmp .Ldone
        .Lspurious2: call kvm_spurious_fault
        .Ldone:
        call svm_complete_interrupts
        pop rbp
        jmp __x86_return_thunk
        .Lrare:
        call nested_thing
        jmp .Lback""",
    )
    return source


def kernel() -> Source:
    """What ``kvm`` leaves undefined."""
    source = Source()
    for name in (
        "__fentry__", "__x86_return_thunk", "rcu_note_context_switch", "kvm_spurious_fault", "kvm_wait_lapic_expire",
        "kvm_load_host_xsave_state", "svm_complete_interrupts", "nested_thing",
    ):  # fmt: skip
        source.function(name, "ret" if name.startswith("__") else "call __fentry__\n ret")
    return source.add(".data\n .globl pv_ops, kvm_rebooting\n pv_ops: .fill 64, 8, 0\n kvm_rebooting: .byte 0")
