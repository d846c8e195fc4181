"""What commands share: the arguments that choose scenarios, paths, models and findings, and printing JSON."""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from worldswitch.errors import InputError

if TYPE_CHECKING:
    from worldswitch.scenario.model import Scenario
    from worldswitch.text.read import Document

DEFAULT_OUT: Final = "campaign"
"""The directory of a campaign where ``--out`` does not name one."""

FINDING_FILES: Final = ("minimized.toml", "scenario.toml")
"""The scenario files of a finding's directory, the one to prefer first."""

Overrides = tuple[tuple[str, str], ...]
"""Model options by name and value, as ``--set`` gives them."""


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """``--path``, ``--profile`` and ``--set``; read them with ``path_names`` and ``model_options``."""
    parser.add_argument(
        "--path",
        metavar="PATH",
        action="append",
        default=[],
        help="an entry path by name, or a path file; repeated or comma-separated (default: the scenario's own)",
    )
    add_option_arguments(parser)


def add_option_arguments(parser: argparse.ArgumentParser) -> None:
    """``--profile`` and ``--set``; read them with ``model_options``."""
    parser.add_argument("--profile", metavar="NAME", default="", help="the processor model's profile")
    parser.add_argument(
        "--set",
        metavar="OPTION=VALUE",
        action="append",
        default=[],
        dest="options",
        help="a single model option; repeated or comma-separated",
    )


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print the results as JSON, and nothing else, on stdout")


def add_ci_arguments(parser: argparse.ArgumentParser) -> None:
    """``--sarif`` and ``--junit``; see ``ci.results``."""
    parser.add_argument("--sarif", metavar="FILE", default="", help="write the findings as SARIF 2.1.0")
    parser.add_argument("--junit", metavar="FILE", default="", help="write the results as JUnit XML")


def add_acknowledged_argument(parser: argparse.ArgumentParser) -> None:
    """``--acknowledged``; see ``fuzzing.acknowledged``."""
    parser.add_argument(
        "--acknowledged",
        metavar="FILE",
        default="",
        help="findings that are known: shown as such, and of no effect on the exit code",
    )


def add_out_argument(parser: argparse.ArgumentParser) -> None:
    """``--out``, for commands that take a finding's signature; see ``finding_file``."""
    parser.add_argument(
        "--out",
        metavar="DIR",
        default=DEFAULT_OUT,
        help="the campaign in which a finding is looked up by its signature (default: %(default)s)",
    )


def path_names(given: Iterable[str]) -> list[str]:
    """The paths that ``--path`` names, each once and known to exist; raises ``InputError``."""
    from worldswitch.paths.catalogue import find

    names = list(dict.fromkeys(_words(given, "--path")))
    for name in names:
        find(name)
    return names


def model_options(arguments: argparse.Namespace) -> tuple[str, Overrides]:
    """The profile ("" where none is given) and the options of ``add_option_arguments``; raises ``InputError``."""
    from worldswitch.result import check_options

    overrides: dict[str, str] = {}
    for word in _words(arguments.options, "--set"):
        name, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"{word!r} is not OPTION=VALUE", "--set")
        if overrides.setdefault(name, value) != value:
            raise InputError(f"{name} is given as {overrides[name]} and as {value}", "--set")
    pairs = tuple(overrides.items())
    for option, profile, chosen in (("--profile", arguments.profile, ()), ("--set", "", pairs)):
        try:
            check_options(profile, chosen)
        except InputError as error:
            raise error.at(option) from None
    return arguments.profile, pairs


def toml_files(given: Iterable[str]) -> list[str]:
    """The files named, and every ``*.toml`` below the directories named, sorted; raises ``InputError``."""
    files: list[str] = []
    for name in given:
        if not name:
            raise InputError("the name of a file is empty")
        if not _is_dir(name):
            files.append(name)
            continue
        found = sorted(_toml_below(name))
        if not found:
            raise InputError("holds no *.toml file", name)
        files += found
    return list(dict.fromkeys(files))


def read_scenarios(given: Iterable[str]) -> list["Scenario"]:
    """The scenarios of the files named, and of the directories named those below; path files there are passed over.

    Raises ``InputError``.
    """
    from worldswitch.scenario.read import parse_scenario
    from worldswitch.text.read import load

    names = list(given)
    documents = [load(file) for file in toml_files(names)]
    return [parse_scenario(document) for document in documents if document.file in names or not is_path(document)]


def is_path(document: "Document") -> bool:
    """Whether a document is an entry path: only these have a listing."""
    return "listing" in document.data


def finding_file(target: str, out: str) -> str:
    """The scenario file that ``FINDING`` means: a file, a finding's directory, or a signature within ``out``.

    Raises ``InputError`` where it is none of these.
    """
    for directory in (Path(target), Path(out) / "findings" / target):
        if _is_dir(str(directory)):
            for name in FINDING_FILES:
                if (directory / name).is_file():
                    return str(directory / name)
            raise InputError(f"holds neither {' nor '.join(FINDING_FILES)}", str(directory))
    if target.endswith(".toml") or "/" in target:
        return target
    raise InputError(f"{target!r} is no scenario file, no finding's directory, and no signature within {out}")


def print_json(document: Any) -> None:
    """One JSON document on stdout, keys in the order given."""
    json.dump(document, sys.stdout, indent=2)
    print()


def _words(given: Iterable[str], option: str) -> Iterator[str]:
    for text in given:
        for word in text.split(","):
            if not word.strip():
                raise InputError(f"{text!r} names nothing", option)
            yield word.strip()


def _is_dir(name: str) -> bool:
    try:
        return os.path.isdir(name)
    except ValueError:  # a NUL byte in the name
        return False


def _toml_below(directory: str) -> Iterator[str]:
    def unreadable(error: OSError) -> None:
        raise InputError(f"cannot be read: {error.strerror}", str(error.filename))

    for folder, _, names in os.walk(directory, onerror=unreadable):
        for name in names:
            if name.endswith(".toml"):
                yield os.path.join(folder, name)
