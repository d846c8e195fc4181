"""The scenario: everything one deterministic execution needs, independent of how it was spelled."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from worldswitch.scenario.places import Place

if TYPE_CHECKING:
    from worldswitch.nested.model import Nested
    from worldswitch.scenario.expect import Expectations

FORMAT: Final = 1
DEFAULT_GUEST: Final = ("nop", "vmmcall")
DEFAULT_INTR_VECTOR: Final = 0x20
MAX_PROGRAM: Final = 256
MAX_EVENTS: Final = 64

EVENT_KINDS: Final = ("intr", "nmi", "smi", "init", "mce")
ORIGINS: Final = ("external", "internal")


class Arrival(NamedTuple):
    """One asynchronous event and where it arrives. ``vector`` is of INTR alone; ``origin`` of SMI alone (S3-13).

    ``level`` is 1 for an event that L0 has for L1's virtual CPU, 0 for one that reaches the processor.
    """

    kind: str
    at: Place
    vector: int = DEFAULT_INTR_VECTOR
    origin: str = "external"
    level: int = 0


class GateSpec(NamedTuple):
    """What delivery through one IDT entry meets: a GATE_* number or an exception's vector, the gate's type and DPL."""

    outcome: int
    trap: bool = False
    dpl: int = 0


# The initialisers of both are spelled out: mypyc compiles none that a decorator makes, and each case needs four.


@dataclass(slots=True, init=False)
class Program:
    """The code of one world: a program, the IDT, the handlers. Texts are canonical."""

    program: tuple[str, ...]
    idt: dict[int, GateSpec]
    handlers: dict[int, tuple[str, ...]]

    def __init__(
        self,
        program: tuple[str, ...] = (),
        idt: dict[int, GateSpec] | None = None,
        handlers: dict[int, tuple[str, ...]] | None = None,
    ) -> None:
        self.program = program
        self.idt = {} if idt is None else idt
        self.handlers = {} if handlers is None else handlers


@dataclass(slots=True, init=False)
class Scenario:
    """One scenario. ``settings`` maps a field's name (``vmcb.eventinj``) to its internal value."""

    file: str
    about: str
    profile: str
    options: dict[str, str]
    settings: dict[str, Any]
    path: str  # name or file of the entry path; "" for a free host program
    host: Program
    rounds: int
    between: tuple[str, ...]
    guest: Program
    events: tuple[Arrival, ...]
    expect: "Expectations | None"
    nested: "Nested | None"  # the levels below, in a scenario of the nested world

    def __init__(
        self,
        file: str = "",
        about: str = "",
        profile: str = "amd",
        options: dict[str, str] | None = None,
        settings: dict[str, Any] | None = None,
        path: str = "",
        host: Program | None = None,
        rounds: int = 1,
        between: tuple[str, ...] = (),
        guest: Program | None = None,
        events: tuple[Arrival, ...] = (),
        expect: "Expectations | None" = None,
        nested: "Nested | None" = None,
    ) -> None:
        self.file = file
        self.about = about
        self.profile = profile
        self.options = {} if options is None else options
        self.settings = {} if settings is None else settings
        self.path = path
        self.host = Program() if host is None else host
        self.rounds = rounds
        self.between = between
        self.guest = Program(DEFAULT_GUEST) if guest is None else guest
        self.events = events
        self.expect = expect
        self.nested = nested

    def locate(self, path: str) -> str:
        """An entry path as this scenario names it: the name of a path file is relative to the scenario's own file."""
        return str(Path(self.file).parent / path) if path.endswith(".toml") or "/" in path else path
