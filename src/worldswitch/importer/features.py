"""CPU features as kernels number them, and the named sets of them that processors have.

``cpu-features.toml`` has both. A kernel's numbers change from release to release, and with what is backported to it:
the kernel's own ``asm/cpufeatures.h``, where it is at hand, is better than the table.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from worldswitch.errors import InputError

DEFAULT_SET: Final = "zen5"
"""The current AMD server: EPYC 9005."""

AS_BUILT: Final = "as-built"
"""The set under which no alternative is applied, as in the file."""

_DEFINE: Final = re.compile(
    r"#define\s+X86_(FEATURE|BUG)_(\w+)\s+(?:X86_BUG)?\(\s*(\d+)\s*(?:\*\s*32\s*\+\s*(\d+)\s*)?\)"
)
_WORDS: Final = re.compile(r"#define\s+NCAPINTS\s+(\d+)")
_MAX_HEADER: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Features:
    """What is known of the features that alternatives name."""

    set_name: str  # as given
    present: frozenset[str]
    names: Mapping[int, str]  # by number
    as_built: bool = False

    def name(self, number: int) -> str:
        """A feature's name, or its word and bit where it is not known."""
        return self.names.get(number, f"{number // 32}*32+{number % 32}")

    def known(self, number: int) -> bool:
        """Whether the feature has a name here."""
        return number in self.names

    def has(self, number: int) -> bool:
        """Whether the processor has it; one that is not known, it has not."""
        return self.names.get(number, "") in self.present


@cache
def _table() -> dict[str, Any]:
    resource = resources.files("worldswitch.importer") / "cpu-features.toml"
    return tomllib.loads(resource.read_text(encoding="utf-8"))


def set_names() -> tuple[str, ...]:
    """The names of the feature sets."""
    return (*_table()["set"], AS_BUILT)


def features(text: str, system: str, version: str, header: str = "") -> Features:
    """The features of a set such as ``zen4`` or ``zen5,+CLEAR_CPU_BUF_VM,-V_SPEC_CTRL``.

    ``system`` is "linux" or "xen", ``version`` its release; ``header`` names a ``cpufeatures.h`` that numbers them.
    Raises ``InputError`` for a set or a feature that does not exist.
    """
    words = [word.strip() for word in text.split(",")]
    if words[0] not in set_names():
        raise InputError(f"unknown CPU feature set {words[0]!r}; there are {', '.join(set_names())}", "--cpu-features")
    names = _read_header(header) if header else _numbers(system, version)
    present = set(_table()["set"].get(words[0], {}).get("has", ()))
    for word in words[1:]:
        sign, name = word[:1], word[1:].upper()
        if sign not in ("+", "-"):
            raise InputError(f"{word!r} is neither +FEATURE nor -FEATURE", "--cpu-features")
        if name not in names.values():
            raise InputError(f"{name!r} is no feature that this object may ask for", "--cpu-features")
        (present.add if sign == "+" else present.discard)(name)
    return Features(text, frozenset(present), names, words[0] == AS_BUILT and len(words) == 1)


def _numbers(system: str, version: str) -> dict[int, str]:
    """The table's numbers for a release; the later entries of a system correct the earlier ones."""
    release = _release(version)
    names: dict[int, str] = {}
    for entry in _table().get(system, ()):
        first, last = _release(entry.get("from", "")), _release(entry.get("to", ""))
        if release and ((first and release < first) or (last and release > last)):
            continue
        if not release and (first or last):
            continue
        names.update({_number(place): name for place, name in entry["features"].items()})
    return names


def _release(version: str) -> tuple[int, int] | None:
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else None


def _number(place: str) -> int:
    word, _, bit = place.partition(".")
    return int(word) * 32 + int(bit)


def _read_header(name: str) -> dict[int, str]:
    try:
        with open(name, encoding="utf-8", errors="replace") as stream:
            text = stream.read(_MAX_HEADER)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}", name) from None
    words = _WORDS.search(text)
    found = dict(_defines(_DEFINE.findall(text), int(words[1]) if words else 0))
    if not found or words is None:
        raise InputError("defines no X86_FEATURE_*: not a kernel's asm/cpufeatures.h", name)
    return found


def _defines(rows: Iterable[tuple[str, str, str, str]], words: int) -> Iterable[tuple[int, str]]:
    for kind, name, first, bit in rows:
        number = int(first) * 32 + int(bit) if bit else int(first)
        yield (number + words * 32, f"BUG_{name}") if kind == "BUG" else (number, name)
