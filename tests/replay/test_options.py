"""Every option in which QEMU or Bochs differs from AMD: a scenario that tells both values apart, really executed.

``options/PROFILE/OPTION.toml`` is the scenario, ``OPTION.WHAT.toml`` a further one. What it expects comes from the
facts that it names: with the profile's value, and with another one. The two must differ in what an image can observe,
so that an implementation which agrees with the profile contradicts the other value.
"""

from pathlib import Path

import pytest
from tests.replay.marks import needs_bochs, needs_qemu
from tests.replay.standins import as_observed

from worldswitch.core.options import BY_NAME, PROFILES
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import run_plan
from worldswitch.replay import qemu
from worldswitch.replay.compare import compare
from worldswitch.replay.encode import encode
from worldswitch.replay.record import Record
from worldswitch.replay.run import run_batch
from worldswitch.replay.target import TARGETS, Target
from worldswitch.result import execute, variants
from worldswitch.rules.facts import known_ids
from worldswitch.rules.ids import cited
from worldswitch.scenario.read import read_scenario

FOLDER = Path(__file__).parent / "options"
FILES = sorted(FOLDER.rglob("*.toml"))
BY_PROFILE = {target.profile: target for name, target in TARGETS.items() if name in ("qemu", "bochs")}

UNSEEN = {
    "qemu-7.2": {
        "smi_ends_shadow": "an SMI within a shadow of the host is a matter of the image's timing",
    },
    "bochs-2.7": {
        "vtpr_reevaluated": "V_IRQ depends on earlier guests (S10-69)",
        "exit_writes_int_ctl_byte1": "Bochs has neither vGIF nor vNMI to compare",
    },
}  # fmt: skip
"""Options that no image can tell, and why."""


def named(file: Path) -> str:
    return f"{file.parent.name}-{file.stem}"


def target_of(file: Path) -> Target:
    return BY_PROFILE[file.parent.name]


def record_of(file: Path) -> Record:
    target = target_of(file)
    record = encode(compile_scenario(read_scenario(str(file)), None, target.profile), target)
    assert isinstance(record, Record), f"{file.name}: {record}"
    return record


@pytest.mark.parametrize("profile", BY_PROFILE)
def test_every_option_of_the_profile_has_a_scenario(profile: str) -> None:
    differing = {name for name, value in PROFILES[profile].items() if value != BY_NAME[name].default}
    shown = {file.stem.partition(".")[0] for file in FILES if file.parent.name == profile}
    assert shown & differing == differing - set(UNSEEN[profile])
    assert set(UNSEEN[profile]) <= differing


@pytest.mark.parametrize("file", FILES, ids=named)
def test_the_model_gives_what_the_facts_say(file: Path) -> None:
    scenario = read_scenario(str(file))
    assert scenario.profile == file.parent.name
    assert list(cited(scenario.about, known_ids())), "names no fact"
    assert [str(failure) for variant in variants(scenario, []) for failure in execute(scenario, variant).unmet] == []


@pytest.mark.parametrize("file", FILES, ids=named)
def test_an_image_tells_the_two_values_apart(file: Path) -> None:
    record, target = record_of(file), target_of(file)
    scenario = record.plan.scenario
    assert scenario.expect is not None
    ((option, value),) = scenario.expect.options
    assert option == file.stem.partition(".")[0]
    assert value != PROFILES[target.profile].get(option, BY_NAME[option].default)
    other = run_plan(compile_scenario(scenario, None, target.profile, {option: value}))
    assert compare(record, as_observed(record.run, record), target) == []
    assert compare(record, as_observed(other, record), target) != []


@needs_qemu
def test_qemu_does_what_its_profile_says(tmp_path: Path) -> None:
    if qemu.profile() != "qemu-7.2":
        pytest.skip(f"QEMU {qemu.version()} has another profile")
    _check([file for file in FILES if file.parent.name == "qemu-7.2"], "qemu", tmp_path)


@needs_bochs
def test_bochs_does_what_its_profile_says(tmp_path: Path) -> None:
    _check([file for file in FILES if file.parent.name == "bochs-2.7"], "bochs", tmp_path)


def _check(files: list[Path], on: str, cache: Path) -> None:
    records = [record_of(file) for file in files]
    wrong = {}
    for file, record, observed in zip(files, records, run_batch(records, cache, on, 120), strict=True):
        assert observed is not None
        found = compare(record, observed, TARGETS[on])
        if found:
            wrong[file.stem] = [str(difference) for difference in found]
    assert wrong == {}
