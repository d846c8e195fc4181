"""Section 11.8 of the facts, row by row, as scenario files in tests/conformance, and the shipped seeds."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from worldswitch.fuzzing.targets import Configuration, Target
from worldswitch.nested import blocked, kvm, queues, reflect, vmcb02, vmrun, windows
from worldswitch.nested.vcpu import Vcpu
from worldswitch.result import Variant, execute, variants
from worldswitch.rules.facts import rows
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.read import read_scenario

ROOT = Path(__file__).parents[2]
ROW_FILES = {file.stem: file for file in sorted((ROOT / "tests/conformance").glob("T-1[67]*.toml"))}
SEED_FILES = {file.stem: file for file in sorted((ROOT / "corpus/nested").glob("*.toml"))}
FILES = ROW_FILES | SEED_FILES
ROWS = {name: row for name, row in rows().items() if row.section == "11.8"}


class Mutation(NamedTuple):
    """A rule broken on purpose, and files that must notice."""

    about: str
    module: ModuleType
    name: str
    make: Callable[[Any], Any]
    files: str


def _after(act: Callable[[Vcpu], None]) -> Callable[[Any], Any]:
    def make(rule: Any) -> Any:
        def broken(vcpu: Vcpu, *args: Any, **kwargs: Any) -> Any:
            result = rule(vcpu, *args, **kwargs)
            act(vcpu)
            return result

        return broken

    return make


def _always(value: object) -> Callable[[Any], Any]:
    return lambda rule: lambda *args, **kwargs: value


def _mask_int_state(vcpu: Vcpu) -> None:
    vcpu.vmcb12.int_state = 0
    if vcpu.journal.exits:
        vcpu.journal.exits[-1].int_state = 0


def _l1_shadow_reaches_l2(rule: Any) -> Any:
    def broken(vcpu: Vcpu, *args: Any, **kwargs: Any) -> None:
        shadow = vcpu.vmcb01.int_state
        rule(vcpu, *args, **kwargs)
        vcpu.vmcb12.int_state |= shadow

    return broken


def _clear_vmcb02_shadow(vcpu: Vcpu) -> None:
    vcpu.vmcb02.int_state = 0


MUTATIONS = (
    Mutation("int_state is not copied to vmcb12", reflect, "record_exit", _after(_mask_int_state),
             "T-160 T-164 T-167 golden npf-of-l0-then-l1 dropped-event meets-hlt"),
    Mutation("events are not queued again", kvm, "complete_interrupts", _after(queues.clear_queues),
             "T-160 T-162 T-164 golden npf-of-l0 npf-of-l0-then-l1"),
    Mutation("L1's shadow reaches L2", vmrun, "skip_instruction", _l1_shadow_reaches_l2, "T-162"),
    Mutation("int_state of vmcb12 is not loaded", vmrun, "prepare_control", _after(_clear_vmcb02_shadow),
             "T-165 meets-hlt decides-otherwise"),
    Mutation("a shadow holds an exit to L1", blocked, "exits_on", _always(False), "T-167"),
    Mutation("vmcb12 is not checked", vmrun, "acceptable", _always(True), "T-168"),
    Mutation("every exit is offered to L1 first", reflect, "HOST_FIRST", lambda _: frozenset(), "T-170"),
    Mutation("no exception for a single-stepped VMRUN", reflect, "queue_exception", _always(None), "T-171"),
    Mutation("a bad CR3 is no matter", reflect, "triple_fault", _always(None), "T-172"),
    Mutation("no interrupt window", windows, "set_vintr", _always(None), "interrupt-window"),
    Mutation("L0 does not mask NMIs", queues, "mask_nmi", _always(None), "nmi-to-l2"),
    Mutation("vNMI is not for L2", vmcb02, "nested_vnmi_enabled", _always(False), "vnmi"),
)  # fmt: skip


@cache
def scenario(name: str) -> Scenario:
    return read_scenario(FILES[name])


def runs() -> list[Any]:
    return [
        pytest.param(name, variant, id=" ".join([name, variant.path, *("=".join(pair) for pair in variant.options)]))
        for name in FILES
        for variant in variants(scenario(name), [])
    ]


def unmet(name: str) -> list[str]:
    found = scenario(name)
    return [str(failure) for variant in variants(found, []) for failure in execute(found, variant).unmet]


@pytest.mark.parametrize(("name", "variant"), runs())
def test_file(name: str, variant: Variant) -> None:
    result = execute(scenario(name), variant)
    assert result.expect is not None
    assert not result.unmet, "\n".join(map(str, result.unmet))


def test_every_row_has_a_file_and_every_file_a_row() -> None:
    assert len(ROWS) == 9
    assert {name[: len("T-000")] for name in ROW_FILES} == set(ROWS)
    for name in ROW_FILES:
        assert scenario(name).about.startswith(name[: len("T-000")])


@pytest.mark.parametrize("name", SEED_FILES)
def test_every_seed_is_a_case(name: str) -> None:
    target = Target(Configuration("nested"))
    again = target.codec.decode(target.codec.encode(scenario(name)))
    assert again.nested == scenario(name).nested
    assert again.events == scenario(name).events


@pytest.mark.pure_core
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.about)
def test_files_are_not_vacuous(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = getattr(mutation.module, mutation.name)
    monkeypatch.setattr(mutation.module, mutation.name, mutation.make(rule))
    survivors = [name for name in mutation.files.split() if not unmet(name)]
    assert not survivors


def test_every_row_file_falls_to_some_mutation() -> None:
    assert set(ROW_FILES) <= {name for mutation in MUTATIONS for name in mutation.files.split()}
