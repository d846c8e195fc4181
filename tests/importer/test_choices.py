"""What booting patches and where code branches: which way the path goes, and what is said about the other."""

from pathlib import Path

import pytest
from tests.importer.objects import ALWAYS, CLEAR_CPU_BUF_VM, V_SPEC_CTRL, XENPV, Source, needs_gcc
from tests.importer.verdicts import BLEED

from worldswitch.errors import InputError
from worldswitch.importer.features import features
from worldswitch.importer.importing import Imported, Request, import_path


def imported(source: Source, tmp_path: Path, **request: object) -> Imported:
    file = source.assemble(tmp_path / "object.o")
    return import_path(Request(str(file), function="run", **request))  # type: ignore[arg-type]


def texts(result: Imported) -> list[str]:
    return [row.text.split()[0] for row in result.rows]


@needs_gcc
class TestAlternatives:
    def test_feature_set_chooses(self, tmp_path: Path) -> None:
        source = Source()
        verw = source.alternative("", ("verw [rip + selector]", CLEAR_CPU_BUF_VM, False), room=7)
        source.function("run", f"clgi\n {verw}\n vmrun rax\n stgi\n ret")
        assert texts(imported(source, tmp_path, cpu_features="zen5")) == ["clgi", "nop", "vmrun", "stgi", "ret"]
        assert texts(imported(source, tmp_path, cpu_features="zen4")) == ["clgi", "verw", "vmrun", "stgi", "ret"]
        assert texts(imported(source, tmp_path, cpu_features="zen5,+CLEAR_CPU_BUF_VM"))[1] == "verw"
        assert texts(imported(source, tmp_path, cpu_features="zen4,-CLEAR_CPU_BUF_VM"))[1] == "nop"
        assert texts(imported(source, tmp_path, cpu_features="as-built"))[1] == "nop"

    def test_replacement_keeps_what_it_refers_to(self, tmp_path: Path) -> None:
        """A replacement is moved to where it is executed, and so are its relative addresses."""
        source = Source()
        verw = source.alternative("", ("verw [rip + selector]", CLEAR_CPU_BUF_VM, False), room=7)
        jump = source.alternative("", ("jmp .Lout", ALWAYS, False), room=5)
        source.function("run", f"clgi\n {verw}\n vmrun rax\n {jump}\n hlt\n .Lout: stgi\n ret")
        result = imported(source, tmp_path, cpu_features="zen4")
        assert [row.text for row in result.rows if row.text.startswith("verw")] == ["verw word [selector]"]
        assert texts(result) == ["clgi", "verw", "vmrun", "jmp", "stgi", "ret"]

    def test_last_that_applies_wins(self, tmp_path: Path) -> None:
        """ALTERNATIVE_2: SPEC_CTRL is written, unless the processor virtualises it."""
        source = Source()
        code = source.alternative("", ("jmp .Lwrite", ALWAYS, False), ("", V_SPEC_CTRL, False), room=5)
        source.function("run", f"clgi\n {code}\n vmrun rax\n stgi\n ret\n .Lwrite: wrmsr\n vmrun rax\n stgi\n ret")
        assert texts(imported(source, tmp_path, cpu_features="zen5")) == ["clgi", "nop", "vmrun", "stgi", "ret"]
        assert texts(imported(source, tmp_path, cpu_features="zen2")) == [
            "clgi",
            "jmp",
            "wrmsr",
            "vmrun",
            "stgi",
            "ret",
        ]

    def test_both_are_shown_where_it_matters(self, tmp_path: Path) -> None:
        """On processors that clear their buffers before VMRUN, this code has VERW in place of the NOP before STI."""
        source = Source()
        code = source.alternative("nop; sti", ("sti; nop", CLEAR_CPU_BUF_VM, False), room=2)
        source.function("run", f"clgi\n {code}\n vmrun rax\n cli\n stgi\n ret")
        result = imported(source, tmp_path)
        assert result.gap == 0
        assert BLEED in result.findings
        assert [(turn.what, turn.gap, turn.findings) for turn in result.turns] == [
            ("alternative CLEAR_CPU_BUF_VM: CLEAR_CPU_BUF_VM", 1, ())
        ]
        assert "alternative CLEAR_CPU_BUF_VM: CLEAR_CPU_BUF_VM, gap 1: no finding" in result.text

    def test_what_no_machine_with_svm_does_is_no_choice(self, tmp_path: Path) -> None:
        """Under Xen a paravirtual kernel calls pv_ops, but has no SVM."""
        source = Source()
        source.function("run", f"clgi\n {source.pv_irq(True)}\n vmrun rax\n {source.pv_irq(False)}\n stgi\n ret")
        result = imported(source, tmp_path)
        assert texts(result) == ["clgi", "sti", "nop", "vmrun", "cli", "nop", "stgi", "ret"]
        assert result.turns == []
        assert "not XENPV" in result.text

    def test_unknown_feature_is_listed(self, tmp_path: Path) -> None:
        source = Source()
        code = source.alternative("", ("verw [rip + selector]", 19 * 32 + 7, False), room=7)
        source.function("run", f"clgi\n {code}\n vmrun rax\n stgi\n ret")
        result = imported(source, tmp_path)
        assert [doubt.reason for doubt in result.doubts] == ["feature 19*32+7 has no name here: taken as absent"]

    def test_header_of_the_kernel_names_features(self, tmp_path: Path) -> None:
        header = tmp_path / "cpufeatures.h"
        header.write_text(
            "#define NCAPINTS 22\n#define X86_FEATURE_CLEAR_CPU_BUF_VM\t(19*32+ 7) /* VERW */\n"
            "#define X86_BUG(x) (NCAPINTS*32 + (x))\n#define X86_BUG_DIV0 X86_BUG(1*32 + 1)\n"
        )
        source = Source()
        code = source.alternative("", ("verw [rip + selector]", 19 * 32 + 7, False), room=7)
        source.function("run", f"clgi\n {code}\n vmrun rax\n stgi\n ret")
        result = imported(source, tmp_path, cpu_features="zen4", header=str(header))
        assert texts(result)[1] == "verw"
        assert result.doubts == []
        assert features("zen1", "linux", "6.12", str(header)).name(22 * 32 + 33) == "BUG_DIV0"


@needs_gcc
class TestStaticKeys:
    def source(self, likely: bool = False, jump: bool = False) -> Source:
        source = Source()
        branch = source.static_key("context_tracking_key", ".Ltracked", likely, jump)
        return source.function(
            "run", f"clgi\n {branch}\n .Lback: vmrun rax\n stgi\n ret\n .Ltracked: call __ct_user_enter\n jmp .Lback"
        )

    @pytest.mark.parametrize(
        ("likely", "jump", "value", "tracked"),
        [
            (False, False, None, False),  # static_branch_unlikely() of a key that starts as false
            (False, True, None, True),  # of one that starts as true
            (True, False, None, False),  # static_branch_likely() of a key that starts as true: on falls through
            (True, True, None, True),
            (False, False, True, True),
            (False, True, False, False),
            (True, False, False, True),
            (True, True, True, False),
        ],
    )
    def test_branch(self, likely: bool, jump: bool, value: bool | None, tracked: bool, tmp_path: Path) -> None:
        keys = {} if value is None else {"context_tracking_key": value}
        result = imported(self.source(likely, jump), tmp_path, keys=keys)
        assert ("traceable __ct_user_enter" in [row.text for row in result.rows]) == tracked

    def test_unknown_key(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="'mds' is no static key in it"):
            imported(self.source(), tmp_path, keys={"mds": True})


@needs_gcc
class TestBranches:
    def test_goal_before_fall_through(self, tmp_path: Path) -> None:
        source = Source().function("run", "test eax, eax\n jne .Lenter\n ud2\n .Lenter: clgi\n vmrun rax\n stgi\n ret")
        result = imported(source, tmp_path)
        assert texts(result) == ["test", "jne", "clgi", "vmrun", "stgi", "ret"]
        assert result.branches == ["2 jne run+0x6: taken, the only way on"]

    def test_loop_is_passed_once(self, tmp_path: Path) -> None:
        source = Source().function("run", "clgi\n vmrun rax\n .Lfill: sub ecx, 1\n jne .Lfill\n stgi\n ret")
        assert texts(imported(source, tmp_path)) == ["clgi", "vmrun", "sub", "jne", "stgi", "ret"]

    def test_endless_loop_ends_where_it_began(self, tmp_path: Path) -> None:
        """Xen's svm_asm_do_resume has no end."""
        source = Source().function("run", "nop\n .Lagain: clgi\n vmrun rax\n stgi\n call handler\n jmp .Lagain")
        assert texts(imported(source, tmp_path)) == ["nop", "clgi", "vmrun", "stgi", "traceable", "jmp"]

    def test_call_of_a_label(self, tmp_path: Path) -> None:
        """The return predictor is filled with calls that never return."""
        source = Source().function("run", "clgi\n vmrun rax\n call .Lnext\n int3\n .Lnext: add rsp, 8\n stgi\n ret")
        assert texts(imported(source, tmp_path)) == ["clgi", "vmrun", "call", "add", "stgi", "ret"]

    def test_same_test_same_way(self, tmp_path: Path) -> None:
        """A guest that is not protected before VMRUN is not after it either."""
        test = "cmp byte ptr [{}+ 0x1ba9], 0"
        source = Source().function(
            "run",
            f"clgi\n {test.format('rax')}\n jne .Lprotected\n vmrun rax\n {test.format('rdx')}\n je .Lplain\n pause\n"
            " .Lplain: stgi\n ret\n .Lprotected: vmrun rax\n ret",
        )
        result = imported(source, tmp_path)
        assert texts(result) == ["clgi", "cmp", "jne", "vmrun", "cmp", "je", "stgi", "ret"]
        assert result.branches[1].endswith("taken, as the same test before")

    def test_written_field_is_tested_anew(self, tmp_path: Path) -> None:
        source = Source().function(
            "run",
            "clgi\n cmp byte ptr [rax + 0x1ba9], 0\n jne .Lrare\n mov byte ptr [rbx + 0x1ba9], 1\n"
            " cmp byte ptr [rax + 0x1ba9], 0\n je .Lplain\n pause\n .Lplain: vmrun rax\n stgi\n ret\n .Lrare: ud2",
        )
        assert "pause" in texts(imported(source, tmp_path))

    def test_branch_that_decides_is_shown(self, tmp_path: Path) -> None:
        """Xen 4.20: STI comes early, unless the guest is in a shadow; only that keeps the later STI from having one."""
        source = Source().function(
            "run",
            "clgi\n test byte ptr [rax + 0x68], 1\n jne .Lshadow\n sti\n .Lshadow: mov rax, rbx\n sti\n vmrun rax\n"
            " cli\n stgi\n ret",
        )
        result = imported(source, tmp_path)
        assert (result.gap, result.findings) == (0, ())
        assert [(turn.what, turn.findings) for turn in result.turns] == [("jne run+0xa: taken", (BLEED,))]
        turned = imported(source, tmp_path, turns=(result.turns[0].place,))
        assert turned.findings == (BLEED,)
        assert turned.path.lines == import_path(turned.request).path.lines

    def test_turn_that_is_no_branch(self, tmp_path: Path) -> None:
        source = Source().function("run", "clgi\n vmrun rax\n stgi\n ret")
        with pytest.raises(InputError, match="--turn: 3 is no branch of the path that could go either way"):
            imported(source, tmp_path, turns=("3",))


@needs_gcc
class TestFixups:
    def marked(self, source: Source, tmp_path: Path) -> tuple[list[str], list[str]]:
        result = imported(source, tmp_path)
        return [row.text for row in result.rows if row.fixup], [doubt.reason for doubt in result.doubts]

    def test_survived(self, tmp_path: Path) -> None:
        source = Source()
        source.function("run", f"{source.fixup('clgi', '.Lnext')}\n .Lnext: vmrun rax\n stgi\n ret")
        assert self.marked(source, tmp_path) == (["clgi"], [])

    def test_fatal(self, tmp_path: Path) -> None:
        """A fixup that is UD2 is none: the fault is a BUG."""
        source = Source()
        source.function("run", f"{source.fixup('clgi', '.Lbug')}\n vmrun rax\n stgi\n ret\n .Lbug: ud2")
        assert self.marked(source, tmp_path) == ([], [])

    def test_elsewhere(self, tmp_path: Path) -> None:
        source = Source()
        source.function("run", f"{source.fixup('clgi', '.Lout')}\n vmrun rax\n stgi\n .Lout: ret")
        marked, doubts = self.marked(source, tmp_path)
        assert marked == ["clgi"]
        assert doubts == ["a fault goes on at 9, which is not the next instruction of the path"]

    def test_old_table(self, tmp_path: Path) -> None:
        """Two offsets an entry: Linux up to 4.5, and Xen."""
        source = Source()
        source.entry("__ex_table", ".long .Lhere - ., .Lnext - .")
        source.function("run", ".Lhere: clgi\n .Lnext: vmrun rax\n stgi\n ret")
        assert self.marked(source, tmp_path) == (["clgi"], [])


@needs_gcc
class TestFlags:
    @pytest.mark.parametrize(("entry_if", "restored"), [(False, "popf"), (True, "popf if")])
    def test_pushed_and_popped(self, entry_if: bool, restored: str, tmp_path: Path) -> None:
        source = Source().function("run", "pushfq\n cli\n clgi\n sti\n nop\n vmrun rax\n cli\n stgi\n popfq\n ret")
        result = imported(source, tmp_path, entry_if=entry_if)
        assert [row.text for row in result.rows if row.text.startswith("popf")] == [restored]
        assert result.doubts == []
        assert not any("if-changed" in finding for finding in result.findings)

    def test_unknown_flags_are_listed(self, tmp_path: Path) -> None:
        source = Source().function("run", "clgi\n vmrun rax\n stgi\n push rax\n popfq\n ret")
        assert [doubt.reason for doubt in imported(source, tmp_path).doubts] == [
            "the flags that POPF loads are not known: taken as IF=0"
        ]


@needs_gcc
@pytest.mark.parametrize(
    ("code", "text", "doubt"),
    [
        ("mov ss, eax", "mov_ss", ""),
        ("mov cr3, rax", "mov_cr3 cr3, rax", ""),
        ("mov dr7, rax", "mov_dr", ""),
        ("ltr ax", "ltr ax", ""),
        ("lock add dword ptr [rax], 1", "add dword [rax], 1", ""),
        ("mov cr8, rax", "mov cr8, rax", "the task priority that MOV to CR8 sets is not known: left as it is"),
        ("rep stosq", "rep 1", "how often rep stosq repeats is not known: taken as once"),
        ("call [rax]", "call", "a call of what qword [rax] says: not known"),
        ("call __x86_indirect_thunk_rax", "call", "a call of what __x86_indirect_thunk_rax says: not known"),
        ("int 0x80", "nop", "int 0x80: no word stands for it"),
    ],
)
def test_instruction(code: str, text: str, doubt: str, tmp_path: Path) -> None:
    source = Source().function("run", f"clgi\n {code}\n vmrun rax\n stgi\n ret")
    result = imported(source, tmp_path)
    assert result.rows[1].text == text or (text == "nop" and result.rows[1].text.startswith("other"))
    assert [found.reason for found in result.doubts] == ([doubt] if doubt else [])


@needs_gcc
def test_callee_that_concerns_interrupts_is_listed(tmp_path: Path) -> None:
    source = (
        Source()
        .function("run", "clgi\n call helper\n vmrun rax\n stgi\n ret")
        .function("helper", "sti\n nop\n cli\n ret")
    )
    assert [doubt.reason for doubt in imported(source, tmp_path).doubts] == [
        "helper has STI, CLI, which is passed over"
    ]


@needs_gcc
def test_fold(tmp_path: Path) -> None:
    """Runs of alike instructions take one line, their addresses and bytes are kept."""
    moves = "\n".join(f"mov r{number}, [rdi + {number}]" for number in range(8, 16))
    source = Source().function("run", f"clgi\n {moves}\n sti\n vmrun rax\n cli\n stgi\n ret")
    plain, folded = imported(source, tmp_path), imported(source, tmp_path, fold=True)
    assert [line.instruction.text for line in folded.path.lines] == [
        "clgi",
        "mov x8",
        "sti",
        "vmrun",
        "cli",
        "stgi",
        "ret",
    ]
    assert all(row.data.hex(" ") in folded.text for row in plain.rows)
    assert (plain.gap, plain.findings) == (folded.gap, folded.findings)


@needs_gcc
def test_more_instructions_than_a_path_has_lines(tmp_path: Path) -> None:
    moves = "mov rcx, [rdi]\n" * 600
    source = Source().function("run", f"clgi\n {moves}\n vmrun rax\n stgi\n ret")
    with pytest.raises(InputError, match="more than 512: give --fold"):
        imported(source, tmp_path)
    assert [line.instruction.text for line in imported(source, tmp_path, fold=True).path.lines][1] == "mov x600"


@pytest.mark.parametrize("text", ["zen9", "", "zen5,V_SPEC_CTRL", "zen5,+NOTHING"])
def test_feature_sets_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="--cpu-features"):
        features(text, "linux", "6.12")


@pytest.mark.parametrize(
    ("version", "number", "name"),
    [
        ("5.10.0-30-amd64", 11 * 32 + 19, "CLEAR_CPU_BUF"),
        ("6.1.0-47-amd64", 11 * 32 + 18, "CLEAR_CPU_BUF"),
        ("6.12.117", 11 * 32 + 19, "CALL_DEPTH"),
        ("", 11 * 32 + 19, "11*32+19"),  # of no release: not known
        ("", XENPV, "XENPV"),
    ],
)
def test_numbers_depend_on_the_release(version: str, number: int, name: str) -> None:
    assert features("zen5", "linux", version).name(number) == name
