import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from worldswitch.rules import table
from worldswitch.rules.citations import PACKAGE
from worldswitch.rules.evidence import all_evidence
from worldswitch.rules.facts import known_ids
from worldswitch.rules.left_out import FILE

Checkout = Callable[[dict[str, str]], Path]


def test_the_document_is_current(root: Path) -> None:
    assert (root / table.DOCUMENT).read_text(encoding="utf-8") == table.document(root)


def test_the_document_has_a_line_for_every_fact(make_checkout: Checkout) -> None:
    text = table.document(make_checkout({}))
    assert [name for name in known_ids() if f"\n| {name} | " not in text] == []


def test_no_rule_of_the_model_is_without_a_test(root: Path, make_checkout: Checkout) -> None:
    assert table.untested(all_evidence(root)) == []
    without = table.untested(all_evidence(make_checkout({})))
    assert "S2-70" in without
    assert "S1-09" not in without, "it is left out"


def test_the_columns_of_a_rule(make_checkout: Checkout) -> None:
    checkout = make_checkout(
        {"tests/test_a.py": "def test_algorithm(): 'S6-72'\n", "tests/scenarios/t-098.toml": "[expect]\n"}
    )
    text = table.document(checkout)
    (line,) = (line for line in text.splitlines() if line.startswith("| S6-72 |"))
    assert "| certain | It describes the aggregate of everything" in line
    assert "`core/delivery.py: deliver`" in line
    assert line.endswith("| `tests/test_a.py: test_algorithm`; *through* T-098 |")
    assert "Conformance rows: 109, of which 1 have a test." in text


def test_every_table_row_has_the_columns_of_its_table(root: Path) -> None:
    width = 0
    for line in table.document(root).splitlines():
        columns = line.replace("\\|", "").count("|")
        if not line.startswith("|"):
            width = 0
        else:
            width = width or columns
            assert columns == width, line


def test_the_document_is_the_same_in_every_process(make_checkout: Checkout) -> None:
    checkout = make_checkout({"tests/scenarios/t-098.toml": "[expect]\n"})
    documents = []
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-m", "worldswitch.rules.table", "--root", str(checkout)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(PACKAGE.parent)},
            check=True,
        )
        documents.append((checkout / table.DOCUMENT).read_bytes())
        (checkout / table.DOCUMENT).unlink()
    assert documents[0] == documents[1]


def test_check_writes_nothing(make_checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    checkout = make_checkout({})
    arguments = ["--root", str(checkout)]
    assert table.main([*arguments, "--check"]) == 1
    assert not (checkout / table.DOCUMENT).exists()
    assert table.main(arguments) == 0
    assert table.main([*arguments, "--check"]) == 0
    (checkout / table.DOCUMENT).write_text("stale", encoding="utf-8")
    assert table.main([*arguments, "--check"]) == 1
    assert (checkout / table.DOCUMENT).read_text(encoding="utf-8") == "stale"
    assert "is not current: run python -m worldswitch.rules.table" in capsys.readouterr().err


def test_unaccounted_ids_fail_the_check(make_checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    checkout = make_checkout({"corpus/seed.toml": "# S2-99\n"})
    assert table.main(["--root", str(checkout)]) == 1
    assert capsys.readouterr().err == "corpus/seed.toml:1: S2-99 does not exist\n"


def test_sync_leaves_what_is_right_alone() -> None:
    assert table.synchronised() == FILE.read_text(encoding="utf-8")


def test_sync_drops_what_the_code_cites(tmp_path: Path) -> None:
    """In a copy of the package as a checkout has it; S2-70 is listed there although the code cites it."""
    package = tmp_path / "src" / "worldswitch"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    (tmp_path / "tests").mkdir()
    (tmp_path / "pyproject.toml").touch()
    book = package / "rules" / FILE.name
    right = book.read_text(encoding="utf-8")
    wrong = right.replace('\nrules = ["', '\nrules = ["S2-70", "', 1).replace(
        "[follows]\n", '[follows]\nS2-71 = ["S2-70"]\n'
    )
    assert wrong.count('"S2-70"') > right.count('"S2-70"')
    book.write_text(wrong, encoding="utf-8")
    command = [sys.executable, "-m", "worldswitch.rules.table"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COV")}  # a copy: not measured
    environment["PYTHONPATH"] = str(package.parent)
    before = subprocess.run([*command, "--check"], env=environment, capture_output=True, text=True, check=False)
    assert before.returncode == 1
    assert "S2-70 is cited by core/" in before.stderr
    subprocess.run([*command, "--sync"], env=environment, check=True)
    assert book.read_text(encoding="utf-8") == right
    assert subprocess.run([*command, "--check"], env=environment, check=False).returncode == 0


def test_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main(["--root", str(tmp_path / "absent")]) == 2
    assert capsys.readouterr().err == "no checkout here: name one with --root\n"
    with pytest.raises(SystemExit) as caught:
        table.main(["--check", "--sync"])
    assert caught.value.code == 2
