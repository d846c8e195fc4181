"""An answer as text and as JSON."""

from collections.abc import Iterator
from typing import Any, Final

from worldswitch.core.names import event_name, exit_name
from worldswitch.machine import observe
from worldswitch.replay.answer import NOT_COMPARABLE, Answer, pairs
from worldswitch.replay.compare import NOT_COMPARED, Disagreement
from worldswitch.replay.target import Target
from worldswitch.report.terminal import Screen

MARK: Final = "!!"
_EVENT_KEYS: Final = ("exitintinfo", "eventinj")
_LEFT: Final = 26
_COLUMN: Final = 26


def text(answer: Answer, target: Target, screen: Screen) -> Iterator[str]:
    """One answer: a line of verdict, and the observables of model and implementation side by side."""
    title = f"{answer.scenario.file} on {answer.path}: "
    if answer.verdict == NOT_COMPARABLE:
        yield f"{title}{answer.verdict}: {answer.reason}"
        return
    verdict = f"{target.name} {answer.verdict}"
    yield title + (screen.bad(verdict) if answer.disagreements else screen.good(verdict))
    differing = {found.field for found in answer.disagreements}
    yield screen.dim(f"    {'':{_LEFT}}{'model (' + target.profile + ')':{_COLUMN}}{target.name}")
    for name, model, seen in pairs(answer, target):
        line = f"    {name:{_LEFT}}{spelled(name, model):{_COLUMN}}{spelled(name, seen)}"
        yield screen.bad(f"{line}  {MARK}") if name in differing else line


def spelled(name: str, value: Any) -> str:
    """A value of an observable as people read it: numbers in hex, exit codes and events by name."""
    key = name.rpartition(".")[2]
    if value is None:
        return "none"
    if isinstance(value, bool) or not isinstance(value, int):
        return str(value)
    if key == "exit_code":
        return exit_name(value)
    if key in _EVENT_KEYS:
        return event_name(value)
    return str(value) if key == "int_state" else hex(value)


def as_json(answer: Answer, target: Target) -> dict[str, Any]:
    """One answer with 64-bit values as hex strings."""
    entry: dict[str, Any] = {
        "scenario": answer.scenario.file,
        "path": answer.path,
        "profile": target.profile,
        "verdict": answer.verdict,
        "reason": answer.reason or None,
        "disagreements": [disagreement_as_json(found) for found in answer.disagreements],
    }
    record, observed = answer.record, answer.observed
    if record is not None and observed is not None:
        run = record.run
        entry["model"] = {
            "exits": [observe.spell(observe.read(observe.EXIT, run, x)) for x in run.recorder.exits],
            "handlers": [observe.spell(observe.read(observe.HANDLER, run, h)) for h in run.recorder.handlers],
            "final": observe.spell(observe.read_final(run)),
        }
        entry["observed"] = {
            "exits": [observe.spell(values) for values in observed.exits],
            "handlers": observed.handlers,
            "final": {**observed.final, "stop": observed.stop},
        }
        entry["not_compared"] = NOT_COMPARED
    return entry


def disagreement_as_json(found: Disagreement) -> dict[str, Any]:
    """One disagreement, its values spelled as in the records."""
    key = found.field.rpartition(".")[2]
    values = {"model": found.model, "observed": found.observed}
    return {"field": found.field, **{name: observe.spell({key: value})[key] for name, value in values.items()}}
