"""The nested world: a hypervisor L0 runs a hypervisor L1, which runs a guest L2, and what each of them sees.

Underneath is the one processor of ``core``, executing L0's entry path (``machine``) with vmcb01 or vmcb02 as its VMCB.
What L0's C code does between two executions of the path is the rest of this package, written as an executable
specification of KVM and named as KVM names it:

=============  ==================================================================================
``model``      what a scenario says of L0, L1 and L2; ``fields``, ``read``, ``write``, ``schema``: the file
``vcpu``       what L0 remembers of a vCPU
``queues``     injected events: completed, re-queued, injected again (S8-90, S9-12, S9-22)
``blocked``    what holds an event back: svm_interrupt_blocked, svm_nmi_blocked (S8-91, S4-24)
``windows``    interrupt and NMI windows (S4-20, S4-21, S5-17)
``gif``        L1's global interrupt flag, and where it is kept (S9-07, S9-08)
``events``     which event is injected or reflected before an entry (S4-44, S9-13)
``vmcb02``     vmcb02 from vmcb12 and vmcb01, and the cached control area (S9-03 to S9-05, S9-10)
``vmrun``      VMRUN by L1 (S9-01, S9-02, S9-06)
``reflect``    which exits L1 gets (S9-11, S9-14), and what vmcb12 holds then (S9-20 to S9-23)
``exits``      the exits that L0 handles itself; ``skip``: stepping over an instruction
``memory``     the two sets of nested page tables: whose misses what
``kvm``        one round of KVM; ``xen``: where Xen differs (S9-30, S9-31)
``l1``         what L1 does: any program, or a hypervisor with assertions of its own (S9-27)
``machine``    the processor's run loop with arrivals at places of every level
``run``        rounds of entry and exit, to the end
``record``     what can be observed, and what L0 did with int_state
=============  ==================================================================================

Deterministic: no clock, no randomness; the same scenario gives the same run.
"""
