"""The instruction vocabulary of programs: mnemonics, their operation and encoded length.

Three families share one numbering. Operations below ``FIRST_KERNEL_OP`` are instructions of the processor, executed by
``core.execute``. Those from ``FIRST_KERNEL_OP`` on are kernel calls (``kernel.calls``), which the processor sees as
some instruction or other that ends a shadow and is followed by a boundary. ``OP_SET`` is what software does to memory
or registers; it too stands for an instruction.
"""

from typing import Final, NamedTuple

from worldswitch.core.bits import EXIT_CR_WRITE, EXIT_INVLPGA, EXIT_IOIO, EXIT_MSR

OP_PLAIN: Final = 0  # any instruction without a role here: MOV, POP, VERW, ...
OP_INTERCEPTABLE: Final = 1  # plain, but an intercept (arg = exit code) may stop it
OP_STI: Final = 2
OP_CLI: Final = 3
OP_MOV_SS: Final = 4
OP_LSS: Final = 5
OP_HLT: Final = 6
OP_PUSHF: Final = 7
OP_POPF: Final = 8  # arg = the RFLAGS image
OP_IRET: Final = 9
OP_INT: Final = 10  # arg = vector
OP_INT3: Final = 11
OP_INTO: Final = 12
OP_ICEBP: Final = 13
OP_UD2: Final = 14
OP_ACCESS: Final = 15  # a memory access; arg = what it meets (a GATE_* number)
OP_STORE_WATCHED: Final = 16  # a store that the data breakpoint DR1 watches
OP_MOV_SS_WATCHED: Final = 17
OP_MOV_DR: Final = 18
OP_MOV_CR8: Final = 19  # arg = the new task priority, 0-15
OP_REP: Final = 20  # arg = iterations
OP_SPIN: Final = 21  # JMP to itself
OP_OUT_SMI: Final = 22  # I/O that the chipset answers with an internal SMI
OP_NONCANONICAL: Final = 23  # a fetch from a non-canonical RIP
OP_END: Final = 24  # where a host program returns to its caller
OP_RSM: Final = 26  # outside system management mode, where it belongs
OP_SET: Final = 25  # arg = index into Code.assignments
OP_VMRUN: Final = 30
OP_VMLOAD: Final = 31
OP_VMSAVE: Final = 32
OP_STGI: Final = 33
OP_CLGI: Final = 34
OP_VMMCALL: Final = 35
OP_SKINIT: Final = 36
OP_INVLPGA: Final = 37
FIRST_KERNEL_OP: Final = 64

# What a memory access, or delivery through a gate, meets. Below 32: the exception raised.
GATE_OK: Final = 0x100
GATE_NPF: Final = 0x101
GATE_TASK: Final = 0x102


class Mnemonic(NamedTuple):
    """One word of the vocabulary."""

    op: int
    length: int  # encoded length in bytes, a usual form
    operand: str = ""  # "", "vector", "flags", "access", "tpr", "count", "text"
    arg: int = 0
    about: str = ""


def _plain(*names: str, length: int = 3) -> dict[str, Mnemonic]:
    return {name: Mnemonic(OP_PLAIN, length, "text", about="no role in sequencing") for name in names}


def _interceptable(**codes: tuple[int, int]) -> dict[str, Mnemonic]:
    return {
        name: Mnemonic(OP_INTERCEPTABLE, length, "text", code, f"plain, unless its intercept ({code:#x}) is set")
        for name, (code, length) in codes.items()
    }


VOCABULARY: Final[dict[str, Mnemonic]] = {
    "nop": Mnemonic(OP_PLAIN, 1, about="one boundary"),
    "sti": Mnemonic(OP_STI, 1, about="IF:=1; shadow if IF was 0 (S2-01)"),
    "cli": Mnemonic(OP_CLI, 1, about="IF:=0 (S2-09)"),
    "mov_ss": Mnemonic(OP_MOV_SS, 2, about="shadow whatever IF is (S2-03)"),
    "pop_ss": Mnemonic(OP_MOV_SS, 1, about="as mov_ss (S2-03); not encodable in 64-bit mode"),
    "mov_ss_watched": Mnemonic(OP_MOV_SS_WATCHED, 2, about="mov_ss whose source the data breakpoint watches (S2-39)"),
    "lss": Mnemonic(OP_LSS, 4, about="loads SS without a shadow (S2-04)"),
    "hlt": Mnemonic(OP_HLT, 1, about="halts until an event"),
    "pushf": Mnemonic(OP_PUSHF, 1),
    "popf": Mnemonic(OP_POPF, 1, "flags", about="RFLAGS := the flags named, e.g. popf if,tf (S2-05)"),
    "iret": Mnemonic(OP_IRET, 2, about="returns from the innermost handler; with none, to the next instruction"),
    "int": Mnemonic(OP_INT, 2, "vector", about="software interrupt, TYPE 4"),
    "int3": Mnemonic(OP_INT3, 1, about="#BP, TYPE 3 (S1-42)"),
    "into": Mnemonic(OP_INTO, 1, about="#OF, TYPE 3 (S1-42)"),
    "icebp": Mnemonic(OP_ICEBP, 1, about="#DB, TYPE 3 (S1-42)"),
    "ud2": Mnemonic(OP_UD2, 2, about="#UD"),
    "load": Mnemonic(OP_ACCESS, 4, "access", about="a memory access meeting ok, gp, ss, pf, ac, npf, ..."),
    "store": Mnemonic(OP_ACCESS, 4, "access", about="as load"),
    "store_watched": Mnemonic(OP_STORE_WATCHED, 4, about="a store that data breakpoint 1 watches"),
    "mov_dr": Mnemonic(OP_MOV_DR, 3, about="MOV to DR7; DR7.GD faults it (S2-38)"),
    "mov_cr8": Mnemonic(OP_MOV_CR8, 4, "tpr", about="task priority := operand (S5-01, S5-02)"),
    "rep": Mnemonic(OP_REP, 2, "count", about="REP string instruction of that many iterations (S2-24)"),
    "spin": Mnemonic(OP_SPIN, 2, about="jump to itself"),
    "rsm": Mnemonic(OP_RSM, 2, about="its intercept, else #UD: the model has no SMM (S6-110)"),
    "out_smi": Mnemonic(OP_OUT_SMI, 1, about="I/O that raises an internal SMI (S3-13)"),
    "vmrun": Mnemonic(OP_VMRUN, 3),
    "vmload": Mnemonic(OP_VMLOAD, 3, "text"),
    "vmsave": Mnemonic(OP_VMSAVE, 3, "text"),
    "stgi": Mnemonic(OP_STGI, 3),
    "clgi": Mnemonic(OP_CLGI, 3),
    "vmmcall": Mnemonic(OP_VMMCALL, 3),
    "skinit": Mnemonic(OP_SKINIT, 3),
    "invlpga": Mnemonic(OP_INVLPGA, 3, arg=EXIT_INVLPGA),
    **_interceptable(
        cpuid=(0x72, 2), rdtsc=(0x6E, 2), rdpmc=(0x6F, 2), invd=(0x76, 2), pause=(0x77, 2),
        invlpg=(0x79, 3), rdtscp=(0x87, 3), wbinvd=(0x89, 2), monitor=(0x8A, 3), mwait=(0x8B, 3), xsetbv=(0x8D, 3),
        rdpru=(0x8E, 3), rdmsr=(EXIT_MSR, 2), wrmsr=(EXIT_MSR, 2), mov_cr0=(EXIT_CR_WRITE, 3),
        mov_cr3=(EXIT_CR_WRITE + 3, 3), mov_cr4=(EXIT_CR_WRITE + 4, 3), sidt=(0x66, 4), sgdt=(0x67, 4), sldt=(0x68, 4),
        str=(0x69, 4), lidt=(0x6A, 4), lgdt=(0x6B, 4), lldt=(0x6C, 4), ltr=(0x6D, 4),
    ),
    "in": Mnemonic(OP_INTERCEPTABLE, 1, "text", EXIT_IOIO, "plain, unless its intercept (0x7b) is set"),
    "out": Mnemonic(OP_INTERCEPTABLE, 1, "text", EXIT_IOIO, "plain, unless its intercept (0x7b) is set"),
    **_plain(
        "mov", "push", "pop", "lea", "jmp", "jz", "jnz", "je", "jne", "jc", "jnc", "call", "ret", "xchg", "xor", "test",
        "cmp", "add", "sub", "inc", "dec", "and", "or", "bt", "btr", "bts", "shl", "shr", "verw", "lfence", "mfence",
        "sfence", "swapgs", "xrstor", "xsave", "rdgsbase", "wrgsbase", "leave", "movaps", "cld",
        "other", "rdfsbase", "wrfsbase", "fxsave", "fxrstor", "clac", "stac", "endbr64", "setz", "cmov", "movzx",
    ),
}  # fmt: skip
"""Mnemonic to what it does. Kernel calls are in ``kernel.calls.CALLS``."""
