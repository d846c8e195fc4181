"""Which settings of a scenario say nothing that is not so anyway."""

import tomllib
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, Final

from worldswitch.errors import InputError
from worldswitch.scenario.fields import BY_NAME, Field

ENTANGLED: Final = (
    frozenset({"cpu.svme", "cpu.mode", "cpu.paging"}),
    frozenset({"guest.mode", "guest.svme", "guest.efer", "guest.cr0", "guest.cs_long", "guest.cs_big"}),
)
"""Fields that set the same registers: a default of one undoes what another said, so all or none are left out."""

OF_THE_PATH: Final = frozenset({"cpu.if", "cpu.gif", "kernel.lockdep", "kernel.context"})
"""Fields whose default is the entry state of the path."""


def significant(settings: Mapping[str, Any]) -> Collection[str]:
    """The names of the settings that differ from the default, or may."""
    plain = {name for name, value in settings.items() if _is_default(name, value)}
    for group in ENTANGLED:
        given = group & settings.keys()
        if not given <= plain:
            plain -= given
    return settings.keys() - plain


def _is_default(name: str, value: Any) -> bool:
    if name in OF_THE_PATH:
        return False
    known, default = _default(BY_NAME[name])
    return known and value == default


@cache
def _default(field: Field) -> tuple[bool, Any]:
    """Whether the documented default is a value of the field, and that value."""
    try:
        written = tomllib.loads(f"value = {field.default}")["value"]
    except tomllib.TOMLDecodeError:
        written = field.default  # a bare word
    try:
        return True, field.kind.parse(written)
    except InputError:
        return False, None
