"""Write scenario and path files in their one canonical form; comments are kept.

Without options the files are changed in place. The same command prints the JSON Schema of either kind of file.
"""

import argparse
import os
import shutil
import sys
import tempfile

from worldswitch.commands import EXIT_CLEAN, EXIT_FINDINGS
from worldswitch.commands.common import is_path, print_json, toml_files
from worldswitch.errors import InputError

EXAMPLES = """
worldswitch fmt corpus my-path.toml
worldswitch fmt --check corpus
worldswitch fmt --stdout corpus/golden.toml
worldswitch fmt --schema scenario > scenario.schema.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``worldswitch fmt``."""
    parser.add_argument("files", metavar="FILE", nargs="*", help="a scenario or path file, or a directory of them")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--check", action="store_true", help="change nothing; name the files that would change, exit 1")
    only.add_argument("--stdout", action="store_true", help="print the canonical text, change nothing")
    only.add_argument("--schema", choices=("scenario", "path"), help="print the JSON Schema of that kind of file")


def run(arguments: argparse.Namespace) -> int:
    """Format every file. None is written before all of them have been read."""
    if bool(arguments.files) == bool(arguments.schema):
        raise InputError("give files, or --schema without files; see worldswitch fmt --help")
    if arguments.schema:
        print_json(_schema(arguments.schema))
        return EXIT_CLEAN
    formatted = [(file, *_formatted(file)) for file in toml_files(arguments.files)]
    if arguments.stdout:
        sys.stdout.writelines(after for _, _, after in formatted)
        return EXIT_CLEAN
    changed = [(file, after) for file, before, after in formatted if before != after]
    for file, after in changed:
        if not arguments.check:
            replace_text(file, after)
        print(f"{file}: {'not in canonical form' if arguments.check else 'rewritten'}")
    return EXIT_FINDINGS if arguments.check and changed else EXIT_CLEAN


def replace_text(file: str, text: str) -> None:
    """Replace the content of a file, whole or not at all; its mode is kept, a link is followed."""
    target = os.path.realpath(file)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", newline="", dir=os.path.dirname(target), prefix=".", suffix=".tmp", delete=False
    ) as stream:
        try:
            stream.write(text)
            stream.flush()
            shutil.copymode(target, stream.name)
            os.replace(stream.name, target)
        except BaseException:
            os.unlink(stream.name)
            raise


def _formatted(file: str) -> tuple[str, str]:
    """The text of a file, and its canonical text; a file with a listing is a path."""
    from worldswitch.text.read import load

    document = load(file)
    if is_path(document):
        from worldswitch.paths.write import format_path

        return document.text, format_path(document)
    from worldswitch.scenario.write import format_scenario

    return document.text, format_scenario(document)


def _schema(kind: str) -> dict[str, object]:
    from worldswitch.scenario.schema import path_schema, scenario_schema

    return scenario_schema() if kind == "scenario" else path_schema()
