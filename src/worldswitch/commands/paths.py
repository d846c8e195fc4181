"""The catalogue of entry paths, and the listing of single ones.

NAME is a path of the catalogue or a path file. The gap is the number of instructions that are executed between STI and
VMRUN.
"""

import argparse
import sys

from worldswitch.commands import EXIT_CLEAN
from worldswitch.commands.common import add_json_argument, print_json
from worldswitch.errors import InputError

EXAMPLES = """
worldswitch paths
worldswitch paths show linux-6.14
worldswitch paths show my-path.toml --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``worldswitch paths``."""
    parser.add_argument("action", metavar="show", nargs="?", choices=("show",), help="print the listing of each NAME")
    parser.add_argument("names", metavar="NAME", nargs="*", help="a path, or a path file")
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the table, or the listings."""
    from worldswitch.paths.catalogue import find, names
    from worldswitch.report.listing import listing, path_as_json, table
    from worldswitch.report.terminal import screen

    if arguments.action and not arguments.names:
        raise InputError("show which path? `worldswitch paths` lists them")
    paths = [find(name) for name in arguments.names or names()]
    if arguments.json:
        print_json({"format": 1, "paths": [path_as_json(path) for path in paths]})
        return EXIT_CLEAN
    show = screen(sys.stdout)
    if not arguments.action:
        print(*table(paths, show), sep="\n")
        return EXIT_CLEAN
    for number, path in enumerate(paths):
        print(*([""] if number else []), *listing(path, show), sep="\n")
    return EXIT_CLEAN
