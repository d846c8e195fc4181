import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.faulty import Plan, finish

PLAN = Plan()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign that nothing happened to."""
    pytest.importorskip("atheris", reason="fuzzing needs atheris")
    directory = tmp_path_factory.mktemp("faults") / "undisturbed"
    code, output = finish(directory, PLAN)
    assert code == 0, output
    return directory


@pytest.fixture
def copied(undisturbed: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes a copy of it, to be damaged."""

    def copy() -> Path:
        return Path(shutil.copytree(undisturbed, tmp_path / "copy"))

    return copy
