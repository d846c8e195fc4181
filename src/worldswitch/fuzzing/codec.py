"""Cases of the two targets: bytes to scenarios and back.

``world-switch``  an entry path under random configurations, guest programs and events
``sequence``      random host instructions around VMRUN on one processor

Both share the slots of the VMCB, the guest and the events.
"""

from functools import cached_property
from typing import Any, Final

from worldswitch.core.bits import EXIT_VMMCALL, EXIT_VMRUN
from worldswitch.errors import InputError
from worldswitch.fuzzing.slots import (
    EVENT_KINDS,
    Slot,
    arrival,
    event_slots,
    intercept_slot,
    intercept_vector,
    setting,
    settings,
)
from worldswitch.program.instruction import meets_number
from worldswitch.scenario.model import Arrival, GateSpec, Program, Scenario
from worldswitch.scenario.places import parse_place

GUEST_SLOTS: Final = 6
EVENTS: Final = 3

GUEST_WORDS: Final = (
    "", "nop", "vmmcall", "sti", "cli", "hlt", "mov_ss", "popf if", "popf", "int 0x80", "iret", "load npf", "load pf",
    "load gp", "ud2", "stgi", "clgi", "cpuid", "vmrun", "int3", "icebp", "pushf", "spin", "mov_cr8 15", "mov_cr8 0",
    "popf if,tf", "rep 3", "vmload", "out_smi", "mov_dr", "store_watched", "set guest.memory=ok",
)  # fmt: skip
HOST_WORDS: Final = (
    "", "nop", "clgi", "sti", "vmrun", "cli", "stgi", "mov_ss", "vmload", "vmsave", "popf if", "popf", "hlt", "ud2",
    "int3", "set vmcb.eventinj=exitintinfo", "set guest.memory=ok", "set vmcb.int_state=0", "popf if,tf", "int 0x80",
    "lock_acquire", "lockdep_hardirqs_on", "lockdep_hardirqs_off", "set guest.rip=next", "out_smi",
)  # fmt: skip
HOST_DEFAULT: Final = ("", "clgi", "", "", "sti", "", "vmrun", "", "cli", "", "stgi", "")
"""What the ``sequence`` target's zeros mean, slot by slot."""

INJECTED: Final = (
    "intr:0x68", "nmi", "ss(0x0)", "gp(0x0)", "soft:0x80", "de", "pf(0x2)", "ud", "df(0x0)", "db", "bp", "of", "br",
    "0x80000302", "0x80000120", "0x80000720", "intr:0x20", "0x8000fb0d", "0x80000310", "0x80000309", "0x80000255",
)  # fmt: skip
MEETS: Final = ("ok", "npf", "gp", "pf", "np", "ss", "task-gate")
GATES: Final = (0x68, 0x80, 0x20, 0x02, 0x08, 0x0C, 0x0D, 0x0E, 0x06, 0x01, 0x00, 0x03)
"""IDT entries whose behaviour a case may choose."""

HANDLERS: Final[tuple[dict[int, tuple[str, ...]], ...]] = (
    {},
    {0x68: ("vmmcall", "iret")},
    {0x68: ("sti", "nop", "iret")},
    {0x20: ("vmmcall", "iret")},
    {0x02: ("nop", "vmmcall", "iret")},
    {0x0C: ("vmmcall",), 0x0D: ("vmmcall",), 0x08: ("vmmcall",)},
    {0x0E: ("set guest.memory=ok", "iret")},
    {0x80: ("mov_ss", "vmmcall")},
    {0x68: ("sti", "vmmcall")},
    {0x06: ("set frame.rip=next", "iret"), 0x0D: ("set frame.rip=next", "iret")},
)
BETWEEN: Final = (
    ("set vmcb.eventinj=exitintinfo", "set guest.memory=ok"),
    ("set vmcb.eventinj=exitintinfo",),
    ("set guest.rip=next", "set vmcb.int_state=0"),
    ("set vmcb.eventinj=intr:0x68", "set guest.rip=next"),
    ("set vmcb.eventinj=nmi", "set guest.memory=ok"),
    ("set guest.rip=next",),
)
PLACES: Final = (
    "guest", "vmrun", "guest+1", "guest+2", "sti+1", "enter", "clgi+1", "clgi", "vmexit", "cli", "cli+1", "exit",
    "stgi", "stgi+1", "start", "end", "vmrun-1", "guest+3", "guest+4", "guest+6", "sti", "exit-1", "enter+6", "guest@2",
    "vmrun@2", "guest@2+1", "handler:0x02", "handler:0x02+2", "handler:0x06+2", "start+1", "start+2", "start+3",
)  # fmt: skip

TOGETHER: Final = (
    (("intr", "guest"), ("intr:0xf1", "guest")),
    (("nmi", "guest"), ("intr", "guest")),
    (("smi", "guest"), ("nmi", "guest")),
    (("nmi", "guest"), ("nmi", "guest+2")),
    (("nmi", "cli"), ("mce", "handler:0x02+2"), ("nmi", "handler:0x02+2")),
    (("intr", "sti+1"), ("nmi", "sti+1")),
)
"""Events that arrive together or one in the handler of another: which one comes first, and what an inner IRET does."""

_VMCB: Final = (
    setting("vmcb.eventinj", *INJECTED),
    intercept_slot("intercepts.events", "intr", "nmi", "smi", "init", "vintr", "hlt", "shutdown", "iret"),
    intercept_slot("intercepts.exceptions", "exception:gp", "exception:df", "exception:pf", "exception:ss",
                   "exception:np", "exception:db", "exception:ud", "exception:mc"),
    intercept_slot("intercepts.instructions", "swint", "icebp", "pushf", "popf", "stgi", "clgi", "task_switch",
                   "cpuid"),
    setting("vmcb.int_state", 1),
    setting("vmcb.v_intr_masking", False),
    settings("v_irq", *({"vmcb.v_irq": True, "vmcb.v_intr_prio": prio, "vmcb.v_intr_vector": vector}
                        for prio, vector in ((15, 0xF1), (8, 0x81), (0, 0x20)))),
    setting("vmcb.v_ign_tpr", True),
    setting("vmcb.v_tpr", 10, 15, 8, 0x80),
    settings("vgif", {"vmcb.vgif_enable": True, "vmcb.vgif": True}, {"vmcb.vgif_enable": True}),
    settings("vnmi", {"vmcb.v_nmi_enable": True}, {"vmcb.v_nmi_enable": True, "vmcb.v_nmi": True},
             {"vmcb.v_nmi_enable": True, "vmcb.v_nmi": True, "vmcb.v_nmi_mask": True},
             {"vmcb.v_nmi_enable": True, "vmcb.v_nmi_mask": True},
             {"vmcb.v_nmi_enable": True, "vmcb.v_nmi": True, "vmcb.vgif_enable": True}, rare=2),
    setting("vmcb.np_enable", False),
    setting("guest.if", False),
    setting("guest.tf", True),
    setting("guest.cpl", 3),
    setting("guest.mode", "compat", "protected"),
    setting("guest.rip", "noncanonical", "guest+1", "guest+2"),
    settings("invalid", {"vmcb.asid": 0}, {"guest.svme": False}, {"guest.cr0": 0xA001_0033},
             {"guest.dr7": 0x1_0000_0400},
             {"vmcb.sev_es": True}, {"guest.cr4": 0}, {"vmcb.msrpm_base_pa": 0xFFFF_FFFF_F000}, rare=24),
    setting("cpu.tpr", 2, 15),
    setting("cpu.r_init", True),
    setting("vmcb.nrip", "guest+1", "guest+2"),
)  # fmt: skip

_HOST: Final = (
    settings("rebooting", {"kernel.kvm_rebooting": True, "cpu.svme": False}, {"kernel.kvm_rebooting": True},
             {"cpu.svme": False}, rare=9),
    setting("kernel.context_tracking", False),
    settings("cpu.rax", {"cpu.rax": 0x2123}, {"cpu.rax": 1 << 48}, rare=13),
    settings("cpu.tf", {"cpu.tf": True}, rare=6),
    setting("cpu.pending", ["intr:0x20"], ["nmi"], ["intr:0x20", "nmi"], ["smi"], ["init"]),
)  # fmt: skip

_SEQUENCE: Final = (
    setting("cpu.if", False),
    setting("cpu.gif", False),
    settings("cpu.rax", {"cpu.rax": 0x2123}, rare=6),
    setting("cpu.pending", ["intr:0x20"], ["nmi"], ["intr:0x20", "nmi"], ["smi"]),
    settings("cpu.cpl", {"cpu.cpl": 3}, {"cpu.cpl": 3, "cpu.svme": False}, {"cpu.svme": False}, rare=9),
    settings("cpu.tf", {"cpu.tf": True}, rare=4),
)

_ROUNDS: Final = Slot("rounds", ((1, ()), *((2, between) for between in BETWEEN), (3, BETWEEN[1])))


def _arrivals(pairs: tuple[tuple[str, str], ...]) -> tuple[Arrival, ...]:
    found = []
    for name, place in pairs:
        kind, _, vector = name.partition(":")
        found.append(Arrival(kind, parse_place(place), int(vector or "0x20", 0)))
    return tuple(found)


_TOGETHER: Final = Slot("together", ((), *map(_arrivals, TOGETHER)))


def _specs(vector: int) -> Slot:
    choices = [None, *(GateSpec(meets_number(name)) for name in MEETS[1:]), GateSpec(meets_number("ok"), True),
               GateSpec(meets_number("ok"), False, 3)]  # fmt: skip
    return Slot(f"idt.0x{vector:02x}", tuple(choices))


def _host_slot(number: int, default: str) -> Slot:
    return Slot(f"host{number}", (default, *(word for word in HOST_WORDS if word != default)))


class Codec:
    """Bytes to scenarios of one target, and back."""

    def __init__(self, name: str, path: str) -> None:
        self.name: str = name
        self.path: str = path  # the scenarios' own entry path; "" for free host programs
        self.fields: tuple[Slot, ...] = (*_VMCB, *(_HOST if path else _SEQUENCE))
        gates = tuple(_specs(vector) for vector in GATES)
        guest = tuple(Slot(f"guest{n}", GUEST_WORDS) for n in range(GUEST_SLOTS))
        host = () if path else tuple(_host_slot(n, word) for n, word in enumerate(HOST_DEFAULT))
        events = tuple(slot for n in range(EVENTS) for slot in event_slots(n, EVENT_KINDS, PLACES))
        handlers = Slot("handlers", HANDLERS)
        self.slots: tuple[Slot, ...] = (*self.fields, *gates, handlers, *guest, *host, *events, _ROUNDS, _TOGETHER)
        self._gates = len(self.fields)
        self._handlers = self._gates + len(gates)
        self._guest = self._handlers + 1
        self._host = self._guest + len(guest)
        self._events = self._host + len(host)
        self._rounds = self._events + len(events)
        self._together = self._rounds + 1
        self._counts: tuple[int, ...] = tuple(len(slot.choices) for slot in self.slots)
        # What every pair of picks of an event's two slots means: the same of all events.
        kinds, places = self.slots[self._events].choices[1:], self.slots[self._events + 1].choices
        self._arrivals = tuple(tuple(arrival(kind, place) for place in places) for kind in kinds)
        self._intercepts = [slot.name.startswith("intercepts.") for slot in self.fields]

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
        slots = self.slots
        values: dict[str, Any] = {}
        codes: list[int] = [EXIT_VMRUN, EXIT_VMMCALL]
        for number in range(self._gates):
            pick = picks[number]
            if pick == 0:
                continue
            choice = slots[number].choices[pick]
            if self._intercepts[number]:
                codes += choice
            else:
                values.update(choice)
        if len(codes) > 2:
            values["vmcb.intercepts"] = intercept_vector(codes)
        idt = {
            GATES[number - self._gates]: slots[number].choices[picks[number]]
            for number in range(self._gates, self._handlers)
            if picks[number]
        }
        guest = tuple([GUEST_WORDS[pick] for pick in picks[self._guest : self._host] if pick])
        host = [slots[number].choices[picks[number]] for number in range(self._host, self._events)]
        events = tuple(
            [
                self._arrivals[picks[number] - 1][picks[number + 1]]
                for number in range(self._events, self._rounds, 2)
                if picks[number]
            ]
        )
        events += slots[self._together].choices[picks[self._together]]
        rounds, between = slots[self._rounds].choices[picks[self._rounds]]
        scenario = Scenario(path=self.path, settings=values, events=events, rounds=rounds, between=between)
        scenario.guest = Program(guest or scenario.guest.program, idt, HANDLERS[picks[self._handlers]])
        for name in ("guest.rip", "vmcb.nrip"):
            if values.get(name, 0) > len(scenario.guest.program):
                del values[name]
        if not self.path:
            scenario.host = Program(tuple(word for word in host if word))
        return scenario

    def encode(self, scenario: Scenario) -> bytes:
        """The case that decodes to ``scenario``; raises ``InputError`` where no case does."""
        picks = [0] * len(self.slots)
        left = dict(scenario.settings)
        codes = {code for code, on in enumerate(left.pop("vmcb.intercepts", b"")) if on} - {EXIT_VMRUN, EXIT_VMMCALL}
        for number in range(self._gates):
            choices = self.slots[number].choices
            if self._intercepts[number]:
                mine = codes & set(choices[-1])
                picks[number] = next(i for i, choice in enumerate(choices) if set(choice) == mine)
                codes -= mine
                continue
            fitting = [i for i, choice in enumerate(choices) if i and all(left.get(k) == v for k, v in choice)]
            if fitting:
                picks[number] = max(fitting, key=lambda i: len(choices[i]))
                for name, _ in choices[picks[number]]:
                    del left[name]
        if left or codes:
            raise InputError(f"no case has these settings: {', '.join(left) or sorted(codes)}", scenario.file)
        for vector, spec in scenario.guest.idt.items():
            self._pick(picks, self._gates + GATES.index(vector) if vector in GATES else -1, spec, scenario)
        self._pick(picks, self._handlers, scenario.guest.handlers, scenario)
        self._fill(picks, self._guest, self._host, scenario.guest.program, scenario)
        if not self.path:
            self._fill_host(picks, scenario)
        for number, event in enumerate(scenario.events):
            at = self._events + 2 * number
            if at >= self._rounds:
                raise InputError("more events than a case has", scenario.file)
            self._pick(picks, at, (event.kind, event.vector, event.origin), scenario)
            self._pick(picks, at + 1, event.at, scenario)
        self._pick(picks, self._rounds, (scenario.rounds, scenario.between), scenario)
        data = bytes(picks)
        again = self.decode(data)
        again.file, again.about, again.expect = scenario.file, scenario.about, scenario.expect
        if again.settings != scenario.settings or again.guest != scenario.guest:
            raise InputError("no case decodes to this scenario", scenario.file)
        return data

    def _pick(self, picks: list[int], number: int, value: Any, scenario: Scenario) -> None:
        if number < 0 or value not in self.slots[number].choices:
            raise InputError(f"no case has {value!r}", scenario.file)
        picks[number] = self.slots[number].choices.index(value)

    def _fill_host(self, picks: list[int], scenario: Scenario) -> None:
        """Host words into their slots: in place where the default fits, else the next slot; the rest stay empty."""
        words = list(scenario.host.program)
        for number in range(self._host, self._events):
            default = self.slots[number].choices[0]
            left = self._events - number
            take = words and (words[0] == default or len(words) >= left or (default and default not in words))
            self._pick(picks, number, words.pop(0) if take else "", scenario)
        if words:
            raise InputError("more host instructions than a case has", scenario.file)

    def _fill(self, picks: list[int], first: int, last: int, program: tuple[str, ...], scenario: Scenario) -> None:
        if len(program) > last - first:
            raise InputError(f"a program of {len(program)} instructions; a case has {last - first}", scenario.file)
        for number, text in enumerate(program):
            self._pick(picks, first + number, text, scenario)
