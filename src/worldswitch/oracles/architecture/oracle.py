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
boundary, ``delivery`` the IDT, ``instructions`` the instructions, ``switch`` VMRUN and #VMEXIT, ``follow`` the
loop, ``oracle`` the verdict.
"""

from typing import Final

from worldswitch.core.options import BLEED_QEMU_OLD, SOURCE_QEMU, Options
from worldswitch.machine.run import Run
from worldswitch.oracles.architecture.follow import follow
from worldswitch.oracles.finding import Finding

NAME: Final = "architecture"


def applies(run: Run) -> str:
    """It applies to runs of one level on a processor that is to be AMD's."""
    if run.plan.scenario.nested is not None:
        return "it does not follow the software of a hypervisor"
    name = departure(run.plan.options)
    return f"{name} departs from the architecture on purpose" if name else ""


def departure(options: Options) -> str:
    """An option that stands for an emulator which contradicts a certain fact; empty where there is none."""
    if options.bleed_sti_shadow == BLEED_QEMU_OLD:  # 10.1
        return "bleed_sti_shadow = qemu-old"
    if options.sti_with_if_set_creates_shadow:  # S2-02
        return "sti_with_if_set_creates_shadow = yes"
    if options.physical_intr_gate_bochs:  # S5-22
        return "physical_intr_gate = bochs"
    if options.vtpr_reevaluated_on_if_change:  # S5-23
        return "vtpr_reevaluated = on-if-change"
    if options.exitintinfo_source == SOURCE_QEMU:  # S6-81
        return "exitintinfo_source = qemu"
    return "exit_writes_int_ctl_byte1 = v_irq-only" if options.exit_writes_v_irq_only else ""  # S10-28


def judge(run: Run) -> list[Finding]:
    """At most one finding: where the run leaves the architecture."""
    objection = follow(run)
    if objection is None:
        return []
    steps = (objection.step,) if objection.step else ()
    return [Finding(NAME, objection.cause, objection.place, objection.message, steps, objection.rules)]
