"""Running the image under Bochs, from a CD image that GRUB boots."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Final

from worldswitch.errors import InputError
from worldswitch.replay.build import need

CPU: Final = "ryzen"
ROM: Final = Path("/usr/share/bochs/BIOS-bochs-latest")
VIDEO_ROM: Final = Path("/usr/share/vgabios/vgabios.bin")
MAX_RESETS: Final = 10_000
QUIET: Final = 20.0
"""Seconds without output after which a scenario is taken to hang."""

_GRUB: Final = """\
set timeout=0
terminal_output console
multiboot /boot/image.elf
module /boot/batch
boot
"""
_CONFIGURATION: Final = """\
config_interface: textconfig
display_library: term
memory: guest=128, host=128
romimage: file={rom}
vgaromimage: file={video_rom}
boot: cdrom
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path={iso}, status=inserted
cpu: model={cpu}, count=1, ips=2000000, reset_on_triple_fault=1
clock: sync=none
com1: enabled=1, mode=file, dev={serial}
log: {log}
logprefix: %e%d
panic: action=report
error: action=ignore
info: action=ignore
debug: action=ignore
"""


@lru_cache
def version() -> str:
    """Bochs' version, such as ``2.7``, from its banner; "" where it shows none. Raises ``InputError``."""
    program = need("bochs", "bochs")
    try:
        done = subprocess.run(
            [program, "-q", "-f", "/dev/null/absent"], env=_environment(Path.home()), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=30, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return ""
    match = re.search(r"Bochs x86 Emulator (\S+)", done.stdout + done.stderr)
    return match[1] if match else ""


def _environment(home: Path) -> dict[str, str]:
    """Bochs' text display wants a terminal that it knows, and it aborts over some environments."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "TERM": "vt100"}


def make_iso(image: Path, module: bytes, folder: Path) -> Path:
    """A bootable CD image with GRUB, the boot image and a batch; raises ``InputError``."""
    grub = need("grub-mkrescue", "grub-common")
    need("xorriso", "xorriso")
    need("mformat", "mtools")
    if not Path("/usr/lib/grub/i386-pc").is_dir():
        raise InputError("GRUB for the BIOS is missing; Debian has it in the package grub-pc-bin")
    root = folder / "iso"
    (root / "boot" / "grub").mkdir(parents=True)
    shutil.copy(image, root / "boot" / "image.elf")
    (root / "boot" / "batch").write_bytes(module)
    (root / "boot" / "grub" / "grub.cfg").write_text(_GRUB, encoding="ascii")
    iso = folder / "image.iso"
    command = [grub, "-d", "/usr/lib/grub/i386-pc", "--install-modules=multiboot normal biosdisk iso9660",
               "--locales=", "--fonts=", "--themes=", "-o", str(iso), str(root)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode or not iso.exists():
        lines = done.stderr.strip().splitlines()
        raise InputError(f"grub-mkrescue failed: {lines[-1] if lines else 'no message'}")
    return iso


def write_iso(image: Path, module: bytes, output: Path) -> None:
    """The CD image of :func:`make_iso` as a file of its own; raises ``InputError``."""
    with tempfile.TemporaryDirectory(prefix="worldswitch-") as name:
        iso = make_iso(image, module, Path(name))
        try:
            shutil.copyfile(iso, output)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", str(output)) from None


def run(image: Path, module: bytes, timeout: float = 3600.0) -> str:
    """The serial log of one batch; raises ``InputError``.

    It ends early where a scenario hangs or stops the emulator.
    """
    program = need("bochs", "bochs")
    script = need("script", "bsdutils")
    for path, package in ((ROM, "bochsbios"), (VIDEO_ROM, "vgabios")):
        if not path.exists():
            raise InputError(f"{path} is missing; Debian has it in the package {package}")
    with tempfile.TemporaryDirectory(prefix="worldswitch-") as name:
        folder = Path(name)
        iso = make_iso(image, module, folder)
        serial, configuration, commands = folder / "serial", folder / "bochsrc", folder / "commands"
        serial.touch()
        configuration.write_text(
            _CONFIGURATION.format(
                rom=ROM, video_rom=VIDEO_ROM, iso=iso, cpu=CPU, serial=serial, log=folder / "bochs.log"
            ),
            encoding="ascii",
        )
        commands.write_text("c\n" * MAX_RESETS, encoding="ascii")  # a shutdown stops in the debugger
        inner = f"{program} -q -f {configuration} -rc {commands}"
        # In a terminal of its own, which its text display wants.
        process = subprocess.Popen(
            [script, "-qfc", f"exec {inner}", "/dev/null"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
            env=_environment(folder), start_new_session=True,
        )  # fmt: skip
        try:
            text = _collect(process, serial, time.monotonic() + timeout)
        finally:
            _end(process)
        if not text:
            raise InputError(f"Bochs wrote nothing to the serial port{_reason(folder / 'bochs.log')}")
        return text


def _reason(log: Path) -> str:
    """The last complaint in Bochs' own log, if it wrote one."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    complaints = [line.strip() for line in lines if line.startswith(("p", "e"))]
    return f": {complaints[-1]}" if complaints else ""


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End ``script`` and the emulator in it, which has its own session."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        pids = [process.pid, *map(int, children.read_text(encoding="ascii").split())]
    except OSError:
        pids = [process.pid]
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def _collect(process: "subprocess.Popen[bytes]", serial: Path, deadline: float) -> str:
    size, quiet_since = -1, time.monotonic()
    while True:
        text = serial.read_bytes()
        if text.rstrip().endswith(b"\nZ") or process.poll() is not None:
            return text.decode("ascii", "replace")
        now = time.monotonic()
        if len(text) != size:
            size, quiet_since = len(text), now
        elif now - quiet_since > QUIET:
            return text.decode("ascii", "replace")
        if now > deadline:
            raise InputError("Bochs: the batch did not finish in time")
        time.sleep(0.05)
