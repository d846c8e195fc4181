from collections.abc import Callable
from pathlib import Path

import pytest

Checkout = Callable[[dict[str, str]], Path]


@pytest.fixture
def root() -> Path:
    """The checkout these tests are part of, whether the package under test is installed or not."""
    return Path(__file__).resolve().parents[2]


@pytest.fixture
def make_checkout(tmp_path: Path) -> Checkout:
    """Make a checkout that holds the given files, by path."""

    def make(files: dict[str, str]) -> Path:
        for name, text in {"pyproject.toml": "", **files}.items():
            path = tmp_path / "checkout" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path / "checkout"

    return make
