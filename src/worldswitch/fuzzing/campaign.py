"""A campaign: the engine on one target, findings recorded by signature while it goes on.

The fuzzing process executes cases and sends what it finds; this side writes it down, and afterwards reduces each new
finding and replays it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from worldswitch.errors import InputError
from worldswitch.fuzzing.engine import Progress, Result, fuzz
from worldswitch.fuzzing.harness import Harness, Send
from worldswitch.fuzzing.minimize import minimize
from worldswitch.fuzzing.mutate import Mutator
from worldswitch.fuzzing.projection import SIZE
from worldswitch.fuzzing.store import Record, Store, write_whole
from worldswitch.fuzzing.targets import Configuration, Target, features
from worldswitch.paths.catalogue import names
from worldswitch.paths.model import EntryPath
from worldswitch.result import Variant
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.read import read_scenario
from worldswitch.scenario.write import scenario_text

COUNT_EVERY: Final = 512
"""Executions between two reports of counts from the fuzzing process."""


def build(send: Send, configuration: Configuration) -> Harness:
    """The harness of a campaign, in the fuzzing process."""
    from worldswitch.fuzzing.counters import Features

    target = Target(configuration)
    mutator = Mutator(target.codec)
    points = Features(SIZE)
    buffer = points.buffer
    counts: dict[tuple[str, str], int] = {}
    executions = 0

    def one_input(data: bytes) -> None:
        nonlocal executions
        executions += 1
        judged, hits = target.execute(data)
        for point in features(judged):
            buffer[point] = 1
        for path, finding in hits:
            key = (finding.signature, path)
            if key not in counts:
                counts[key] = 0
                send(
                    {
                        "new": finding.signature,
                        "path": path,
                        "oracle": finding.oracle,
                        "message": finding.message,
                        "rules": list(finding.rules),
                        "case": target.codec.canonical(data).hex(),
                        "execution": executions,
                    }
                )
            counts[key] += 1
        if executions % COUNT_EVERY == 0:
            send({"counts": [[*key, count] for key, count in counts.items() if count]})
            for key in counts:
                counts[key] = 0

    return Harness(one_input, mutator.mutate_or_draw, mutator.crossover, points)


@dataclass(slots=True)
class Campaign:
    """One campaign in one directory."""

    configuration: Configuration
    directory: Path
    say: Callable[[str], None]
    store: Store = field(init=False)
    new: list[str] = field(default_factory=list)  # signatures first seen in this run
    last_new: float = 0.0

    def __post_init__(self) -> None:
        self.store = Store(self.directory)
        self.target = Target(self.configuration)

    target: Target = field(init=False)

    @property
    def description(self) -> dict[str, Any]:
        """What makes two runs the same campaign."""
        c = self.configuration
        return {
            "target": c.target,
            "paths": list(self.target.path_names),
            "profile": c.profile,
            "options": dict(c.options),
        }

    def run(
        self,
        *,
        runs: int | None = None,
        seconds: float | None = None,
        seed: int = 1,
        jobs: int = 1,
        seeds: list[bytes] | None = None,
        on_tick: Callable[[Progress, "Campaign"], None] | None = None,
    ) -> Result:
        """Fuzz until a limit or an interruption; everything found so far is on disk whenever this returns or raises."""
        self.store.open(self.description)
        started = time.monotonic()
        self.last_new = started
        done_before, seconds_before = self.store.executions, self.store.seconds

        def total(progress: Progress | Result) -> None:
            self.store.executions = done_before + progress.executions
            self.store.seconds = seconds_before + time.monotonic() - started
            for name in self.target.path_names:
                self.store.by_path[name] = self.store.executions

        def message(value: object) -> None:
            self._message(value, seconds_before + time.monotonic() - started)

        def tick(progress: Progress) -> None:
            total(progress)
            if on_tick:
                on_tick(progress, self)

        result = fuzz(
            build,
            (self.configuration,),
            corpus=self.directory / "corpus" / self.configuration.target,
            artifacts=self.directory / "crashes",
            seeds=seeds or (),
            seed=seed,
            runs=runs,
            seconds=seconds,
            max_len=self.target.codec.length,
            jobs=jobs,
            on_message=message,
            on_tick=tick,
        )
        total(result)
        for record in self.store.records.values():
            self.store.save(record)
        self.store.save_state(self.description)
        return result

    def _message(self, value: object, second: float) -> None:
        if not isinstance(value, dict):
            return
        for signature, path, count in value.get("counts", ()):
            record = self.store.records.get(signature)
            if record:
                record.paths[path] = record.paths.get(path, 0) + count
        if "new" not in value:
            return
        signature, path = value["new"], value["path"]
        record = self.store.records.get(signature)
        if record is None:
            data = bytes.fromhex(value["case"])
            record = Record(
                signature=signature, oracle=value["oracle"], message=value["message"], rules=value["rules"],
                target=self.configuration.target, profile=self.configuration.profile,
                options=dict(self.configuration.options), case=value["case"], first_path=path,
                first_execution=value["execution"], first_second=round(second, 2),
            )  # fmt: skip
            self.store.save(record, scenario=self._text(self.target.scenario(data), record))
            self.new.append(signature)
            self.last_new = time.monotonic()
            self.say(f"new finding {signature} on {path} after {value['execution']} executions")
        record.paths.setdefault(path, 0)

    def _text(self, scenario: Scenario, record: Record) -> str:
        """A finding's scenario, on the path that showed it."""
        path = self._path(record)
        if path:
            scenario.path = self._reference(path, record)
        scenario.about = record.message
        return scenario_text(scenario)

    def _path(self, record: Record) -> EntryPath | None:
        """The path that showed a finding; None for a free host program."""
        return next((path for path in self.target.paths if path.name == record.first_path), None)

    def _reference(self, path: EntryPath, record: Record) -> str:
        """How a finding's scenario names its path: a path of the user's own is copied beside it."""
        if path.name in names() and not Path(path.file).is_file():
            return path.name
        own = f"{path.name}.toml"
        write_whole(self.store.finding_directory(record.signature) / own, Path(path.file).read_text(encoding="utf-8"))
        return own

    def reduce(self) -> None:
        """Reduce every finding that is not yet, and replay it: one that does not replay is a defect of this program."""
        for record in self.store.records.values():
            if record.minimized:
                continue
            scenario = self.target.scenario(bytes.fromhex(record.case))
            path = self._path(record)
            try:
                check = self._differs(record.signature) if record.signature.split(".")[1] == "differs" else None
                small = minimize(scenario, record.signature, path, check)
            except InputError:
                self.say(f"{record.signature} does not replay: please report this")
                self.store.save(record)
                continue
            record.minimized = record.replayed = True
            self.store.save(record, minimized=self._text(small, record))
            self._examine(record)

    def _examine(self, record: Record) -> None:
        """What a reduced finding rests on: it is run again under every other value of every model option."""
        from worldswitch.report.stance import examine

        scenario = read_scenario(self.store.finding_directory(record.signature) / "minimized.toml")
        stance = examine(scenario, Variant("", "", (), None))
        if any(finding.signature == record.signature for finding in stance.result.verdict.findings):
            record.stands_only_on = stance.needed(record.signature)
            record.disputed = stance.disputed(record.signature)
            self.store.save(record)

    def _differs(self, signature: str) -> Callable[[Scenario], bool]:
        """Whether a scenario shows a finding that takes two runs."""

        def check(scenario: Scenario) -> bool:
            try:
                hits = self.target.hits(self.target.run_scenario(scenario))
            except InputError:
                return False
            return any(hit.finding.signature == signature for hit in hits)

        return check
