"""Oracles: each reads one finished run and reports findings, or says why it does not apply.

=====================  =============================================================================
``shadow_bleed``       int_state reports a shadow that nothing in the guest or the VMCB explains
``lockdep_if``         lockdep's view and RFLAGS.IF disagree where somebody could notice
``lockdep_order``      the calls around the world switch: one missing, or out of order
``noinstr``            instrumentable calls where there must be none
``nmi_exposure``       where an NMI handler could run; compares two implementations
``irq_exposure``       interrupts that run too early, or can never exit
``lost_event``         events that vanish, or are delivered twice
``end_state``          a path that does not end as it began
``kernel_entry``       entry code, fixups and helpers that break their promises
``architecture``       records that the facts do not allow
``finding``            what they report
``judge``              all of them on a run; findings that a path documents are set apart
=====================  =============================================================================

They judge observable results alone. None looks at the model options, so none knows whether a quirk is modelled.
"""
