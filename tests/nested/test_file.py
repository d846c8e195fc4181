"""Scenario files of the nested world: errors, canonical text, JSON, the timeline."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldswitch.cli import main
from worldswitch.errors import InputError
from worldswitch.nested.codec import NestedCodec
from worldswitch.result import as_json, execute, variants
from worldswitch.scenario.read import parse_scenario, read_text
from worldswitch.scenario.write import format_scenario, scenario_text
from worldswitch.text.read import loads

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "corpus/nested/golden.toml"
GOOD = 'format = 1\n[l0]\npath = "linux-6.1"\n'
CODEC = NestedCodec("linux-6.1")

BAD = {
    'format = 1\n[l1]\nkind = "program"': "l0.path",
    GOOD + 'flavour = "hyper-v"': "l0.flavour",
    GOOD + "rounds = 0": "l0.rounds",
    GOOD + "vgif = 3": "l0.vgif",
    GOOD + "speed = 1": "l0.speed",
    GOOD + '[host]\npath = "linux-6.1"': "host",
    GOOD + "[vmcb]\nasid = 1": "vmcb",
    GOOD + '[l1]\nkind = "guest"': "l1.kind",
    GOOD + "[l1]\nasserts = true": "l1.asserts",
    GOOD + '[l1]\nprogram = ["vmruns"]': "l1.program[0]",
    GOOD + "[vmcb12]\nasid = -1": "vmcb12.asid",
    GOOD + '[l2]\nrip = "guest+9"': "l2.rip",
    GOOD + '[npt]\nl1 = ["heap"]': "npt.l1[0]",
    GOOD + '[npt]\nl1 = ["L1.stack"]': "npt.l1[0]",
    GOOD + "[npt]\nl0 = 3": "npt.l0",
    GOOD + '[[event]]\nkind = "nmi"\nat = "guest"': "event[0].at",
    GOOD + '[[event]]\nkind = "nmi"\nat = "L2.vmrun"': "event[0].at",
    GOOD + '[[event]]\nkind = "nmi"\nat = "L1.vmrun"\nfor = "L2"': "event[0].for",
    GOOD + '[[event]]\nkind = "mce"\nat = "L1.vmrun"\nfor = "L1"': "event[0].for",
    GOOD + "[expect]\nvmcb12 = [{ colour = 1 }]": "expect.vmcb12[0].colour",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_input_names_its_place(text: str) -> None:
    with pytest.raises(InputError) as caught:
        read_text(text, "x.toml")
    assert BAD[text] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_the_nested_world_has_vmcb12() -> None:
    with pytest.raises(InputError, match=r"expect\.vmcb12"):
        read_text('format = 1\n[host]\npath = "linux-6.1"\n[expect]\nvmcb12 = []\n')


@pytest.mark.parametrize(
    "text", ["set vmcb12.speed=1", "set l2.rip=3", "set npt.heap=ok", "set vmcb.asid=1", "set cpu.if=1"]
)
def test_what_l1_cannot_set_is_refused(text: str) -> None:
    scenario = read_text(GOOD + f'[l1]\nprogram = ["vmrun", "{text}"]\n')
    with pytest.raises(InputError, match="set "):
        execute(scenario, next(variants(scenario, [])))


@given(st.binary(min_size=CODEC.length, max_size=CODEC.length))
@settings(max_examples=60, deadline=None)
def test_a_case_and_its_file_run_alike_and_the_text_is_canonical(data: bytes) -> None:
    scenario = CODEC.decode(data)
    text = scenario_text(scenario)
    again = read_text(text)
    assert again.nested == scenario.nested
    assert again.events == scenario.events
    assert format_scenario(loads(text)) == text
    ours, theirs = (as_json(execute(s, next(variants(s, [])))) for s in (scenario, again))
    del ours["scenario"], theirs["scenario"]
    assert ours == theirs


def test_comments_and_spellings() -> None:
    text = (
        GOOD
        + '[l1]\nidt = { 32 = "npf" } # why\n[vmcb12]\nintercepts = ["vmmcall", "vmrun"]\neventinj = "0x80000068"\n'
    )
    formatted = format_scenario(loads(text))
    assert "# why" in formatted
    assert 'idt = { 0x20 = "npf" }' in formatted
    assert 'eventinj = "intr:0x68"' in formatted
    assert parse_scenario(loads(formatted)).nested == parse_scenario(loads(text)).nested


def test_json_says_the_level_and_has_vmcb12_beside(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(GOLDEN), "--path", "linux-6.1", "--json"]) == 0
    entry = json.loads(capsys.readouterr().out)["results"][0]
    assert [record["level"] for record in entry["exits"]] == ["L1", "L2"]
    assert {key: entry["vmcb12"][0][key] for key in ("exit_code", "exitintinfo", "int_state")} == {
        "exit_code": "0x400", "exitintinfo": "0x80000068", "int_state": "0x1",
    }  # fmt: skip
    assert {finding["level"] for finding in entry["findings"]} == {"L0", "L1"}
    assert entry["final"]["stop"] == "l1-assert"


def test_the_timeline_has_a_lane_a_level(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(GOLDEN), "--path", "linux-6.14"]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = next(line for line in lines if "what runs" in line)
    lanes = [head.index(level) for level in ("L0", "L1", "L2")]

    def lane(text: str) -> str:
        line = next(line for line in lines if text in line)
        return "".join(line[place] for place in lanes)

    assert lane("L1.vmrun ") == "|* "
    assert lane("L2.guest+1") == "||*"
    assert lane("nested_svm_vmrun") == "*  "


def test_the_same_scenario_gives_the_same_bytes() -> None:
    scenario = read_text(GOLDEN.read_text(encoding="utf-8"))
    first, second = (json.dumps(as_json(execute(scenario, next(variants(scenario, []))))) for _ in range(2))
    assert first == second
