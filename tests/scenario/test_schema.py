"""The JSON Schemas: current in docs; they accept what is shipped and written, and refuse what the reader refuses."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from tests.scenario.scenarios import scenarios

from worldswitch.errors import InputError
from worldswitch.paths.model import read_path
from worldswitch.report.reference import documents
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.read import read_text
from worldswitch.scenario.schema import path_schema, scenario_schema
from worldswitch.scenario.write import scenario_text
from worldswitch.text.read import loads

ROOT = Path(__file__).parents[2]
FOLDERS = ("corpus", "tests/conformance", "src/worldswitch/paths/data")
SHIPPED = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.toml"))
SCENARIO = Draft202012Validator(scenario_schema())
PATH = Draft202012Validator(path_schema())

GOOD = 'format = 1\nhost.path = "linux-6.1"\n'
GOOD_PATH = 'format = 1\nname = "x"\nlisting = "vmrun"\n'

BAD_SCENARIOS = [
    'host.path = "linux-6.1"',
    'format = 2\nhost.path = "linux-6.1"',
    "format = 1",
    "format = 1\nhost = {}",
    'format = 1\nhost = { path = "linux-6.1", program = [] }',
    GOOD + "speed = 3",
    GOOD + 'profile = "intel"',
    GOOD + 'options.bleed_sti_shadow = "maybe"',
    GOOD + 'options.bleed = "off"',
    GOOD + "cpu.svme = 2",
    GOOD + "cpu.svm = true",
    GOOD + "cpu.tpr = 16",
    GOOD + 'cpu.mode = "long"',
    GOOD + 'cpu.pending = ["irq"]',
    GOOD + "host.rounds = 17",
    GOOD + "host.between = 3",
    GOOD + 'vmcb.intercepts = ["interrupts"]',
    GOOD + "vmcb.eventinj = true",
    GOOD + "vmcb.asid = 4294967296",
    GOOD + 'vmcb.nrip = "vmrun"',
    GOOD + "guest.program = [1]",
    GOOD + 'guest.program = [""]',
    GOOD + 'guest.idt = { eight = "npf" }',
    GOOD + 'guest.idt = { 0x08 = "xyz" }',
    GOOD + 'guest.idt = { 0x08 = { meets = "npf", colour = 1 } }',
    GOOD + "guest.handlers = { 0x08 = 3 }",
    GOOD + "event = 3",
    GOOD + '[[event]]\nkind = "nmi"',
    GOOD + '[[event]]\nkind = "irq"\nat = "sti"',
    GOOD + '[[event]]\nkind = "intr"\nat = "sti"\nvector = 5',
    GOOD + '[[event]]\nkind = "smi"\nat = "sti"\norigin = "elsewhere"',
    GOOD + "expect.exits = 3",
    GOOD + "expect.exits = [{ colour = 3 }]",
    GOOD + "expect.findings = [3]",
    GOOD + 'expect.unreached = ["first"]',
    GOOD + "expect.path = 3",
    GOOD + "expect.profile.intel.exits = []",
    GOOD + 'expect.options."bleed_sti_shadow=maybe".exits = []',
    GOOD + "expect.final = { colour = 3 }",
]

BAD_PATHS = [
    'name = "x"\nlisting = "vmrun"',
    'format = 1\nname = "x"',
    'format = 1\nname = ""\nlisting = "vmrun"',
    'format = 1\nname = "x"\nlisting = 3',
    GOOD_PATH + 'system = "windows"',
    GOOD_PATH + "sources = [3]",
    GOOD_PATH + "entry.if = 1",
    GOOD_PATH + 'entry.context = "user"',
    GOOD_PATH + "entry.speed = 1",
    GOOD_PATH + 'documented.nmi = ["somewhere"]',
    GOOD_PATH + "documented.hif = 1",
    GOOD_PATH + '[[known]]\nsignature = "a.b.c"',
    GOOD_PATH + '[[known]]\nsignature = "a.b.c"\nabout = "x"\nwhen = "never"',
]


def errors(validator: Draft202012Validator, data: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(data)]


@pytest.mark.parametrize("schema", [scenario_schema(), path_schema()], ids=["scenario", "path"])
def test_the_schemas_are_json_schemas(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", sorted(documents()))
def test_the_documents_are_current(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == documents()[name], (
        "python -m worldswitch.report.reference"
    )


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(ROOT)))
def test_shipped_files_are_valid(file: Path) -> None:
    data = loads(file.read_text(encoding="utf-8"), str(file)).data
    assert errors(PATH if "listing" in data else SCENARIO, data) == []


@settings(max_examples=50)
@given(scenarios())
def test_whatever_is_written_is_valid(scenario: Scenario) -> None:
    assert errors(SCENARIO, loads(scenario_text(scenario)).data) == []


@pytest.mark.parametrize("text", [GOOD, GOOD + 'guest.idt = { 104 = "npf" }', GOOD + 'cpu.rax = "0xffff000000000000"'])
def test_good_scenarios_are_valid_and_read(text: str) -> None:
    assert errors(SCENARIO, loads(text).data) == []
    assert read_text(text).path == "linux-6.1"


@pytest.mark.parametrize("text", BAD_SCENARIOS)
def test_bad_scenarios_are_neither_valid_nor_read(text: str) -> None:
    assert errors(SCENARIO, loads(text).data)
    with pytest.raises(InputError):
        read_text(text)


def test_good_paths_are_valid_and_read() -> None:
    assert errors(PATH, loads(GOOD_PATH).data) == []
    assert read_path(loads(GOOD_PATH)).name == "x"


@pytest.mark.parametrize("text", BAD_PATHS)
def test_bad_paths_are_neither_valid_nor_read(text: str) -> None:
    assert errors(PATH, loads(text).data)
    with pytest.raises(InputError):
        read_path(loads(text))


def test_the_reader_takes_every_key_of_the_path_schema() -> None:
    """The path reader has its own list of keys: a key of the schema that it does not know would be an error."""
    examples = {"boolean": "true", "array": "[]"}
    for table in ("entry", "documented"):
        for key, value in path_schema()["properties"][table]["properties"].items():
            text = '"kernel"' if "enum" in value else examples[value["type"]]
            read_path(loads(f"{GOOD_PATH}[{table}]\n{key} = {text}\n"))
