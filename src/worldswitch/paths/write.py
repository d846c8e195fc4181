"""Path files as canonical text, comments kept."""

import re
from typing import Final

from worldswitch.paths.model import read_path
from worldswitch.program.instruction import canonical
from worldswitch.text.comments import comments
from worldswitch.text.read import Document
from worldswitch.text.scan import KeyPath
from worldswitch.text.write import Style, dumps

TOP: Final = ("format", "name", "about", "system", "sources", "listing", "entry", "documented", "known")
ORDER: Final[dict[str, tuple[str, ...]]] = {
    "entry": ("if", "gif", "lockdep", "context"),
    "documented": ("nmi", "intr", "hif"),
    "known": ("signature", "when", "rule", "about"),
}
"""The keys of each table in canonical order."""

# The columns of a listing: label, instruction, [fixup], comment.
_LABEL: Final = 8
_INSTRUCTION: Final = 32
_FIXUP: Final = 8

_WIDTH: Final = 100

_DIRECTIVES: Final = (".noinstr", ".text")
_LABELLED: Final = re.compile(r"([a-z_]+)\s*:(?!\S*=)\s*")


def format_path(document: Document) -> str:
    """The canonical text of a path file; raises ``InputError`` where it is none."""
    read_path(document)
    data = document.data | {"listing": format_listing(document.data["listing"])}
    style = Style(key_order=_key_order, literal=lambda path: path in (("listing",), ("about",)))
    return dumps(data, style=style, comments=comments(document.text), width=_WIDTH)


def format_listing(text: str) -> str:
    """A valid listing with its columns aligned; blank lines and whole-line comments stay as they are."""
    return "".join(_in_columns(line).rstrip() + "\n" for line in text.splitlines())


def format_line(text: str) -> str:
    """A line of a valid listing with single spaces between its parts: ``clgi: clgi [fixup] # comment``."""
    body, hash_sign, comment = text.partition("#")
    parts = [*_split(body), f"# {comment.strip()}" if hash_sign else ""]
    return " ".join(part for part in parts if part)


def _in_columns(line: str) -> str:
    body, hash_sign, comment = line.partition("#")
    if not body.strip():
        return line.strip()
    label, instruction, fixup = _split(body)
    text = label.ljust(_LABEL) + instruction
    if fixup:
        text = text.ljust(_LABEL + _INSTRUCTION - 1) + " " + fixup
    if hash_sign:
        text = text.ljust(_LABEL + _INSTRUCTION + _FIXUP - 1) + f" # {comment.strip()}"
    return text


def _split(body: str) -> tuple[str, str, str]:
    body = body.strip()
    if body in _DIRECTIVES:
        return "", body, ""
    fixup = "[fixup]" if body.endswith("[fixup]") else ""
    body = body.removesuffix("[fixup]").rstrip()
    match = _LABELLED.match(body)
    label = f"{match[1]}:" if match else ""
    instruction = body[match.end() :] if match else body
    return label, canonical(instruction) if instruction else "", fixup


def _key_order(path: KeyPath) -> tuple[str, ...]:
    return ORDER.get(str(path[0]), ()) if path else TOP
