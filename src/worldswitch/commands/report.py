"""A campaign as one self-contained HTML page, which needs no network and no script.

It shows the findings with their timelines beside each other, what the paths expose to handlers, growth over time, the
verdict matrix, how to reproduce each finding and what it rests on.
"""

import argparse

from worldswitch.commands.common import DEFAULT_OUT, add_acknowledged_argument

EXAMPLES = """
worldswitch report campaign
worldswitch report campaign --out report.html --acknowledged acknowledged.toml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``report``."""
    parser.add_argument(
        "directory", metavar="DIR", nargs="?", default=DEFAULT_OUT, help="the campaign (default: %(default)s)"
    )
    parser.add_argument(
        "--out", metavar="FILE", default="", help="the page (default: report.html in DIR; - for standard output)"
    )
    add_acknowledged_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the page."""
    from pathlib import Path

    from worldswitch.fuzzing.acknowledged import read_acknowledged
    from worldswitch.fuzzing.store import write_whole
    from worldswitch.page.page import page, verdict
    from worldswitch.page.source import read_campaign

    campaign = read_campaign(Path(arguments.directory), read_acknowledged(arguments.acknowledged))
    text = page(campaign)
    if arguments.out == "-":
        print(text, end="")
        return 0
    file = Path(arguments.out or Path(arguments.directory) / "report.html")
    write_whole(file, text)
    print(f"{file}: {verdict(campaign)}")
    return 0
