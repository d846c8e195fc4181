"""Pseudo-random scenarios within what a path presupposes: any VMCB, guest, events; a host that keeps to its calls.

The host's entry state is left alone, and the scenario's own host code (between rounds, in handlers) does nothing to it.
"""

from random import Random
from typing import Any

from worldswitch.core.names import INTERCEPTS
from worldswitch.program.instruction import FAULTS, meets_number
from worldswitch.scenario.fields import BY_NAME
from worldswitch.scenario.model import Arrival, GateSpec, Program, Scenario
from worldswitch.scenario.places import parse_place

GUEST_WORDS = (
    "nop", "vmmcall", "sti", "cli", "hlt", "mov_ss", "popf if", "popf", "int 0x80", "iret", "load npf", "load pf",
    "load gp", "ud2", "stgi", "clgi", "cpuid", "vmrun", "int3", "icebp", "pushf", "spin", "mov_cr8 15", "mov_cr8 0",
    "popf if,tf", "rep 3", "vmload", "out_smi", "mov_dr", "store_watched", "mov_ss_watched", "set guest.memory=ok",
    "into", "lss", "skinit", "invlpga", "rsm", "pause", "wrmsr", "out", "mov_cr3", "rdtsc", "int 0x20", "mov_cr8 2",
)  # fmt: skip
BETWEEN_WORDS = (
    "set vmcb.eventinj=exitintinfo", "set guest.memory=ok", "set guest.rip=next", "set vmcb.int_state=0",
    "set vmcb.int_state=1", "set vmcb.eventinj=intr:0x68", "set vmcb.eventinj=nmi", "set vmcb.eventinj=ss(0x0)",
    "nop", "lock_acquire", "lock_release", "set vmcb.asid=0", "set vmcb.asid=1", "set guest.idt.0x68=ok",
    "set guest.idt.0x0d=npf", "traceable vcpu_run", "inline helper", "set vmcb.v_irq=true",
)  # fmt: skip
HANDLER_BODIES = (
    (), ("nop",), ("lock_acquire", "traceable irq", "lock_release"), ("set frame.rf=1",), ("traceable irq", "iret"),
    ("set kernel.kvm_rebooting=true", "set cpu.svme=false"),
)  # fmt: skip
INJECTED = (
    "intr:0x68", "nmi", "ss(0x0)", "gp(0x0)", "soft:0x80", "de", "pf(0x2)", "ud", "df(0x0)", "db", "bp", "of", "br",
    "0x80000302", "0x80000120", "0x80000720", "intr:0x20", "0x8000fb0d", "0x80000310", "0x80000309", "np(0x0)",
    "ac(0x0)",
)  # fmt: skip
OPTIONAL_INTERCEPTS = tuple(
    "smi init vintr hlt iret swint icebp pushf popf stgi clgi task_switch cpuid rsm pause msr ioio vmload "
    "skinit invlpga cr_write:8 exception:gp exception:df exception:pf exception:ss exception:np exception:db "
    "exception:ud exception:mc exception:ac exception:bp exception:sx".split()
)
PLACES = tuple(
    "guest guest+1 guest+2 guest+3 guest+5 guest@2 guest@2+1 vmrun vmrun-1 vmrun+1 sti sti+1 enter enter+2 "
    "enter+5 clgi clgi+1 vmexit cli cli+1 exit exit+1 exit-1 stgi stgi+1 start start+1 end vmrun@2 sti@2 "
    "clgi@2 handler:0x02 handler:0x02+2 handler:0x06 handler:0x06+2 handler:0x20 handler:0x20+3 handler:0x01+1".split()
)
GATES = (0x68, 0x80, 0x20, 0x02, 0x08, 0x0C, 0x0D, 0x0E, 0x06, 0x01, 0x03, 0x12, 0x1E, 0xF1, 0x0B, 0x0A)
PENDING = ("intr:0x20", "intr:0xf1", "nmi", "smi", "init", "mce")

# Field: probability, and the values in file spelling.
CHANCES: dict[str, tuple[float, tuple[Any, ...]]] = {
    "vmcb.eventinj": (0.6, INJECTED),
    "vmcb.int_state": (0.15, (1, 3)),
    "vmcb.v_intr_masking": (0.2, (False,)),
    "vmcb.v_irq": (0.25, (True,)),
    "vmcb.v_intr_prio": (0.5, (15, 8, 3)),
    "vmcb.v_intr_vector": (0.5, (0xF1, 0x68, 0x20)),
    "vmcb.v_ign_tpr": (0.1, (True,)),
    "vmcb.v_tpr": (0.2, (10, 15, 8)),
    "vmcb.vgif_enable": (0.2, (True,)),
    "vmcb.vgif": (0.5, (True,)),
    "vmcb.v_nmi_enable": (0.15, (True,)),
    "vmcb.v_nmi": (0.4, (True,)),
    "vmcb.v_nmi_mask": (0.2, (True,)),
    "vmcb.np_enable": (0.1, (False,)),
    "vmcb.asid": (0.03, (0,)),
    "vmcb.sev_es": (0.03, (True,)),
    "guest.if": (0.2, (False,)),
    "guest.tf": (0.1, (True,)),
    "guest.cpl": (0.1, (3,)),
    "guest.iopl": (0.1, (3,)),
    "guest.mode": (0.2, ("compat", "protected", "real")),
    "guest.svme": (0.02, (False,)),
    "guest.dr7": (0.1, (["l1"], ["gd"], ["l0"])),
    "guest.rip": (0.05, ("noncanonical",)),
    "cpu.tpr": (0.1, (2, 15)),
    "cpu.r_init": (0.15, (True,)),
    "cpu.tf": (0.15, (True,)),
    "cpu.rax": (0.05, (0x2123,)),
    "cpu.mce": (0.1, (False,)),
    "cpu.skinit": (0.1, (False,)),
    "cpu.dr7": (0.1, (["l0"], ["l1"], ["gd"])),
    "cpu.shadow": (0.05, ("sti", "movss")),
    "cpu.mode": (0.03, ("compat", "protected", "real")),
    "cpu.iopl": (0.05, (3,)),
    "cpu.cpl": (0.03, (3,)),
    "cpu.nmi_masked": (0.05, (True,)),
    "kernel.context_tracking": (0.1, (False,)),
    "kernel.kvm_rebooting": (0.15, (True,)),
    "cpu.svme": (0.12, (False,)),
}


def random_scenario(random: Random) -> Scenario:
    """One scenario; the same for the same state of ``random``."""
    scenario = Scenario(path="linux-6.1")
    for name, (chance, values) in CHANCES.items():
        if random.random() < chance:
            scenario.settings[name] = BY_NAME[name].kind.parse(random.choice(values))
    names = ["vmrun", "vmmcall", *(name for name in OPTIONAL_INTERCEPTS if random.random() < 0.3)]
    names += ["intr", "nmi"] if random.random() < 0.7 else []
    names += ["shutdown"] if random.random() < 0.7 else []
    scenario.settings["vmcb.intercepts"] = BY_NAME["vmcb.intercepts"].kind.parse([n for n in names if n in INTERCEPTS])
    if random.random() < 0.3:
        scenario.settings["cpu.pending"] = tuple(random.sample(PENDING, random.randint(1, 2)))
    scenario.guest = Program(_words(random, GUEST_WORDS, 1, 6), _gates(random, 0.3), _guest_handlers(random))
    scenario.host = Program((), _gates(random, 0.01), _host_handlers(random))
    scenario.rounds = random.choice((1, 1, 1, 2, 2, 3))
    scenario.between = _words(random, BETWEEN_WORDS, 0, 4) if scenario.rounds > 1 else ()
    scenario.events = tuple(_arrival(random) for _ in range(random.randint(0, 4)))
    return scenario


def _words(random: Random, words: tuple[str, ...], least: int, most: int) -> tuple[str, ...]:
    return tuple(random.choice(words) for _ in range(random.randint(least, most)))


def _gates(random: Random, chance: float) -> dict[int, GateSpec]:
    return {
        vector: GateSpec(meets_number(random.choice(FAULTS)), False, random.choice((0, 0, 3)))
        for vector in GATES
        if random.random() < chance
    }


def _guest_handlers(random: Random) -> dict[int, tuple[str, ...]]:
    return {vector: (*_words(random, GUEST_WORDS, 0, 3), "iret") for vector in GATES if random.random() < 0.2}


def _host_handlers(random: Random) -> dict[int, tuple[str, ...]]:
    return {vector: random.choice(HANDLER_BODIES) for vector in (0x20, 2, 6, 13, 1) if random.random() < 0.08}


def _arrival(random: Random) -> Arrival:
    kind = random.choice(("intr", "nmi", "smi", "init", "mce"))
    vector = random.choice((0x20, 0xF1, 0x68, 0x14)) if kind == "intr" else 0x20
    origin = random.choice(("external", "internal")) if kind == "smi" else "external"
    return Arrival(kind, parse_place(random.choice(PLACES)), vector, origin)
