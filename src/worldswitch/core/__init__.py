"""The processor model: one logical AMD64 processor with SVM.

Written as an executable specification: a rule of the manual stands in one place, with its id
(``S2-70``) beside it. Where to look:

=====================  ==========================================================
``bits``               architectural numbers: RFLAGS, exit codes, event words (S1-xx)
``isa``                the instruction vocabulary
``options``            one switch per disputed behaviour, and the profiles
``state``              registers, VMCB, worlds, the processor
``shadow``             the interrupt shadow (section 2)
``boundary``           what is recognised between two instructions (sections 3-5)
``delivery``           IDT delivery, faults during it, double faults (6.5-6.7)
``vmrun``              VMRUN, its checks, event injection (6.1-6.3)
``vmexit``             #VMEXIT and what it writes (6.4)
``execute``            what each instruction does (sections 2, 6.8, 7)
``debug``              single-step, breakpoints, general detect
``record``             what the outside can observe of a run
=====================  ==========================================================

No clock, no randomness, no global state: the same start gives the same run.
"""

from importlib.util import find_spec


def compiled() -> bool:
    """Whether the compiled core runs, and not the Python sources: the results are the same."""
    spec = find_spec("worldswitch.core.execute")
    return spec is not None and not (spec.origin or "").endswith(".py")
