"""What the outside can observe of a run; every oracle reads these records and nothing else of the processor.

The processor appends to them as it goes. They hold architectural observables only: nothing here tells whether the model
took a quirk into account.
"""

from typing import Final

WORLD_HOST: Final = 0
WORLD_GUEST: Final = 1
WORLD_SMM: Final = 2
WORLDS: Final = ("host", "guest", "smm")

KIND_EXCEPTION: Final = 0
KIND_INTR: Final = 1
KIND_NMI: Final = 2
KIND_SMI: Final = 3
KIND_INIT: Final = 4
KIND_MCE: Final = 5
KIND_VIRQ: Final = 6
KIND_VNMI: Final = 7
KIND_SOFT: Final = 8
KIND_INJECTED: Final = 9
KINDS: Final = ("exception", "intr", "nmi", "smi", "init", "mce", "virq", "vnmi", "soft", "injected")

# Where int_state of an entry came from.
FROM_SCENARIO: Final = 0
FROM_SOFTWARE: Final = 1
FROM_EXIT: Final = 2


class Entry:
    """One VMRUN that loaded a guest, and what the guest did until the exit."""

    __slots__ = (
        "delivered", "eventinj", "hif", "injected_deliveries", "int_state", "int_state_from", "last_op",
        "last_rflags", "number", "retired", "rip", "step", "v_intr_masking",
    )  # fmt: skip

    def __init__(self, number: int, step: int) -> None:
        self.number: int = number  # 1, 2, ...
        self.step: int = step
        self.rip: int = 0
        self.hif: bool = False
        self.v_intr_masking: bool = False
        self.eventinj: int = 0
        self.int_state: int = 0
        self.int_state_from: int = FROM_SCENARIO
        self.retired: int = 0  # guest instructions that completed
        self.delivered: int = 0  # guest handlers entered
        self.injected_deliveries: int = 0  # of those, deliveries of the EVENTINJ event
        self.last_op: int = -1  # the last completed guest instruction since VMRUN and since any delivery ...
        self.last_rflags: int = 0  # ... and RFLAGS before it


class Exit:
    """One #VMEXIT: what it wrote, and the host state it left."""

    __slots__ = (
        "code", "cr2", "entry", "eventinj", "exitinfo1", "exitinfo2", "exitintinfo", "gif", "host_if", "int_state",
        "nrip", "rflags", "rip", "step", "v_irq", "v_nmi", "v_nmi_mask", "v_tpr", "vgif",
    )  # fmt: skip

    def __init__(self, entry: Entry, step: int) -> None:
        self.entry: Entry = entry
        self.step: int = step
        self.code: int = 0
        self.exitinfo1: int = 0
        self.exitinfo2: int = 0
        self.exitintinfo: int = 0
        self.eventinj: int = 0
        self.int_state: int = 0
        self.rip: int = 0
        self.nrip: int = 0
        self.rflags: int = 0
        self.cr2: int = 0
        self.v_tpr: int = 0
        self.v_irq: bool = False
        self.vgif: bool = False
        self.v_nmi: bool = False
        self.v_nmi_mask: bool = False
        self.gif: bool = False  # after the exit
        self.host_if: bool = False  # after the exit


class Handler:
    """One handler entered: an event was delivered. The state is that of the interrupted context."""

    __slots__ = (
        "context", "error_code", "gif", "guest", "kind", "lockdep", "nmi_masked", "rflags", "rip", "shadow", "step",
        "vector", "world",
    )  # fmt: skip

    def __init__(self, step: int, world: int, kind: int, vector: int) -> None:
        self.step: int = step
        self.world: int = world
        self.kind: int = kind
        self.vector: int = vector
        self.error_code: int = -1
        self.guest: bool = False  # the guest was interrupted
        self.rip: int = 0  # the saved RIP
        self.rflags: int = 0
        self.gif: bool = False
        self.shadow: int = 0
        self.nmi_masked: bool = False
        self.lockdep: int = -1  # the kernel's view at that moment; -1 where there is no such kernel
        self.context: int = -1


class Recorder:
    """The records of one run."""

    __slots__ = ("acknowledged", "discarded", "entries", "exits", "handlers", "int_state_from", "superseded")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.exits: list[Exit] = []
        self.handlers: list[Handler] = []
        self.int_state_from: int = FROM_SCENARIO
        # Events that left their latch: (step, KIND_*, vector). An acknowledged event ends in a handler record, in
        # EXITINTINFO, superseded by a fault of its own delivery, or in shutdown (I-06).
        self.acknowledged: list[tuple[int, int, int]] = []
        self.superseded: list[tuple[int, int]] = []  # (step, the event word that a fault of its delivery replaced)
        self.discarded: list[tuple[int, int]] = []  # (step, KIND_*): dropped as the architecture says (S3-13, S3-16)
