"""Oracles of the nested world: each reads a finished run and says which level sees what is wrong.

====================  ==========================================================================================
``provenance``        follows bit 0 of int_state from VMCB to VMCB: shared by the others
``shadow_bleed``      a shadow that nothing explains, seen by L0, by L1 in vmcb12, or by a guest that runs under it
``l1_sanity``         a vmcb12 that no processor would write
``stuck_event``       an event that is neither delivered, nor pending, nor in a queue
``double_injection``  an event delivered or reported more often than it came
``benign_claim``      the consequences that Linux commit be45bc4eff33 names, claim by claim
``vmcb_transfer``     what L0 carries between vmcb12, vmcb02 and its queues
``ledger``            the accounts behind ``stuck_event`` and ``double_injection``
``judge``             all of them, and those of a single level on L0's path
====================  ==========================================================================================
"""
