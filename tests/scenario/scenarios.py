"""Scenarios for property tests: any that the reader could have made, and files as people may lay them out."""

from typing import Any

from hypothesis import strategies as st

from worldswitch.core.names import INTERCEPTS, event_name, parse_event
from worldswitch.core.options import PROFILES
from worldswitch.core.options import TABLE as OPTIONS
from worldswitch.machine import observe
from worldswitch.oracles.judge import NAMES as ORACLES
from worldswitch.program.instruction import FAULTS, meets_number, parse_program
from worldswitch.program.layout import LANDMARKS
from worldswitch.scenario.expect import EVENT_WORDS, Expect, Expectations
from worldswitch.scenario.fields import FIELDS
from worldswitch.scenario.kinds import Bool, Choice, Event, GuestPlace, Integer, Intercepts, Kind, Pending, Words
from worldswitch.scenario.model import DEFAULT_INTR_VECTOR, EVENT_KINDS, Arrival, GateSpec, Program, Scenario
from worldswitch.scenario.places import MAX_OFFSET, MAX_ROUNDS, Place

U64 = (1 << 64) - 1
EVENTS = ("none", "nmi", "intr:0x68", "soft:0x80", "gp(0x62)", "ud", "pf(0x2)", "0xffffffffffffffff", "0x100")

vectors = st.integers(0, 255)
words64 = st.integers(0, 12) | st.integers(0, U64) | st.sampled_from([1 << 63, (1 << 63) - 1, U64])
event_words = st.sampled_from(EVENTS).map(parse_event) | words64
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
instructions = st.sampled_from([
    "nop", "sti", "cli", "vmmcall", "mov_ss", "iret", "hlt", "mov a, b", "int 0x80", "popf if,tf", "popf", "load npf",
    "rep 3", "mov_cr8 15", "set guest.idt.0x68=ok", "set guest.rip=next", "cpuid", "ud2", "vmload vmcb01",
])  # fmt: skip
host_instructions = instructions | st.sampled_from([
    "clgi", "vmrun", "stgi", "lockdep_hardirqs_on", "traceable foo", "guest_state_enter_irqoff", "local_irq_enable",
    "set vmcb.eventinj=exitintinfo", "vmrun [fixup]", ".noinstr", ".text",
])  # fmt: skip


def programs(of: st.SearchStrategy[str] = instructions, least: int = 0) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(of, min_size=least, max_size=6).map(tuple)


def values(kind: Kind) -> st.SearchStrategy[Any]:
    """Internal values of a kind."""
    match kind:
        case Bool():
            return st.booleans()
        case Integer():
            low, high = kind.low, kind.high
            return st.integers(low, high) | st.integers(low, min(high, low + 12)) | st.sampled_from([low, high])
        case Choice():
            return st.sampled_from(list(kind.values.values()))
        case Words():
            raw = st.integers(0, U64)
            return raw | st.lists(st.sampled_from(list(kind.bits)), unique=True).map(kind.parse)
        case Event():
            return event_words
        case Intercepts():
            return st.lists(st.sampled_from(sorted(INTERCEPTS)), max_size=5).map(kind.parse)
        case Pending():
            names = st.sampled_from(kind.NAMES) | st.integers(0x10, 0xFF).map("intr:0x{:02x}".format)
            return st.lists(names, max_size=3).map(kind.parse)
        case GuestPlace():
            return st.integers(0, 2)
    raise TypeError(kind)


@st.composite
def settings(draw: st.DrawFn) -> dict[str, Any]:
    fields = draw(st.lists(st.sampled_from(FIELDS), unique_by=lambda field: field.name, max_size=6))
    return {field.name: draw(values(field.kind)) for field in fields}


@st.composite
def places(draw: st.DrawFn) -> Place:
    landmark = draw(st.sampled_from([*LANDMARKS, "guest", "handler"]))
    offset = draw(st.sampled_from([0, 1, -1]) | st.integers(-MAX_OFFSET, MAX_OFFSET))
    vector = draw(vectors) if landmark == "handler" else -1
    number = draw(st.integers(1, MAX_ROUNDS))
    return Place(landmark, vector, number, abs(offset) if landmark == "guest" else offset, draw(st.integers(-1, 2)))


@st.composite
def arrivals(draw: st.DrawFn) -> Arrival:
    kind = draw(st.sampled_from(EVENT_KINDS))
    vector = draw(st.just(DEFAULT_INTR_VECTOR) | st.integers(0x10, 0xFF)) if kind == "intr" else DEFAULT_INTR_VECTOR
    origin = draw(st.sampled_from(["external", "internal"])) if kind == "smi" else "external"
    return Arrival(kind, draw(places()), vector, origin)


gates = st.builds(GateSpec, st.sampled_from(FAULTS).map(meets_number), st.booleans(), st.integers(0, 3))


def worlds(program: st.SearchStrategy[tuple[str, ...]]) -> st.SearchStrategy[Program]:
    idt = st.dictionaries(vectors, gates, max_size=3)
    return st.builds(Program, program, idt, st.dictionaries(vectors, programs(), max_size=2))


def observed(key: str) -> st.SearchStrategy[Any]:
    """What ``[expect]`` may hold for an observable, as the reader gives it."""
    if key == "exit_code":
        return st.sampled_from([0x400, 0x4D, 0x60, 0x81, U64, U64 - 1, 0x42]) | st.integers(0, U64)
    if key in EVENT_WORDS:
        return event_words
    if key in observe.HEX_KEYS or key == "error_code":
        return words64
    if key == "vector":
        return vectors
    return st.booleans() | st.integers(-5, 20) | texts | st.lists(st.sampled_from(["nmi", "intr:0x20"]), max_size=2)


@st.composite
def records(draw: st.DrawFn, table: dict[str, Any]) -> dict[str, Any]:
    keys = draw(st.lists(st.sampled_from(list(table)), unique=True, max_size=4))
    return {key: draw(observed(key)) for key in keys}


def expects() -> st.SearchStrategy[Expect]:
    def lists(table: dict[str, Any]) -> st.SearchStrategy[Any]:
        return st.none() | st.lists(records(table), max_size=3)

    findings = st.lists(st.sampled_from([*ORACLES, "shadow-bleed.unexplained-shadow.injection"]), max_size=2)
    return st.builds(
        Expect,
        exits=lists(observe.EXIT),
        handlers=lists(observe.HANDLER),
        warnings=lists(observe.WARNING),
        final=st.none() | records(observe.FINAL),
        findings=st.none() | findings,
        unreached=st.none() | st.lists(st.integers(0, 9), max_size=2),
    )


pairs = st.sampled_from([(option.name, value) for option in OPTIONS for value in option.values])


@st.composite
def scenarios(draw: st.DrawFn, expecting: bool = True) -> Scenario:
    """A scenario of the form that ``read_text`` gives."""
    path = draw(st.sampled_from(["", "linux-6.1", "linux-6.14"]))
    host_program = st.just(()) if path else programs(host_instructions)
    scenario = Scenario(
        about=draw(texts),
        profile=draw(st.sampled_from(list(PROFILES))),
        options=dict(draw(st.lists(pairs, max_size=2))),
        settings=draw(settings()),
        path=path,
        host=draw(worlds(host_program)),
        rounds=draw(st.just(1) | st.integers(1, MAX_ROUNDS)),
        between=draw(programs(host_instructions.filter(lambda text: "[" not in text and not text.startswith(".")))),
        guest=draw(worlds(st.just(("nop", "vmmcall")) | programs(least=1))),
        events=tuple(draw(st.lists(arrivals(), max_size=3))),
    )
    steps = len(parse_program(list(scenario.guest.program)))
    for name in ("guest.rip", "vmcb.nrip"):
        if name in scenario.settings:
            scenario.settings[name] = min(scenario.settings[name], steps + 1)
    if expecting and draw(st.booleans()):
        scenario.expect = draw(expectations(path))
        if scenario.expect.base == Expect():  # an empty table asserts nothing: the reader makes none of it
            scenario.expect.base = None
    return scenario


def expectations(path: str) -> st.SearchStrategy[Expectations]:
    none: st.SearchStrategy[dict[Any, Expect]] = st.just({})
    by_path = st.dictionaries(st.sampled_from(["linux-6.1", "linux-6.14", "my path.toml"]), expects(), max_size=2)
    return st.builds(
        Expectations,
        base=st.none() | expects(),
        path=by_path if path else none,
        profile=none | st.dictionaries(st.sampled_from(list(PROFILES)), expects(), max_size=1),
        options=none | st.dictionaries(pairs, expects(), max_size=1),
    )


@st.composite
def messy(draw: st.DrawFn, data: dict[str, Any]) -> dict[str, Any]:
    """The canonical data of a scenario, spelled otherwise: the same scenario as a person may have written it."""

    def integer(value: int) -> Any:
        return draw(st.sampled_from([value, hex(value), str(value)])) if value >= 0 else value

    def event(text: str) -> Any:
        return draw(st.sampled_from([text, text.upper(), f" {text} ", parse_event(text)]))

    def program(lines: list[str]) -> list[str]:
        return [draw(st.sampled_from([line, line.replace(" ", "   "), f"  {line} "])) for line in lines]

    def by_vector(table: dict[str, Any]) -> dict[str, Any]:
        spelled = {}
        for key, value in table.items():
            vector = int(key, 0)
            name = draw(st.sampled_from([key, str(vector), f"0x{vector:X}", f"0b{vector:b}"]))
            spelled[name] = {"meets": value} if isinstance(value, str) and draw(st.booleans()) else value
        return spelled

    def record(table: dict[str, Any]) -> dict[str, Any]:
        result = {}
        for key, value in table.items():
            name = draw(st.sampled_from(["code", "exit_code"])) if key == "code" else key
            result[name] = event(value) if key in EVENT_WORDS else value
        return shuffled(result)

    def shuffled(table: dict[str, Any]) -> dict[str, Any]:
        return dict(draw(st.permutations(list(table.items()))))

    def expect(table: dict[str, Any]) -> dict[str, Any]:
        result = dict(table)
        for key in ("exits", "handlers", "warnings"):
            if key in result:
                result[key] = [record(item) for item in result[key]]
        return shuffled(result)

    result = dict(data)
    for world in ("host", "guest"):
        if world in result:
            table = dict(result[world])
            if "program" in table:
                table["program"] = program(table["program"])
            for name in {"idt", "handlers"} & table.keys():
                table[name] = by_vector(table[name])
            result[world] = shuffled(table)
    if "vmcb" in result:
        table = dict(result["vmcb"])
        if "eventinj" in table:
            table["eventinj"] = event(table["eventinj"])
        if "intercepts" in table:
            table["intercepts"] = draw(st.permutations([name.upper() for name in table["intercepts"]]))
        if "asid" in table:
            table["asid"] = integer(table["asid"])
        result["vmcb"] = shuffled(table)
    if "event" in result:
        result["event"] = [shuffled(item) for item in result["event"]]
    if "expect" in result:
        result["expect"] = expect(result["expect"])
    return shuffled(result)


__all__ = ["event_name", "messy", "scenarios"]
