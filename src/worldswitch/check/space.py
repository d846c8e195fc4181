"""What a check may choose: the alternatives to every default, and the parts of a check.

A space lists, for each thing that the machine may ask for, what there is besides the default. Of things that behave
alike there is one, the one with the shortest name: an exception of each double-fault class (S6-100), one vector of an
interrupt, one way to fail the consistency checks of VMRUN (S6-08).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from worldswitch.program.instruction import meets_number
from worldswitch.scenario.fields import BY_NAME
from worldswitch.scenario.model import EVENT_KINDS, GateSpec

Settings = Mapping[str, Any]
"""Scenario fields by name, with internal values."""

Fields = Mapping[str, tuple[Settings, ...]]
"""Choices by name: what each alternative sets."""


def _one(name: str, *values: Any) -> dict[str, tuple[Settings, ...]]:
    """A choice of one field; the values in file spelling."""
    return {name: tuple({name: BY_NAME[name].kind.parse(value)} for value in values)}


def _several(name: str, *alternatives: dict[str, Any]) -> dict[str, tuple[Settings, ...]]:
    """A choice of several fields at once, for fields that mean nothing alone."""
    return {name: tuple({key: BY_NAME[key].kind.parse(value) for key, value in each.items()} for each in alternatives)}


PENDING: Final = "cpu.pending"
"""The choice of what is latched from the start; asked for before the first step."""

INJECTED: Final = (
    "bp", "de", "df(0x0)", "gp(0x0)", "intr:0x20", "nmi", "pf(0x0)", "soft:0x80", "ud", "0x80000120", "0x80000302",
)  # fmt: skip
"""An event of each TYPE and double-fault class, one of a reserved TYPE, one that is illegal (S1-41, S6-32, S6-100)."""

FIELDS: Final[Fields] = {
    **_one(PENDING, ["intr:0x20"], ["nmi"], ["smi"], ["init"], ["mce"]),
    **_one("cpu.svme", False),
    **_one("cpu.rax", 0x2123),
    **_one("cpu.tf", True),
    **_one("cpu.tpr", 15),
    **_one("cpu.r_init", True),
    **_one("cpu.mce", False),
    **_one("kernel.kvm_rebooting", True),
    **_one("kernel.context_tracking", False),
    **_one("vmcb.eventinj", *INJECTED),
    **_one("vmcb.int_state", 1),
    **_one("vmcb.v_intr_masking", False),
    **_several("virq", {"vmcb.v_irq": True, "vmcb.v_intr_prio": 1}, {"vmcb.v_irq": True}),
    **_several("vgif", {"vmcb.vgif_enable": True}, {"vmcb.vgif_enable": True, "vmcb.vgif": True}),
    **_several("vnmi", {"vmcb.v_nmi_enable": True}, {"vmcb.v_nmi_enable": True, "vmcb.v_nmi": True},
               {"vmcb.v_nmi_enable": True, "vmcb.v_nmi_mask": True}),
    **_one("vmcb.asid", 0),
    **_one("vmcb.np_enable", False),
    **_one("guest.if", False),
    **_one("guest.tf", True),
    **_one("guest.cpl", 3),
    **_one("guest.rip", "guest+1", "noncanonical"),
    **_one("guest.mode", "protected"),
}  # fmt: skip
"""Every field that may be chosen; not those of the path's entry state, for with another one it promises nothing."""

GATES: Final = (*(GateSpec(meets_number(name)) for name in ("gp", "np", "npf", "pf", "ss", "task-gate")),
                GateSpec(meets_number("ok"), trap=True))  # fmt: skip
"""What delivery through a gate of the guest's IDT may meet, besides a plain interrupt gate."""

BODIES: Final = (("vmmcall",), ("sti",))
"""Handlers of the guest, besides the IRET that is the default. One that does not end in IRET spins."""

WORDS: Final = (
    "nop", "vmmcall", "sti", "cli", "hlt", "mov_ss", "popf", "popf if,tf", "int 0x80", "iret", "load npf", "load gp",
    "ud2", "icebp", "stgi", "clgi", "vmrun", "spin",
)  # fmt: skip
"""Instructions of the guest that differ in what this model makes of them."""

BETWEEN: Final = (
    (),
    ("set vmcb.eventinj=exitintinfo",),
    ("set guest.rip=next",),
    ("set vmcb.eventinj=intr:0x20",),
    ("set vmcb.eventinj=exitintinfo", "set guest.memory=ok"),
)
"""What software may do before a further round."""

HOST_WORDS: Final = (
    "nop", "clgi", "sti", "vmrun", "cli", "stgi", "mov_ss", "vmload", "popf if", "popf", "hlt", "ud2", "popf if,tf",
)  # fmt: skip
"""Instructions of a free host program."""

HOST_PROGRAM: Final = ("clgi", "sti", "vmrun", "cli", "stgi")
"""The free host program from which others differ."""


@dataclass(frozen=True)
class Space:
    """The choices of one exploration, and its bound: ``depth`` choices in one scenario, None for no bound.

    ``nesting`` bounds it otherwise: events arrive only where at most so many handlers of the running world are
    interrupted, since nothing else bounds how deep they nest.
    """

    name: str
    about: str
    depth: int | None = None
    fields: Fields = field(default_factory=dict)
    intercepts: bool = False  # any that the processor looks at
    gates: tuple[GateSpec, ...] = ()
    bodies: tuple[tuple[str, ...], ...] = ()
    words: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    between: tuple[tuple[str, ...], ...] = ()
    rounds: int = 1
    nesting: int | None = None
    host_words: tuple[str, ...] = ()  # for free host programs

    def bounded(self, depth: int | None) -> "Space":
        """The same choices under another bound."""
        return replace(self, depth=depth)


def only(*names: str) -> Fields:
    """The choices of ``FIELDS`` with these names."""
    return {name: FIELDS[name] for name in names}


DEFAULT_DEPTH: Final = 3

EVENTS: Final = Space(
    "events", "INTR, NMI, SMI, INIT and #MC, any number at every boundary, intercepted or not",
    intercepts=True, events=EVENT_KINDS, nesting=1,
)  # fmt: skip
INJECTION: Final = Space(
    "injection", "every injected event, every outcome of every delivery, every intercept; guest shadow and mode",
    fields=only("vmcb.eventinj", "vmcb.int_state", "guest.mode"), intercepts=True, gates=GATES,
)  # fmt: skip
AGAIN: Final = Space(
    "again", "a second round after an injection, begun in every way that software may begin it",
    fields=only("vmcb.eventinj", "vmcb.int_state", "guest.rip"), gates=(GATES[0], GATES[2]), between=BETWEEN, rounds=2,
)  # fmt: skip
VIRTUAL: Final = Space(
    "virtual", "V_IRQ, vGIF, vNMI, V_INTR_MASKING, guest IF and TF, task priority, with INTR and NMI at every boundary",
    fields=only("virq", "vgif", "vnmi", "guest.if", "guest.tf", "vmcb.v_intr_masking", "cpu.tpr", "vmcb.int_state"),
    intercepts=True, events=("intr", "nmi"), nesting=1,
)  # fmt: skip
REBOOTING: Final = Space(
    "rebooting", "kvm_rebooting, SVME cleared, a bad rAX, host TF, with INTR, NMI and SMI at every boundary",
    fields=only("kernel.kvm_rebooting", "cpu.svme", "cpu.rax", "cpu.tf"), events=("intr", "nmi", "smi"), nesting=1,
)  # fmt: skip
EVERYTHING: Final = Space(
    "everything", "all choices together, guest instructions included",
    DEFAULT_DEPTH, FIELDS, True, GATES, BODIES, WORDS, EVENT_KINDS, BETWEEN, 2,
)  # fmt: skip

PARTS: Final = (EVENTS, INJECTION, AGAIN, VIRTUAL, REBOOTING, EVERYTHING)
"""The parts of a check: all but the last have no bound on the number of choices, and close."""

SEQUENCE: Final = Space(
    "sequence", "free host programs: each instruction another one, or one more before it",
    DEFAULT_DEPTH, {**only("vmcb.eventinj", "vmcb.int_state", "cpu.rax"), **_one("cpu.if", False)}, True, GATES[:3],
    words=("vmmcall", "sti", "hlt"), events=("intr", "nmi", "smi"), host_words=HOST_WORDS,
)  # fmt: skip
"""The space of free host programs, against which the fuzzer's target ``sequence`` is measured."""
