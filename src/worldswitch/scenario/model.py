"""The scenario: everything one deterministic execution needs, independent of how it was spelled."""

from dataclasses import dataclass, field
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


@dataclass(slots=True)
class Program:
    """The code of one world: a program, the IDT, the handlers. Texts are canonical."""

    program: tuple[str, ...] = ()
    idt: dict[int, GateSpec] = field(default_factory=dict)
    handlers: dict[int, tuple[str, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class Scenario:
    """One scenario. ``settings`` maps a field's name (``vmcb.eventinj``) to its internal value."""

    file: str = ""
    about: str = ""
    profile: str = "amd"
    options: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    path: str = ""  # name or file of the entry path; "" for a free host program
    host: Program = field(default_factory=Program)
    rounds: int = 1
    between: tuple[str, ...] = ()
    guest: Program = field(default_factory=lambda: Program(DEFAULT_GUEST))
    events: tuple[Arrival, ...] = ()
    expect: "Expectations | None" = None
    nested: "Nested | None" = None  # the levels below, in a scenario of the nested world

    def locate(self, path: str) -> str:
        """An entry path as this scenario names it: the name of a path file is relative to the scenario's own file."""
        return str(Path(self.file).parent / path) if path.endswith(".toml") or "/" in path else path
