"""Where a path begins in an object, and which calls lead from there to VMRUN."""

from collections.abc import Iterable
from typing import Final

from worldswitch.errors import InputError
from worldswitch.importer.flow import Functions, ways_to_vmrun
from worldswitch.importer.image import Image, clean
from worldswitch.importer.tables import read_jumps

LINUX: Final = "svm_vcpu_run"
XEN: Final = "svm_asm_do_resume"
_SEV_ES: Final = "sev_es"


def find_start(image: Image, wanted: str) -> tuple[str, int]:
    """The kind of object ("linux", "xen" or "other"), and the address of the function that the path begins with.

    ``wanted`` names that function; where it is "", it is KVM's or Xen's. Raises ``InputError`` where there is none.
    """
    kinds = {name: kind for kind, name in (("linux", LINUX), ("xen", XEN)) if image.symbol(name)}
    is_linux = image.section(".modinfo") or image.symbol("linux_banner")
    kind = next(iter(kinds.values()), "linux" if is_linux else "other")
    name = wanted or next(iter(kinds), "")
    if not name:
        raise image.complaint(f"has neither {LINUX} nor {XEN}: name the function with --function")
    symbol = image.symbol(name)
    if symbol is None:
        near = sorted(s.name for s in image.symbols if name in s.name and image.is_code(s.address))[:3]
        hint = f"; there is {', '.join(clean(found) for found in near)}" if near else ""
        raise image.complaint(f"has no function {clean(name)}{hint}")
    if not image.is_code(symbol.address):
        raise image.complaint(f"{clean(name)} is no function: it lies in no code")
    return kind, symbol.address


def find_ways(functions: Functions, root: int, sev_es: bool) -> dict[int, set[int]]:
    """The calls to go into: with ``sev_es`` those through the functions of SEV-ES, else those around them.

    Raises ``InputError`` where VMRUN is not reached that way.
    """
    image = functions.code.image
    ways = ways_to_vmrun(functions, root)
    if not ways:
        raise image.complaint(f"no VMRUN can be reached from {clean(image.name_of(root))}")
    twins = {entry for entry in ways if _SEV_ES in image.name_of(entry)}
    if sev_es and not twins:
        raise image.complaint("has no SEV-ES variant of the path")
    ends = {entry for entry, on_way in ways.items() if not on_way}
    drop = ends - twins if sev_es else twins if ends - twins else set()
    return {entry: on_way - drop for entry, on_way in ways.items() if entry not in drop}


def check_keys(image: Image, names: Iterable[str]) -> None:
    """Raise ``InputError`` for the name of a static key that the object does not ask."""
    wanted = set(names)
    if not wanted:
        return
    known = {image.name_of(jump.key) for jump in (read_jumps(image) or {}).values()}
    for name in sorted(wanted - known):
        raise InputError(f"{name!r} is no static key in it", image.file, 0, "--static-key")
