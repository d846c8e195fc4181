"""Read the entry path out of a built object: kvm-amd.ko (also .xz, .gz, .zst), vmlinux, xen-syms, xen.efi, any other.

The path is the straight line from KVM's svm_vcpu_run() or Xen's svm_asm_do_resume (or --function) to VMRUN and back, in
the code as booting on the given processor leaves it. It is written as a path file, to stdout or where -o says, with
every instruction's address and bytes, which way each branch goes, what was patched, and what could not be classified.
A summary with what the oracles say of the path goes to stderr.
"""

import argparse
import sys
from typing import TYPE_CHECKING, Any, Final

from worldswitch.commands import EXIT_CLEAN
from worldswitch.commands.common import add_json_argument, print_json
from worldswitch.errors import InputError

if TYPE_CHECKING:
    from worldswitch.importer.importing import Imported

EXAMPLES = """
worldswitch import kvm-amd.ko -o mine.toml
worldswitch import kvm-amd.ko.xz --sev-es --cpu-features zen4
worldswitch import xen-syms --json
worldswitch import hypervisor.o --function vmrun_loop --entry-if 1
"""

_SWITCH: Final = {"on": True, "off": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``worldswitch import``."""
    parser.add_argument("file", metavar="FILE", help="the object file")
    parser.add_argument("-o", "--output", metavar="OUT", default="", help="the path file to write (default: stdout)")
    parser.add_argument("--name", metavar="NAME", default="", help="the path's name (default: system and release)")
    parser.add_argument("--function", metavar="NAME", default="", help="the function that the path begins with")
    parser.add_argument("--sev-es", action="store_true", help="the path of SEV-ES guests")
    parser.add_argument(
        "--cpu-features",
        metavar="SET",
        default="zen5",
        help="zen1 to zen5, or as-built for no alternative; also zen4,+FEATURE,-FEATURE (default: %(default)s)",
    )
    parser.add_argument(
        "--cpufeatures-h",
        metavar="FILE",
        default="",
        help="the kernel's asm/cpufeatures.h, where the built-in numbers of its features do not fit",
    )
    parser.add_argument(
        "--static-key", metavar="NAME=on|off", action="append", default=[], help="a static key's value; repeated"
    )
    parser.add_argument(
        "--turn",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="take the branch at this address, as the path file names it, the other way; repeated",
    )
    parser.add_argument(
        "--entry-if", type=int, choices=(0, 1), help="RFLAGS.IF at the start (default: 1 for Xen, 0 for all others)"
    )
    parser.add_argument("--fold", action="store_true", help="one line for a run of alike MOVs, PUSHes, POPs and NOPs")
    parser.add_argument(
        "--whole",
        action="store_true",
        help="the whole function, not only from a little before CLGI to a little after STGI",
    )
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Import, write the path file, and say what was found."""
    _check_libraries()
    from worldswitch.importer.importing import Request, import_path

    imported = import_path(
        Request(
            file=arguments.file,
            function=arguments.function,
            sev_es=arguments.sev_es,
            cpu_features=arguments.cpu_features,
            header=arguments.cpufeatures_h,
            keys=_keys(arguments.static_key),
            turns=tuple(arguments.turn),
            name=arguments.name,
            entry_if=None if arguments.entry_if is None else bool(arguments.entry_if),
            fold=arguments.fold,
            whole=arguments.whole,
        )
    )
    if arguments.output:
        _write(arguments.output, imported.text)
    print(*_summary(imported, arguments.output), sep="\n", file=sys.stderr)
    if arguments.json:
        print_json(as_json(imported))
    elif not arguments.output:
        print(imported.text, end="")
    return EXIT_CLEAN


def as_json(imported: "Imported") -> dict[str, Any]:
    """The document of ``import --json``."""
    return {
        "format": 1,
        "file": imported.request.file,
        "object": imported.image.format,
        "system": imported.system,
        "version": imported.version,
        "sha256": imported.sha256,
        "build_id": imported.image.build_id,
        "cpu_features": imported.request.cpu_features,
        "functions": list(imported.chain),
        "gap": imported.gap,
        "findings": list(imported.findings),
        "lines": [
            {
                "text": row.text,
                "label": row.label,
                "fixup": row.fixup,
                "noinstr": row.noinstr,
                "function": row.step.function.name if row.step else "",
                "address": row.place,
                "bytes": row.data.hex(),
                "remark": row.remark,
            }
            for row in imported.rows
        ],
        "unclassified": [
            {"address": doubt.place, "text": doubt.text, "reason": doubt.reason} for doubt in imported.doubts
        ],
        "branches": imported.branches,
        "patched": imported.patches,
        "choices": [
            {
                "address": turn.place,
                "otherwise": turn.what,
                "gap": turn.gap,
                "findings": list(turn.findings),
                "path": turn.text,
            }
            for turn in imported.turns
        ],
        "path": imported.text,
    }


def _summary(imported: "Imported", output: str) -> list[str]:
    gap = "no STI before VMRUN" if imported.gap is None else f"gap {imported.gap}"
    version = f" {imported.version}" if imported.version else ""
    lines = [
        f"{imported.request.file}: {imported.system}{version}, {' > '.join(imported.chain)}",
        f"{len(imported.rows)} steps as booted with {imported.request.cpu_features}, {gap}; "
        f"{len(imported.branches)} branches, {len(imported.patches)} patches, {len(imported.doubts)} unclassified",
        f"findings: {', '.join(imported.findings) or 'none'}",
    ]
    lines += [
        f"otherwise, with {turn.what} at {turn.place}: {', '.join(turn.findings) or 'no finding'}"
        for turn in imported.turns
    ]
    lines += [f"unclassified: {doubt.place} {doubt.text}: {doubt.reason}" for doubt in imported.doubts]
    return [*lines, f"written to {output}"] if output else lines


def _check_libraries() -> None:
    """Raise ``InputError`` where what reads object files is not installed."""
    try:
        import capstone  # noqa: F401
        import elftools  # noqa: F401
    except ImportError as error:
        raise InputError(f"importing needs {error.name}: pip install 'worldswitch[import]'") from None


def _keys(given: list[str]) -> dict[str, bool]:
    keys = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or value not in _SWITCH:
            raise InputError(f"{text!r} is not NAME=on or NAME=off", "--static-key")
        keys[name] = _SWITCH[value]
    return keys


def _write(name: str, text: str) -> None:
    try:
        with open(name, "w", encoding="utf-8") as stream:
            stream.write(text)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise InputError(f"cannot be written: {getattr(error, 'strerror', None) or error}", name) from None
