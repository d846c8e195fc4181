"""A finding as a standalone reproducer.

`--to pytest` writes a test file that needs only worldswitch; `--to kvm-unit-tests` a test in that project's form, for
its x86 directory; `--to image` a CD image that boots on a processor with SVM and reports over its serial port. FINDING
is a finding's directory, its scenario file, or a signature within --out.

Exit code 3: the scenario holds something that this form cannot express; the message says what.
"""

import argparse
from typing import TYPE_CHECKING

from worldswitch.commands.common import add_out_argument, finding_file, path_names

if TYPE_CHECKING:
    from pathlib import Path

    from worldswitch.export.finding import Prepared

EXAMPLES = """
worldswitch export campaign/findings/shadow-bleed.unexplained-shadow.injection --to pytest
worldswitch export corpus/golden.toml --to kvm-unit-tests --write kvm-unit-tests/x86/worldswitch.c
worldswitch export corpus/golden.toml --to image --write golden.iso
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``export``."""
    parser.add_argument("finding", metavar="FINDING", help="a finding's directory, scenario file or signature")
    parser.add_argument(
        "--to", metavar="FORM", required=True, choices=("pytest", "kvm-unit-tests", "image"),
        help="pytest, kvm-unit-tests or image",
    )  # fmt: skip
    parser.add_argument(
        "--write", metavar="FILE", default="", help="- is standard output (default: named by the finding)"
    )
    parser.add_argument("--signature", metavar="SIGNATURE", default="", help="the finding to keep (default: the first)")
    parser.add_argument("--path", metavar="PATH", action="append", default=[], help="further paths to run it on")
    add_out_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write one file."""
    import sys
    from pathlib import Path

    from worldswitch.commands import EXIT_CLEAN, EXIT_NO_VERDICT
    from worldswitch.export.finding import prepare

    prepared = prepare(finding_file(arguments.finding, arguments.out), arguments.signature, path_names(arguments.path))
    if arguments.to == "image":
        return _image(prepared, Path(arguments.write or f"{prepared.finding.signature}.iso"))
    if arguments.to == "pytest":
        from worldswitch.export.pytest_file import default_name, pytest_file

        text, name = pytest_file(prepared), default_name(prepared)
    else:
        from worldswitch.export.kvm_unit_tests import InexpressibleError, kvm_unit_test
        from worldswitch.export.kvm_unit_tests import default_name as c_name

        name = c_name(prepared)
        try:
            text = kvm_unit_test(
                prepared, Path(arguments.write).stem if arguments.write not in ("", "-") else name.stem
            )
        except InexpressibleError as error:
            print(f"{prepared.scenario.file}: cannot be a test of kvm-unit-tests: {error}", file=sys.stderr)
            return EXIT_NO_VERDICT
    if arguments.write == "-":
        print(text, end="")
        return EXIT_CLEAN
    from worldswitch.fuzzing.store import write_whole

    target = Path(arguments.write or name)
    write_whole(target, text)
    print(f"{target}: {prepared.finding.signature} on {prepared.results[0].path}")
    return EXIT_CLEAN


def _image(prepared: "Prepared", target: "Path") -> int:
    import sys

    from worldswitch.commands import EXIT_CLEAN, EXIT_NO_VERDICT
    from worldswitch.replay.answer import cache_directory, prepare, target_of
    from worldswitch.replay.run import export_image
    from worldswitch.replay.target import HARDWARE

    paths = [result.path for result in prepared.results] if prepared.scenario.path else []
    answers = prepare([prepared.scenario], paths, target_of(HARDWARE))
    for answer in answers:
        if answer.reason:
            print(f"{prepared.scenario.file} on {answer.path}: not expressible: {answer.reason}", file=sys.stderr)
    records = [answer.record for answer in answers if answer.record is not None]
    if not records:
        return EXIT_NO_VERDICT
    export_image(records, cache_directory(), target)
    print(f"{target}: boots on a processor with SVM and reports over the first serial port, 115200 8N1")
    return EXIT_CLEAN
