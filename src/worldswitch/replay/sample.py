"""Random scenarios in the part of the space that the boot image can replay.

The shape follows the questions that implementations answer differently: shadows at VMRUN and in the guest, injection
through gates of every kind, physical and virtual events at any boundary, and GIF.
"""

from random import Random
from typing import Any, Final

from worldswitch.core.isa import GATE_NPF, GATE_OK, GATE_TASK
from worldswitch.core.names import INTERCEPTS, parse_event
from worldswitch.replay.target import Target
from worldswitch.scenario.fields import BY_NAME
from worldswitch.scenario.model import Arrival, GateSpec, Program, Scenario
from worldswitch.scenario.places import parse_place

PATHS: Final = ("linux-6.1", "linux-6.14", "linux-fix-v1")
_GUEST: Final = (
    "nop", "nop", "sti", "cli", "mov_ss", "pushf", "popf if", "popf", "int 0x50", "int3", "icebp", "ud2", "load npf",
    "store pf", "load gp", "store ok", "vmmcall", "vmmcall", "cpuid", "clgi", "stgi", "vmload", "vmsave", "mov_cr8 3",
    "lss",
    "rdtsc", "pause", "wbinvd", "invlpg", "rdmsr", "mov_cr3", "sidt", "iret", "rep 3", "into", "vmrun", "invlpga",
    "hlt",
    "out",
)  # fmt: skip
_HOST: Final = (
    "nop",
    "sti",
    "cli",
    "mov_ss",
    "popf if",
    "popf",
    "pushf",
    "vmload",
    "vmsave",
    "int 0x50",
    "lss",
    "iret",
)
_INTERCEPTS: Final = (
    "intr", "nmi", "smi", "vintr", "shutdown", "hlt", "iret", "swint", "pushf", "popf", "cpuid", "vmload", "vmsave",
    "stgi",
    "clgi", "icebp", "exception:gp", "exception:np", "exception:pf", "exception:df", "exception:ud", "exception:bp",
    "exception:db", "rdtsc", "invlpg", "pause", "wbinvd", "msr", "cr_write:3", "cr_write:8", "idtr_read", "ioio",
    "invlpga",
)  # fmt: skip
_EVENTS: Final = (
    "none", "none", "intr:0x68", "intr:0x68", "intr:0x31", "nmi", "ud", "de", "db", "gp(0x10)", "pf(0x2)", "ss(0x8)",
    "np(0x18)", "soft:0x50", "bp", "df(0x0)", "of", "br", "mc", "0x80000100", "0x80000314", "0x8000031f", "0x80000068",
)  # fmt: skip
_GATES: Final = (13, 11, 14, GATE_NPF, GATE_NPF, GATE_TASK)
_VECTORS: Final = (0x68, 0x31, 0x41, 0x50, 0x20, 2, 0, 1, 3, 6, 8, 11, 12, 13, 14)
_INTR_VECTORS: Final = (0x20, 0x31, 0x41)


def sample(random: Random, target: Target) -> Scenario:
    """A random scenario, without what ``target`` does not have."""
    scenario = Scenario()
    settings: dict[str, Any] = scenario.settings
    intercepts = {"vmrun", "vmmcall", "shutdown"}
    intercepts.update(random.sample(_INTERCEPTS, random.choice((0, 1, 2, 3, 6))))
    if random.random() < 0.5:
        intercepts |= {"intr", "nmi"}
    if random.random() < 0.03:
        intercepts.discard(random.choice(sorted(intercepts)))
    settings["vmcb.intercepts"] = bytes(1 if code in {INTERCEPTS[n] for n in intercepts} else 0 for code in range(0xC0))
    settings["vmcb.eventinj"] = parse_event(random.choice(_EVENTS))
    for name, chance in (
        ("vmcb.v_intr_masking", 0.5), ("vmcb.v_irq", 0.3), ("vmcb.v_ign_tpr", 0.3), ("guest.if", 0.5),
        ("vmcb.vgif_enable", 0.15), ("vmcb.vgif", 0.15), ("vmcb.int_state", 0.25), ("cpu.nmi_masked", 0.05),
        ("vmcb.np_enable", 0.95), ("cpu.svme", 0.98), ("guest.svme", 0.98),
    ):  # fmt: skip
        value = random.random() < chance and not _lacks(target, name)
        if value != (name in ("vmcb.np_enable", "cpu.svme", "guest.svme")):
            settings[name] = int(value) if name == "vmcb.int_state" else value
    settings.setdefault("vmcb.v_intr_masking", False)
    settings.setdefault("guest.if", False)
    if settings.get("vmcb.v_irq"):
        settings["vmcb.v_intr_prio"] = random.choice((1, 8, 15))
        settings["vmcb.v_intr_vector"] = random.choice((0x41, 0x50, 0x68))
        settings["vmcb.v_tpr"] = random.choice((0, 0, 8, 10))
    if random.random() < 0.03:
        name, given = random.choice(
            (("vmcb.asid", 0), ("guest.cr0", 0xA001_0033), ("guest.dr7", 1 << 32), ("guest.rip", "noncanonical"),
             ("cpu.rax", 0x2010), ("guest.cr3", 1 << 52), ("vmcb.msrpm_base_pa", (1 << 48) - 0x1000), ("cpu.tpr", 4))
        )  # fmt: skip
        settings[name] = BY_NAME[name].kind.parse(given)
    _programs(scenario, random)
    scenario.events = tuple(_event(random, target) for _ in range(random.choice((0, 0, 1, 1, 2, 3))))
    return scenario


def _programs(scenario: Scenario, random: Random) -> None:
    guest = [random.choice(_GUEST) for _ in range(random.choice((1, 2, 3, 4, 6)))]
    handlers = {
        vector: (
            *(random.choice(_GUEST) for _ in range(random.choice((0, 0, 1, 2)))),
            random.choice(("iret", "vmmcall")),
        )
        for vector in random.sample(_VECTORS, random.choice((0, 1, 2, 4)))
    }
    idt = {}
    for vector in random.sample(_VECTORS, random.choice((0, 1, 1, 2, 3))):
        idt[vector] = GateSpec(random.choice(_GATES), random.random() < 0.1)
    injected = scenario.settings["vmcb.eventinj"]
    if injected and random.random() < 0.4:
        idt[injected & 0xFF] = GateSpec(random.choice(_GATES))
    if random.random() < 0.2:
        idt[random.choice(_VECTORS)] = GateSpec(GATE_OK, True)
    scenario.guest = Program((*guest, "vmmcall"), idt, handlers)
    scenario.rounds = random.choice((1, 1, 1, 2, 3))
    if scenario.rounds > 1:
        choices = (
            ("set vmcb.eventinj=exitintinfo",), ("set guest.rip=next",), ("set guest.memory=ok",),
            ("set guest.memory=ok", "set vmcb.eventinj=exitintinfo"), ("set vmcb.int_state=0",), (), ("nop",),
            ("set vmcb.eventinj=intr:0x31",), ("set guest.if=1",),
        )  # fmt: skip
        scenario.between = random.choice(choices)
    if random.random() < 0.5:
        scenario.path = random.choice(PATHS)
        return
    prefix = ["clgi"] if random.random() < 0.8 else []
    program = [random.choice(_HOST) for _ in range(random.choice((0, 0, 1, 2, 3)))]
    program += prefix + [random.choice(_HOST) for _ in range(random.choice((0, 1, 2)))]
    program += random.choice((["sti"], ["mov_ss"], ["nop"], ["sti", "nop"], ["cli"], ["cli", "sti"]))
    program += ["vmrun"] + [random.choice(_HOST) for _ in range(random.choice((0, 1, 2)))]
    program += random.choice((["cli", "stgi"], ["stgi", "cli"], ["stgi"], []))
    program += [random.choice(_HOST) for _ in range(random.choice((0, 1)))]
    scenario.host = Program(
        tuple(program),
        {},
        {6: ("set frame.rip=next", "iret"), 13: ("set frame.rip=next", "iret")},
    )
    if random.random() < 0.3:
        scenario.settings["cpu.if"] = False


def _lacks(target: Target, name: str) -> bool:
    """Whether an image can never follow this field on that implementation."""
    if name in ("vmcb.vgif_enable", "vmcb.vgif"):
        return not target.vgif
    return name == "vmcb.v_irq" and target.virq_state_survives


def _event(random: Random, target: Target) -> Arrival:
    kind = random.choice(("intr", "intr", "intr", "nmi", "nmi", "smi") if target.smi else ("intr", "intr", "nmi"))
    place = random.choice(("start", "clgi", "sti", "vmrun", "guest", "guest", "guest", "vmexit", "stgi", "end"))
    offset = random.choice((0, 0, 1, 2, 3)) if place == "guest" else random.choice((0, 0, 0, 1, -1))
    if place == "start":
        offset = 0
    number = "@2" if random.random() < 0.1 else ""
    at = parse_place(f"{place}{number}{offset:+d}" if offset else place + number)
    return Arrival(kind, at, random.choice(_INTR_VECTORS) if kind == "intr" else 0x20)
