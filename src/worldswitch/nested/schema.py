"""JSON Schema of the tables of the nested world."""

from typing import Any, Final

from worldswitch.nested.fields import BY_TABLE
from worldswitch.nested.model import FLAVOURS, KINDS, MAX_L0_ROUNDS
from worldswitch.nested.read import RECEIVERS
from worldswitch.scenario.places import MAX_ROUNDS

OF_NESTED: Final = ("l0", "l1", "vmcb12", "l2", "npt")
NOT_OF_NESTED: Final = ("host", "vmcb", "guest")

_BOOL: Final[dict[str, Any]] = {"enum": [True, False, 0, 1]}
_PAGE: Final = r"^\s*([Ll][12]\.)?\s*([Ii][Dd][Tt]:.+|[Ss][Tt][Aa][Cc][Kk]|[Mm][Ee][Mm][Oo][Rr][Yy])\s*$"


def nested_properties(world: dict[str, Any], program: dict[str, Any]) -> dict[str, Any]:
    """The tables by name; ``world`` is what L1 and L2 have in common with ``[guest]``: program, IDT, handlers."""
    pages = {"type": "array", "items": {"type": "string", "pattern": _PAGE}}
    l0 = {
        "path": {"type": "string", "minLength": 1, "description": "L0's entry path by name, or a path file"},
        "flavour": {"enum": list(FLAVOURS), "default": FLAVOURS[0], "description": "whose software L0 is (S9-30)"},
        "rounds": _integer(MAX_L0_ROUNDS, "executions of the path after which the run is cut off"),
        "vgif": _BOOL | {"description": "the processor has vGIF; default true (S9-03)"},
        "vnmi": _BOOL | {"description": "the processor has vNMI; default false (S9-03)"},
        "nrips": _BOOL | {"description": "L1 is offered NRIPS; default true (S1-73)"},
    }
    l1 = {
        "kind": {
            "enum": list(KINDS),
            "default": KINDS[0],
            "description": "a hypervisor has an exit handler",
        },
        "rounds": _integer(MAX_ROUNDS, "how often L1's program is executed; default 1, of a hypervisor 2"),
        "between": program | {"description": "what L1 does between two rounds"},
        "asserts": _BOOL | {"description": "a hypervisor stops where S9-27 is violated; default true for one"},
        "hsave": _BOOL | {"description": "L1 has set VM_HSAVE_PA; default true (S9-01)"},
        "cr3_loadable": _BOOL | {"description": "L1's CR3 can be loaded at an exit; default true (S9-23)"},
    }
    npt = {
        "l0": pages | {"description": "pages that L0's own tables miss: stack, memory, idt:VECTOR; L1.stack, ..."},
        "l1": pages | {"description": "pages that L1's nested page table misses"},
    }
    return {
        "l0": _table(l0) | {"required": ["path"]},
        "l1": _table(l1 | world | _fields("l1")),
        "vmcb12": _table(_fields("vmcb12")),
        "l2": _table(world | _fields("l2")),
        "npt": _table(npt),
    }


def receiver() -> dict[str, Any]:
    """``for`` of an event."""
    return {"enum": list(RECEIVERS), "default": "L0", "description": "whose event it is; only in the nested world"}


def either_world() -> list[dict[str, Any]]:
    """A scenario has ``[host]``, or it has ``[l0]`` and nothing of a single level's worlds."""
    return [
        {"required": ["host"], "not": {"anyOf": [{"required": [name]} for name in OF_NESTED]}},
        {"required": ["l0"], "not": {"anyOf": [{"required": [name]} for name in NOT_OF_NESTED]}},
    ]


def _fields(table: str) -> dict[str, Any]:
    return {
        key: field.kind.schema() | {"description": f"{field.about}; default {field.default} ({field.rules})"}
        for key, field in BY_TABLE[table].items()
    }


def _integer(high: int, about: str) -> dict[str, Any]:
    return {"anyOf": [{"type": "integer", "minimum": 1, "maximum": high}, {"type": "string"}], "description": about}


def _table(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}
