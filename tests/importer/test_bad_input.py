"""Files that are none, damaged, for other machines, or hostile: one clear line."""

import gzip
import lzma
import os
import random
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from fuzz.fuzz_importer import check, mutate
from tests.importer.objects import Source, kvm, link, needs_gcc, needs_ld

from worldswitch.errors import InputError
from worldswitch.importer import container
from worldswitch.importer.importing import Request, import_content, import_path

MUTATIONS = 100
NAMES = ["new\nline", "quote'''", 'quote"""', "hash # sign", "back\\slash", "label:", "x [fixup]", "é"]


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return kvm("6.14").assemble(tmp_path_factory.mktemp("module") / "kvm-amd.ko").read_bytes()


def refused(content: bytes, tmp_path: Path, **request: str) -> str:
    """What is said of a file; fails if that is not one line with the file's name."""
    file = tmp_path / "object"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        import_path(Request(str(file), **request))  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"{file}: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x7f", "is neither an ELF nor a PE file"),
        (b"#!/bin/sh\n", "is neither an ELF nor a PE file"),
        (b"\x7fELF", "damaged ELF file"),
        (b"MZ", "truncated or damaged PE file: a header lies outside it"),
        (b"MZ" + bytes(62), "a DOS program, or a damaged PE file: it has no PE header"),
        (b"\x1f\x8b\x08\0", "truncated gzip data"),
        (b"\x1f\x8b\xff" + bytes(20), "damaged gzip data"),
        (b"\xfd7zXZ\0" + bytes(20), "damaged xz data"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "zstd data"),
        (gzip.compress(b"text", mtime=0), "is neither an ELF nor a PE file"),
        (gzip.compress(bytes(1000), mtime=0)[:-9], "truncated gzip data"),
        (lzma.compress(bytes(1000))[:-9], "truncated xz data"),
    ],
)
def test_no_object(content: bytes, message: str, tmp_path: Path) -> None:
    assert message in refused(content, tmp_path)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    for name, message in (
        (str(tmp_path / "none"), "cannot be read"),
        (str(tmp_path), "is no regular file"),
        ("a\0b", "cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            import_path(Request(name))


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is no regular file"):
        import_path(Request(str(tmp_path / "pipe")))


def test_content_that_unpacks_to_more_than_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "LIMIT", 1 << 20)
    assert "unpacks to more than 1 MiB" in refused(gzip.compress(bytes(5 << 20), mtime=0), tmp_path)
    assert "unpacks to more than 1 MiB" in refused(lzma.compress(bytes(5 << 20)), tmp_path)
    assert "larger than the 1 MiB that are read" in refused(bytes(2 << 20), tmp_path)


@needs_gcc
class TestElf:
    @pytest.mark.parametrize(
        ("offset", "value", "message"),
        [
            (4, b"\x01", "not for x86-64"),  # 32-bit
            (5, b"\x02", "not for x86-64"),  # big-endian
            (18, b"\xb7\0", "for AARCH64, not for x86-64"),
            (18, b"\x03\0", "give xen-syms or xen.efi"),
            (16, b"\x04\0", "an ELF file of type ET_CORE"),
            (40, bytes(8), "has no section headers"),
            (40, b"\xff" * 8, "the section headers lie outside it"),
            (60, b"\xff\xff", "the section headers lie outside it"),
        ],
    )
    def test_header(self, offset: int, value: bytes, message: str, module: bytes, tmp_path: Path) -> None:
        content = bytearray(module)
        content[offset : offset + len(value)] = value
        assert message in refused(bytes(content), tmp_path)

    def test_every_truncation_is_refused(self, module: bytes) -> None:
        """The section headers stand at the end."""
        for size in [*range(64), *range(64, len(module), 97), len(module) - 1]:
            with pytest.raises(InputError):
                import_content(container.unpack(module[:size], "f") if size else b"", Request("f"))

    def test_stripped(self, module: bytes, tmp_path: Path) -> None:
        file = tmp_path / "stripped.o"
        file.write_bytes(module)
        subprocess.run(["strip", "--strip-unneeded", "-R", ".rela*", file], check=False, capture_output=True)
        subprocess.run(["objcopy", "--strip-all", file], check=True, capture_output=True)
        assert "has no symbol table (stripped)" in refused(file.read_bytes(), tmp_path)

    def test_no_such_function(self, module: bytes, tmp_path: Path) -> None:
        assert refused(module, tmp_path, function="svm_vcpu_enter") == (
            "has no function svm_vcpu_enter; there is svm_vcpu_enter_exit"
        )
        assert refused(module, tmp_path, function="pv_ops") == "has no function pv_ops"

    def test_object_of_another_kind(self, tmp_path: Path) -> None:
        content = Source().function("main", "ret").assemble(tmp_path / "main.o").read_bytes()
        assert "name the function with --function" in refused(content, tmp_path)
        assert refused(content, tmp_path, function="main") == "no VMRUN can be reached from main"

    def test_mutations(self, module: bytes) -> None:
        """Whatever is done to an object, it is imported or refused in one line."""
        outcomes = Counter(check(mutate(module, random.Random(seed))) for seed in range(MUTATIONS))
        assert min(outcomes["imported"], outcomes["refused"]) > MUTATIONS // 10  # neither all harmless nor all fatal


@needs_gcc
@pytest.mark.parametrize("name", NAMES)
def test_hostile_name(name: str, tmp_path: Path) -> None:
    """A symbol's name cannot break out of the line it stands on."""
    source = Source().function("run", "clgi\n call placeholder_name_xx\n vmrun rax\n stgi\n ret")
    content = source.assemble(tmp_path / "named.o").read_bytes()
    raw = name.encode()
    content = content.replace(b"placeholder_name_xx\0", (raw + b"x" * (19 - len(raw)) + b"\0"))
    file = tmp_path / "hostile.o"
    file.write_bytes(content)
    result = import_path(Request(str(file), function="run"))
    assert [line.instruction.text.split()[0] for line in result.path.lines] == [
        "clgi",
        "traceable",
        "vmrun",
        "stgi",
        "ret",
    ]


@needs_gcc
class TestPacked:
    @pytest.mark.parametrize("kind", ["gz", "xz", "zst"])
    def test_same_path(self, kind: str, module: bytes, tmp_path: Path) -> None:
        if kind == "gz":
            packed = gzip.compress(module, mtime=0)
        elif kind == "xz":
            packed = lzma.compress(module, check=lzma.CHECK_CRC32)
        else:
            zstd = pytest.importorskip("backports.zstd", reason="needs backports.zstd")
            packed = zstd.compress(module)
        file = tmp_path / f"kvm-amd.ko.{kind}"
        file.write_bytes(packed)
        assert import_path(Request(str(file))).text == import_content(module, Request(str(file))).text


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A Xen, as far as the importer is concerned."""
    folder = tmp_path_factory.mktemp("pe")
    source = Source()
    source.function("svm_asm_do_resume", "call helper\n cli\n clgi\n pop rdi\n sti\n vmrun rax\n cld\n stgi\n ret")
    plain = source.function("helper", "ret").assemble(folder / "xen.o")
    subprocess.run(["objcopy", "-R", ".modinfo", plain], check=True)
    target = folder / "xen.efi"
    options = ["-m", "i386pep", "--subsystem=10", "--image-base=0xffff82d040000000", "-e", "svm_asm_do_resume"]
    made = subprocess.run(["ld", *options, "-o", target, plain], check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"this ld writes no PE files: {made.stderr.strip()[:80]}")
    return target.read_bytes()


@needs_ld
class TestPe:
    def test_xen(self, program: bytes, tmp_path: Path) -> None:
        file = tmp_path / "xen.efi"
        file.write_bytes(program)
        result = import_path(Request(str(file)))
        assert (result.system, result.image.format, result.gap) == ("xen", "PE", 0)
        assert [row.text.split()[0] for row in result.rows] == [
            "call", "cli", "clgi", "pop", "sti", "vmrun", "cld", "stgi", "ret",
        ]  # fmt: skip
        assert result.path.entry_if
        assert result.findings == ("shadow-bleed.unexplained-shadow.injection",)

    def test_truncated(self, program: bytes) -> None:
        outcomes = Counter(check(program[:size]) for size in range(2, len(program), 61))
        assert outcomes["refused"] > 0

    def test_mutations(self, program: bytes) -> None:
        outcomes = Counter(check(mutate(program, random.Random(seed))) for seed in range(MUTATIONS))
        assert min(outcomes["imported"], outcomes["refused"]) > MUTATIONS // 10

    def test_other_machine(self, program: bytes, tmp_path: Path) -> None:
        start = int.from_bytes(program[0x3C:0x40], "little")
        content = bytearray(program)
        content[start + 4 : start + 6] = b"\x64\xaa"
        assert refused(bytes(content), tmp_path) == "a PE file for machine 0xaa64, not for x86-64"

    def test_stripped(self, program: bytes, tmp_path: Path) -> None:
        start = int.from_bytes(program[0x3C:0x40], "little")
        content = bytearray(program)
        content[start + 12 : start + 20] = bytes(8)
        assert "has no symbol table (stripped)" in refused(bytes(content), tmp_path)


@needs_ld
def test_linked_without_sections_of_tables(tmp_path: Path) -> None:
    """An executable that is no kernel: nothing is patched."""
    plain = Source().function("run", "clgi\n vmrun rax\n stgi\n ret").assemble(tmp_path / "plain.o")
    result = import_path(Request(str(link(tmp_path / "plain", plain)), function="run"))
    assert (result.patches, [row.text for row in result.rows]) == ([], ["clgi", "vmrun", "stgi", "ret"])
