"""Scenarios put to an implementation: what it did, beside what the model says, or why it cannot be asked."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from worldswitch.errors import InputError
from worldswitch.machine import observe
from worldswitch.machine.compile import compile_scenario
from worldswitch.replay import bochs, kvm, qemu
from worldswitch.replay.batch import HEADER
from worldswitch.replay.compare import HANDLER_KEYS, Disagreement, compare, exit_keys, model_handlers
from worldswitch.replay.encode import encode
from worldswitch.replay.observed import Observed
from worldswitch.replay.record import NotComparable, Record
from worldswitch.replay.run import observe_file, run_batch
from worldswitch.replay.target import TARGETS, Target
from worldswitch.scenario.model import Scenario

AGREE: Final = "agrees"
DISAGREE: Final = "disagrees"
NOT_COMPARABLE: Final = "not comparable"

Overrides = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Answer:
    """One scenario on one path, and what an implementation made of it."""

    scenario: Scenario
    path: str
    record: Record | None = None
    reason: str = ""  # why not comparable
    observed: Observed | None = None
    disagreements: list[Disagreement] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """One of AGREE, DISAGREE and NOT_COMPARABLE."""
        if self.reason:
            return NOT_COMPARABLE
        return DISAGREE if self.disagreements else AGREE


def cache_directory() -> Path:
    """Where the built boot image is kept: ``worldswitch`` in XDG_CACHE_HOME, by default ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "worldswitch"


def target_of(on: str, profile: str = "") -> Target:
    """The target by its name, with the profile of the QEMU that is installed, or with another one that is asked for."""
    target = TARGETS[on]
    if profile:
        return target._replace(profile=profile)
    return target._replace(profile=qemu.profile()) if on == "qemu" else target


def described(on: str) -> str:
    """What runs: name and version where it tells one; of KVM the host's kernel, which is what is tested (S9-02)."""
    if on == "qemu":
        return f"QEMU {qemu.version()} (TCG)"
    if on == "kvm":
        return f"KVM of {kvm.kernel_version()}"
    return f"Bochs {bochs.version()}".strip() if on == "bochs" else "the processor of the log"


def processor_of(log: Path) -> str:
    """The processor that wrote a log: vendor and CPUID signature, as the image reports them; "" where it does not."""
    lines = iter(log.read_text(encoding="ascii", errors="replace").splitlines())
    for line in lines:
        if line.strip() == HEADER:
            words = next(lines, "").split()
            return f"{words[1]}, CPUID 1.EAX {int(words[2], 16):#x}" if words[:1] == ["C"] and len(words) > 2 else ""
    return ""


def prepare(
    scenarios: Sequence[Scenario], paths: Sequence[str], target: Target, overrides: Overrides = ()
) -> list[Answer]:
    """Every scenario on each of ``paths`` (its own where there are none), not yet put; raises ``InputError``."""
    answers = []
    for scenario in scenarios:
        for path in paths or [""]:
            try:
                plan = compile_scenario(scenario, path or None, target.profile, dict(overrides))
            except InputError as error:
                raise error.at(scenario.file) from None
            made = encode(plan, target)
            if isinstance(made, NotComparable):
                answers.append(Answer(scenario, plan.path_name, reason=made.reason))
            else:
                answers.append(Answer(scenario, plan.path_name, made))
    return answers


def put(answers: Sequence[Answer], target: Target, log: Path | None = None, timeout: float = 600.0) -> None:
    """Run what is comparable on the implementation, or read the log of such a run, and compare; raises ``InputError``.

    ``timeout`` is in seconds, for each start of the implementation.
    """
    asked = [answer for answer in answers if answer.record is not None]
    records = [answer.record for answer in asked if answer.record is not None]
    if log is not None:
        observations = observe_file(records, log)
    else:
        observations = run_batch(records, cache_directory(), target.name, timeout)
    for answer, record, observed in zip(asked, records, observations, strict=True):
        if observed is None:
            answer.reason = "the run ended before this scenario"
            continue
        answer.observed = observed
        answer.disagreements = compare(record, observed, target)


def pairs(answer: Answer, target: Target) -> list[tuple[str, Any, Any]]:
    """Every observable that is compared: its field, what the model says, what was observed."""
    record, observed = answer.record, answer.observed
    if record is None or observed is None:
        return []
    run = record.run
    rows: list[tuple[str, Any, Any]] = []
    for number, (model, seen) in enumerate(zip(run.recorder.exits, observed.exits, strict=False)):
        expected = observe.read(observe.EXIT, run, model)
        rows += [(f"exits[{number}].{key}", expected[key], seen[key]) for key in exit_keys(model.code, target)]
    for number, (handler, other) in enumerate(zip(model_handlers(record), observed.handlers, strict=False)):
        expected = observe.read(observe.HANDLER, run, handler)
        rows += [(f"handlers[{number}].{key}", expected[key], other[key]) for key in HANDLER_KEYS if key in other]
    final = observe.read_final(run)
    rows += [(f"final.{key}", final[key], observed.final[key]) for key in ("if", "gif") if key in observed.final]
    rows.append(("final.stop", final["stop"], observed.stop))
    named = {name for name, _, _ in rows}
    rows += [(d.field, d.model, d.observed) for d in answer.disagreements if d.field not in named]
    return rows
