"""Building the boot image with the system's compiler."""

import hashlib
import shutil
import subprocess
from importlib import resources
from pathlib import Path
from typing import Final

from worldswitch.errors import InputError
from worldswitch.replay import memory

SOURCES: Final = ("start.S", "runtime.S", "main.c")
FLAGS: Final = (
    "-m64", "-O1", "-ffreestanding", "-fno-pic", "-fno-pie", "-mno-red-zone", "-mgeneral-regs-only",
    "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fcf-protection=none", "-Wall", "-Wextra", "-Werror",
)  # fmt: skip
_LINK: Final = ("-m", "elf_x86_64", "-nostdlib", "-static", "-z", "noexecstack", "-z", "max-page-size=4096")


def need(program: str, package: str) -> str:
    """The program's path; raises ``InputError`` naming Debian's package where it is missing."""
    path = shutil.which(program)
    if path is None:
        raise InputError(f"{program} is not on PATH; Debian has it in the package {package}")
    return path


def sources() -> dict[str, str]:
    """The image's source files, the generated header included."""
    folder = resources.files("worldswitch.replay") / "image"
    files = {name: (folder / name).read_text(encoding="utf-8") for name in (*SOURCES, "image.ld")}
    files["layout.h"] = memory.header()
    return files


def build_image(cache_dir: Path) -> Path:
    """The image as a multiboot ELF file, built once for each state of its sources; raises ``InputError``."""
    gcc, ld, objcopy = need("gcc", "gcc"), need("ld", "binutils"), need("objcopy", "binutils")
    files = sources()
    digest = hashlib.sha256(repr((sorted(files.items()), FLAGS)).encode()).hexdigest()[:16]
    image = cache_dir / f"image-{digest}.elf"
    if image.exists():
        return image
    work = cache_dir / f"build-{digest}"
    work.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (work / name).write_text(text, encoding="utf-8")
    for name in SOURCES:
        _run([gcc, *FLAGS, "-c", name, "-o", f"{name}.o"], work)
    _run(
        [
            ld,
            *_LINK,
            "--no-warn-rwx-segments",
            "-T",
            "image.ld",
            "-o",
            "image.elf64",
            *(f"{name}.o" for name in SOURCES),
        ],
        work,
    )
    _run([objcopy, "-O", "elf32-i386", "image.elf64", "image.elf"], work)  # multiboot loaders take 32-bit ELF only
    (work / "image.elf").replace(image)
    return image


def _run(command: list[str], directory: Path) -> None:
    try:
        subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True, timeout=120)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines()
        raise InputError(f"building the boot image failed: {lines[0] if lines else command[0]}") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"building the boot image failed: {command[0]} did not finish") from None
