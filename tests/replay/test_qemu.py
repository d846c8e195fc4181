"""Scenarios on QEMU, where it is installed; elsewhere these tests say so."""

from pathlib import Path
from random import Random

import pytest
from tests.replay.marks import needs_qemu

from worldswitch.machine.compile import compile_scenario
from worldswitch.replay import qemu
from worldswitch.replay.compare import compare
from worldswitch.replay.encode import encode
from worldswitch.replay.observed import Observed
from worldswitch.replay.record import Record
from worldswitch.replay.run import run_batch
from worldswitch.replay.sample import sample
from worldswitch.replay.target import TARGETS
from worldswitch.scenario.model import Arrival, GateSpec, Program, Scenario
from worldswitch.scenario.places import parse_place
from worldswitch.scenario.read import read_scenario

GOLDEN = Path(__file__).parents[2] / "corpus" / "golden.toml"
QEMU = TARGETS["qemu"]

pytestmark = needs_qemu


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("replay")


def replay(scenarios: list[Scenario], cache: Path, path: str | None = None) -> list[tuple[Record, Observed]]:
    records = []
    for scenario in scenarios:
        record = encode(compile_scenario(scenario, path, QEMU.profile), QEMU)
        assert isinstance(record, Record), record
        records.append(record)
    pairs = []
    for record, observed in zip(records, run_batch(records, cache, timeout=120), strict=True):
        assert observed is not None
        pairs.append((record, observed))
    return pairs


def test_the_golden_trace_bleeds_before_the_fix_and_not_after(cache: Path) -> None:
    if not qemu.version().startswith("7."):
        pytest.skip(f"QEMU {qemu.version()} clears the shadow at VMRUN")
    scenario = read_scenario(str(GOLDEN))
    for path, int_state in (("linux-6.1", 1), ("linux-6.14", 0)):
        ((record, observed),) = replay([scenario], cache, path)
        (last,) = observed.exits
        assert (last["name"], last["exitintinfo"], last["int_state"]) == ("npf", 0x80000068, int_state)
        assert compare(record, observed, QEMU) == []


def test_the_host_sees_what_was_pending(cache: Path) -> None:
    """An NMI and an interrupt that arrive with GIF=0 are taken after STGI, in the order of their priority (S3-21)."""
    scenario = Scenario(host=Program(("clgi", "nop", "nop", "stgi", "nop")))
    scenario.events = (Arrival("intr", parse_place("clgi+1"), 0x31), Arrival("nmi", parse_place("clgi+2")))
    ((record, observed),) = replay([scenario], cache)
    assert [(handler["vector"], handler["where"]) for handler in observed.handlers] == [(2, "stgi+1"), (0x31, "stgi+1")]
    assert compare(record, observed, QEMU) == []


def test_a_scenario_that_ends_in_shutdown_or_hangs_is_reported_and_the_next_one_runs(cache: Path) -> None:
    """A host's #DF through a bad gate resets the machine; the batch goes on behind it."""
    dying = Scenario(host=Program(("ud2",)))
    dying.host.idt = {vector: _gp_gate() for vector in (6, 8, 13)}
    fine = Scenario(host=Program(("clgi", "vmrun", "stgi")))
    (_, first), (record, second) = replay([dying, fine], cache)
    assert first.stop == "reset"
    assert second.stop == "end"
    assert compare(record, second, QEMU) == []


def _gp_gate() -> GateSpec:
    return GateSpec(13)


def test_random_scenarios_are_reported_completely(cache: Path) -> None:
    """Whatever they do: each record gets an answer, and no answer is one that the image could not complete."""
    random = Random(1)
    records: list[Record] = []
    while len(records) < 40:
        record = encode(compile_scenario(sample(random, QEMU), None, QEMU.profile), QEMU)
        if isinstance(record, Record):
            records.append(record)
    for record, observed in zip(records, run_batch(records, cache, timeout=120), strict=True):
        assert observed is not None, record.plan.scenario
        assert observed.complete or observed.stop == "reset"
