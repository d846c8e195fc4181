"""The build: pure Python, or with WORLDSWITCH_COMPILE=1 the same modules compiled by mypyc.

The compiled modules are the ones that the fuzz loop runs: processor, kernel, run loop, oracles, codec, and what derives
from their classes, which no interpreted class can. Their sources are installed as well, and a source is what runs
wherever its compiled module is missing, or with WORLDSWITCH_CORE=pure. Without mypy or a C compiler the build is pure
Python, and says so.

With WORLDSWITCH_COMPILE=coverage clang compiles them and has them count what they execute, for `worldswitch fuzz
--guidance coverage`; without clang the build is as with 1, and says so.

    WORLDSWITCH_COMPILE=1 pip install .
    WORLDSWITCH_COMPILE=coverage pip install .
    WORLDSWITCH_COMPILE=1 python setup.py build_ext --inplace
"""

import os
import shutil
import sys
import sysconfig
from glob import glob
from pathlib import Path

from setuptools import Extension, setup

COVERAGE = os.environ.get("WORLDSWITCH_COMPILE") == "coverage"
WANTED = COVERAGE or os.environ.get("WORLDSWITCH_COMPILE") == "1"
COUNTERS = "-fsanitize-coverage=inline-8bit-counters,pc-table"

MODULES = (
    "core/*", "kernel/*", "oracles/*", "oracles/architecture/*", "machine/compile", "machine/machine", "machine/run",
    "machine/software", "machine/stretch", "machine/trace", "paths/model", "program/instruction", "program/layout",
    "nested/compile", "nested/machine", "nested/model", "nested/record", "nested/run", "nested/trace", "replay/steps",
    "scenario/fields", "scenario/model", "scenario/places", "fuzzing/codec", "fuzzing/edits", "fuzzing/mutate",
    "fuzzing/projection", "fuzzing/slots", "fuzzing/targets", "fuzzing/twins",
)  # fmt: skip


def missing() -> str:
    """What is not there to compile with; empty where all of it is."""
    try:
        import mypyc.build  # noqa: F401
    except ImportError:
        return "mypy"
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"a C compiler ({compiler})"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return "" if header.is_file() else str(header)


def find_clang() -> str:
    """The clang to compile with: $CC where it is one, else the first in PATH, plain or with its version; "" if none."""
    named = (os.environ.get("CC") or "").split()[:1]
    versions = (f"clang-{number}" for number in range(30, 11, -1))
    wanted = (*(name for name in named if "clang" in name), "clang", *versions)
    return next((name for name in wanted if shutil.which(name)), "")


def extensions(clang: str) -> list[Extension]:
    """The compiled modules; none in a pure build. With a clang they count what they execute."""
    if not WANTED:
        return []
    lacking = missing()
    if lacking:
        print(f"worldswitch: not compiled, for want of {lacking}: a pure Python build", file=sys.stderr)
        return []
    if COVERAGE and not clang:
        print("worldswitch: compiled without coverage, for want of clang", file=sys.stderr)
    if clang:
        os.environ["CC"], os.environ["LDSHARED"] = clang, f"{clang} -shared"
    from mypyc.build import mypycify

    files = sorted(
        path for pattern in MODULES for path in glob(f"src/worldswitch/{pattern}.py") if "__init__" not in path
    )
    modules = list(mypycify(["--config-file=", *files], opt_level="3", group_name="worldswitch"))
    for module in modules:
        if clang and module.name.endswith("__mypyc"):  # the one that holds the code of all
            module.sources.append("src/worldswitch/fuzzing/native.c")
            module.extra_compile_args = [*module.extra_compile_args, COUNTERS]  # mypycify gives all modules one list
    return modules


CLANG = find_clang() if COVERAGE else ""

setup(
    ext_modules=extensions(CLANG),
    setup_requires=["mypy>=2.4,<2.5"] if WANTED else [],
    # A directory of its own: what another compiler left behind would be taken for up to date.
    options={"build": {"build_base": "build/coverage"}} if CLANG else {},
)
