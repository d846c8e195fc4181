"""Running the image under QEMU: TCG, or KVM on a machine with nested SVM."""

import re
import selectors
import socket
import subprocess
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Final

from worldswitch.errors import InputError
from worldswitch.replay.build import need

PROGRAM: Final = "qemu-system-x86_64"
PACKAGE: Final = "qemu-system-x86"
QUIET: Final = 8.0
"""Seconds without output after which a scenario is taken to hang: more than a start of the machine takes."""


@lru_cache
def version() -> str:
    """QEMU's version, such as ``7.2.22``; raises ``InputError`` where there is no QEMU."""
    program = need(PROGRAM, PACKAGE)
    text = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    match = re.search(r"version (\d+(?:\.\d+)*)", text)
    if match is None:
        raise InputError(f"{program} does not tell its version")
    return match[1]


def profile() -> str:
    """The model's profile of the QEMU that is installed: VMRUN clears the inhibit flag from 9.1 on (section 10.1)."""
    return "qemu-10" if _numbers() >= (9, 1) else "qemu-7.2"


def _numbers() -> tuple[int, ...]:
    return tuple(int(number) for number in version().split(".")[:2])


def accelerator(kvm: bool) -> list[str]:
    """The options of the accelerator: with TCG one instruction a translation block, so that each boundary is one."""
    if kvm:
        return ["-accel", "kvm", "-cpu", "host"]
    if _numbers() < (8, 1):
        return ["-accel", "tcg", "-singlestep", "-cpu", "max"]
    return ["-accel", "tcg,one-insn-per-tb=on", "-cpu", "max"]


def run(image: Path, module: bytes, kvm: bool = False, timeout: float = 600.0) -> str:
    """The serial log of one batch; raises ``InputError``.

    A scenario that hangs is ended by a reset, after which the image goes on with the next: its log lines then end with
    ``T`` in place of ``R``. ``timeout`` is in seconds, for the whole batch.
    """
    program = need(PROGRAM, PACKAGE)
    with tempfile.TemporaryDirectory(prefix="worldswitch-") as folder:
        batch = Path(folder) / "batch"
        batch.write_bytes(module)
        monitor = str(Path(folder) / "monitor")
        command = [
            program, *accelerator(kvm), "-m", "128", "-nodefaults", "-display", "none", "-serial", "stdio",
            "-monitor", f"unix:{monitor},server=on,wait=off", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
            "-kernel", str(image), "-initrd", str(batch),
        ]  # fmt: skip
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            return _collect(process, monitor, time.monotonic() + timeout)
        finally:
            process.kill()
            process.communicate()


def _collect(process: "subprocess.Popen[bytes]", monitor: str, deadline: float) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    log = bytearray()
    hung = -1  # where the log ended when a scenario hung
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if time.monotonic() > deadline:
                raise InputError("QEMU: the batch did not finish in time")
            if selector.select(QUIET * 5 if hung >= 0 or not log else QUIET):
                data = process.stdout.read1(1 << 16)  # type: ignore[attr-defined]
                if not data:
                    break
                log += data
                if hung >= 0 and (at := log.find(b"\nR ", hung)) >= 0:
                    log[at + 1 : at + 2] = b"T"
                    hung = -1
            elif not log:
                raise InputError("QEMU: no output of the boot image")
            elif hung >= 0:
                break  # not even a reset helps
            else:
                _reset(monitor)
                hung = max(len(log) - 1, 0)
    text = log.decode("ascii", "replace")
    if not log:
        lines = process.stderr.read().decode(errors="replace").strip().splitlines()
        raise InputError(f"QEMU: {lines[-1] if lines else 'no output'}")
    return text


def _reset(monitor: str) -> None:
    """``system_reset``; the connection stays until the monitor prompts again, or the command would be lost."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(5)
        channel.connect(monitor)
        channel.sendall(b"system_reset\n")
        answer = b""
        while answer.count(b"(qemu)") < 2:
            data = channel.recv(4096)
            if not data:
                break
            answer += data
