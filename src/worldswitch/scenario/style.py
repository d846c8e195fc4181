"""The layout of scenario files: the order of keys, what stands on one line, which numbers are hexadecimal."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from worldswitch.core.options import TABLE as OPTIONS
from worldswitch.machine import observe
from worldswitch.scenario.expect import LISTS, NESTED_KEYS, VARIANTS, observables
from worldswitch.scenario.fields import BY_NAME, FIELDS, TABLES
from worldswitch.scenario.kinds import Integer
from worldswitch.scenario.read import EVENT_KEYS, GATE_KEYS, GUEST_KEYS, HOST_KEYS, NESTED_TABLES, TOP
from worldswitch.scenario.write_expect import key_name
from worldswitch.text.scan import KeyPath
from worldswitch.text.write import Style, dumps

WIDTH: Final = 120

_VECTORS: Final = tuple(f"0x{vector:02x}" for vector in range(256))
_TWO_DIGITS: Final = frozenset({"vector"})
_HEX: Final = frozenset({"code", "error_code"}) | observe.HEX_KEYS


def scenario_style(data: Mapping[str, Any]) -> Style:
    """The style for the canonical ``data`` of one scenario."""
    nested = not NESTED_TABLES.isdisjoint(data)
    if nested:
        from worldswitch.nested import write as below

    def hex_digits(path: KeyPath) -> int | None:
        if path[0] == "expect" or path[0] == "event":
            key = next(part for part in reversed(path) if isinstance(part, str))
            digits = 2 if key in _TWO_DIGITS else 0 if key in _HEX else None
        else:
            name = ".".join(map(str, path))
            digits = _field_digits(name)
            if digits is None and nested:
                digits = below.field_digits(name)
        # 0 to 9 look the same in both bases, and a flag or a count is no address.
        return None if digits == 0 and _at(data, path) < 10 else digits

    def inline(path: KeyPath) -> bool:
        if path[0] == "expect" and path[-1] in LISTS:
            return True
        is_short = path[0] in ("host", "guest") and path[1:] in (("idt",), ("handlers",))
        is_short = is_short or (nested and below.is_short(path))
        is_short = is_short or (path[0] == "expect" and path[-1] == "final")
        return is_short and _one_line(path[-1], _at(data, path))

    def key_order(path: KeyPath) -> Sequence[str]:
        return (below.key_order(path) if nested else None) or _key_order(path, nested)

    return Style(key_order=key_order, inline=inline, hex_digits=hex_digits, literal=lambda path: path == ("about",))


@cache
def _key_order(path: KeyPath, nested: bool) -> Sequence[str]:
    if not path:
        return TOP
    first, last = path[0], path[-1]
    if first == "options":
        return [option.name for option in OPTIONS]
    if first == "host":
        return HOST_KEYS if len(path) == 1 else _VECTORS if len(path) == 2 else GATE_KEYS
    if first in TABLES:
        if len(path) > 1:
            return _VECTORS if len(path) == 2 else GATE_KEYS
        return [*(field.key for field in FIELDS if field.table == first), *(GUEST_KEYS if first == "guest" else ())]
    if first == "event":
        return EVENT_KEYS
    record = path[-2] if isinstance(last, int) else last
    if record in LISTS or record == "final":
        return _record_order(str(record), nested)
    return (*NESTED_KEYS, *VARIANTS)


@cache
def _record_order(record: str, nested: bool) -> Sequence[str]:
    """The observables of a list of ``[expect]``, or of ``final``; an exit's begin with its code."""
    lists, final = observables(nested)
    found: Mapping[str, Any] = final if record == "final" else lists[record]
    keys = tuple(map(key_name, found))
    return tuple(dict.fromkeys(("code", *keys))) if "code" in keys else keys


@cache
def _field_digits(name: str) -> int | None:
    """Hex digits of a field: two for a vector, as many as it takes for a wider register."""
    field = BY_NAME.get(name)
    if field is None or not isinstance(field.kind, Integer) or not field.kind.digits:
        return None
    return 2 if field.kind.digits == 2 else 0


def _one_line(key: Any, value: Any) -> bool:
    """Whether the table fits on one line."""
    text = dumps({str(key): value}, style=Style(inline=lambda _: True), width=1 << 20)
    return len(text.rstrip("\n")) <= WIDTH


def _at(data: Any, path: KeyPath) -> Any:
    for part in path:
        data = data[part]
    return data
