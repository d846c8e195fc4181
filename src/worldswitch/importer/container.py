"""The bytes of an object file, whether compressed or not; all bad input is an ``InputError``."""

import lzma
import stat
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from worldswitch.errors import InputError

LIMIT: Final = 1 << 30
"""Bytes of the largest file that is read, and of the largest content that is unpacked (vmlinux: some hundred MB)."""

_XZ_MEMORY: Final = 1 << 28


def read_object(name: str) -> bytes:
    """The content of a regular file, unpacked if it is xz, gzip or zstd, whatever the file is called.

    Raises ``InputError`` if the file cannot be read, is no regular file, or it or its content exceeds ``LIMIT``.
    """
    file = shown(name)
    try:
        if not stat.S_ISREG(Path(name).stat().st_mode):
            raise InputError("is no regular file", file)
        with open(name, "rb") as stream:
            raw = stream.read(LIMIT + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}", file) from None
    if len(raw) > LIMIT:
        raise InputError(f"larger than the {LIMIT >> 20} MiB that are read", file)
    return unpack(raw, file)


def unpack(raw: bytes, file: str) -> bytes:
    """``raw``, or what is compressed in it; raises ``InputError``."""
    if not raw:
        raise InputError("is empty", file)
    for magic, (kind, make) in _PACKED.items():
        if raw.startswith(magic):
            return _unpacked(raw, file, kind, make(file))
    return raw


def shown(name: str) -> str:
    """A file's name as messages show it: on one line, whatever it holds."""
    return name if name.isprintable() else ascii(name)


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _unpacked(raw: bytes, file: str, kind: str, decompressor: _Decompressor) -> bytes:
    try:
        content = decompressor.decompress(raw, LIMIT + 1)
    except Exception as error:  # each library has an exception of its own for damaged data
        raise InputError(f"damaged {kind} data: {error}", file) from None
    if len(content) > LIMIT:
        raise InputError(f"unpacks to more than {LIMIT >> 20} MiB", file)
    if not decompressor.eof:
        raise InputError(f"truncated {kind} data", file)
    return content


def _xz(_file: str) -> _Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


def _gzip(_file: str) -> _Decompressor:
    return zlib.decompressobj(wbits=31)


def _zstd(file: str) -> _Decompressor:
    try:
        from backports import zstd
    except ImportError:
        raise InputError("is zstd data: needs `pip install worldswitch[import]`, or `unzstd` first", file) from None
    return zstd.ZstdDecompressor()


_PACKED: Final[dict[bytes, tuple[str, Callable[[str], _Decompressor]]]] = {
    b"\xfd7zXZ\0": ("xz", _xz),
    b"\x1f\x8b": ("gzip", _gzip),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
}
