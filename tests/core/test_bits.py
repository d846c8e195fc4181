"""Section 1: the architectural numbers, and the state that holds them."""

import pytest
from tests.helpers import only_exit, play, taken

from worldswitch.core import bits
from worldswitch.core.bits import (
    TYPE_EXCEPTION,
    TYPE_INTR,
    TYPE_NMI,
    TYPE_SOFT,
    event_error_code,
    event_type,
    event_word,
)
from worldswitch.core.names import EXITS, INTERCEPTS, event_name, exit_name, parse_event
from worldswitch.core.options import Options
from worldswitch.core.record import Recorder
from worldswitch.core.state import Code, Cpu, Vmcb, World

# Bit numbers of the intercept dwords, transcribed (S1-20 to S1-23). Offset in the VMCB, then names from bit 0 on.
WORDS = {
    0x00C: "intr nmi smi init vintr cr0_selective idtr_read gdtr_read ldtr_read tr_read idtr_write gdtr_write "
           "ldtr_write tr_write rdtsc rdpmc pushf popf cpuid rsm iret swint invd pause hlt invlpg invlpga ioio msr "
           "task_switch ferr_freeze shutdown",
    0x010: "vmrun vmmcall vmload vmsave stgi clgi skinit rdtscp icebp wbinvd monitor mwait mwait_armed xsetbv rdpru "
           "efer_write_trap " + " ".join(f"cr_write_trap:{n}" for n in range(16)),
    0x014: "invlpgb invlpgb_illegal invpcid mcommit tlbsync buslock idle_hlt",
    0x000: " ".join([f"cr_read:{n}" for n in range(16)] + [f"cr_write:{n}" for n in range(16)]),
    0x004: " ".join([f"dr_read:{n}" for n in range(16)] + [f"dr_write:{n}" for n in range(16)]),
}  # fmt: skip


def test_rflags() -> None:
    """S1-01."""
    assert (bits.RFLAGS_TF, bits.RFLAGS_IF, bits.RFLAGS_IOPL) == (1 << 8, 1 << 9, 1 << 12 | 1 << 13)
    assert (bits.RFLAGS_NT, bits.RFLAGS_RF, bits.RFLAGS_VM) == (1 << 14, 1 << 16, 1 << 17)


def test_efer_cr0_cr4() -> None:
    """S1-02, S1-03; LMSLE (13) and FFXSR (14) are defined bits as well."""
    assert (bits.EFER_SCE, bits.EFER_LME, bits.EFER_LMA, bits.EFER_NXE, bits.EFER_SVME) == (
        1 << 0, 1 << 8, 1 << 10, 1 << 11, 1 << 12,
    )  # fmt: skip
    assert bits.EFER_DEFINED & (1 << 13 | 1 << 14) == 1 << 13 | 1 << 14
    assert (bits.CR0_PE, bits.CR0_WP, bits.CR0_NW, bits.CR0_CD, bits.CR0_PG) == (1, 1 << 16, 1 << 29, 1 << 30, 1 << 31)
    assert (bits.CR4_PAE, bits.CR4_CET) == (1 << 5, 1 << 23)


def test_debug_registers() -> None:
    """S1-04: bit 10 of DR7 reads 1."""
    assert (bits.DR6_B0, bits.DR6_B1, bits.DR6_BD, bits.DR6_BS) == (1, 2, 1 << 13, 1 << 14)
    assert (bits.DR7_L0, bits.DR7_L1, bits.DR7_GD, bits.DR7_RESET) == (1, 4, 1 << 13, 1 << 10)


def test_processor_after_reset() -> None:
    """S1-05, S1-07, S1-08, S1-10: GIF=1, NMIs not masked, R_INIT=0, nothing latched."""
    cpu = Cpu(Options(), World(Code()), World(Code()), Vmcb(), Recorder())
    assert (cpu.gif, cpu.nmi_masked, cpu.r_init, cpu.shadow) == (True, False, False, 0)
    assert (cpu.irr, cpu.pend_nmi, cpu.pend_smi, cpu.pend_init, cpu.pend_mce, cpu.debug_trap) == (
        [], False, 0, False, False, 0,
    )  # fmt: skip


def test_gif_is_not_host_state() -> None:
    """S1-05: #VMEXIT does not restore what it was at VMRUN."""
    assert play(["stgi", "vmrun"]).cpu.gif is False


def test_nmi_mask_has_no_image_in_the_vmcb() -> None:
    """S1-07: an exit inside the NMI handler of a guest without vNMI."""
    record = only_exit(play(handlers={2: ["vmmcall"]}, events=["nmi@guest"]))
    assert (record.v_nmi, record.v_nmi_mask, record.int_state) == (False, False, 0)


def test_one_vector_is_latched_once() -> None:
    """S1-10, S1-11: the same vector requested twice is one interrupt, two vectors are two."""
    run = play(
        ["clgi", "nop", "nop", "stgi", "nop"], events=["intr:0x30@clgi+1", "intr:0x30@clgi+2", "intr:0x40@clgi+2"]
    )
    assert [vector for _, _, vector, _ in taken(run)] == [0x40, 0x30]


@pytest.mark.parametrize(("offset", "names"), WORDS.items())
def test_intercepts_and_their_exit_codes(offset: int, names: str) -> None:
    """S1-20, S1-21, S1-22, S1-23, S1-54: exit code = 8 x offset + bit; S1-50, S1-51, S1-52."""
    for bit, name in enumerate(names.split()):
        assert (INTERCEPTS[name], EXITS[8 * offset + bit]) == (8 * offset + bit, name)


@pytest.mark.parametrize("vector", range(32))
def test_exception_intercepts(vector: int) -> None:
    """S1-20, S1-50, S1-54: 008h, bit n; exit code 40h + n."""
    name = {0: "de", 1: "db", 3: "bp", 6: "ud", 8: "df", 13: "gp", 14: "pf", 30: "sx"}.get(vector)
    if name:
        assert INTERCEPTS[f"exception:{name}"] == 8 * 0x008 + vector
        assert exit_name(0x40 + vector) == name
    assert 0x40 + vector in EXITS


def test_exit_codes_outside_the_intercepts() -> None:
    """S1-53: 64-bit two's complement for the negative ones."""
    assert [exit_name(code) for code in (0x400, 0x401, 0x402, 0x403)] == [
        "npf", "avic_incomplete_ipi", "avic_noaccel", "vmgexit",
    ]  # fmt: skip
    negative = [exit_name(code & (1 << 64) - 1) for code in (-1, -2, -3, -4)]
    assert negative == ["invalid", "busy", "idle_required", "invalid_pmc"]
    assert exit_name(0xF000_000) == "0xf000000"


def test_event_word_layout() -> None:
    """S1-40: vector 7:0, TYPE 10:8, EV 11, V 31, error code 63:32."""
    assert event_word(7, 0xFF, 0xFFFF_FFFF) == 0xFFFF_FFFF_8000_0FFF
    assert event_word(0, 0) == 1 << 31
    assert (event_type(0x8000_0405), event_error_code(0x12_8000_0B0D), event_error_code(0x12_8000_030D)) == (
        4,
        0x12,
        -1,
    )


def test_event_types() -> None:
    """S1-41."""
    assert (TYPE_INTR, TYPE_NMI, TYPE_EXCEPTION, TYPE_SOFT) == (0, 2, 3, 4)


@pytest.mark.parametrize(("text", "word"), [
    ("intr:0x68", 0x8000_0068), ("nmi", 0x8000_0202), ("de", 0x8000_0300), ("gp(0x18)", 0x18_8000_0B0D),
    ("gp", 0x8000_0B0D), ("pf", 0x8000_0B0E), ("soft:0x80", 0x8000_0480), ("none", 0),
])  # fmt: skip
def test_worked_encodings(text: str, word: int) -> None:
    """S1-44."""
    assert parse_event(text) == word
    assert parse_event(event_name(word)) == word


@pytest.mark.parametrize("kind", range(8))
def test_spelling_of_every_event_word(kind: int) -> None:
    """S1-40: the short spelling says all of it, or the raw value stands."""
    for vector in (0, 1, 2, 3, 8, 13, 14, 15, 31, 32, 0x80, 0xFF):
        for word in (event_word(kind, vector), event_word(kind, vector, 0x18), event_word(kind, vector) | 0x1000):
            assert parse_event(event_name(word)) == word


@pytest.mark.parametrize(
    "text", ["", "intr", "intr:256", "intr:x", "gp(", "gp(x)", "gp(0x100000000)", "0x10000000000000000", "-1"]
)
def test_bad_event_spelling(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_event(text)


def test_sev_es_keeps_bit_1_out_of_int_state() -> None:
    """S1-32: the model writes bit 0 alone."""
    assert only_exit(play(guest=["sti", "vmmcall"], state={"if": False}, vmcb={"int_state": 2})).int_state == 1


@pytest.mark.pure_core
def test_copies_are_complete() -> None:
    """S1-61, S6-05, S6-51: every register and every VMCB field is taken over."""
    source, target = Vmcb(), Vmcb()
    for number, name in enumerate(name for name in Vmcb.__slots__ if name not in ("save", "intercepts")):
        setattr(source, name, number + 1000)
    source.intercepts = bytes([1] * bits.INTERCEPT_BITS)
    for number, name in enumerate(type(source.save).__slots__):
        setattr(source.save, name, number + 2000)
    target.copy_from(source)
    assert [getattr(target, n) for n in Vmcb.__slots__ if n != "save"] == [
        getattr(source, n) for n in Vmcb.__slots__ if n != "save"
    ]
    names = type(source.save).__slots__
    assert [getattr(target.save, n) for n in names] == [getattr(source.save, n) for n in names]
    assert target.save is not source.save
