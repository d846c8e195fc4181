"""Cases of the ``nested`` target: bytes to scenarios of the nested world and back.

Slots and their meaning are those of ``fuzzing.slots``: a byte is an index into the choices of its slot, and a case of
zeros is the plainest one, here an L1 that runs ``clgi; vmrun; stgi`` once on an L2 that does ``nop; vmmcall``.
"""

from functools import cached_property
from typing import Any, Final

from worldswitch.core.bits import EXIT_VMMCALL, EXIT_VMRUN
from worldswitch.errors import InputError
from worldswitch.fuzzing.slots import Settings, Slot, intercept_slot, intercept_vector
from worldswitch.nested.fields import BY_NAME
from worldswitch.nested.model import DEFAULT_L1_ROUNDS, L1_HYPERVISOR, L1_PROGRAM, Nested
from worldswitch.program.instruction import meets_number
from worldswitch.scenario.model import DEFAULT_GUEST, Arrival, GateSpec, Program, Scenario
from worldswitch.scenario.places import parse_place

L2_SLOTS: Final = 5
EVENTS: Final = 2

L2_WORDS: Final = (
    "", "nop", "vmmcall", "sti", "cli", "hlt", "mov_ss", "popf if", "popf", "int 0x80", "iret", "load npf", "ud2",
    "stgi", "clgi", "cpuid", "int3", "spin", "load gp", "out", "vmrun",
)  # fmt: skip
INJECTED: Final = (
    "intr:0x68", "nmi", "ss(0x0)", "gp(0x0)", "soft:0x80", "de", "pf(0x2)", "ud", "df(0x0)", "db", "intr:0x20", "bp",
    "0x80000302", "0x8000fb0d",
)  # fmt: skip
MEETS: Final = ("npf", "gp", "np", "ss", "pf")
GATES: Final = (0x68, 0x80, 0x20, 0x02, 0x0C, 0x0D, 0x0E, 0x08, 0x06)
PAGES: Final = (
    "stack",
    "idt:0x68",
    "memory",
    "idt:0x20",
    "idt:0x02",
    "idt:0x80",
    "L1.idt:0x20",
    "L1.stack",
    "L1.idt:0x02",
)
L2_PAGES: Final = PAGES[:6]
L2_HANDLERS: Final[tuple[dict[int, tuple[str, ...]], ...]] = (
    {},
    {0x68: ("vmmcall", "iret")},
    {0x68: ("sti", "nop", "iret")},
    {0x02: ("nop", "iret")},
    {0x0D: ("vmmcall",), 0x08: ("vmmcall",), 0x0C: ("vmmcall",)},
    {0x20: ("sti", "vmmcall", "iret")},
)
L1_PROGRAMS: Final = (
    L1_PROGRAM,
    ("cli", "clgi", "sti", "vmrun", "cli", "stgi", "sti", "nop"),
    ("clgi", "sti", "vmrun", "stgi"),
    ("vmrun",),
    ("sti", "hlt", "clgi", "vmrun", "stgi"),
    ("mov_ss", "vmrun", "stgi", "cli"),
)
BETWEEN: Final = (
    ("set vmcb12.eventinj=exitintinfo", "set npt.all=ok"),
    ("set vmcb12.eventinj=exitintinfo",),
    ("set l2.rip=next", "set vmcb12.int_state=0"),
    ("set npt.all=ok",),
    ("set vmcb12.eventinj=intr:0x68", "set npt.all=ok"),
    ("set vmcb12.eventinj=nmi",),
    (),
)
KINDS: Final = (
    ("intr", 0x20, "external", 1), ("nmi", 0x20, "external", 1), ("intr", 0x31, "external", 0),
    ("nmi", 0x20, "external", 0), ("smi", 0x20, "external", 1), ("init", 0x20, "external", 1),
    ("intr", 0x68, "external", 1),
)  # fmt: skip
PLACES: Final = (
    "L2.guest", "L1.vmrun", "L2.guest+1", "L2.guest+2", "L1.vmrun+1", "L1.start", "L1.guest+1", "L1.stgi", "vmrun",
    "start", "clgi+1", "vmrun@2", "vmrun@3", "stgi@2", "end@2", "L2.guest@2", "L2.guest@2+1", "L1.vmrun@2", "L1.end",
    "exit@3",
)  # fmt: skip

L1Choice = tuple[str, tuple[str, ...], int, tuple[str, ...], bool]
"""kind, program, rounds, between, asserts."""

_L1: Final[tuple[L1Choice, ...]] = (
    ("program", L1_PROGRAM, 1, (), False),
    ("hypervisor", L1_HYPERVISOR, DEFAULT_L1_ROUNDS, (), True),
    ("hypervisor", L1_HYPERVISOR, 4, (), False),
    *(("program", L1_PROGRAM, 2, between, False) for between in BETWEEN),
    *(("program", program, 2, BETWEEN[0], False) for program in L1_PROGRAMS[1:]),
    ("program", L1_PROGRAM, 3, BETWEEN[1], False),
)


def _settings(name: str, *choices: dict[str, Any], rare: int = 0) -> Slot:
    parsed: list[Settings] = [()] * (1 + rare)
    for choice in choices:
        parsed.append(tuple((field, BY_NAME[field].kind.parse(value)) for field, value in choice.items()))
    return Slot(name, tuple(parsed))


def _setting(name: str, *values: Any) -> Slot:
    return _settings(name, *({name: value} for value in values))


_FIELDS: Final = (
    _setting("vmcb12.eventinj", *INJECTED),
    intercept_slot("intercepts.events", "intr", "nmi", "smi", "init", "vintr", "hlt", "shutdown", "iret"),
    intercept_slot("intercepts.exceptions", "exception:gp", "exception:df", "exception:ss", "exception:np",
                   "exception:db", "exception:ud", "exception:pf"),
    _setting("vmcb12.int_state", 1, 3),
    _setting("vmcb12.v_intr_masking", False),
    _settings("v_irq", *({"vmcb12.v_irq": True, "vmcb12.v_intr_prio": prio, "vmcb12.v_intr_vector": vector}
                         for prio, vector in ((15, 0xF1), (8, 0x81)))),
    _settings("vgif", {"vmcb12.vgif_enable": True, "vmcb12.vgif": True}, {"vmcb12.vgif_enable": True}),
    _settings("vnmi", {"vmcb12.v_nmi_enable": True}, {"vmcb12.v_nmi_enable": True, "vmcb12.v_nmi": True}, rare=3),
    _setting("vmcb12.np_enable", False),
    _setting("l2.if", False),
    _setting("l1.if", False),
    _settings("invalid", {"vmcb12.asid": 0}, {"l2.svme": False}, {"l2.cr0": 0xA001_0033}, {"l1.svme": False}, rare=20),
    _settings("l1.tf", {"l1.tf": True}, rare=4),
    _settings("l2.tf", {"l2.tf": True}, rare=2),
)  # fmt: skip

_L0: Final = (
    Slot("l0.vgif", (True, False)),
    Slot("l0.vnmi", (False, True)),
    Slot("l0.flavour", ("kvm", "kvm", "kvm", "xen")),
)


def _subset(name: str, pages: tuple[str, ...]) -> Slot:
    """Up to eight pages, a bit each."""
    few = pages[:8]
    return Slot(name, tuple(tuple(page for bit, page in enumerate(few) if n >> bit & 1) for n in range(1 << len(few))))


class NestedCodec:
    """Bytes to scenarios of the nested world, and back; the interface is that of ``fuzzing.codec.Codec``."""

    def __init__(self, path: str) -> None:
        self.name: str = "nested"
        self.path: str = path
        gates = tuple(
            Slot(f"idt.0x{v:02x}", (None, *(GateSpec(meets_number(name)) for name in MEETS[1:]))) for v in GATES
        )
        guest = tuple(Slot(f"guest{n}", L2_WORDS) for n in range(L2_SLOTS))
        events = tuple(
            slot
            for n in range(EVENTS)
            for slot in (Slot(f"event{n}.kind", (None, *KINDS)), Slot(f"event{n}.at", tuple(map(parse_place, PLACES))))
        )
        parts: tuple[tuple[Slot, ...], ...] = (
            _FIELDS, gates, (Slot("handlers", L2_HANDLERS),), guest, events, (Slot("l1", _L1),),
            (_subset("npt.l0", PAGES), _subset("npt.l1", L2_PAGES)), _L0,
        )  # fmt: skip
        self.slots: tuple[Slot, ...] = tuple(slot for part in parts for slot in part)
        bounds = [0]
        for part in parts:
            bounds.append(bounds[-1] + len(part))
        (_, self._gates, self._handlers, self._guest, self._events, self._l1, self._npt, self._l0, _) = bounds
        self._counts = tuple(len(slot.choices) for slot in self.slots)
        self._intercepts = [n for n, slot in enumerate(_FIELDS) if slot.name.startswith("intercepts.")]

    @property
    def length(self) -> int:
        """Bytes of a case."""
        return len(self.slots)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Choices of each slot."""
        return self._counts

    def chosen(self, data: bytes) -> list[int]:
        """The index each slot takes."""
        row = data[: len(self._counts)].ljust(len(self._counts), b"\0")
        return [value % count for value, count in zip(row, self._counts, strict=True)]

    def canonical(self, data: bytes) -> bytes:
        """The one spelling of a case: full length, each byte within its slot."""
        return bytes(self.chosen(data))

    def decode(self, data: bytes) -> Scenario:
        """The scenario of a case; total."""
        picks = self.chosen(data)
        values = [slot.choices[pick] for slot, pick in zip(self.slots, picks, strict=True)]
        nested = Nested()
        codes = [EXIT_VMRUN, EXIT_VMMCALL]
        for number in range(self._gates):
            if picks[number] and number in self._intercepts:
                codes += values[number]
            elif picks[number]:
                nested.settings.update(values[number])
        if len(codes) > 2:
            nested.settings["vmcb12.intercepts"] = intercept_vector(codes)
        idt = {GATES[n - self._gates]: values[n] for n in range(self._gates, self._handlers) if picks[n]}
        program = tuple(word for word in values[self._guest : self._events] if word)
        nested.l2 = Program(program or DEFAULT_GUEST, idt, values[self._handlers])
        nested.kind, l1, nested.l1_rounds, nested.l1_between, nested.asserts = values[self._l1]
        nested.l1 = Program(l1)
        nested.npt0, nested.npt1 = values[self._npt], values[self._npt + 1]
        nested.vgif, nested.vnmi, nested.flavour = values[self._l0 :]
        return Scenario(path=self.path, events=self._arrivals(values), nested=nested)

    def _arrivals(self, values: list[Any]) -> tuple[Arrival, ...]:
        found = []
        for number in range(self._events, self._l1, 2):
            kind, at = values[number], values[number + 1]
            if kind is not None:
                found.append(Arrival(kind[0], at, kind[1], kind[2], kind[3]))
        return tuple(found)

    def encode(self, scenario: Scenario) -> bytes:
        """The case that decodes to ``scenario``; raises ``InputError`` where no case does."""
        nested = scenario.nested
        if nested is None:
            raise InputError("no scenario of the nested world", scenario.file)
        picks = [0] * len(self.slots)
        self._encode_fields(picks, dict(nested.settings), scenario)
        for vector, spec in nested.l2.idt.items():
            self._pick(picks, self._gates + GATES.index(vector) if vector in GATES else -1, spec, scenario)
        self._pick(picks, self._handlers, nested.l2.handlers, scenario)
        if nested.l2.program != DEFAULT_GUEST:
            if len(nested.l2.program) > L2_SLOTS:
                raise InputError(f"a case has {L2_SLOTS} instructions of L2", scenario.file)
            for number, text in enumerate(nested.l2.program):
                self._pick(picks, self._guest + number, text, scenario)
        if len(scenario.events) > EVENTS:
            raise InputError(f"a case has {EVENTS} events", scenario.file)
        for number, event in enumerate(scenario.events):
            at = self._events + 2 * number
            self._pick(picks, at, (event.kind, event.vector, event.origin, event.level), scenario)
            self._pick(picks, at + 1, event.at, scenario)
        choice = (nested.kind, nested.l1.program, nested.l1_rounds, nested.l1_between, nested.asserts)
        self._pick(picks, self._l1, choice, scenario)
        for number, pages in ((self._npt, nested.npt0), (self._npt + 1, nested.npt1)):
            self._pick(picks, number, tuple(page for page in PAGES if page in pages), scenario)
        for number, value in enumerate((nested.vgif, nested.vnmi, nested.flavour)):
            self._pick(picks, self._l0 + number, value, scenario)
        data = bytes(picks)
        again = self.decode(data).nested
        assert again is not None
        if (again.settings, again.l2, again.l1) != (nested.settings, nested.l2, nested.l1):
            raise InputError("no case decodes to this scenario", scenario.file)
        return data

    def _encode_fields(self, picks: list[int], left: dict[str, Any], scenario: Scenario) -> None:
        codes = {code for code, on in enumerate(left.pop("vmcb12.intercepts", b"")) if on} - {EXIT_VMRUN, EXIT_VMMCALL}
        for number in range(self._gates):
            choices = self.slots[number].choices
            if number in self._intercepts:
                mine = codes & set(choices[-1])
                picks[number] = next(i for i, choice in enumerate(choices) if set(choice) == mine)
                codes -= mine
                continue
            fitting = [i for i, choice in enumerate(choices) if choice and all(left.get(k) == v for k, v in choice)]
            if fitting:
                picks[number] = max(fitting, key=lambda i: len(choices[i]))
                for name, _ in choices[picks[number]]:
                    del left[name]
        if left or codes:
            raise InputError(f"no case has these settings: {', '.join(left) or sorted(codes)}", scenario.file)

    def _pick(self, picks: list[int], number: int, value: Any, scenario: Scenario) -> None:
        if number < 0 or value not in self.slots[number].choices:
            raise InputError(f"no case has {value!r}", scenario.file)
        picks[number] = self.slots[number].choices.index(value)
