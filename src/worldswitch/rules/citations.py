"""Where the sources cite a fact, and what each of those places is worth.

=============  ===================================================================================================
``CODE``       the model: ``core kernel program paths machine oracles`` of the package; these implement rules
``MENTION``    the rest of the package, and every ``__init__.py``: a reading guide; they use rules but implement none
``TEST``       a ``test_*.py`` of the checkout
``SCENARIO``   a scenario file with an ``[expect]`` table: a test as well
``SEED``       a scenario file without one; it asserts nothing
=============  ===================================================================================================

A citation in Python belongs to the innermost function, class or named value around it; comment lines directly above one
belong to it too. An installed package has no tests and no corpus: then there are no TEST, SCENARIO and SEED citations.
The tests of ``rules`` itself cite facts as sample data and are left out.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from worldswitch.rules.facts import known_ids
from worldswitch.rules.ids import cited

if TYPE_CHECKING:
    import ast

CODE: Final = "code"
MENTION: Final = "mention"
TEST: Final = "test"
SCENARIO: Final = "scenario"
SEED: Final = "seed"

PACKAGE: Final = Path(__file__).resolve().parents[1]
MODEL_FOLDERS: Final = frozenset({"core", "kernel", "program", "paths", "machine", "nested", "oracles"})

_EXPECT: Final = re.compile(r"^\s*\[expect\b", re.MULTILINE)
_ROW_IN_NAME: Final = re.compile(r"(?<![a-z])t-?(\d{3})(?!\d)", re.IGNORECASE)


class Source(NamedTuple):
    """One file to read."""

    path: Path
    name: str  # as people see it: relative to the package (core/shadow.py) or to the checkout (tests/...)
    kind: str  # CODE, MENTION or TEST; SCENARIO stands for any scenario file, SEED among them


class Citation(NamedTuple):
    """One place that cites one fact."""

    id: str
    kind: str
    file: str
    line: int
    place: str  # "bleeds", "Cpu.world", "TABLE"; "" in a module's own docstring and in files that are not Python

    def __str__(self) -> str:
        """``core/shadow.py: bleeds``; the file alone where there is no place in it."""
        return f"{self.file}: {self.place}" if self.place else self.file


def checkout() -> Path | None:
    """The root of the checkout this package runs from; None where the package is installed."""
    root = PACKAGE.parents[1]
    return root if (root / "pyproject.toml").is_file() and (root / "tests").is_dir() else None


def package_sources() -> Iterator[Source]:
    """The package's own files, ``rules`` excepted."""
    for path in _files(PACKAGE, (".py", ".toml")):
        name = path.relative_to(PACKAGE).as_posix()
        folder = name.partition("/")[0]
        if folder != "rules":
            model = folder in MODEL_FOLDERS and path.name != "__init__.py"
            yield Source(path, name, CODE if model else MENTION)


def checkout_sources(root: Path) -> Iterator[Source]:
    """The tests and scenario files of the checkout at ``root``."""
    for path in _files(root / "tests", (".py", ".toml")):
        name = path.relative_to(root).as_posix()
        if name.startswith("tests/rules/"):
            continue
        if path.suffix == ".toml":
            yield Source(path, name, SCENARIO)
        elif path.name.startswith("test_"):
            yield Source(path, name, TEST)
    for path in _files(root / "corpus", (".toml",)):
        yield Source(path, path.relative_to(root).as_posix(), SCENARIO)


def sources(root: Path | None = None) -> list[Source]:
    """Every file that is read, in a fixed order; ``root`` is a checkout, None for the one the package runs from."""
    root = root or checkout()
    return [*package_sources(), *(checkout_sources(root) if root else ())]


def citations(wanted: Iterable[str] | None = None, root: Path | None = None) -> list[Citation]:
    """The citations of the ids in ``wanted`` (None: of all, unknown ids among them), in the order of ``sources``.

    A line that cites an id twice counts once. ``root`` as for ``sources``.
    """
    only = None if wanted is None else frozenset(wanted)
    found: dict[Citation, None] = {}
    for source in sources(root):
        found.update(dict.fromkeys(_cited_in(source, only)))
    return list(found)


def _cited_in(source: Source, only: frozenset[str] | None) -> Iterator[Citation]:
    text = _read(source.path)
    kind = source.kind
    if kind == SCENARIO:
        kind = SCENARIO if _EXPECT.search(text) else SEED
        for match in _ROW_IN_NAME.finditer(source.path.stem):
            if only is None or f"T-{match[1]}" in only:
                yield Citation(f"T-{match[1]}", kind, source.name, 1, "")
    for line, name in _hits(source.path):
        if only is None or name in only:
            place = _places(source.path)[line] if source.path.suffix == ".py" else ""
            yield Citation(name, kind, source.name, line, place)


@cache
def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


@cache
def _hits(path: Path) -> tuple[tuple[int, str], ...]:
    """The citations in a file: line and id."""
    text = _read(path)
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    return tuple((bisect_right(starts, offset), name) for offset, name in cited(text, known_ids()))


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.rglob("*") if path.suffix in suffixes and path.is_file())


@cache
def _places(path: Path) -> list[str]:
    """For every line (1-based) of Python source the innermost function, class or named value; "" at module level."""
    import ast

    text = _read(path)
    lines = text.split("\n")
    places = [""] * (len(lines) + 2)

    def mark(body: list[ast.stmt], prefix: str, in_function: bool) -> None:
        previous = ""
        for node in body:
            last = node.end_lineno or node.lineno
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                place = prefix + node.name
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                first = _with_comments(lines, first)
                places[first : last + 1] = [place] * (last + 1 - first)
                mark(node.body, place + ".", in_function or not isinstance(node, ast.ClassDef))
                previous = ""
            elif in_function:
                continue
            elif name := _value_name(node):
                previous = prefix + name
                first = _with_comments(lines, node.lineno)
                places[first : last + 1] = [previous] * (last + 1 - first)
            elif previous and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                places[node.lineno : last + 1] = [previous] * (last + 1 - node.lineno)  # the string below documents it

    with suppress(SyntaxError):
        mark(ast.parse(text).body, "", False)
    return places


def _with_comments(lines: list[str], first: int) -> int:
    """The first of the comment lines directly above line ``first``, or ``first`` itself."""
    while first > 1 and lines[first - 2].lstrip().startswith("#"):
        first -= 1
    return first


def _value_name(node: "ast.stmt") -> str:
    import ast

    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""
