"""One entry path: what it executes, where it comes from, the state it starts in, and what is documented for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from worldswitch.errors import InputError
from worldswitch.paths.listing import parse_listing
from worldswitch.program.layout import LANDMARKS, Line
from worldswitch.text.read import Document

FORMAT: Final = 1
SYSTEMS: Final = ("linux", "none")
WHEN: Final = ("always", "kvm_rebooting")


class Known(NamedTuple):
    """A finding that is documented for a path: reported as such, and not as news."""

    signature: str  # exact, or a prefix ending in ``*``
    when: str  # one of WHEN
    rule: str
    about: str

    def covers(self, signature: str, rebooting: bool) -> bool:
        """Whether this entry documents a finding of a run with that ``kvm_rebooting``."""
        if self.when == "kvm_rebooting" and not rebooting:
            return False
        if self.signature.endswith("*"):
            return signature.startswith(self.signature[:-1])
        return signature == self.signature


@dataclass(frozen=True, slots=True, eq=False)
class EntryPath:
    """An entry path as read from its file. Compared by identity: layouts are cached by path."""

    name: str
    file: str
    about: str
    sources: tuple[str, ...]
    system: str  # "linux": lockdep, context tracking and Linux exception entry; "none": a host without them
    lines: tuple[Line, ...]
    entry_if: bool = False
    entry_gif: bool = True
    entry_lockdep: bool = False
    entry_context: str = "kernel"
    nmi_segments: frozenset[str] = frozenset({"start", "stgi", "end"})
    intr_segments: frozenset[str] = frozenset()
    hif: bool | None = None  # host RFLAGS.IF at VMRUN, where documented
    known: tuple[Known, ...] = field(default=())

    @property
    def linux(self) -> bool:
        """Whether the kernel model takes part."""
        return self.system == "linux"


_TOP: Final = {
    "format": int, "name": str, "about": str, "system": str, "sources": list, "listing": str, "entry": dict,
    "documented": dict, "known": list,
}  # fmt: skip
_ENTRY: Final = {"if": bool, "gif": bool, "lockdep": bool, "context": str}
_DOCUMENTED: Final = {"nmi": list, "intr": list, "hif": bool}
_KNOWN: Final = {"signature": str, "when": str, "rule": str, "about": str}


def read_path(document: Document) -> EntryPath:
    """The path in a TOML document; raises ``InputError`` with file, line and field."""
    data = document.data
    _check(document, data, _TOP, ())
    if data.get("format") != FORMAT:
        raise document.error(f"this version reads format {FORMAT}, not {data.get('format')!r}", ("format",))
    for key in ("name", "listing"):
        if not data.get(key):
            raise document.error("missing or empty", (key,))
    system = data.get("system", "linux")
    if system not in SYSTEMS:
        raise document.error(f"{system!r} is none of {', '.join(SYSTEMS)}", ("system",))
    entry = data.get("entry", {})
    _check(document, entry, _ENTRY, ("entry",))
    context = entry.get("context", "kernel")
    if context not in ("kernel", "guest"):
        raise document.error(f"{context!r} is neither kernel nor guest", ("entry", "context"))
    documented = data.get("documented", {})
    _check(document, documented, _DOCUMENTED, ("documented",))
    try:
        lines = parse_listing(data["listing"], _listing_line(document))
    except InputError as error:
        raise error.at(document.file, document.line(("listing",)), "listing") from None
    if not lines:
        raise document.error("no instruction in it", ("listing",))
    return EntryPath(
        name=data["name"],
        file=document.file,
        about=data.get("about", ""),
        sources=tuple(_strings(document, data.get("sources", []), ("sources",))),
        system=system,
        lines=lines,
        entry_if=entry.get("if", False),
        entry_gif=entry.get("gif", True),
        entry_lockdep=entry.get("lockdep", False),
        entry_context=context,
        nmi_segments=_segments(document, documented, "nmi", ("start", "stgi", "end")),
        intr_segments=_segments(document, documented, "intr", ()),
        hif=documented.get("hif"),
        known=tuple(_known(document, index, item) for index, item in enumerate(data.get("known", []))),
    )


def _listing_line(document: Document) -> int:
    """The file line of the listing's first line: TOML drops a newline right after the opening quotes."""
    first = document.line(("listing",))
    lines = document.text.splitlines()
    if not first or first > len(lines):
        return 0
    opening = lines[first - 1].rstrip()
    return first + 1 if opening.endswith(("'''", '"""')) else first


def _check(document: Document, table: dict[str, Any], keys: Mapping[str, type], path: tuple[str | int, ...]) -> None:
    for key, value in table.items():
        if key not in keys:
            raise document.error(f"unknown field; there are {', '.join(keys)}", (*path, key))
        if not isinstance(value, keys[key]) or (isinstance(value, bool) and keys[key] is int):
            raise document.error(f"expected {keys[key].__name__}, not {type(value).__name__}", (*path, key))


def _strings(document: Document, items: list[Any], path: tuple[str | int, ...]) -> list[str]:
    for index, item in enumerate(items):
        if not isinstance(item, str):
            raise document.error("expected a string", (*path, index))
    return items


def _segments(document: Document, table: dict[str, Any], key: str, default: tuple[str, ...]) -> frozenset[str]:
    names = _strings(document, table.get(key, list(default)), ("documented", key))
    for name in names:
        if name not in LANDMARKS:
            raise document.error(f"{name!r} is no landmark; there are {' '.join(LANDMARKS)}", ("documented", key))
    return frozenset(names)


def _known(document: Document, index: int, item: Any) -> Known:
    path = ("known", index)
    if not isinstance(item, dict):
        raise document.error("expected a table", path)
    _check(document, item, _KNOWN, path)
    when = item.get("when", "always")
    if when not in WHEN:
        raise document.error(f"{when!r} is none of {', '.join(WHEN)}", (*path, "when"))
    if not item.get("signature") or not item.get("about"):
        raise document.error("a known finding needs signature and about", path)
    return Known(item["signature"], when, item.get("rule", ""), item["about"])
