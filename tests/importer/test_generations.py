"""The generations of KVM's world switch, as their builds look, and the verdicts that follow from running them."""

from pathlib import Path

import pytest
from tests.importer.objects import LAYOUTS, Source, kernel, kvm, link, needs_gcc, needs_ld
from tests.importer.verdicts import BLEED, golden

from worldswitch.importer.importing import Imported, Request, import_path
from worldswitch.paths.catalogue import find
from worldswitch.program.layout import find_landmarks

pytestmark = needs_gcc


def imported(source: Source, tmp_path: Path, **request: object) -> Imported:
    file = source.assemble(tmp_path / "kvm-amd.ko")
    return import_path(Request(str(file), **request))  # type: ignore[arg-type]


def texts(result: Imported) -> list[str]:
    return [row.text for row in result.rows]


@pytest.mark.parametrize(
    ("kind", "gap", "int_state", "findings"),
    [("5.9", 1, 0, []), ("6.1", 0, 1, [BLEED]), ("6.14", None, 0, [])],
)
def test_verdict_of_a_generation(
    kind: str, gap: int | None, int_state: int, findings: list[str], tmp_path: Path
) -> None:
    result = imported(kvm(kind), tmp_path)
    assert result.doubts == []
    assert golden(result.path) == ([int_state], findings)
    assert list(result.findings) == findings
    if gap is not None:
        assert result.gap == gap  # 5.9: VMLOAD alone stands between STI and VMRUN
    else:
        assert (result.gap or 0) > 0


@pytest.mark.parametrize("shipped", ["linux-6.1", "linux-6.14"])
def test_agrees_with_the_shipped_path(shipped: str, tmp_path: Path) -> None:
    """The order of what concerns interrupts is that of the path that was written by hand from the source."""
    result = imported(kvm(shipped.removeprefix("linux-")), tmp_path)
    order = [name for name in ("clgi", "enter", "sti", "vmrun", "vmexit", "cli", "stgi") if name != "exit"]
    ours, theirs = find_landmarks(result.path.lines), find_landmarks(find(shipped).lines)
    assert sorted(order, key=lambda name: ours[name]) == sorted(order, key=lambda name: theirs[name])
    assert [line.fixup for line in result.path.lines if line.instruction.text.startswith(("clgi", "vm", "stgi"))] == [
        True
    ] * 5


def test_straight_line(tmp_path: Path) -> None:
    found = texts(imported(kvm("6.14"), tmp_path, whole=True))
    assert [text.split()[0] if text.startswith("j") else text for text in found] == [
        "nop",  # __fentry__
        "push rbp",
        "mov rbp, rdi",
        "test dword [rbp+0x2f8], 0x20",
        "jne",
        "clgi",
        "jmp",
        "traceable kvm_load_guest_xsave_state_here",
        "traceable kvm_wait_lapic_expire",
        "call svm_vcpu_enter_exit",
        "push rbx",
        "traceable rcu_note_context_switch",
        "sti",
        "nop",
        "call __svm_vcpu_run",
        "push rbp",
        "push rdi",
        "vmload rax",
        "mov rcx, qword [rdi+0x120]",
        "vmrun",
        "pop rax",
        "mov qword [rax+0x120], rcx",
        "vmsave rax",
        "pop rbp",
        "ret",
        "cli",
        "nop",
        "pop rbx",
        "ret",
        "traceable kvm_load_host_xsave_state",
        "stgi",
        "jmp",
        "traceable svm_complete_interrupts",
        "pop rbp",
        "ret",
    ]


def test_comments_keep_addresses_and_bytes(tmp_path: Path) -> None:
    """VMRUN is 0f 01 d8 at the offset where the assembler put it."""
    result = imported(kvm("6.1"), tmp_path)
    row = next(row for row in result.rows if row.text == "vmrun")
    lines = [line for line in result.text.splitlines() if line.strip().startswith("vmrun")]
    assert row.data == b"\x0f\x01\xd8"
    assert len(lines) == 1
    assert lines[0].endswith(f"# {row.place}  0f 01 d8")
    object_bytes = (tmp_path / "kvm-amd.ko").read_bytes()
    assert object_bytes.count(b"\x0f\x01\xd8") == 1
    assert sum(len(row.data) for row in result.rows if row.step) > len(result.rows)


def test_noinstr_and_labels(tmp_path: Path) -> None:
    result = imported(kvm("6.14"), tmp_path)
    marks = {line.instruction.text: line.noinstr for line in result.path.lines}
    assert marks["vmrun"]
    assert marks["sti"]
    assert not marks["clgi"]
    assert not marks["stgi"]
    assert find_landmarks(result.path.lines)["enter"] == texts(result).index("traceable rcu_note_context_switch")


def test_branch_is_listed(tmp_path: Path) -> None:
    branch = next(row for row in imported(kvm("6.1"), tmp_path).rows if row.text.startswith("jne"))
    assert branch.remark == "not taken"
    assert imported(kvm("6.1"), tmp_path).branches == [f"{branch.place} {branch.text}: not taken"]


def test_turned_branch_leads_through_the_rare_code(tmp_path: Path) -> None:
    place = next(row.place for row in imported(kvm("6.1"), tmp_path).rows if row.text.startswith("jne"))
    assert "traceable nested_thing" in texts(imported(kvm("6.1"), tmp_path, turns=(place,)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_the_alternatives(layout: str, tmp_path: Path) -> None:
    wanted = texts(imported(kvm("6.14"), tmp_path))
    assert texts(imported(kvm("6.14", layout), tmp_path)) == wanted
    assert "sti" in wanted


def test_paravirt_calls_of_older_kernels(tmp_path: Path) -> None:
    """Linux 5.10 lists its calls through pv_ops, and only the table's layout says which is which."""
    source = kvm("6.1", version="5.10.0-30-amd64", enter="", leave="")
    source.function(
        "run", f"clgi\n {source.paravirt(0x128)}\n vmload rax\n vmrun rax\n {source.paravirt(0x120)}\n stgi\n ret"
    )
    assert texts(imported(source, tmp_path, function="run")) == [
        "clgi", "sti", "nop", "vmload rax", "vmrun", "cli", "nop", "stgi", "ret",
    ]  # fmt: skip


def test_paravirt_call_that_nothing_explains_is_listed(tmp_path: Path) -> None:
    source = Source(version="5.4.0")
    source.function("run", f"clgi\n {source.paravirt(0x128)}\n vmrun rax\n stgi\n ret")
    result = imported(source, tmp_path, function="run")
    assert [doubt.text for doubt in result.doubts] == ["call qword [pv_ops+0x128]"]
    assert "call qword [pv_ops+0x128]: a call of what" in result.text


@needs_ld
def test_linked_kernel_gives_the_same_path(tmp_path: Path) -> None:
    """vmlinux: no relocations, absolute addresses."""
    module = kvm("6.14").assemble(tmp_path / "kvm-amd.ko")
    vmlinux = link(tmp_path / "vmlinux", module, kernel().assemble(tmp_path / "kernel.o"))
    ours, theirs = import_path(Request(str(vmlinux))), import_path(Request(str(module)))
    assert ours.image.format == "ELF"
    assert [row.text.split()[0] for row in ours.rows] == [row.text.split()[0] for row in theirs.rows]
    assert [row.fixup for row in ours.rows] == [row.fixup for row in theirs.rows]
    assert golden(ours.path) == golden(theirs.path) == ([0], [])


def test_sev_es_twin(tmp_path: Path) -> None:
    source = Source()
    source.function("__svm_vcpu_run", "vmload rax\n vmrun rax\n vmsave rax\n ret", ".noinstr.text")
    source.function("__svm_sev_es_vcpu_run", "sti\n vmrun rax\n cli\n ret", ".noinstr.text")
    source.function(
        "svm_vcpu_run",
        """clgi
        cmp byte ptr [rdi + 0x1ba9], 0
        je .Lplain
        call __svm_sev_es_vcpu_run
        jmp .Lout
        .Lplain: call __svm_vcpu_run
        .Lout: stgi
        ret""",
    )
    plain, twin = imported(source, tmp_path), imported(source, tmp_path, sev_es=True)
    assert plain.chain == ("svm_vcpu_run", "__svm_vcpu_run")
    assert twin.chain == ("svm_vcpu_run", "__svm_sev_es_vcpu_run")
    assert "vmload rax" not in texts(twin)
    assert BLEED in twin.findings
    assert twin.gap == 0
