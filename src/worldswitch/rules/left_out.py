"""Which rules the code does not cite, and why; read from ``left_out.toml``.

A rule without a place in the code either *follows* from rules that have one, and then needs no code of its own, or it
is *left out*. A rule with a place may still be modelled only *in part*. The same file says why an option of section 13
is missing from the model.
"""

from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from worldswitch.errors import InputError

FILE: Final = Path(__file__).with_name("left_out.toml")

_FORMS: Final[dict[str, type]] = {"left_out": list, "follows": dict, "partly": dict, "options": dict}


class Group(NamedTuple):
    """Rules that are left out for one reason."""

    title: str
    reason: str
    rules: tuple[str, ...]


class LeftOut(NamedTuple):
    """``left_out.toml``."""

    groups: tuple[Group, ...]
    follows: dict[str, tuple[str, ...]]  # rule to the rules it follows from
    partly: dict[str, str]  # rule to what of it is missing
    options: dict[str, str]  # option of section 13 to why the model lacks it

    def group_of(self, rule: str) -> Group | None:
        """The group that leaves ``rule`` out; None where none does."""
        return next((group for group in self.groups if rule in group.rules), None)


@cache
def left_out(path: Path = FILE) -> LeftOut:
    """The file, read once; raises ``InputError`` where it cannot be read or has another form."""
    import tomllib

    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(str(error), path.name) from None
    for name, value in data.items():
        if name not in _FORMS:
            raise InputError("no such table", path.name, field=name)
        if not isinstance(value, _FORMS[name]):
            raise InputError(
                f"expected {'[[left_out]] tables' if _FORMS[name] is list else 'a table'}", path.name, field=name
            )
    groups = tuple(_group(entry, path) for entry in data.get("left_out", []))
    follows = {rule: _strings(base, path, rule) for rule, base in data.get("follows", {}).items()}
    return LeftOut(groups, follows, _texts(data, "partly", path), _texts(data, "options", path))


def _group(entry: object, path: Path) -> Group:
    if not isinstance(entry, dict):
        raise InputError("expected [[left_out]] tables", path.name, field="left_out")
    for field in ("title", "reason"):
        if not isinstance(entry.get(field), str) or not entry[field]:
            raise InputError(f"every group needs a {field}", path.name, field="left_out")
    return Group(entry["title"], entry["reason"], _strings(entry.get("rules"), path, entry["title"]))


def _strings(value: object, path: Path, field: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise InputError("expected a list of rule ids", path.name, field=field)
    return tuple(value)


def _texts(data: dict[str, Any], table: str, path: Path) -> dict[str, str]:
    for key, value in data.get(table, {}).items():
        if not isinstance(value, str) or not value:
            raise InputError("expected a reason", path.name, field=f"{table}.{key}")
    return dict(data.get(table, {}))
