"""A path file of one's own: the worked example of the documentation, ``--path FILE`` everywhere, and good errors."""

import json
import re
from pathlib import Path

import pytest
from tests.commands.conftest import Cli

from worldswitch.paths.catalogue import find

ROOT = Path(__file__).parents[2]


def example() -> str:
    page = (ROOT / "docs" / "paths.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    return str(block)


@pytest.fixture
def mine(tmp_path: Path) -> str:
    file = tmp_path / "mine.toml"
    file.write_text(example(), encoding="utf-8")
    return str(file)


def test_the_worked_example_bleeds_and_one_line_between_ends_it(mine: str, cli: Cli) -> None:
    golden = str(ROOT / "corpus" / "golden.toml")
    for path, signatures in ((mine, ["shadow-bleed.unexplained-shadow.injection"]), (f"{mine}~insert@vmrun:nop", [])):
        (result,) = json.loads(cli("run", golden, "--path", path, "--json").out)["results"]
        assert [finding["signature"] for finding in result["findings"]] == signatures


def test_its_row_of_the_matrix_is_made_when_it_is_named(mine: str, cli: Cli) -> None:
    (path,) = json.loads(cli("paths", "show", mine, "--json").out)["paths"]
    assert path["verdict"]["oracles"]["shadow-bleed"] == "finding"
    assert path["verdict"]["oracles"]["lockdep-order"] == "n/a"
    assert path["verdict"]["why"].startswith("VMRUN runs in the STI shadow, which bleeds")


@pytest.mark.parametrize("command", [("paths",), ("paths", "show"), ("paths", "edits"), ("diff", "linux-6.1")])
def test_a_file_is_accepted_where_a_name_is(mine: str, cli: Cli, command: tuple[str, ...]) -> None:
    shown = cli(*command, mine)
    assert shown.code == 0, shown.err
    assert "mine" in shown.out


def test_edits_of_a_path_are_listed_with_names_that_work(mine: str, cli: Cli) -> None:
    (path,) = json.loads(cli("paths", "edits", mine, "--json").out)["paths"]
    assert 0 < path["broken"] < path["tried"]
    exposed = path["causes"]["nmi-exposure.undocumented"]
    assert exposed[0]["size"] == 1
    assert find(exposed[0]["path"]).lines != find(mine).lines
    assert "edits which path?" in cli("paths", "edits").err


def commands() -> list[str]:
    """What the page says to do with the example."""
    page = (ROOT / "docs" / "paths.md").read_text(encoding="utf-8")
    return [
        command.split("   ")[0] for command in re.findall(r"^    worldswitch (.*mine\.toml.*)$", page, re.MULTILINE)
    ]


@pytest.mark.parametrize("command", commands())
def test_the_commands_of_the_page_work(
    command: str, mine: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus").symlink_to(ROOT / "corpus")
    shown = cli(*command.split())
    assert shown.code == (1 if command.startswith("run ") else 0), shown.err
    assert "mine" in shown.out


def test_the_page_has_commands() -> None:
    assert [command.split()[0] for command in commands()] == ["paths", "paths", "run", "paths", "diff"]


@pytest.mark.parametrize(
    ("before", "after", "line", "complaint"),
    [
        ("stgi:   stgi", "stgi:   stig", 14, "'stig' is neither an instruction nor a kernel call"),
        ("cli:    cli", "bogus:  cli", 12, "label 'bogus' is no landmark"),
        ("cli:    cli", "sti:    cli", 12, "label 'sti' is used twice"),
        ("cli:    cli", "cli:    cli now", 12, "cli takes no operand"),
        ('system = "none" ', 'system = "xen" ', 4, "'xen' is none of linux, none"),
        ("hif = true", "hif = 1", 18, "expected bool, not int"),
        ("hif = true", "hiff = true", 18, "unknown field; there are nmi, intr, hif"),
        ("hif = true", 'nmi = ["sometime"]', 18, "'sometime' is no landmark"),
        ("format = 1", "format = 2", 1, "this version reads format 1, not 2"),
        ('name = "mine"', "name = ''", 2, "missing or empty"),
    ],
)
def test_an_error_names_file_and_line(mine: str, cli: Cli, before: str, after: str, line: int, complaint: str) -> None:
    text = Path(mine).read_text(encoding="utf-8")
    assert before in text
    Path(mine).write_text(text.replace(before, after), encoding="utf-8")
    shown = cli("paths", "show", mine)
    assert (shown.code, shown.out) == (2, "")
    assert f"{mine}:{line}" in shown.err
    assert complaint in shown.err
    assert shown.err.count("\n") == 1
