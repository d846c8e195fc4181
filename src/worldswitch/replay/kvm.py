"""KVM's emulation of SVM for a nested hypervisor, on an AMD host."""

import os
import platform
from pathlib import Path
from typing import Final

from worldswitch.errors import InputError
from worldswitch.replay import qemu

DEVICE: Final = Path("/dev/kvm")
NESTED: Final = Path("/sys/module/kvm_amd/parameters/nested")


def check() -> None:
    """Raise ``InputError`` with the reason where this machine cannot run the image as a nested hypervisor (S9-02)."""
    if not DEVICE.exists():
        raise InputError("kvm: there is no /dev/kvm here; this needs an AMD host with KVM")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        raise InputError("kvm: /dev/kvm may not be opened by this user")
    try:
        nested = NESTED.read_text(encoding="ascii").strip()
    except OSError:
        raise InputError("kvm: the module kvm_amd is not loaded; nested SVM needs an AMD processor") from None
    if nested not in ("1", "Y"):
        raise InputError("kvm: nested virtualization is off; load kvm_amd with nested=1")


def kernel_version() -> str:
    """The running kernel: it, and not the processor, is what a nested VMRUN tests."""
    return f"{platform.system()} {platform.release()} {platform.version()}"


def run(image: Path, module: bytes, timeout: float = 600.0) -> str:
    """The serial log of one batch under KVM; raises ``InputError``. ``timeout`` is in seconds."""
    check()
    return qemu.run(image, module, kvm=True, timeout=timeout)
