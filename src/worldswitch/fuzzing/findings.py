"""What becomes of a finding in a campaign: recorded when it is first seen, then reduced and replayed meanwhile."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from worldswitch.fuzzing.chores import Reduce, reference
from worldswitch.fuzzing.helper import Helper
from worldswitch.fuzzing.lanes import Lane
from worldswitch.fuzzing.ledger import Slice
from worldswitch.fuzzing.records import Record
from worldswitch.fuzzing.store import Store, write_whole
from worldswitch.paths.model import EntryPath
from worldswitch.scenario.write import scenario_text

_POLL_SECONDS: Final = 0.05


class Findings:
    """The findings of a campaign whose store is open, and the helper that reduces them one by one."""

    def __init__(self, store: Store, lanes: Mapping[str, Lane], say: Callable[[str], None]) -> None:
        self.new: list[str] = []  # signatures first seen in this run
        self._store = store
        self._lanes = lanes
        self._say = say
        self._helper = Helper()
        self._reducing = ""

    @property
    def reducing(self) -> bool:
        """Whether one is being reduced."""
        return bool(self._reducing)

    def seen(self, lane: Lane, piece: Slice, value: dict[str, Any]) -> bool:
        """A process saw a signature for the first time; whether it is new to the campaign, and on the disk now."""
        signature, path_name = value["new"], value["path"]
        if signature in self._store.records:
            self._store.records[signature].paths.setdefault(path_name, 0)
            return False
        execution = piece.first_execution + value["execution"]
        configuration = lane.configuration
        record = Record(
            signature=signature, oracle=value["oracle"], message=value["message"], rules=value["rules"],
            target=configuration.target, profile=configuration.profile, options=dict(configuration.options),
            case=value["case"], first_path=path_name, first_execution=execution,
            first_second=round(self._store.seconds, 2), lane=lane.name, first_seen=self._store.clock.date(),
        )  # fmt: skip
        record.paths[path_name] = 0
        scenario = lane.target.scenario(bytes.fromhex(record.case))
        path = _path_of(lane, path_name)
        if path is not None:
            scenario.path = reference(path)
            if scenario.path.endswith(".toml"):
                text = Path(path.file).read_text(encoding="utf-8")
                write_whole(self._store.finding_directory(signature) / scenario.path, text)
        scenario.about = record.message
        self._store.add(record, scenario_text(scenario))
        self.new.append(signature)
        self._say(f"new finding {signature} on {path_name} after {execution} executions")
        return True

    def step(self) -> None:
        """Take what the helper has done, and give it the next finding."""
        result = self._helper.poll()
        if result is not None:
            self._reduced(self._store.records[self._reducing], result)
            self._reducing = ""
        if self._helper.busy:
            return
        for record in self._store.records.values():
            lane = self._lanes.get(record.lane)
            if lane is None or record.minimized or record.problem:
                continue
            path = _path_of(lane, record.first_path)
            self._reducing = record.signature
            self._helper.begin(
                Reduce(
                    lane.configuration, record.signature, record.case, record.first_path, record.message,
                    str(self._store.finding_directory(record.signature)), reference(path) if path else "",
                )
            )  # fmt: skip
            return

    def finish(self) -> None:
        """Wait until every finding is reduced, and replayed: one that does not replay is a defect of this program."""
        while True:
            self.step()
            if not self._helper.busy:
                break
            time.sleep(_POLL_SECONDS)
        self.close()
        self._store.save_findings()

    def close(self) -> None:
        """End the helper; what it was doing is done again another time."""
        self._helper.close()
        self._reducing = ""

    def _reduced(self, record: Record, result: dict[str, Any]) -> None:
        minimized = str(result.get("minimized", ""))
        record.problem = str(result.get("problem", ""))
        record.minimized = bool(minimized)
        record.replayed = bool(minimized) and not record.problem
        record.stands_only_on = result.get("stands_only_on", {})
        record.disputed = result.get("disputed", [])
        record.shown_on = result.get("shown_on", {})
        self._store.save(record, minimized=minimized)
        if record.problem:
            self._store.tell(f"{record.signature}: {record.problem}: a defect of this program, please report it")


def _path_of(lane: Lane, name: str) -> EntryPath | None:
    """The path that showed a finding; None for a free host program and for an edited path, which a case names."""
    return next((path for path in lane.target.paths if path.name == name), None)
