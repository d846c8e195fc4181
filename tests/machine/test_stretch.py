"""Skipping known stretches of host code changes no record of a run, and does skip."""

from typing import Any

import pytest

from worldswitch.fuzzing.local import explore
from worldswitch.fuzzing.targets import NAMES, Configuration, Target
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.machine import Machine
from worldswitch.machine.stretch import Stretches

CASES = 400


def fields(record: Any) -> dict[str, Any]:
    return {
        name: fields(value) if hasattr(value := getattr(record, name), "__slots__") else value
        for name in record.__slots__
    }


def everything(machine: Machine) -> tuple[Any, ...]:
    """All that a run leaves behind."""
    cpu, kernel, recorder = machine.cpu, machine.kernel, machine.cpu.recorder
    lists = (recorder.exits, recorder.entries, recorder.handlers, kernel.warnings)
    passed = set(machine.passed).union(*(stretch.seen for stretch in machine.replayed))
    latches = (cpu.irr, cpu.pend_nmi, cpu.pend_smi, cpu.pend_init, cpu.pend_mce, cpu.debug_trap)
    return (
        cpu.step, cpu.stop, cpu.guest, cpu.gif, cpu.shadow, cpu.nmi_masked, cpu.halted, latches, fields(cpu.regs),
        fields(cpu.vmcb), [[fields(record) for record in records] for records in lists], recorder.acknowledged,
        recorder.superseded, recorder.discarded, sorted(passed), machine.arrived, kernel.call_log, kernel.redundant,
        kernel.hardirqs_enabled, kernel.context, kernel.debug_locks, kernel.chain_key, kernel.instrumentation,
        kernel.hardirqs_traced_on, kernel.nmi_state, kernel.nmi_reruns,
    )  # fmt: skip


@pytest.mark.pure_core
@pytest.mark.parametrize("name", NAMES[:2])
def test_a_run_with_stretches_leaves_the_same_records(name: str) -> None:
    target = Target(Configuration(name, ("linux-6.1", "linux-6.14", "linux-fix-v1")))
    cases = [data for data, _ in explore(target, CASES, 11, [])]
    steps = skipped = 0
    for path in target.paths or (None,):
        stretches = Stretches()
        for data in cases:
            plan = compile_scenario(target.scenario(data), path)
            slow, fast = Machine(plan), Machine(plan, None, stretches)
            slow.run()
            fast.run()
            assert everything(fast) == everything(slow), plan.scenario
            steps += slow.cpu.step
        skipped += stretches.skipped
    if target.paths:
        assert skipped > steps / 6
