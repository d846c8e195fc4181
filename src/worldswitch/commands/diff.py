"""What changes for whom between two entry paths: NMI, IRQ and exception handlers, lockdep, and what a guest shows.

Every row comes from running both paths. `--claims` adds what the message of Linux commit be45bc4eff33 says, sentence by
sentence, asked of these two paths; for linux-6.1 and linux-6.14, the paths before and after it, they are always shown.
The text fits the 75 columns of a patch's cover letter. Exit code 1 if a claim that is shown does not hold.
"""

import argparse
import sys

from worldswitch.commands import EXIT_CLEAN, EXIT_FINDINGS
from worldswitch.commands.common import add_json_argument, add_option_arguments, model_options, print_json

EXAMPLES = """
worldswitch diff linux-6.1 linux-6.14
worldswitch diff xen-4.12 xen-4.21 --markdown
worldswitch diff linux-6.14 my-path.toml --claims
worldswitch diff linux-6.1 linux-6.14 --profile amd-noquirk
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``worldswitch diff``."""
    parser.add_argument("first", metavar="PATH_A", help="a path, or a path file: before")
    parser.add_argument("second", metavar="PATH_B", help="a path, or a path file: after")
    parser.add_argument("--claims", action="store_true", help="check the claims of the commit message as well")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    add_option_arguments(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compare, and print."""
    from worldswitch.diff.aspects import compare
    from worldswitch.diff.claims import REFUTED
    from worldswitch.diff.render import as_json, check_claims, markdown, text
    from worldswitch.diff.side import Side
    from worldswitch.paths.catalogue import IMPLEMENTATIONS, find
    from worldswitch.report.terminal import screen

    profile, options = model_options(arguments)
    first, second = (Side(find(name), profile, dict(options)) for name in (arguments.first, arguments.second))
    aspects = compare(first, second)
    shown = arguments.claims or (arguments.first, arguments.second) == IMPLEMENTATIONS
    claims = check_claims(first, second) if shown else []
    if arguments.json:
        print_json(as_json(first, second, aspects, claims))
    elif arguments.markdown:
        print(*markdown(first, second, aspects, claims), sep="\n")
    else:
        print(*text(first, second, aspects, claims, screen(sys.stdout)), sep="\n")
    return EXIT_FINDINGS if any(outcome.result == REFUTED for _, outcome in claims) else EXIT_CLEAN
