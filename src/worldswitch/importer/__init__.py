"""Reads an entry path out of a built object: ``kvm-amd.ko``, ``vmlinux``, ``xen-syms``, ``xen.efi`` or another.

In the order in which an object passes through them:

``container``  a file, or what is compressed in it, within limits
``elf``        ELF, read with pyelftools and linked in memory
``pe``         PE with a COFF symbol table
``image``      what both give: sections at their addresses, and symbols
``tables``     the tables of places that the kernel patches or recovers at
``features``   CPU features by name, and the sets of named processors
``patch``      the code as booting leaves it: alternatives, static keys, paravirt calls (``pv_ops``)
``decode``     one instruction, decoded with capstone
``flow``       the control flow of a function, and which calls lead to VMRUN
``start``      the function that the path begins with, and the calls to go into
``walk``       the straight line from the function called to VMRUN, and back
``consistent`` tests that come out the same way all along a line
``classify``   the line to rows of a path file, with ``words`` for instructions and ``fixups`` for exception tables
``listing``    the path file's text
``probe``      what the oracles say of the path
``importing``  all of that, and which of the choices made matter

The straight line is a choice. Where code branches, ``walk`` says which way it goes and why; every way not taken is
listed, and those that change what the oracles say are walked and judged too.
"""
