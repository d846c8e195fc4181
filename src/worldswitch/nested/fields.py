"""The fields of ``[vmcb12]``, ``[l1]`` and ``[l2]``: those of ``[vmcb]`` and ``[guest]``, of another VMCB."""

from typing import Any, Final

from worldswitch.core.record import Recorder
from worldswitch.core.state import Vmcb
from worldswitch.scenario.fields import FIELDS as PLAIN
from worldswitch.scenario.fields import Field

TABLES: Final = ("vmcb12", "l1", "l2")

SOURCES: Final = {"vmcb12": "vmcb", "l1": "guest", "l2": "guest"}
"""Table to the one whose fields it has."""


class Bench:
    """What a field of ``[vmcb]`` or ``[guest]`` is applied to: a machine reduced to its VMCB."""

    def __init__(self, vmcb: Vmcb) -> None:
        self.cpu: Bench = self
        self.vmcb: Vmcb = vmcb
        self.running: bool = False
        self.recorder: Recorder = Recorder()


def _derived() -> tuple[Field, ...]:
    found: list[Field] = []
    for table, source in SOURCES.items():
        for field in PLAIN:
            if field.table == source:
                found.append(field._replace(name=f"{table}.{field.key}"))
    return tuple(found)


FIELDS: Final = _derived()
BY_NAME: Final = {field.name: field for field in FIELDS}
BY_TABLE: Final = {table: {field.key: field for field in FIELDS if field.table == table} for table in TABLES}
ORDER: Final = {field.name: index for index, field in enumerate(FIELDS)}


def apply_all(vmcb: Vmcb, settings: dict[str, Any], *tables: str) -> None:
    """Set the fields of these tables on a VMCB, in their order."""
    bench = Bench(vmcb)
    for name in sorted(settings, key=ORDER.__getitem__):
        if BY_NAME[name].table in tables:
            BY_NAME[name].apply(bench, settings[name])
