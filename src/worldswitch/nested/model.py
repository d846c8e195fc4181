"""What a scenario says of the three levels, beyond what every scenario says."""

from dataclasses import dataclass, field
from typing import Any, Final

from worldswitch.scenario.model import DEFAULT_GUEST, Program

FLAVOURS: Final = ("kvm", "xen")
KINDS: Final = ("program", "hypervisor")
DEFAULT_ROUNDS: Final = 16
MAX_L0_ROUNDS: Final = 256
DEFAULT_L1_ROUNDS: Final = 2

L1_HYPERVISOR: Final = ("cli", "clgi", "sti", "mov", "vmrun", "cli", "stgi", "sti", "nop")
"""An L1 of kind ``hypervisor`` where the scenario gives no program: STI, MOV, VMRUN as VMware has it (S2-75)."""

L1_PROGRAM: Final = ("clgi", "vmrun", "stgi")

STACK: Final = "stack"
MEMORY: Final = "memory"


@dataclass(slots=True)
class Nested:
    """The tables ``[l0]``, ``[vmcb12]``, ``[l1]``, ``[l2]`` and ``[npt]``.

    ``settings`` maps a field's name (``vmcb12.eventinj``, ``l1.if``) to its internal value. ``npt0`` and ``npt1`` name
    the pages that L0's own tables and L1's nested page table miss: ``idt:0x68``, ``stack``, ``memory``, and with a
    leading ``L1.`` those of L1 itself, which only L0's tables map.
    """

    flavour: str = "kvm"
    rounds: int = DEFAULT_ROUNDS  # executions of the entry path after which the run is cut off
    vgif: bool = True  # the processor has vGIF, L0 uses it for L1 and offers it to L1
    vnmi: bool = False  # likewise vNMI
    nrips: bool = True  # L1 is offered NRIPS
    kind: str = "program"
    l1: Program = field(default_factory=lambda: Program(L1_PROGRAM))
    l1_rounds: int = 1
    l1_between: tuple[str, ...] = ()
    asserts: bool = False  # L1 stops where S9-27 is violated
    hsave: bool = True  # L1 has set VM_HSAVE_PA
    cr3_loadable: bool = True  # L1's CR3 can be loaded at an exit
    l2: Program = field(default_factory=lambda: Program(DEFAULT_GUEST))
    npt0: tuple[str, ...] = ()
    npt1: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
