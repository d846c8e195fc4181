"""Records of a nested run: exits to L1, events given to L0, and every move of int_state between VMCBs.

The oracles of this package read these and the processor's own records. They hold what happened, and nothing of why.
"""

from typing import Final, NamedTuple

from worldswitch.core.record import Entry, Exit
from worldswitch.core.state import Vmcb

VMCB01: Final = "vmcb01"
VMCB02: Final = "vmcb02"
VMCB12: Final = "vmcb12"
CACHE: Final = "cache"
"""L0's copy of vmcb12's control area, which KVM_GET_NESTED_STATE shows (S9-26)."""


class Control(NamedTuple):
    """What a VMCB said when VMRUN took it, of what an entry record does not have."""

    intercepts: bytes
    asid: int
    v_intr_masking: bool
    v_tpr: int
    v_irq: bool
    v_intr_prio: int
    v_ign_tpr: bool
    v_intr_vector: int
    vgif_enable: bool
    vgif: bool
    v_nmi_enable: bool
    v_nmi: bool
    v_nmi_mask: bool
    rflags: int


def control_of(vmcb: Vmcb) -> Control:
    """The VMCB as it is now."""
    return Control(
        vmcb.intercepts, vmcb.asid, vmcb.v_intr_masking, vmcb.v_tpr, vmcb.v_irq, vmcb.v_intr_prio, vmcb.v_ign_tpr,
        vmcb.v_intr_vector, vmcb.vgif_enable, vmcb.vgif, vmcb.v_nmi_enable, vmcb.v_nmi, vmcb.v_nmi_mask,
        vmcb.save.rflags,
    )  # fmt: skip


class Asked(NamedTuple):
    """L1 executed VMRUN: what its vmcb12 said, and L1's own state."""

    step: int
    control: Control
    eventinj: int
    int_state: int
    rip: int
    l1_rip: int  # of the VMRUN
    l1_rflags: int
    permitted: bool  # EFER.SVME and CR0.PG set, CPL 0, HSAVE there (S9-01)


class Ran(NamedTuple):
    """The entry path was executed with this VMCB: one VMRUN of the processor, and its exit if there was one."""

    step: int
    vmcb: str
    level: int  # of the guest: 1 or 2
    entry: Entry
    exit: Exit | None
    control: Control


class Copied(NamedTuple):
    """L0 copied int_state from one VMCB to another as it was."""

    step: int
    source: str
    target: str
    value: int


class Wrote(NamedTuple):
    """Software gave int_state a value of its own."""

    step: int
    vmcb: str
    value: int
    level: int  # whose software


class Query(NamedTuple):
    """L0 asked whether an event is blocked while int_state said shadow (S8-91, S4-24)."""

    step: int
    vmcb: str
    what: str  # "intr" or "nmi"
    blocked: bool
    without_shadow: bool  # the answer had the bit been 0
    occupied: bool  # an event waits to be injected again (S8-92), or L1's VMRUN has yet to be executed (S9-06)
    halted: bool


class Decided(NamedTuple):
    """The decision before an entry: what is injected, and whether an immediate exit is forced."""

    step: int
    eventinj: int
    forced: bool
    waiting: bool  # an event for L1 is pending
    intr: bool  # ... an interrupt above L1's task priority


class Halted(NamedTuple):
    """HLT was reached with this int_state: an exit 78h before L0 emulates it or L1 sees it (S2-53)."""

    step: int
    vmcb: str
    level: int
    int_state: int


class Gave(NamedTuple):
    """An event came into L0's keeping."""

    step: int
    word: int  # event format; an NMI as vector 2
    origin: str  # "arrival", "merged", "l1" (EVENTINJ of vmcb12), "vectoring" (EXITINTINFO of a native event)


class Took(NamedTuple):
    """An event left L0's keeping other than by delivery in a guest."""

    step: int
    word: int
    how: str  # "reported" (EXITINTINFO of vmcb12), "dropped", "smm", "reset"


class Assertion(NamedTuple):
    """An assertion of L1's own failed (S9-27)."""

    step: int
    number: int  # of the exit to L1, from 1
    text: str


class NestedExit(Exit):
    """One exit to L1: what L0 left in vmcb12. ``gif`` and ``host_if`` are L1's."""

    __slots__ = ("l1_intercepts", "l1_np_enable", "loaded", "number", "synthesised", "vmruns", "waiting")

    def __init__(self, entry: Entry, step: int) -> None:
        super().__init__(entry, step)
        self.number: int = 0  # from 1
        self.vmruns: int = 0  # VMRUNs of L1 so far
        self.synthesised: bool = False  # by L0, not an exit of the processor (S9-14)
        self.loaded: int = 0  # int_state at L1's VMRUN
        self.l1_intercepts: bytes = b""
        self.l1_np_enable: bool = False
        self.waiting: tuple[int, ...] = ()  # exit codes of what is latched for L1, INIT first (S4-44)


Item = Asked | Ran | Copied | Wrote | Query | Decided | Halted | Gave | Took | NestedExit


class Journal:
    """Everything in the order in which it happened."""

    __slots__ = ("assertions", "exits", "items", "notes")

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.exits: list[NestedExit] = []
        self.assertions: list[Assertion] = []
        self.notes: list[tuple[int, str, str]] = []  # (step, function, what it did), for the timeline
