"""Which function an entry of ``pv_ops`` is.

Up to Linux 5.11 nothing beside a call through ``pv_ops`` says so (from 5.12 on an alternative does): it follows from
what the table holds, where the object has it, else from the table's layout in that release.
"""

from typing import Final

from worldswitch.importer.image import Image

NATIVE: Final = {
    "irq.irq_enable": b"\xfb",
    "irq.irq_disable": b"\xfa",
    "irq.save_fl": b"\x9c\x58",
    "irq.restore_fl": b"\x57\x9d",
}
"""The instructions that replace a call on the bare machine, of those that concern interrupts."""

_CPU: Final = (
    "io_delay", "get_debugreg", "set_debugreg", "read_cr0", "write_cr0", "write_cr4", "load_tr_desc", "load_gdt",
    "load_idt", "set_ldt", "store_tr", "load_tls", "load_gs_index", "write_ldt_entry", "write_gdt_entry",
    "write_idt_entry", "alloc_ldt", "free_ldt", "load_sp0", "invalidate_io_bitmap", "update_io_bitmap", "wbinvd",
    "cpuid", "read_msr", "write_msr", "read_msr_safe", "write_msr_safe", "read_pmc",
)  # fmt: skip
_SWITCH: Final = ("start_context_switch", "end_context_switch")
_NAMES: Final = tuple(f"cpu.{name}" for name in _CPU)
_BEFORE_5_12: Final = (
    "init.patch", "time.sched_clock", "time.steal_clock", *_NAMES, "cpu.iret", *(f"cpu.{name}" for name in _SWITCH),
    "irq.save_fl", "irq.restore_fl", "irq.irq_disable", "irq.irq_enable", "irq.safe_halt", "irq.halt",
)  # fmt: skip
_FROM_5_12: Final = (
    *_NAMES, *(f"cpu.{name}" for name in _SWITCH),
    "irq.save_fl", "irq.irq_disable", "irq.irq_enable", "irq.safe_halt", "irq.halt",
)  # fmt: skip
_LAYOUTS: Final[dict[str, tuple[str, ...]]] = {"5.10": _BEFORE_5_12, "6.1": _FROM_5_12, "6.12": _FROM_5_12}
"""The functions in the table's order, by release: paravirt_types.h of 5.10.218, 6.1.170 and 6.12.117 with
CONFIG_PARAVIRT_XXL and CONFIG_X86_IOPL_IOPERM."""

_FUNCTIONS: Final = {
    "save_fl": "irq.save_fl",
    "restore_fl": "irq.restore_fl",
    "irq_disable": "irq.irq_disable",
    "irq_enable": "irq.irq_enable",
}


def function(image: Image, address: int, version: str) -> str:
    """The function that the entry at an address is, as ``irq.irq_enable``; "" where that is not known."""
    name, _, offset_text = image.name_of(address).partition("+")
    if name != "pv_ops":
        return ""
    pointer = int.from_bytes(image.read(address, 8), "little")
    held = image.symbol_at(pointer) if pointer else None
    if held is not None:
        return next((found for ending, found in _FUNCTIONS.items() if held.name.endswith(ending)), held.name)
    number, rest = divmod(int(offset_text or "0", 16), 8)
    names = _LAYOUTS.get(".".join(version.split(".")[:2]), ())
    return names[number] if not rest and number < len(names) else ""
