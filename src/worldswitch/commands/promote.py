"""Make a finding a regression: its smallest scenario goes into a directory that the plain test run replays.

The file gets an [expect] of what the scenario does now, on its own path and on the others. FINDING is a finding's
directory, its scenario file, or a signature within --out. When the path has been mended, its test fails: promote again
with --force, and the file expects the mended behaviour.
"""

import argparse

from worldswitch.commands.common import add_out_argument, finding_file, path_names

EXAMPLES = """
worldswitch promote campaign/findings/shadow-bleed.unexplained-shadow.injection
worldswitch promote my-scenario.toml --path my-path.toml --into tests/regressions
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``promote``."""
    parser.add_argument("finding", metavar="FINDING", help="a finding's directory, scenario file or signature")
    parser.add_argument(
        "--into", metavar="DIR", default="corpus/regressions", help="where it goes (default: %(default)s)"
    )
    parser.add_argument("--signature", metavar="SIGNATURE", default="", help="the finding to keep (default: the first)")
    parser.add_argument(
        "--path", metavar="PATH", action="append", default=[], help="further paths whose behaviour is recorded"
    )
    parser.add_argument("--force", action="store_true", help="replace what is there; record even without a finding")
    add_out_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write one file, and replay it."""
    from pathlib import Path

    from worldswitch.errors import InputError
    from worldswitch.export.finding import prepare, record, with_expectations
    from worldswitch.fuzzing.store import write_whole
    from worldswitch.regressions import check
    from worldswitch.scenario.write import scenario_text

    source = finding_file(arguments.finding, arguments.out)
    folder = Path(arguments.into)
    paths = path_names(arguments.path)
    if arguments.force and Path(source).parent == folder:  # a regression, recorded anew
        prepared, target = record(source, paths), Path(source)
    else:
        prepared = prepare(source, arguments.signature, paths)
        target = folder / f"{prepared.finding.signature}.toml"
    text = scenario_text(with_expectations(prepared, folder))
    if target.exists() and not arguments.force:
        if target.read_text(encoding="utf-8") == text:
            print(f"{target}: is there already, the same")
            return 0
        raise InputError("is there already, with other content; --force replaces it", str(target))
    write_whole(target, text)
    check(target)
    print(f"{target}: replayed by `worldswitch run {folder}`")
    return 0
