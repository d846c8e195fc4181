"""Runs as values that can be compared: everything that anybody outside can see of one."""

from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from worldswitch.fuzzing.codec import Codec
from worldswitch.fuzzing.mutate import Mutator
from worldswitch.machine.compile import Plan, compile_scenario
from worldswitch.machine.run import Run, run_plan
from worldswitch.mutants.model import NESTED, SEQUENCE, Mutant
from worldswitch.mutants.registry import path_of
from worldswitch.nested import observe as nested_observe
from worldswitch.nested.codec import NestedCodec
from worldswitch.paths.model import EntryPath
from worldswitch.result import Variant, variants
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.read import read_scenario, read_text

ROWS = Path(__file__).parents[1] / "conformance"
RANDOM_CASES = 600
NESTED_CASES = 600

SHOWN_BY = {
    "fixup-covers-everything": """
[kernel]
kvm_rebooting = true
[cpu]
r_init = true
[[event]]
kind = "init"
at = "start+1"
""",
    "mov-cr8-spares-physical-tpr": """
[vmcb]
v_intr_masking = false
[guest]
program = ["mov_cr8 15", "vmmcall"]
""",
    "vnmi-before-nmi": """
[vmcb]
intercepts = ["vmrun", "vmmcall", "nmi"]
v_nmi_enable = true
v_nmi = true
[[event]]
kind = "nmi"
at = "guest"
""",
    "virq-before-vnmi": """
[vmcb]
intercepts = ["vmrun", "vmmcall", "nmi"]
v_nmi_enable = true
v_nmi = true
v_irq = true
v_intr_prio = 15
v_intr_vector = 0xf1
""",
    "injection-ignores-nrip": """
[vmcb]
eventinj = "soft:0x80"
nrip = "guest+1"
[guest]
program = ["nop", "vmmcall"]
""",
    "exit-keeps-halt": """
[vmcb]
intercepts = ["vmrun", "vmmcall", "intr"]
[guest]
program = ["hlt"]
[[event]]
kind = "intr"
at = "guest+1"
""",
}
"""Mutants that neither a conformance row nor a random case shows, and a scenario on linux-6.14 that does."""


def observed(run: Run) -> tuple[Any, ...]:
    """Exits, handlers, warnings, the boundaries passed, and the state at the end."""
    if run.plan.scenario.nested is not None:
        return (nested_observe.as_json(run),)
    recorder, cpu, kernel = run.recorder, run.cpu, run.kernel
    regs = cpu.regs
    return (
        [tuple(getattr(record, name) for name in record.__slots__ if name != "entry") for record in recorder.exits],
        [tuple(getattr(record, name) for name in record.__slots__) for record in recorder.handlers],
        [tuple(getattr(record, name) for name in record.__slots__) for record in kernel.warnings],
        recorder.acknowledged, recorder.superseded, recorder.discarded,
        sorted(run.seen), cpu.step, cpu.stop, cpu.guest, cpu.gif, cpu.shadow, cpu.nmi_masked, cpu.tpr, cpu.halted,
        regs.rip, regs.rflags, regs.cpl, regs.cr2, regs.dr6, regs.dr7, list(cpu.irr), cpu.pend_nmi, cpu.pend_smi,
        kernel.hardirqs_enabled, kernel.context, kernel.rcu_watching, kernel.in_nmi, kernel.redundant,
        kernel.hardirqs_traced_on,
    )  # fmt: skip


@cache
def rows() -> list[tuple[Scenario, Variant]]:
    """The conformance rows, in every way that they are run."""
    scenarios = [read_scenario(file) for file in sorted(ROWS.glob("T-*.toml"))]
    return [(s, v) for s in scenarios if s.nested is None for v in variants(s, [])]


@cache
def random_cases(target: str) -> list[Scenario]:
    """Fresh cases of a target, about a quarter of the slots set."""
    codec = Codec(target, "" if target == SEQUENCE else "linux-6.14")
    random = Random(1)
    cases = [bytes(codec.length)]
    for _ in range(RANDOM_CASES):
        cases.append(bytes(random.randrange(256) if random.randrange(4) == 0 else 0 for _ in range(codec.length)))
    return [codec.decode(case) for case in cases]


@cache
def nested_cases() -> list[Scenario]:
    """Fresh cases of the nested target."""
    codec = NestedCodec("linux-6.14")
    mutator = Mutator(codec)
    return [codec.decode(bytes(codec.length)), *(codec.decode(mutator.draw(seed)) for seed in range(NESTED_CASES))]


def plans(mutant: Mutant) -> list[Plan]:
    """What is run to see whether a mutant changes anything; made anew, since the kernel's handlers are part of them."""
    if mutant.family == NESTED:
        return [compile_scenario(scenario, path_of(mutant.subject)) for scenario in nested_cases()]
    found = [
        compile_scenario(scenario, variant.path or None, variant.profile or None, dict(variant.options))
        for scenario, variant in rows()
    ]
    path: EntryPath | None = None if mutant.subject == SEQUENCE else path_of(mutant.subject)
    target = SEQUENCE if path is None else "world-switch"
    found += [compile_scenario(scenario, path) for scenario in random_cases(target)]
    return [*found, *map(shown, SHOWN_BY)]


def shown(name: str) -> Plan:
    """The scenario of a mutant in ``SHOWN_BY``."""
    return compile_scenario(read_text(f'format = 1\n[host]\npath = "linux-6.14"\n{SHOWN_BY[name]}'))


@cache
def unchanged(subject: str, family: str) -> list[tuple[Any, ...]]:
    """What the plans of a subject's mutants show without any."""
    mutant = Mutant("none", family, "", (), "", "", "", subject)
    return [observed(run_plan(plan)) for plan in plans(mutant)]


def family_of(mutant: Mutant) -> str:
    """What decides which plans a mutant gets."""
    return NESTED if mutant.family == NESTED else ""


def differs(mutant: Mutant) -> bool:
    """Whether some plan shows something else than without the mutant, which has to be planted already."""
    for plan, before in zip(plans(mutant), unchanged(mutant.subject, family_of(mutant)), strict=True):
        try:
            if observed(run_plan(plan)) != before:
                return True
        except Exception:  # the model does not survive it: that is a change
            return True
    return False
