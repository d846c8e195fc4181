"""The pure Python core, also where a compiled one is installed.

`WORLDSWITCH_CORE=pure` in the environment makes every module come from its Python source. Some commands ask for it
themselves, for they do with the model what compiled modules do not allow: ``check`` puts values that are still open
into its state, ``mutants`` replaces its functions.
"""

import os
import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Final

from worldswitch.core import compiled
from worldswitch.errors import InputError

VARIABLE: Final = "WORLDSWITCH_CORE"
PURE: Final = "pure"
_ROOT: Final = Path(__file__).parent


def use_sources() -> None:
    """From here on this process, and those it starts, import this package's modules from their sources.

    Raises InputError where a compiled one was imported already, which no command line does.
    """
    if not compiled():
        return
    loaded = [
        name
        for name, module in sys.modules.items()
        if name.startswith("worldswitch.") and not (getattr(module, "__file__", None) or ".py").endswith(".py")
    ]
    if loaded:
        raise InputError(f"{loaded[0]} is compiled and imported already: set {VARIABLE}={PURE}")
    os.environ[VARIABLE] = PURE
    install()


def docstring(module: ModuleType) -> str:
    """A module's docstring, which a compiled module has left in its source; "" where neither has one."""
    if module.__doc__ is None and module.__file__ is not None:
        import ast

        file = Path(module.__file__)
        source = file.with_name(file.name.partition(".")[0] + ".py")
        return ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return module.__doc__ or ""


def install() -> None:
    """Puts the finder of sources before all others."""
    sys.path_hooks.insert(0, _find_sources)
    for directory in list(sys.path_importer_cache):
        if Path(directory).is_relative_to(_ROOT):
            del sys.path_importer_cache[directory]


def _find_sources(directory: str) -> FileFinder:
    if not Path(directory).is_relative_to(_ROOT):
        raise ImportError(f"no directory of worldswitch: {directory}")
    return FileFinder(directory, (SourceFileLoader, SOURCE_SUFFIXES))
