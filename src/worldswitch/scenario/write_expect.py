"""``[expect]`` as TOML data in canonical spelling; what ``expect`` reads."""

import re
from typing import Any, Final

from worldswitch.core.names import EXIT_CODES, EXITS, event_name
from worldswitch.core.options import PROFILES
from worldswitch.core.options import TABLE as OPTIONS
from worldswitch.machine import observe
from worldswitch.scenario.expect import EVENT_WORDS, NESTED_KEYS, Expect, Expectations

_FROM_STRING: Final = 1 << 63
"""The smallest number that TOML's signed 64 bits do not hold: a hex string from here on."""


def expectations_data(expectations: Expectations) -> dict[str, Any]:
    """All tables of ``[expect]``, the variants in the order of profiles, options and path names."""
    data = _expect_data(expectations.base) if expectations.base else {}
    by_kind: dict[str, dict[str, Expect]] = {
        "path": {name: expectations.path[name] for name in sorted(expectations.path, key=_natural)},
        "profile": {name: expectations.profile[name] for name in PROFILES if name in expectations.profile},
        "options": {
            f"{option.name}={value}": expectations.options[option.name, value]
            for option in OPTIONS
            for value in option.values
            if (option.name, value) in expectations.options
        },
    }
    for kind, tables in by_kind.items():
        if tables:
            data[kind] = {name: _expect_data(expect) for name, expect in tables.items()}
    return data


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts linux-6.2 before linux-6.14: numbers by their length first."""
    return [(len(part.lstrip("0")) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", name)]


def _expect_data(expect: Expect) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key in NESTED_KEYS:
        value = getattr(expect, key)
        if value is None:
            continue
        if key in ("findings", "unreached"):
            data[key] = list(value)
        elif key == "final":
            data[key] = _record(value)
        else:
            data[key] = [_record(item) for item in value]
    return data


def _record(record: dict[str, Any]) -> dict[str, Any]:
    return {key_name(key): _value(key, value) for key, value in record.items()}


def key_name(key: str) -> str:
    """The canonical key of an observable: ``code`` for ``exit_code``."""
    return "code" if key == "exit_code" else key


def _value(key: str, value: Any) -> Any:
    if key == "exit_code":
        name = EXITS.get(value, "")
        return name if EXIT_CODES.get(name) == value else _number(value)
    if key in EVENT_WORDS:
        return event_name(value)
    return _number(value) if key in observe.HEX_KEYS else value


def _number(value: Any) -> Any:
    return hex(value) if isinstance(value, int) and value >= _FROM_STRING else value
