"""The catalogue of entry paths with the verdict of every oracle, the listing of single paths, and how near they break.

NAME is a path of the catalogue or a path file. The gap is the number of instructions that are executed between STI and
VMRUN. The verdicts are those of the last check, which ships with this version; a path file is checked when it is named.
`show` prints the listing of each NAME, `edits` the smallest edits that break it.
"""

import argparse
import sys
from typing import TYPE_CHECKING, Final

from worldswitch.commands import EXIT_CLEAN
from worldswitch.commands.common import add_json_argument, print_json
from worldswitch.errors import InputError

if TYPE_CHECKING:
    from worldswitch.paths.model import EntryPath

EXAMPLES = """
worldswitch paths
worldswitch paths my-path.toml
worldswitch paths show linux-6.14
worldswitch paths show my-path.toml --json
worldswitch paths edits linux-6.14
"""


ACTIONS: Final = ("show", "edits")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``worldswitch paths``."""
    parser.add_argument(
        "words",
        metavar="[show|edits] NAME",
        nargs="*",
        help="a path, or a path file; show or edits before it: what to print of it",
    )
    parser.add_argument("--all", action="store_true", help="with `edits`: every edit, by cause, not the smallest alone")
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the table, or the listings."""
    from worldswitch.paths.catalogue import find, names
    from worldswitch.report.listing import listing, path_as_json, table
    from worldswitch.report.terminal import screen

    action, given = _action(arguments.words)
    if action and not given:
        raise InputError(f"{action} which path? `worldswitch paths` lists them")
    paths = [find(name) for name in given or names()]
    if action == "edits":
        return _edits(list(zip(paths, given, strict=True)), arguments.json, arguments.all)
    if arguments.json:
        print_json({"format": 1, "paths": [path_as_json(path) for path in paths]})
        return EXIT_CLEAN
    show = screen(sys.stdout)
    if not action:
        print(*table(paths, show), sep="\n")
        return EXIT_CLEAN
    for number, path in enumerate(paths):
        print(*([""] if number else []), *listing(path, show), sep="\n")
    return EXIT_CLEAN


def _action(words: list[str]) -> tuple[str, list[str]]:
    """The action before the names ("" where there is none), and the names."""
    return (words[0], words[1:]) if words and words[0] in ACTIONS else ("", words)


def _edits(paths: "list[tuple[EntryPath, str]]", json: bool, everything: bool) -> int:
    from worldswitch.paths.closeness import closeness
    from worldswitch.report.closeness import as_json, lines
    from worldswitch.report.terminal import screen

    if json:
        print_json({"format": 1, "paths": [as_json(closeness(*named)) for named in paths]})
        return EXIT_CLEAN
    show = screen(sys.stdout)
    for number, named in enumerate(paths):
        print(*([""] if number else []), *lines(closeness(*named), show, everything), sep="\n")
    return EXIT_CLEAN
