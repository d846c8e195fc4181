"""The build: pure Python, or with WORLDSWITCH_COMPILE=1 the same modules compiled by mypyc.

The compiled modules are the ones that the fuzz loop runs: processor, kernel, run loop, oracles, codec, and what derives
from their classes, which no interpreted class can. Their sources are installed as well, and a source is what runs
wherever its compiled module is missing, or with WORLDSWITCH_CORE=pure. Without mypy or a C compiler the build is pure
Python, and says so.

    WORLDSWITCH_COMPILE=1 pip install .
    WORLDSWITCH_COMPILE=1 python setup.py build_ext --inplace
"""

import os
import shutil
import sys
import sysconfig
from glob import glob
from pathlib import Path

from setuptools import Extension, setup

WANTED = os.environ.get("WORLDSWITCH_COMPILE") == "1"

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


def extensions() -> list[Extension]:
    """The compiled modules; none in a pure build."""
    if not WANTED:
        return []
    lacking = missing()
    if lacking:
        print(f"worldswitch: not compiled, for want of {lacking}: a pure Python build", file=sys.stderr)
        return []
    from mypyc.build import mypycify

    files = sorted(
        path for pattern in MODULES for path in glob(f"src/worldswitch/{pattern}.py") if "__init__" not in path
    )
    return list(mypycify(["--config-file=", *files], opt_level="3", group_name="worldswitch"))


setup(ext_modules=extensions(), setup_requires=["mypy>=2.4,<2.5"] if WANTED else [])
