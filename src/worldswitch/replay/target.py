"""The implementations that scenarios are replayed on, and what each can raise and report."""

from typing import Final, NamedTuple


class Target(NamedTuple):
    """One implementation of SVM as the image finds it."""

    name: str
    profile: str  # the model's profile of it
    package: str  # Debian's package
    vgif: bool
    vnmi: bool
    skinit: bool
    smi: bool  # an SMI can be raised, and the firmware's handler returns
    init: bool
    nrip: bool
    asids: int
    icebp: bool = True
    checks_cr3: bool = True  # reserved bits of the guest's CR3 are VMEXIT_INVALID (S10-70)
    virq_state_survives: bool = False  # whether V_IRQ is recognised depends on earlier guests (S10-69)
    stops_at_shutdown: bool = False  # a shutdown, also an intercepted one, stops the emulator
    noted_event_survives: bool = False  # EXITINTINFO may be an event that an earlier guest noted (S10-64)
    invalid_eventinj_is_stale: bool = False  # EVENTINJ of VMEXIT_INVALID is that of an earlier guest (S10-67)
    aborts_on_cr8: bool = False  # its process aborts where a guest with V_IRQ pending writes CR8 (S10-58)
    spurious_interrupts: bool = False  # a task priority raised over a pending INTR gives a spurious one (S10-71)


HARDWARE: Final = "hardware"
"""An AMD processor that boots the exported image; what not every one of them has is left alone."""

TARGETS: Final = {
    "qemu": Target("qemu", "qemu-7.2", "qemu-system-x86", vgif=True, vnmi=False, skinit=False, smi=True, init=False,
                   nrip=False, asids=16, icebp=False, aborts_on_cr8=True),
    "bochs": Target("bochs", "bochs-2.7", "bochs", vgif=False, vnmi=False, skinit=False, smi=False, init=False,
                    nrip=True, asids=64, stops_at_shutdown=True, checks_cr3=False, virq_state_survives=True,
                    noted_event_survives=True, invalid_eventinj_is_stale=True, spurious_interrupts=True),
    "kvm": Target("kvm", "kvm", "qemu-system-x86", vgif=True, vnmi=True, skinit=False, smi=False, init=False, nrip=True,
                  asids=8),
    HARDWARE: Target(HARDWARE, "amd", "", vgif=False, vnmi=False, skinit=False, smi=False, init=False, nrip=True,
                     asids=8, spurious_interrupts=True),
}  # fmt: skip
"""By the name that commands use."""
