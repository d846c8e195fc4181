"""Where the comments of a scenario file belong once its keys and list elements have their canonical spelling."""

from collections.abc import Iterator, Mapping
from typing import Any

from worldswitch.program.instruction import parse_vector
from worldswitch.scenario.fields import FIELDS
from worldswitch.scenario.read import NESTED_TABLES
from worldswitch.scenario.write_expect import key_name
from worldswitch.text.comments import Comments
from worldswitch.text.scan import KeyPath


def renamed_comments(comments: Comments, given: Mapping[str, Any], data: Mapping[str, Any]) -> Comments:
    """The comments of a valid document ``given``, for the canonical ``data`` made from it."""
    renames = dict(_renames(given, data))

    def rename(path: KeyPath) -> KeyPath:
        for length in range(len(path), 0, -1):
            if path[:length] in renames:
                return renames[path[:length]] + path[length:]
        return path

    return comments.renamed(rename) if renames else comments


def _renames(given: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, KeyPath]]:
    for world in ("host", "guest"):
        for kind in ("idt", "handlers"):
            for key in given.get(world, {}).get(kind, {}):
                yield (world, kind, key), (world, kind, f"0x{parse_vector(key):02x}")
    for field in FIELDS:
        value, shown = (tables.get(field.table, {}).get(field.key) for tables in (given, data))
        if isinstance(value, list) and isinstance(shown, list):
            for number, item in enumerate(value):
                word = field.kind.show(field.kind.parse([item]))[0]
                yield (field.table, field.key, number), (field.table, field.key, shown.index(word))
    if not NESTED_TABLES.isdisjoint(given):
        from worldswitch.nested.write import renames

        yield from renames(given, data)
    yield from _expected(given.get("expect", {}), ("expect",))


def _expected(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, KeyPath]]:
    """Keys of the exits in ``[expect]`` and in its variants."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key_name(key) != key and ("exits" in path or "vmcb12" in path):
                yield (*path, key), (*path, key_name(key))
            yield from _expected(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _expected(item, (*path, number))
