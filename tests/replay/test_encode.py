"""Encoding scenarios for the boot image: what becomes a record, what is refused and why, and what a log means."""

import shutil
from pathlib import Path

import pytest

from worldswitch.core.bits import EXIT_INVALID, EXIT_VMMCALL
from worldswitch.errors import InputError
from worldswitch.machine.compile import compile_scenario
from worldswitch.replay import batch, kvm, memory
from worldswitch.replay.build import build_image
from worldswitch.replay.compare import compare, exit_keys
from worldswitch.replay.encode import encode
from worldswitch.replay.observed import interpret
from worldswitch.replay.record import NotComparable, Record
from worldswitch.replay.run import observe_file, run_batch
from worldswitch.replay.target import TARGETS
from worldswitch.scenario.model import Arrival, Program, Scenario
from worldswitch.scenario.places import parse_place

QEMU = TARGETS["qemu"]


def record_of(scenario: Scenario, target: str = "qemu") -> Record:
    result = encode(compile_scenario(scenario, None, TARGETS[target].profile), TARGETS[target])
    assert isinstance(result, Record), result
    return result


def refusal_of(scenario: Scenario, target: str = "qemu") -> str:
    result = encode(compile_scenario(scenario, None, TARGETS[target].profile), TARGETS[target])
    assert isinstance(result, NotComparable), "a record was made"
    return result.reason


def host(*program: str, **settings: object) -> Scenario:
    scenario = Scenario(host=Program(program))
    scenario.settings.update({name.replace("__", "."): value for name, value in settings.items()})
    return scenario


def guest(*program: str, **settings: object) -> Scenario:
    scenario = host("clgi", "vmrun", "stgi", **settings)
    scenario.guest = Program((*program, "vmmcall"))
    return scenario


def bytes_at(record: Record, address: int, length: int) -> bytes:
    for start, data in record.pokes:
        if start <= address and address + length <= start + len(data):
            return data[address - start : address - start + length]
    raise AssertionError(f"nothing is written to {address:#x}")


def test_vmcb_fields_land_at_their_offsets() -> None:
    record = record_of(host("vmrun", vmcb__eventinj=0x80000068, vmcb__int_state=1, vmcb__asid=3, vmcb__v_intr_prio=7))
    assert bytes_at(record, memory.VMCB + 0xA8, 8) == (0x80000068).to_bytes(8, "little")
    assert bytes_at(record, memory.VMCB + 0x68, 8) == b"\1" + bytes(7)
    assert bytes_at(record, memory.VMCB + 0x58, 5) == b"\3\0\0\0\1"  # ASID, TLB_CONTROL
    assert int.from_bytes(bytes_at(record, memory.VMCB + 0x60, 8), "little") == 7 << 16 | 1 << 24
    # VMRUN and VMMCALL, bits 0 and 1 of the word at 10h (S1-22)
    assert bytes_at(record, memory.VMCB + 0x10, 4) == b"\3\0\0\0"


def test_sti_and_vmrun_are_adjacent_on_the_path_before_the_fix() -> None:
    for path, adjacent in (("linux-6.1", True), ("linux-6.14", False)):
        record = record_of(Scenario(path=path))
        index = record.plan.host.landmarks["vmrun"][0]
        vmrun, before = record.host.units[index], record.host.units[index - 1]
        assert vmrun.code.startswith(b"\x0f\x01\xd8")
        assert (before.code == b"\xfb") is adjacent


def test_an_event_is_raised_right_before_the_instruction_at_its_boundary() -> None:
    scenario = host("nop", "nop", "vmrun", cpu__if=False)
    scenario.events = (Arrival("intr", parse_place("start+1"), 0x31),)
    record = record_of(scenario)
    assert not record.host.units[1].insert
    assert record.host.units[2].insert.endswith((0x40031).to_bytes(4, "little"))


def test_an_event_in_a_shadow_is_raised_earlier_where_it_stays_masked() -> None:
    scenario = host("clgi", "nop", "sti", "vmrun", cpu__if=False)
    scenario.events = (Arrival("nmi", parse_place("vmrun")),)
    record = record_of(scenario)
    inserted = [index for index, unit in enumerate(record.host.units) if unit.insert]
    assert inserted == [3], "before STI: between STI and VMRUN any instruction would end the shadow"


def test_an_event_in_a_shadow_with_nothing_to_mask_it_before_is_refused() -> None:
    scenario = host("nop", "sti", "nop", "vmrun", cpu__if=False)
    scenario.events = (Arrival("nmi", parse_place("sti+1")),)
    assert "where no instruction can raise it" in refusal_of(scenario, "bochs")


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        (host("vmrun", cpu__cpl=3), "CPL 0"),
        (host("vmrun", cpu__pending=("mce",)), "machine check"),
        (host("vmrun", vmcb__v_nmi_enable=True), "vNMI"),
        (host("vmrun", cpu__dr7=0x401), "breakpoint"),
        (host("hlt", cpu__if=False), "halt"),
        (host("ud2"), "does not end"),
        (host("vmrun", guest__cr0=0x80050033), "control registers"),
    ],
)
def test_what_cannot_be_replayed_is_refused_with_a_reason(scenario: Scenario, reason: str) -> None:
    assert reason in refusal_of(scenario)


@pytest.mark.parametrize(
    ("on", "scenario", "reason", "other"),
    [
        (  # S10-58
            "qemu",
            guest("mov_cr8 3", vmcb__v_irq=True, vmcb__v_intr_prio=8, vmcb__v_tpr=9),
            "qemu aborts where a guest writes CR8 with V_IRQ pending",
            guest("mov_cr8 3", vmcb__v_intr_prio=8, vmcb__v_tpr=9),
        ),
        (  # S10-69
            "bochs",
            guest("vmmcall", vmcb__v_irq=True),
            "bochs masks virtual interrupts by what earlier guests did",
            guest("vmmcall"),
        ),
        (  # S10-70
            "bochs",
            guest("vmmcall", guest__cr3=1 << 52),
            "bochs does not check CR3 at VMRUN",
            guest("vmmcall"),
        ),
        (  # S10-71
            "bochs",
            host("mov_cr8 3", "vmrun", cpu__if=False, cpu__pending=("intr:0x20",)),
            "a task priority raised over a pending INTR makes a spurious interrupt",
            host("mov_cr8 3", "vmrun", cpu__if=False),
        ),
    ],
)
def test_what_an_implementation_does_by_chance_or_not_at_all_is_refused(
    on: str, scenario: Scenario, reason: str, other: Scenario
) -> None:
    assert reason in refusal_of(scenario, on)
    record_of(other, on)


def test_eventinj_after_vmexit_invalid_is_not_compared_on_bochs() -> None:
    """S10-67: it is that of an earlier guest."""
    assert "eventinj" not in exit_keys(EXIT_INVALID, TARGETS["bochs"])
    assert "eventinj" in exit_keys(EXIT_INVALID, TARGETS["qemu"])
    assert "eventinj" in exit_keys(EXIT_VMMCALL, TARGETS["bochs"])


def test_addresses_map_to_places_and_back() -> None:
    record = record_of(host("clgi", "sti", "vmrun", "cli", "popf if", "stgi"))
    for places in (record.host, record.guest):
        for index in range(1, len(places.units)):
            assert places.index(places.at(index)) == index
            assert places.index(places.units[index].main_at) == index
    assert record.host.index(memory.IMAGE) is None
    assert record.guest.index(memory.GUEST_STUBS + 16 * 0x68) == record.plan.guest.code.default_handler


def log_of(record: Record, int_state: int) -> list[str]:
    """The lines that the image would write for an exit of VMMCALL at the guest's second instruction."""
    at = record.guest.at(2)
    return [
        f"X 2 81 0 0 0 0 {int_state} {at:x} 202 0 1000000 0 0 {memory.GUEST_STACK:x}",
        f"H 2 {memory.PROBE_VECTOR:x} 100246 202 ffffffffffffffff 108f48 108f78 0 {memory.PHASE_AS_IS:x}",
        f"H 2 2 101250 2 ffffffffffffffff 108f58 108f80 0 {memory.PHASE_NMI_PROBE:x}",
        f"E {memory.PHASE_UNMASK:x} {memory.STOP_END:x} 0 2",
    ]


def test_a_log_is_compared_field_by_field() -> None:
    record = record_of(host("cli", "clgi", "vmrun", "stgi"))
    assert compare(record, interpret(record, log_of(record, 0)), QEMU) == []
    found = compare(record, interpret(record, log_of(record, 1)), QEMU)
    assert [(difference.field, difference.model, difference.observed) for difference in found] == [
        ("exits[0].int_state", 0, 1)
    ]


def test_a_log_cut_short_is_never_agreement(tmp_path: Path) -> None:
    record = record_of(host("cli", "clgi", "vmrun", "stgi"))
    text = "\n".join([batch.HEADER, "S 0", *log_of(record, 0)])  # the last line lacks its end
    log = tmp_path / "serial.log"
    log.write_text(text, encoding="ascii")
    (observed,) = observe_file([record], log)
    assert observed is not None
    assert [difference.field for difference in compare(record, observed, QEMU)] == ["final.stop"]
    log.write_text(text + "\nZ\n", encoding="ascii")
    (observed,) = observe_file([record], log)
    assert observed is not None
    assert compare(record, observed, QEMU) == []


def test_a_log_without_the_image_is_bad_input(tmp_path: Path) -> None:
    log = tmp_path / "serial.log"
    log.write_text("Booting...\n", encoding="ascii")
    with pytest.raises(InputError, match=r"serial\.log: no output of the boot image"):
        observe_file([], log)
    log.write_text(f"{batch.HEADER}\nC GenuineIntel 0\n! no SVM\n", encoding="ascii")
    with pytest.raises(InputError, match="the boot image reports: no SVM"):
        observe_file([], log)


def test_missing_programs_are_named_with_their_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="gcc is not on PATH; Debian has it in the package gcc"):
        build_image(tmp_path)


@pytest.mark.skipif(kvm.NESTED.exists(), reason="this host has kvm_amd")
def test_kvm_is_refused_where_there_is_no_nested_svm(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kvm: "):
        run_batch([record_of(Scenario(path="linux-6.1"))], tmp_path, "kvm")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc on PATH: the boot image is not built")
def test_the_image_is_built_once(tmp_path: Path) -> None:
    image = build_image(tmp_path)
    assert image.read_bytes()[:5] == b"\x7fELF\x01"  # multiboot loaders take 32-bit ELF
    assert (0x1BADB002).to_bytes(4, "little") in image.read_bytes()[:8192]
    stamp = image.stat().st_mtime_ns
    assert build_image(tmp_path).stat().st_mtime_ns == stamp
