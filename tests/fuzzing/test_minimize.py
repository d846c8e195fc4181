"""Reduction keeps the finding and ends where no single edit helps."""

import pytest

from worldswitch.errors import InputError
from worldswitch.fuzzing.codec import Codec
from worldswitch.fuzzing.minimize import minimize, shows, size
from worldswitch.fuzzing.mutate import Mutator
from worldswitch.paths.catalogue import find
from worldswitch.scenario.read import read_text

BLEED = "shadow-bleed.unexplained-shadow.injection"

SMALLEST = """
format = 1
[host]
path = "linux-6.1"
[vmcb]
eventinj = "bp"
[guest]
idt = { 0x03 = "npf" }
"""

LARGE = """
format = 1
[cpu]
tpr = 2
pending = ["intr:0x20", "nmi"]
[host]
path = "linux-6.1"
rounds = 2
between = ["set vmcb.eventinj=exitintinfo", "set guest.memory=ok"]
[vmcb]
intercepts = ["intr", "nmi", "exception:gp", "exception:df", "vmrun", "vmmcall", "hlt"]
eventinj = "ss(0x0)"
v_irq = true
v_intr_prio = 15
[guest]
program = ["nop", "sti", "hlt", "vmmcall"]
idt = { 0x0c = "gp", 0x0d = "np", 0x80 = { dpl = 3 } }
handlers = { 0x68 = ["sti", "nop", "iret"] }
if = false
[[event]]
kind = "intr"
at = "guest+2"
[[event]]
kind = "smi"
at = "stgi+1"
"""


def test_a_large_scenario_becomes_the_smallest_one() -> None:
    small = minimize(read_text(LARGE), BLEED)
    assert size(small) == size(read_text(SMALLEST))
    assert (small.settings, small.guest, small.events, small.rounds) == (
        read_text(SMALLEST).settings,
        read_text(SMALLEST).guest,
        (),
        1,
    )


def test_the_result_shows_the_finding_and_the_fixed_path_does_not() -> None:
    small = minimize(read_text(LARGE), BLEED)
    assert shows(small, BLEED, None)
    assert not shows(small, BLEED, find("linux-6.14"))


def test_every_case_that_bleeds_reduces_to_one_size() -> None:
    codec = Codec("world-switch", "linux-6.1")
    mutator = Mutator(codec)
    sizes = set()
    data = codec.encode(read_text(SMALLEST))
    for seed in range(400):
        case = mutator.mutate(data, codec.length, seed * 40503 * 65537)
        scenario = codec.decode(case)
        if shows(scenario, BLEED, None):
            sizes.add(size(minimize(scenario, BLEED))[:2])
    assert sizes == {size(read_text(SMALLEST))[:2]}


def test_what_does_not_show_the_finding_is_refused() -> None:
    with pytest.raises(InputError, match="does not show"):
        minimize(read_text(SMALLEST.replace("6.1", "6.14")), BLEED)
