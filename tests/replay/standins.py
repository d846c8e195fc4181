"""The model in the place of an implementation: what it would report of each record, under a profile of its own."""

from worldswitch.machine import observe
from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import Run, run_plan
from worldswitch.replay.compare import HANDLER_KEYS
from worldswitch.replay.observed import RESET, Observed
from worldswitch.replay.record import Record


class ModelAsImplementation:
    """A runner for ``crosscheck``; it forgets each record's own run and executes the scenario under ``profile``."""

    def __init__(self, profile: str, overrides: dict[str, str] | None = None) -> None:
        self.profile = profile
        self.overrides = overrides or {}
        self.records = 0

    def __call__(self, records: list[Record]) -> list[Observed | None]:
        self.records += len(records)
        return [self._observed(record) for record in records]

    def _observed(self, record: Record) -> Observed:
        run = run_plan(compile_scenario(record.plan.scenario, None, self.profile, self.overrides))
        return as_observed(run, record)


def as_observed(run: Run, record: Record) -> Observed:
    """A run of the model as the image would report it."""
    from worldswitch.replay.compare import model_handlers

    stop = observe.STOP_NAMES[run.cpu.stop]
    stop = RESET if stop in ("shutdown", "init-reset") else stop
    final = observe.read_final(run)
    pending = sorted(name for name in final["pending"] if name not in ("smi", "init", "mce", "virq", "vnmi"))
    shown = Record(run.plan, run, record.flags, [], record.host, record.guest, record.late, record.silent)
    return Observed(
        stop,
        [observe.read(observe.EXIT, run, x) for x in run.recorder.exits],
        [{k: observe.read(observe.HANDLER, run, h)[k] for k in HANDLER_KEYS} for h in model_handlers(shown)],
        {"if": final["if"], "gif": final["gif"], "nmi_masked": final["nmi_masked"], "pending": pending},
    )
