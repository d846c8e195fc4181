"""Every promoted finding is replayed, and replaying finds what has changed."""

from pathlib import Path

import pytest
from tests.commands.conftest import ROOT

from worldswitch.errors import InputError
from worldswitch.regressions import check, files

PROMOTED = files(ROOT / "corpus/regressions")


@pytest.mark.parametrize("file", PROMOTED, ids=lambda file: file.stem)
def test_promoted(file: Path) -> None:
    check(file)


def test_there_are_some() -> None:
    assert PROMOTED


@pytest.mark.parametrize(
    ("old", "new"),
    [("int_state = 1", "int_state = 0"), ("int_state = 0", "int_state = 1"), ('"npf"', '"gp"'), ("[]", '["noinstr"]')],
)
def test_a_changed_result_is_noticed(tmp_path: Path, old: str, new: str) -> None:
    text = (ROOT / "corpus/regressions/shadow-bleed.unexplained-shadow.injection.toml").read_text()
    assert old in text
    changed = tmp_path / "changed.toml"
    changed.write_text(text.replace(old, new))
    with pytest.raises(AssertionError, match=r"changed.toml on linux-6.1"):
        check(changed)


def test_a_file_that_cannot_fail_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('format = 1\nhost.path = "linux-6.14"\n')
    with pytest.raises(InputError, match="cannot fail"):
        check(file)
    with pytest.raises(InputError, match="no such directory"):
        files(tmp_path / "nowhere")
