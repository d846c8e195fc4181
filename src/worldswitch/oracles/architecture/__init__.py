"""``architecture``: the run is one that the facts allow.

A second reading of the facts follows the records of the run from step to step. At every boundary it knows which events
must be taken, which may be and which must not, and of every instruction, delivery, VMRUN and #VMEXIT what comes of it;
it objects to the first record that differs and follows no further. It shares data types with the processor model and
none of its rules.

Where the facts leave something open (confidence D or U, section 13), it accepts every answer and goes on from what the
run shows. It does not apply to runs whose options make the processor an emulator that is known to be wrong. A shadow
that an exit reports and nothing explains is the business of ``shadow_bleed``; GIF, host IF and EVENTINJ.V after an exit
are that of ``irq_exposure``.

=================================  ====================================================================
``EVENT-not-taken``                an event that had to be recognised at this boundary was not
``EVENT-with-gif-clear`` and so on an event was recognised although something held it
``exit-code``, ``exit-FIELD``      a #VMEXIT for another reason, or with another value in a field
``handler-FIELD``                  a handler entered with something else than delivery gives it
``no-exit``, ``no-handler``        the #VMEXIT or the handler that had to come did not
``unexpected-exit`` and so on      a record of something that had no cause
``final-FIELD``                    the state at the end is another
=================================  ====================================================================

Events are ``intr nmi smi init mce virq vnmi db``. ``reference`` holds the state and compares; ``events`` has the
boundary, ``delivery`` the IDT, ``instructions`` the instructions, ``switch`` VMRUN and #VMEXIT, ``follow`` the loop.
"""

from typing import Final

from worldswitch.core.options import BY_NAME
from worldswitch.machine.run import Run
from worldswitch.oracles.architecture.follow import follow
from worldswitch.oracles.finding import Finding

NAME: Final = "architecture"

DEPARTURES: Final = {
    "bleed_sti_shadow": "qemu-old",  # 10.1
    "sti_with_if_set_creates_shadow": "yes",  # S2-02
    "physical_intr_gate": "bochs",  # S5-22
    "vtpr_reevaluated": "on-if-change",  # S5-23
    "exitintinfo_source": "qemu",  # S6-81
    "exit_writes_int_ctl_byte1": "v_irq-only",  # S10-28
}
"""Model options whose value stands for an emulator that contradicts a certain fact. Every other value is accepted."""

_DEPARTURES: Final = tuple(
    (BY_NAME[name].attribute, BY_NAME[name].values.index(value), f"{name} = {value}")
    for name, value in DEPARTURES.items()
)


def applies(run: Run) -> str:
    """It applies to runs of one level on a processor that is to be AMD's."""
    if run.plan.scenario.nested is not None:
        return "it does not follow the software of a hypervisor"
    options = run.plan.options
    for attribute, value, name in _DEPARTURES:
        if getattr(options, attribute) == value:
            return f"{name} departs from the architecture on purpose"
    return ""


def judge(run: Run) -> list[Finding]:
    """At most one finding: where the run leaves the architecture."""
    objection = follow(run)
    if objection is None:
        return []
    return [
        Finding(
            NAME, objection.cause, objection.place, objection.message, (objection.step,) if objection.step else (),
            objection.rules,
        )
    ]  # fmt: skip
