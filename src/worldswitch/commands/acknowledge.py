"""Acknowledge a finding with a reason: it is still shown, and no longer affects the exit code.

FINDING is a finding's directory, its signature, or the beginning of signatures followed by *. The entry is added at the
end of the file that `fuzz`, `smoke`, `status` and `report` take as --acknowledged.
"""

import argparse

EXAMPLES = """
worldswitch acknowledge shadow-bleed.unexplained-shadow.injection --path linux-6.1 --reason "not backported yet"
worldswitch acknowledge campaign/findings/SIGNATURE --reason "see the tracker" --until 2027-03-01
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``acknowledge``."""
    parser.add_argument("finding", metavar="FINDING", help="a finding's directory, or a signature")
    parser.add_argument("--reason", metavar="TEXT", required=True, help="why it is known and may be there")
    parser.add_argument("--path", metavar="PATH", default="", help="on this path alone (default: on every path)")
    parser.add_argument("--until", metavar="DATE", default="", help="the last day on which it holds, as 2027-03-01")
    parser.add_argument("--who", metavar="NAME", default="", help="who says so")
    parser.add_argument(
        "--file", metavar="FILE", default="acknowledged.toml", help="the file to add to (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Add one entry."""
    import datetime
    from pathlib import Path

    from worldswitch.errors import InputError
    from worldswitch.fuzzing.acknowledged import FORMAT, Entry, entry_text, parse, read_acknowledged
    from worldswitch.fuzzing.store import write_whole
    from worldswitch.text.read import loads

    try:
        until = datetime.date.fromisoformat(arguments.until) if arguments.until else None
    except ValueError:
        raise InputError(f"{arguments.until!r} is no date such as 2027-03-01", field="--until") from None
    signature = signature_of(arguments.finding)
    entry = Entry(signature, arguments.reason, arguments.path, arguments.who, datetime.date.today(), until)
    file = Path(arguments.file)
    text = f"format = {FORMAT}\n"
    if file.exists():
        for old in read_acknowledged(str(file)):
            if (old.signature, old.path) == (entry.signature, entry.path):
                raise InputError(f"acknowledges {signature} already", old.file, old.line)
        text = file.read_text(encoding="utf-8")
    text = f"{text.rstrip()}\n\n{entry_text(entry)}"
    parse(loads(text, str(file)))  # what is written can be read
    write_whole(file, text)
    print(f"{file}: acknowledges {signature}" + (f" on {entry.path}" if entry.path else ""))
    return 0


def signature_of(finding: str) -> str:
    """The signature that FINDING names; raises ``InputError``."""
    import re
    from pathlib import Path

    from worldswitch.errors import InputError

    name = Path(finding).name
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.?\*?", name):
        raise InputError(f"{finding!r} is neither a finding's directory nor a signature", field="FINDING")
    return name
