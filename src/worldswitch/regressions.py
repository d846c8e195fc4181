"""Regressions: scenarios with an ``[expect]``, replayed by a plain test run.

A whole test file for pytest::

    import pytest
    from worldswitch.regressions import check, files

    @pytest.mark.parametrize("file", files("corpus/regressions"), ids=str)
    def test_regression(file):
        check(file)

Without pytest, ``worldswitch run corpus/regressions`` does the same and exits with 1 where an expectation is not met.
"""

from pathlib import Path

from worldswitch.errors import InputError
from worldswitch.result import execute, variants
from worldswitch.scenario.read import read_scenario


def files(directory: str | Path) -> list[Path]:
    """The scenario files below a directory, sorted; raises ``InputError`` where there is no such directory."""
    folder = Path(directory)
    if not folder.is_dir():
        raise InputError("no such directory", str(directory))
    return sorted(folder.rglob("*.toml"))


def check(file: str | Path) -> None:
    """Execute a scenario in every way that it states an expectation for.

    Raises ``AssertionError`` with a line for each that is not met, and ``InputError`` for a file that cannot be used or
    that expects nothing.
    """
    scenario = read_scenario(str(file))
    if scenario.expect is None:
        raise InputError("has no [expect], so that it cannot fail", str(file))
    failures = []
    for variant in variants(scenario, []):
        result = execute(scenario, variant)
        name = ", ".join([result.path, *(f"{option}={value}" for option, value in variant.options)])
        failures += [f"{file} on {name}: {failure}" for failure in result.unmet]
    assert not failures, "\n".join(failures)
