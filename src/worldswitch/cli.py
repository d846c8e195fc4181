"""``worldswitch COMMAND``: finds the command, imports only its module, and turns failures into exit codes.

A command is a module of ``worldswitch.commands`` with two functions and a text::

    EXAMPLES = "worldswitch run corpus/golden.toml"    # shown by --help

    def add_arguments(parser: argparse.ArgumentParser) -> None: ...
    def run(arguments: argparse.Namespace) -> int: ...  # the exit code

It prints results to stdout and raises ``InputError`` for bad input. Heavy imports belong inside ``run``: starting a
command must stay quick.
"""

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from keyword import iskeyword
from types import ModuleType
from typing import Final, NoReturn

import worldswitch
from worldswitch.commands import EXIT_BAD_INPUT, EXIT_INTERRUPTED
from worldswitch.core import compiled
from worldswitch.errors import InputError
from worldswitch.sources import PURE, VARIABLE

EXIT_BROKEN_PIPE: Final = 141  # 128 + SIGPIPE, as a shell reports it

COMMANDS: Final = {
    "paths": "the catalogue of entry paths; `paths show NAME` prints one",
    "run": "execute scenarios: a timeline, and what the oracles object to",
    "diff": "what changes for whom between two paths, and what a commit message may claim",
    "explain": "a rule: its text, source, code and tests; a finding: what it rests on",
    "fuzz": "a coverage-guided campaign with atheris: findings are recorded, reduced and replayed",
    "status": "campaigns at a glance, also while they run",
    "smoke": "the bounded, seeded check for CI",
    "report": "a campaign as a self-contained HTML page",
    "promote": "a finding made a regression, which the plain test run replays",
    "export": "a finding as a standalone reproducer: for pytest, for kvm-unit-tests, as a boot image",
    "acknowledge": "a known finding, with a reason: still shown, of no effect on the exit code",
    "minimize": "the smallest scenario with the same signature",
    "check": "every scenario of a bounded space, smallest first",
    "mutants": "planted defects, and whether the fuzzer finds them",
    "replay": "findings and scenarios executed again, in the model or on a real SVM implementation",
    "crosscheck": "random scenarios in the model and on a real SVM implementation",
    "import": "an entry path read out of a built kvm-amd.ko, vmlinux or xen-syms",
    "fmt": "scenario and path files in canonical form",
}
"""Every command, in the order of ``--help``; its module is ``worldswitch.commands.NAME``, ``NAME_`` for a keyword."""

_LONGEST_LINE: Final = 1000

_EPILOG: Final = """\
exit codes: 0 clean, or every [expect] met; 1 findings without [expect], or an [expect] not met; 2 bad input or usage;
3 no verdict; 130 interrupted. `worldswitch COMMAND --help` has examples.
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose usage errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the complaint and exit with 2."""
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {_one_line(message)}; see {self.prog} --help\n")


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line, by default that of the process; returns the exit code and never raises for bad input."""
    _prepare_streams()
    try:
        code = _dispatch(sys.argv[1:] if words is None else words)
        sys.stdout.flush()
        return code
    except InputError as error:
        return _fail(str(error))
    except BrokenPipeError:
        _abandon_stdout()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        return _fail(": ".join(str(part) for part in (error.filename, error.strerror or error) if part))
    except KeyboardInterrupt:
        print("worldswitch: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def load_command(name: str) -> ModuleType:
    """The module of a command in ``COMMANDS``."""
    return importlib.import_module(f"worldswitch.commands.{name}{'_' if iskeyword(name) else ''}")


def command_parser(name: str) -> argparse.ArgumentParser:
    """The argument parser of a command in ``COMMANDS``; it sets ``run`` to what the command does."""
    module = load_command(name)
    parser = Parser(
        prog=f"worldswitch {name}",
        description=(module.__doc__ or "").strip(),
        epilog="examples:\n" + "".join(f"  {line}\n" for line in module.EXAMPLES.strip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)
    return parser


def _dispatch(words: Sequence[str]) -> int:
    if os.environ.get(VARIABLE, PURE) not in ("", PURE):
        raise InputError(f"{VARIABLE} is {os.environ[VARIABLE]!r}; it is {PURE!r} or not set")
    try:
        if words and words[0] in COMMANDS:
            arguments = command_parser(words[0]).parse_args(words[1:])
            return int(arguments.run(arguments))
        parser = _top_parser()
        known, unknown = parser.parse_known_args(words[:1])
        if unknown or known.command is None:
            parser.error(f"unrecognized argument: {unknown[0]}" if unknown else "a command is missing")
    except SystemExit as stop:  # argparse: --help, --version and usage errors
        return stop.code if isinstance(stop.code, int) else EXIT_BAD_INPUT
    from difflib import get_close_matches

    near = get_close_matches(known.command, COMMANDS, 1)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(COMMANDS)}"
    raise InputError(f"unknown command {known.command!r}{hint}")


def _top_parser() -> Parser:
    parser = Parser(
        prog="worldswitch",
        usage="worldswitch COMMAND [ARGUMENT...]",
        description=f"{worldswitch.__doc__}\n\ncommands:\n"
        + "".join(f"  {name.ljust(12)}{about}\n" for name, about in COMMANDS.items()),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    kind = "compiled" if compiled() else "pure Python"
    parser.add_argument("--version", action="version", version=f"worldswitch {worldswitch.__version__} ({kind} core)")
    parser.add_argument("command", metavar="COMMAND", nargs="?", help=argparse.SUPPRESS)
    return parser


def _fail(message: str) -> int:
    """One line on stderr, after what was printed so far."""
    try:
        sys.stdout.flush()
    except OSError:
        _abandon_stdout()
    print(f"worldswitch: {_one_line(message)}", file=sys.stderr)
    return EXIT_BAD_INPUT


def _abandon_stdout() -> None:
    """Nobody reads on: let the interpreter's own flush at exit go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _prepare_streams() -> None:
    """A closed stream takes everything; what the encoding of an open one lacks is printed as escapes."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or sys.stdout
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a replaced stream may lack it
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _one_line(message: str) -> str:
    """The message without line breaks; of one that quotes too much of its input, both ends."""
    line = " ".join(message.splitlines())
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 2 :]}"


if __name__ == "__main__":
    sys.exit(main())
