"""Marks of tests that need an implementation, which say what is missing where they are skipped."""

import shutil

import pytest

from worldswitch.replay import bochs, qemu

needs_qemu = pytest.mark.skipif(
    shutil.which(qemu.PROGRAM) is None or shutil.which("gcc") is None,
    reason=f"{qemu.PROGRAM} (package {qemu.PACKAGE}) or gcc is not on PATH (scripts/packages-replay): not replayed",
)
needs_bochs = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("bochs", "grub-mkrescue", "xorriso", "gcc", "script"))
    or not bochs.ROM.exists(),
    reason="bochs, grub-mkrescue, xorriso or gcc is not on PATH (scripts/packages-replay bochs): not replayed",
)
