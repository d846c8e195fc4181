"""Records on an implementation: run now, or read from the log of a run elsewhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from worldswitch.errors import InputError
from worldswitch.replay import batch, bochs, kvm, qemu
from worldswitch.replay.build import build_image
from worldswitch.replay.observed import Observed
from worldswitch.replay.record import Record

IMPLEMENTATIONS: Final = ("qemu", "bochs", "kvm")


def run_batch(
    records: Sequence[Record], cache_dir: Path, on: str = "qemu", timeout: float = 600.0
) -> list[Observed | None]:
    """What each record did on an implementation; None for one that was not reached.

    ``cache_dir`` keeps the built image; ``timeout`` is in seconds, for each start of the implementation. Raises
    ``InputError`` where a program is missing, naming its package, or the implementation does not run.
    """
    if on not in IMPLEMENTATIONS:
        raise InputError(f"{on!r} is none of {', '.join(IMPLEMENTATIONS)}")
    if not records:
        return []
    if on == "kvm":
        kvm.check()
    cache_dir.mkdir(parents=True, exist_ok=True)
    image = build_image(cache_dir)

    def run(module: bytes) -> str:
        if on == "qemu":
            return qemu.run(image, module, timeout=timeout)
        if on == "bochs":
            return bochs.run(image, module, timeout)
        return kvm.run(image, module, timeout)

    return batch.run_all(records, run)


def export_image(records: Sequence[Record], cache_dir: Path, output: Path) -> None:
    """Write a bootable CD image that replays the records and reports on the first serial port (115200 8N1).

    Its log is read back by :func:`observe_file` with the same records in the same order. Raises ``InputError``.
    """
    if sum(record.size for record in records) > batch.MAX_BATCH:
        raise InputError(f"more than {batch.MAX_BATCH >> 20} MiB of records; export fewer scenarios")
    cache_dir.mkdir(parents=True, exist_ok=True)
    image = build_image(cache_dir)
    bochs.write_iso(image, batch.to_bytes(records, range(len(records))), output)


def observe_file(records: Sequence[Record], file: Path) -> list[Observed | None]:
    """What each record did, by the serial log in ``file``; raises ``InputError``."""
    try:
        text = file.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(file)) from None
    try:
        return batch.observe_log(records, text)
    except InputError as error:
        raise error.at(str(file)) from None
