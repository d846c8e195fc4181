"""The kernel's side of the world switch: what Linux believes about interrupts while the processor switches worlds.

``lockdep``  the predicates of kernel/locking/lockdep.c (S8-60..67)
``entry``    exception, interrupt and NMI entry code, exception-table fixups (S8-74..80, S7-08)
``calls``    the calls an entry path makes, by name, and what each expands to (section 8)
``state``    what all of them read and write
"""
