"""``worldswitch paths``: the table, the listing, the gap."""

import json
from pathlib import Path

import pytest
from tests.commands.conftest import Cli

from worldswitch.paths.catalogue import find, names
from worldswitch.paths.model import EntryPath, read_path
from worldswitch.report.listing import gap, walk
from worldswitch.text.read import loads


def path_of(*lines: str) -> EntryPath:
    listing = "\n".join(lines)
    return read_path(loads(f'format = 1\nname = "test"\nsystem = "none"\nlisting = """\n{listing}\n"""\n'))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("clgi", "sti", "vmrun", "cli", "stgi"), 0),
        (("clgi", "sti", "vmload", "vmrun", "cli", "stgi"), 1),
        (("clgi", "sti", "vmload", "jmp", "vmrun", "cli", "stgi"), 2),
        (("clgi", "raw_local_irq_enable", "nop", "vmrun", "stgi"), 1),
        (("clgi", "local_irq_enable", "nop", "vmrun", "stgi"), 1),
        (("clgi", "sti", "cli", "sti", "nop", "vmrun", "stgi"), 1),
        (("clgi", "vmrun", "sti", "stgi"), None),
        (("clgi", "vmrun", "stgi"), None),
        (("clgi", "sti"), None),
        (("clgi", "sti: nop", "sti", "vmrun"), 0),
    ],
)
def test_the_gap_counts_what_runs_between_sti_and_vmrun(lines: tuple[str, ...], expected: int | None) -> None:
    assert gap(walk(path_of(*lines))) == expected


def test_the_two_implementations_differ_in_the_gap() -> None:
    before, after = (gap(walk(find(name))) for name in ("linux-6.1", "linux-6.14"))
    assert before == 0
    assert after is not None
    assert after > 0


def test_the_table_names_every_path(cli: Cli) -> None:
    shown = cli("paths")
    assert shown.code == 0
    rows = {words[0]: words[1] for line in shown.out.splitlines() if len(words := line.split()) > 1}
    for name in names():
        expected = gap(walk(find(name)))
        assert rows[name] == ("-" if expected is None else str(expected))
        assert find(name).sources[0] in shown.out


def test_the_table_as_json(cli: Cli) -> None:
    document = json.loads(cli("paths", "--json").out)
    assert document["format"] == 1
    assert [path["name"] for path in document["paths"]] == list(names())
    linux = document["paths"][0]
    assert linux["entry"] == {"if": False, "gif": True, "lockdep": False, "context": "kernel"}
    assert linux["landmarks"]["sti"] == "sti"
    assert {"place": "vmrun", "text": "vmrun", "fixup": True, "noinstr": True} in linux["listing"]


def test_the_listing_has_every_instruction_at_its_boundary(cli: Cli) -> None:
    shown = cli("paths", "show", "linux-6.1")
    assert shown.code == 0
    lines = [line.split() for line in shown.out.splitlines()]
    path = find("linux-6.1")
    start = next(number for number, line in enumerate(lines) if line[:1] == ["boundary"]) + 1
    listed = lines[start:]
    assert len(listed) == len(path.lines)
    for words, line in zip(listed, path.lines, strict=True):
        assert line.instruction.text.split()[0] == words[7]
        assert ("[fixup]" in words) == line.fixup
        assert ("noinstr" in words) == line.noinstr
    (vmrun,) = (words for words in listed if words[0] == "vmrun")
    assert vmrun[1:7] == ["1", "sti", "0", "-", "on", "guest"], "IF, shadow, GIF, NMI, lockdep, context"
    assert "gap: 0 instructions between STI and VMRUN" in shown.out


def test_two_names_for_one_place_are_both_there(cli: Cli) -> None:
    (cli_line,) = (line for line in cli("paths", "show", "linux-6.1").out.splitlines() if line.startswith("cli "))
    assert "= vmexit" in cli_line


def test_a_path_file_is_shown_even_where_its_end_is_not_reached(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('format = 1\nname = "mine"\nsystem = "none"\nlisting = """\nclgi\nud2\nvmrun\n"""\n')
    shown = cli("paths", "show", file)
    assert shown.code == 0
    (vmrun,) = (line for line in shown.out.splitlines() if line.startswith("vmrun"))
    assert "not reached" in vmrun


def test_a_bad_path_file_names_its_line(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('format = 1\nname = "mine"\nlisting = """\nclgi\nnup\n"""\n')
    shown = cli("paths", "show", file)
    assert (shown.code, shown.out) == (2, "")
    assert shown.err == f"worldswitch: {file}:5: listing: 'nup' is neither an instruction nor a kernel call\n"
