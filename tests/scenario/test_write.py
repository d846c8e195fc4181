"""Canonical text: reading it gives the same scenario, and formatting neither changes a meaning nor loses a comment."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scenario.scenarios import messy, scenarios
from tests.text.documents import styles

from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import run_plan
from worldswitch.paths.listing import parse_listing
from worldswitch.result import Variant, as_json, execute
from worldswitch.scenario.defaults import significant
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.read import read_text
from worldswitch.scenario.write import format_scenario, scenario_data, scenario_text
from worldswitch.text.comments import Comments
from worldswitch.text.read import loads
from worldswitch.text.write import Style, dumps

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(
    file
    for folder in ("corpus", "tests/conformance")
    for file in (ROOT / folder).rglob("*.toml")
    if "listing" not in loads(file.read_text(encoding="utf-8")).data
)

few = settings(max_examples=50)


def spelled(scenario: Scenario) -> Scenario:
    """What of a scenario its canonical text holds."""
    needed = significant(scenario.settings)
    kept = {name: value for name, value in scenario.settings.items() if name in needed}
    return replace(scenario, settings=kept, file="")


def reread(text: str) -> Scenario:
    return replace(read_text(text), file="")


def formatted(text: str) -> str:
    return format_scenario(loads(text))


@few
@given(scenarios())
def test_reading_gives_back_what_was_written_and_formatting_changes_nothing(scenario: Scenario) -> None:
    text = scenario_text(scenario)
    assert reread(text) == spelled(scenario)
    assert formatted(text) == text


@few
@given(scenarios(expecting=False))
def test_the_text_runs_like_the_scenario(scenario: Scenario) -> None:
    again = read_text(scenario_text(scenario))
    own = Variant("", "", (), None)
    first, second = (as_json(execute(each, own)) for each in (scenario, again))
    first["scenario"] = second["scenario"] = ""
    assert first == second


@few
@given(st.data(), scenarios(), styles())
def test_any_spelling_has_one_canonical_text(draw: st.DataObject, scenario: Scenario, style: Style) -> None:
    respelled = dumps(draw.draw(messy(scenario_data(scenario))), style=style)
    assert formatted(respelled) == scenario_text(scenario)


@few
@given(st.data(), scenarios(), st.sampled_from([20, 120]))
def test_comments_survive(draw: st.DataObject, scenario: Scenario, width: int) -> None:
    text = dumps(draw.draw(messy(scenario_data(scenario))), width=width)
    lines, written = [], []
    for number, line in enumerate(text.splitlines()):
        above, behind = f"# above line {number}", f"# behind line {number}"
        if draw.draw(st.booleans()):
            lines.append(above)
            written.append(above)
        if draw.draw(st.booleans()):
            line = f"{line} {behind}"
            written.append(behind)
        lines.append(line)
    commented = "\n".join(lines) + "\n"
    again = formatted(commented)
    found = re.findall(r"# (?:above|behind) line \d+$", again, re.MULTILINE)
    assert sorted(found) == sorted(written)
    assert reread(again) == reread(scenario_text(scenario))
    assert formatted(again) == again


def test_a_comment_stays_with_what_it_explains() -> None:
    text = formatted(
        """\
# why this file is here

format = 1
[guest]
idt = { 0x68 = "npf" }
[host]
path = "linux-6.1" # before the fix
[vmcb]
intercepts = [
    "VMMCALL", # the guest calls
    "vmrun",
    "intr", # and is called
]
# the vector of the report
eventinj = 0x80000068
"""
    )
    assert (
        text
        == """\
# why this file is here

format = 1

[host]
path = "linux-6.1"  # before the fix

[vmcb]
intercepts = [
    "intr",  # and is called
    "vmrun",
    "vmmcall",  # the guest calls
]
# the vector of the report
eventinj = "intr:0x68"

[guest]
idt = { 0x68 = "npf" }
"""
    )


def test_a_scenario_object_is_written_without_its_defaults() -> None:
    scenario = Scenario(path="linux-6.1", settings={"vmcb.v_intr_masking": True, "guest.cpl": 3})
    assert scenario_text(scenario) == 'format = 1\n\n[host]\npath = "linux-6.1"\n\n[guest]\ncpl = 3\n'


def test_a_default_that_undoes_another_setting_is_written() -> None:
    scenario = Scenario(path="linux-6.1", settings={"guest.mode": 2, "guest.cs_long": True})
    assert read_text(scenario_text(scenario)).settings == scenario.settings


def test_what_depends_on_the_path_is_no_default() -> None:
    settings = {"cpu.if": True, "cpu.gif": True, "kernel.lockdep": False, "kernel.context": 0}
    scenario = Scenario(path="linux-6.1", settings=settings)
    assert read_text(scenario_text(scenario)).settings == settings


def test_numbers_have_the_base_that_people_use() -> None:
    text = """\
format = 1
host.path = "linux-6.1"
cpu = { rax = 4096, tpr = 0x3, pending = ["intr:33"] }
vmcb = { asid = 0x1, int_state = 0x1, v_intr_vector = 32, msrpm_base_pa = 9223372036854775808 }
event = [{ kind = "intr", at = "sti", vector = 48 }]
expect.exits = [{ exit_code = 1025, int_state = 0x1, rip = 65536, cr2 = 9223372036854775808 }]
expect.final = { cr2 = 9223372036854775807 }
expect.handlers = [{ vector = 6, error_code = 98 }]
"""
    lines = formatted(text).splitlines()
    for line in (
        "rax = 0x1000",
        "tpr = 3",
        'pending = ["intr:0x21"]',
        "asid = 1",
        "int_state = 1",
        "v_intr_vector = 0x20",
        'msrpm_base_pa = "0x8000000000000000"',
        "vector = 0x30",
        'exits = [{ code = "avic_incomplete_ipi", int_state = 1, rip = 0x10000, cr2 = "0x8000000000000000" }]',
        "final = { cr2 = 0x7fffffffffffffff }",
        "handlers = [{ vector = 0x06, error_code = 0x62 }]",
    ):
        assert line in lines


def test_fmt_keeps_what_a_person_spelled_out() -> None:
    text = 'format = 1\nprofile = "amd"\n\n[host]\npath = "linux-6.1"\nrounds = 1\n\n[vmcb]\nv_intr_masking = true\n'
    assert formatted(text) == text


def test_the_writer_takes_comments() -> None:
    text = scenario_text(Scenario(path="linux-6.1"), Comments(head=("# found by a campaign",)))
    assert text.startswith("# found by a campaign\n\nformat = 1\n")


def test_labels_and_fixups_of_a_free_program_keep_their_meaning() -> None:
    text = 'format = 1\n\n[host]\nprogram = ["clgi", "sti:STI", "vmrun :  vmrun   [fixup]", "cli", "stgi"]\n'
    again = read_text(formatted(text))
    assert again.host.program == ("clgi", "sti: sti", "vmrun: vmrun [fixup]", "cli", "stgi")
    before = parse_listing("\n".join(read_text(text).host.program))
    assert parse_listing("\n".join(again.host.program)) == before


def test_a_table_too_long_for_one_line_gets_a_header() -> None:
    handlers = ", ".join(f'{vector} = ["mov a", "mov b", "iret"]' for vector in range(32, 40))
    text = formatted(f'format = 1\nhost.path = "linux-6.1"\nguest.handlers = {{ {handlers} }}\n')
    assert '[guest.handlers]\n0x20 = ["mov a", "mov b", "iret"]\n0x21 = ' in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(ROOT)))
def test_formatting_a_shipped_file_keeps_its_meaning(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    again = formatted(text)
    assert formatted(again) == again
    assert reread(again) == reread(text)
    assert again.count("#") == text.count("#")


def test_the_shipped_scenarios_run_the_same_after_formatting() -> None:
    for file in SHIPPED[::10]:
        text = file.read_text(encoding="utf-8")
        runs = [
            run_plan(compile_scenario(replace(s, file=str(file))))
            for s in (read_text(text), read_text(formatted(text)))
        ]
        assert runs[0].seen == runs[1].seen
        assert len(runs[0].recorder.exits) == len(runs[1].recorder.exits)
