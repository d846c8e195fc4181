"""The two scenarios that every account of nested injection comes to; the path in them stands for any."""

from typing import Final

GOLDEN: Final = """format = 1
[l0]
path = "linux-6.1"
[l1]
kind = "hypervisor"
[vmcb12]
eventinj = "intr:0x68"
[npt]
l1 = ["stack"]
"""
"""L1, a hypervisor, injects an interrupt into L2, and its delivery meets a page that L1 has yet to map."""

OWN_GUEST: Final = """format = 1
[l0]
path = "linux-6.1"
[l1]
program = ["nop", "nop", "nop"]
[npt]
l0 = ["L1.stack"]
[[event]]
kind = "intr"
at = "L1.start+1"
for = "L1"
[[event]]
kind = "intr"
at = "vmrun@2"
vector = 0x31
for = "L1"
"""
"""KVM's own guest: the injection of one interrupt exits, and another one comes while it is injected again."""
