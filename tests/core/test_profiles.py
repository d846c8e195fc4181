"""What the profiles measure like: the table "What real SVM implementations do with an STI shadow at VMRUN".

Each row is one scenario, run with the host's STI directly before VMRUN (``shadow``) and with an instruction between
(``none``); the cell is int_state bit 0 after the exit.
"""

from typing import Any

import pytest
from tests.helpers import exit_codes, only_exit, play

from worldswitch.core.options import PROFILES
from worldswitch.machine.run import Run

ADJACENT = ("clgi", "sti", "vmrun")
APART = ("clgi", "sti", "nop", "vmrun")

# Rows and cells as the document has them: "shadow / none". "?" is what silicon is not known to do, and "panics" ends
# the emulator. One value for both columns stands for both. Of the last row QEMU 7.2 "ignored (1 / 0)".
TABLE = """
VMMCALL          | 0 / 0    | 1 / 0 | 0 / 0 | 0 / 0
HLT              | 0 / 0    | 1 / 0 | 0 / 0 | 0 / 0
NOP;NOP;VMMCALL  | 0 / 0    | 0 / 0 | 0 / 0 | 0 / 0
inject INTR, GP  | 1 / 0    | 1 / 0 | 0 / 0 | 0 / 0
inject UD, GP    | 1 / 0    | 1 / 0 | 0 / 0 | 0 / 0
inject PF, GP    | 1 / 0    | 1 / 0 | 0 / 0 | 0 / 0
inject NMI, GP   | 1 / 0    | 1 / 0 | 0 / 0 | 0 / 0
inject INTn, GP  | 1 / 0    | 1 / 0 | 0 / 0 | 0 / 0
inject INTR, NPF | 1 / 0    | 1 / 0 | 0 / 0 | 0 / 0
inject UD, NPF   | 1 / 0    | 1 / 0 | 0 / 0 | 0 / 0
inject, shutdown | ? / 0    | 1 / 0 | 0 / 0 | panics / panics
inject, handler  | 0 / 0    | 1 / 0 | 0 / 0 | 0 / 0
STI;VMMCALL      | 1 / 1    | 0 / 1 | 1 / 1 | 1 / 1
INVALID          | ? / ?    | 1 / 0 | 0 / 0 | 1 / 0
INTR pending     | 0 / 0    | 1 / 0 | 0 / 0 | 0 / 0
loaded, GP       | ? / ?    | 1 / 0 | 1 / 1 | 0 / 0
loaded, NPF      | ? / ?    | 1 / 0 | 1 / 1 | 0 / 0
"""
COLUMNS = ("amd", "qemu-7.2", "qemu-10", "bochs-2.7")
GATES = dict.fromkeys((0x68, 6, 14, 2, 0x80), "gp")
NESTED = dict.fromkeys((0x68, 6), "npf")


def injection(event: str, gates: dict[int, str], code: str, int_state: int = 0) -> tuple[dict[str, Any], str]:
    vmcb = {"eventinj": event, "int_state": int_state}
    return {"intercept": ["exception:gp"], "vmcb": vmcb, "idt": gates}, code


SCENARIOS: dict[str, tuple[dict[str, Any], str]] = {
    "VMMCALL": ({"guest": ["vmmcall"]}, "vmmcall"),
    "HLT": ({"guest": ["hlt"], "intercept": ["hlt"]}, "hlt"),
    "NOP;NOP;VMMCALL": ({"guest": ["nop", "nop", "vmmcall"]}, "vmmcall"),
    "inject INTR, GP": injection("intr:0x68", GATES, "gp"),
    "inject UD, GP": injection("ud", GATES, "gp"),
    "inject PF, GP": injection("pf", GATES, "gp"),
    "inject NMI, GP": injection("nmi", GATES, "gp"),
    "inject INTn, GP": injection("soft:0x80", GATES, "gp"),
    "inject INTR, NPF": injection("intr:0x68", NESTED, "npf"),
    "inject UD, NPF": injection("ud", NESTED, "npf"),
    "inject, shutdown": (
        {"intercept": ["shutdown"], "vmcb": {"eventinj": "ss"}, "idt": {12: "gp", 13: "gp", 8: "gp"}}, "shutdown",
    ),
    "inject, handler": ({"vmcb": {"eventinj": "intr:0x68"}, "handlers": {0x68: ["vmmcall"]}}, "vmmcall"),
    "STI;VMMCALL": ({"guest": ["sti", "vmmcall"], "state": {"if": False}}, "vmmcall"),
    "INVALID": ({"vmcb": {"asid": 0}}, "invalid"),
    "INTR pending": ({"intercept": ["intr"], "pending": ["intr:0x20"]}, "intr"),
    "loaded, GP": injection("intr:0x68", GATES, "gp", 1),
    "loaded, NPF": injection("intr:0x68", NESTED, "npf", 1),
}  # fmt: skip


def cells() -> list[tuple[str, str, bool, int]]:
    """Row, profile, adjacent or not, expected int_state; without the cells that nobody knows."""
    found = []
    for line in TABLE.strip().splitlines():
        row, *values = (cell.strip() for cell in line.split("|"))
        for profile, value in zip(COLUMNS, values, strict=True):
            for adjacent, cell in zip((True, False), value.split(" / "), strict=True):
                if cell in ("0", "1"):
                    found.append((row, profile, adjacent, int(cell)))
    return found


def measure(row: str, profile: str, adjacent: bool) -> Run:
    scenario = dict(SCENARIOS[row][0])
    cpu = {"if": False, "gif": False, "pending": scenario.pop("pending", [])}
    return play(ADJACENT if adjacent else APART, cpu=cpu, profile=profile, **scenario)


@pytest.mark.parametrize(("row", "profile", "adjacent", "int_state"), cells())
def test_cell(row: str, profile: str, adjacent: bool, int_state: int) -> None:
    """Section 10.1, S10-01 and the measurements behind it."""
    run = measure(row, profile, adjacent)
    assert (exit_codes(run), only_exit(run).int_state) == ([SCENARIOS[row][1]], int_state)


def test_every_cell_is_checked() -> None:
    """17 rows by 4 columns by 2, less what silicon is not known to do (1 + 6) and the two of the panic."""
    assert len(cells()) == 17 * 4 * 2 - 1 - 6 - 2


# --- the other measured differences


@pytest.mark.parametrize(("profile", "ext"), [("amd", 0), ("qemu-7.2", 0), ("qemu-10", 0), ("bochs-2.7", 1)])
def test_ext_bit(profile: str, ext: int) -> None:
    """S6-96, S6-97: QEMU clears EXT, Bochs sets it."""
    run = play(intercept=["exception:gp"], vmcb={"eventinj": "ss"}, idt={12: "gp"}, profile=profile)
    assert only_exit(run).exitinfo1 & 1 == ext


@pytest.mark.parametrize(("profile", "word"), [("amd", 0), ("qemu-7.2", 0x68), ("qemu-10", 0x68), ("bochs-2.7", 0)])
def test_exitintinfo_after_successful_delivery(profile: str, word: int) -> None:
    """S6-79, S6-81: QEMU leaves a non-valid event, Bochs writes 0."""
    assert only_exit(play(vmcb={"eventinj": "intr:0x68"}, profile=profile)).exitintinfo == word


@pytest.mark.parametrize(("profile", "left"), [("amd", 0), ("qemu-7.2", 0), ("qemu-10", 0), ("bochs-2.7", 0x68)])
def test_eventinj_after_the_exit(profile: str, left: int) -> None:
    """S6-54: QEMU zeroes it, Bochs clears only V."""
    assert only_exit(play(vmcb={"eventinj": "intr:0x68"}, profile=profile)).eventinj == left


@pytest.mark.parametrize(("profile", "codes"), [
    ("amd", ["vmmcall"]), ("qemu-7.2", ["vmmcall"]), ("qemu-10", ["vmmcall"]), ("bochs-2.7", ["intr"]),
])  # fmt: skip
def test_gate_of_physical_intr(profile: str, codes: list[str]) -> None:
    """S5-03, S5-22, T-063: V_INTR_MASKING=1, host IF=0, guest IF=1."""
    run = play(intercept=["intr"], cpu={"if": False}, events=["intr@guest+1"], profile=profile)
    assert exit_codes(run) == codes


# --- section 10.3


@pytest.mark.parametrize(
    ("profile", "index"), [("amd", 2), ("kvm", 2), ("qemu-7.2", 1), ("qemu-10", 1), ("bochs-2.7", 2)]
)
def test_nmi_in_an_sti_shadow(profile: str, index: int) -> None:
    """S10-20, S2-32: KVM and Bochs hold it, QEMU does not."""
    run = play(["sti", "nop", "nop"], cpu={"if": False}, events=["nmi@start+1"], profile=profile)
    assert [h.rip - 1 for h in run.recorder.handlers] == [index]


@pytest.mark.parametrize("profile", PROFILES)
def test_smi_in_an_sti_shadow(profile: str) -> None:
    """S10-20, S2-34: neither Bochs nor QEMU holds it."""
    run = play(["sti", "nop", "nop"], cpu={"if": False}, events=["smi@start+1"], profile=profile)
    assert [h.rip - 1 for h in run.recorder.handlers] == [1]


@pytest.mark.parametrize(("profile", "masking", "index"), [
    ("qemu-7.2", True, 1), ("qemu-7.2", False, 2), ("qemu-10", True, 1), ("qemu-10", False, 2),
    ("bochs-2.7", True, 2), ("bochs-2.7", False, 2), ("kvm", True, 1), ("kvm", False, 1),
])  # fmt: skip
def test_intercepted_intr_in_the_guest_shadow(profile: str, masking: bool, index: int) -> None:
    """S10-21, S10-31, S2-59, S8-91."""
    run = play(guest=["sti", "nop", "nop"], intercept=["intr"], state={"if": False}, vmcb={"v_intr_masking": masking},
               events=["intr@guest+1"], profile=profile)  # fmt: skip
    assert (exit_codes(run), only_exit(run).rip - 1) == (["intr"], index)


@pytest.mark.parametrize(
    ("profile", "code"), [("amd", "vmmcall"), ("kvm", "vmmcall"), ("bochs-2.7", "vmrun"), ("qemu-10", "vmrun")]
)
def test_guest_vmrun_with_a_bad_rax(profile: str, code: str) -> None:
    """S10-22, S6-04: #GP first, or the intercept."""
    run = play(guest=["vmrun"], state={"rax": 1}, handlers={13: ["vmmcall"]}, profile=profile)
    assert exit_codes(run) == [code]


@pytest.mark.parametrize(("profile", "word"), [("amd", 0x8000_0B0C), ("bochs-2.7", 0)])
def test_exitintinfo_of_a_df_exit(profile: str, word: int) -> None:
    """S10-23, S6-78."""
    run = play(intercept=["exception:df"], vmcb={"eventinj": "ss"}, idt={12: "gp"}, profile=profile)
    assert (exit_codes(run), only_exit(run).exitintinfo) == (["df"], word)


@pytest.mark.parametrize(("profile", "count"), [("amd", 0), ("bochs-2.7", 0), ("kvm", 1)])
def test_breakpoint_with_gif_clear(profile: str, count: int) -> None:
    """S10-24, S3-16."""
    run = play(["clgi", "vmrun"], cpu={"dr7": ["l0"]}, host_handlers={1: ["spin"]}, profile=profile)
    assert len(run.recorder.handlers) == count


@pytest.mark.parametrize(("profile", "code"), [("bochs-2.7", "smi"), ("qemu-10", "smi"), ("kvm", "init")])
def test_init_and_smi(profile: str, code: str) -> None:
    """S10-25, S4-40, S4-44."""
    run = play(guest=["nop"], intercept=["init", "smi"], events=["smi@guest", "init@guest"], profile=profile)
    assert exit_codes(run) == [code]


def test_bochs_delivery_ends_the_shadow_even_where_it_exits() -> None:
    """S2-22, S2-58: its interrupt() clears the mask first, for native events as for injected ones."""
    guest = ["sti", "ud2"]
    for profile, int_state in (("amd", 1), ("bochs-2.7", 0)):
        run = play(guest=guest, state={"if": False}, idt={6: "npf"}, profile=profile)
        assert (exit_codes(run), only_exit(run).int_state) == (["npf"], int_state)


@pytest.mark.parametrize(("profile", "loaded", "int_state"), [("qemu-7.2", 1, 0), ("qemu-10", 1, 1), ("amd", 1, 1)])
def test_who_loads_int_state(profile: str, loaded: int, int_state: int) -> None:
    """Section 10.1: QEMU up to 9.0 ignores it."""
    record = only_exit(play(["nop", "vmrun"], guest=["vmmcall"], vmcb={"int_state": loaded}, profile=profile))
    assert record.int_state == int_state


def test_kvm_emulates_vmrun() -> None:
    """S9-02: the host's shadow never reaches the guest; S6-01: #UD with paging off."""
    run = play(ADJACENT, cpu={"if": False}, vmcb={"eventinj": "intr:0x68"}, idt={0x68: "npf"}, profile="kvm")
    assert (exit_codes(run), only_exit(run).int_state) == (["npf"], 0)
    run = play(cpu={"paging": False}, vmcb={"np_enable": False}, host_handlers={6: ["spin"]}, profile="kvm")
    assert [h.vector for h in run.recorder.handlers] == [6]
