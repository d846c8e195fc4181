"""``[expect]``: the results that make a scenario pass.

The table asserts only what it names. ``[expect.path."NAME"]``, ``[expect.profile."NAME"]`` and
``[expect.options."NAME=VALUE"]`` hold for the same scenario on another path, under another profile, or with one switch
set otherwise; each stands alone and inherits nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from worldswitch.core.names import EXIT_CODES
from worldswitch.core.options import BY_NAME as OPTIONS
from worldswitch.core.options import PROFILES
from worldswitch.errors import InputError
from worldswitch.machine import observe
from worldswitch.machine.run import Run
from worldswitch.scenario.kinds import Event, as_integer, describe
from worldswitch.text.read import Document

EXPECT_KEYS: Final = ("exits", "handlers", "final", "warnings", "findings", "unreached")
NESTED_KEYS: Final = (EXPECT_KEYS[0], "vmcb12", *EXPECT_KEYS[1:])
"""Of a scenario of the nested world."""

LISTS: Final = ("exits", "vmcb12", "handlers", "warnings")
"""The keys that hold lists of records."""

VARIANTS: Final = ("path", "profile", "options")
MASK64: Final = (1 << 64) - 1
EVENT_WORDS: Final = frozenset({"exitintinfo", "eventinj"})
ADDRESSES: Final = frozenset({"rip", "nrip"})


class Unmet(NamedTuple):
    """One assertion that did not hold."""

    field: str
    expected: Any
    actual: Any

    def __str__(self) -> str:
        return f"{self.field}: expected {self.expected!r}, got {self.actual!r}"


@dataclass(slots=True)
class Expect:
    """The assertions of one ``[expect]`` table; None: not asserted."""

    exits: list[dict[str, Any]] | None = None
    vmcb12: list[dict[str, Any]] | None = None
    handlers: list[dict[str, Any]] | None = None
    warnings: list[dict[str, Any]] | None = None
    final: dict[str, Any] | None = None
    findings: list[str] | None = None
    unreached: list[int] | None = None


@dataclass(slots=True)
class Expectations:
    """All the tables of one file."""

    base: Expect | None = None
    path: dict[str, Expect] = field(default_factory=dict)
    profile: dict[str, Expect] = field(default_factory=dict)
    options: dict[tuple[str, str], Expect] = field(default_factory=dict)


def unmet(expect: Expect, run: Run, findings: list[tuple[str, ...]]) -> list[Unmet]:
    """The assertions that ``run`` does not meet; of each finding every name that it goes by, the signature second."""
    failures: list[Unmet] = []
    tables, final = observables(run.plan.scenario.nested is not None)
    for name, records in _records(run).items():
        table, wanted = tables[name], getattr(expect, name)
        if wanted is None:
            continue
        if len(wanted) != len(records):
            names = [_label(observe.read(table, run, record)) for record in records]
            failures.append(Unmet(name, f"{len(wanted)} of them", names))
        for index, (assertions, record) in enumerate(zip(wanted, records, strict=False)):
            actual = observe.read(table, run, record)
            failures += _compare(f"{name}[{index}]", assertions, actual)
    if expect.final is not None:
        failures += _compare("final", expect.final, {key: reader(run) for key, reader in final.items()})
    if expect.unreached is not None and expect.unreached != run.unreached:
        failures.append(Unmet("unreached", expect.unreached, run.unreached))
    if expect.findings is not None:
        surplus = [names for names in findings if not set(names) & set(expect.findings)]
        absent = [name for name in expect.findings if not any(name in names for names in findings)]
        if surplus or absent:
            failures.append(Unmet("findings", expect.findings, [names[-1] for names in findings]))
    return failures


def observables(nested: bool) -> tuple[dict[str, dict[str, observe.Reader]], dict[str, Callable[[Run], Any]]]:
    """The observables of each list of records, and of the end."""
    if nested:
        from worldswitch.nested import observe as below

        return below.RECORDS, below.FINAL
    return {"exits": observe.EXIT, "handlers": observe.HANDLER, "warnings": observe.WARNING}, observe.FINAL


def _records(run: Run) -> dict[str, list[Any]]:
    if run.plan.scenario.nested is not None:
        from worldswitch.nested import observe as below

        return below.records(run)
    recorder = run.recorder
    return {"exits": list(recorder.exits), "handlers": list(recorder.handlers), "warnings": list(run.kernel.warnings)}


def _label(values: dict[str, Any]) -> str:
    return str(values.get("name") or values.get("cause") or f"{values.get('kind')}:{values.get('vector'):#x}")


def _compare(place: str, assertions: dict[str, Any], actual: dict[str, Any]) -> list[Unmet]:
    return [
        Unmet(f"{place}.{key}", _shown(key, value), _shown(key, actual[key]))
        for key, value in assertions.items()
        if actual[key] != value
    ]


def _shown(key: str, value: Any) -> Any:
    return hex(value) if key in observe.HEX_KEYS and isinstance(value, int) else value


# --- reading -------------------------------------------------------------------------------


def read_expectations(document: Document, table: dict[str, Any], path: str, nested: bool = False) -> Expectations:
    """The ``[expect]`` table of a scenario on entry path ``path``; raises ``InputError``."""
    result = Expectations()
    keys = NESTED_KEYS if nested else EXPECT_KEYS
    for key in table:
        if key not in (*keys, *VARIANTS):
            raise document.error(f"unknown field; there are {', '.join((*keys, *VARIANTS))}", ("expect", key))
    if any(key in table for key in keys):
        result.base = _expect(document, {key: table[key] for key in keys if key in table}, ("expect",), nested)
    for kind in VARIANTS:
        variants = table.get(kind, {})
        if not isinstance(variants, dict):
            raise document.error("expected tables, one for each variant", ("expect", kind))
        for name, value in variants.items():
            place = ("expect", kind, name)
            if not isinstance(value, dict):
                raise document.error("expected a table", place)
            expect = _expect(document, value, place, nested)
            if kind == "path":
                result.path[name] = expect
            elif kind == "profile":
                if name not in PROFILES:
                    raise document.error(f"unknown profile; there are {', '.join(PROFILES)}", place)
                result.profile[name] = expect
            else:
                option, _, setting = name.partition("=")
                if option not in OPTIONS or setting not in OPTIONS[option].values:
                    raise document.error("expected OPTION=VALUE with a model option and one of its values", place)
                result.options[option, setting] = expect
    if path == "" and result.path:
        raise document.error("the scenario has a free host program, not a path", ("expect", "path"))
    return result


def _expect(document: Document, table: dict[str, Any], place: tuple[str | int, ...], nested: bool) -> Expect:
    result = Expect()
    tables, final = observables(nested)
    for key, value in table.items():
        here = (*place, key)
        if key in tables:
            known = tables[key]
            if not isinstance(value, list):
                raise document.error("expected a list of tables", here)
            records = [_record(document, item, known, (*here, index)) for index, item in enumerate(value)]
            setattr(result, key, records)
        elif key == "final":
            result.final = _record(document, value, final, here)
        elif key in ("findings", "unreached"):
            kind = str if key == "findings" else int
            if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
                raise document.error(
                    f"expected a list of {'oracle names or signatures' if kind is str else 'numbers'}", here
                )
            setattr(result, key, list(value))
        else:
            keys = NESTED_KEYS if nested else EXPECT_KEYS
            raise document.error(f"unknown field; there are {', '.join(keys)}", here)
    return result


def _record(document: Document, item: Any, known: dict[str, Any], place: tuple[str | int, ...]) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise document.error(f"expected a table, not {describe(item)}", place)
    result = {}
    for key, value in item.items():
        name = "exit_code" if key == "code" and "exit_code" in known else key
        if name in result:
            raise document.error("given twice, as code and as exit_code", (*place, key))
        if name not in known:
            raise document.error(f"unknown field; there are {', '.join(known)}", (*place, key))
        try:
            result[name] = _value(name, value)
        except InputError as error:
            raise document.error(error.message, (*place, key)) from None
    return result


def _value(key: str, value: Any) -> Any:
    """An expected value in the form that ``observe`` gives."""
    if key == "exit_code":
        if isinstance(value, str) and value in EXIT_CODES:
            return EXIT_CODES[value]
        return as_integer(value) & MASK64
    if key in EVENT_WORDS:
        return Event().parse(value)
    if key in ADDRESSES or key in observe.HEX_KEYS or key in ("vector", "error_code"):
        return as_integer(value)
    return value
