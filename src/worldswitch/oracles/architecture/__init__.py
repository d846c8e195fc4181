"""``architecture``: the run is one that the facts allow.

A second reading of the facts follows the records of the run from step to step. At every boundary it knows which events
must be taken, which may be and which must not, and of every instruction, delivery, VMRUN and #VMEXIT what comes of it;
it objects to the first record that differs and follows no further. It shares data types with the processor model and
none of its rules.

Where the facts leave something open (confidence D or U, section 13), it accepts every answer and goes on from what the
run shows. It knows no model options. A shadow that an exit reports and nothing explains is the business of
``shadow_bleed``; GIF, host IF and EVENTINJ.V after an exit are that of ``irq_exposure``.

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

from worldswitch.machine.run import Run
from worldswitch.oracles.architecture.follow import follow
from worldswitch.oracles.finding import Finding

NAME: Final = "architecture"


def applies(run: Run) -> str:
    """It applies to every run of one level."""
    return "" if run.plan.scenario.nested is None else "it does not follow the software of a hypervisor"


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
