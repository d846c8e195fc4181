"""Sections 6.5 to 6.7: delivery through the IDT, what EXITINTINFO says of it, and how faults compose."""

import itertools

import pytest
from tests.helpers import exit_codes, exit_place, last_handler, only_exit, play, taken

from worldswitch.core.bits import TYPE_EXCEPTION, TYPE_INTR, TYPE_NMI, TYPE_SOFT, event_word
from worldswitch.core.delivery import (
    ALONE,
    BECOMES_DF,
    BECOMES_SHUTDOWN,
    BENIGN,
    CONTRIBUTORY,
    DOUBLE_FAULT,
    PAGE_FAULT,
    compose,
    fault_class,
    vector_class,
)
from worldswitch.core.state import LIMIT, SHUTDOWN
from worldswitch.machine.run import Run

CLASSES = (BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT)
# S6-101, written out: the first event's class, then what a benign, contributory, page or double fault makes of it.
COMPOSITION = {
    BENIGN: (ALONE, ALONE, ALONE, ALONE),
    CONTRIBUTORY: (ALONE, BECOMES_DF, ALONE, None),
    PAGE_FAULT: (ALONE, BECOMES_DF, BECOMES_DF, None),
    DOUBLE_FAULT: (ALONE, BECOMES_SHUTDOWN, BECOMES_SHUTDOWN, None),
}
CONTRIBUTORY_VECTORS = {0, 10, 11, 12, 13, 21, 29, 30}
FAULT_VECTORS = {"ts": 10, "np": 11, "ss": 12, "gp": 13, "pf": 14, "ac": 17, "cp": 21, "vc": 29}


# --- 6.7 double-fault composition


@pytest.mark.parametrize("first", CLASSES)
@pytest.mark.parametrize("second", CLASSES)
def test_class_pairs(first: int, second: int) -> None:
    """S6-101: every pair of classes; that a second #DF arises from delivery itself is not said, and cannot happen."""
    expected = COMPOSITION[first][CLASSES.index(second)]
    if expected is not None:
        assert compose(first, second) == expected


@pytest.mark.parametrize("vector", range(32))
def test_class_of_each_vector(vector: int) -> None:
    """S6-100."""
    expected = {14: PAGE_FAULT, 8: DOUBLE_FAULT}.get(vector, CONTRIBUTORY if vector in CONTRIBUTORY_VECTORS else BENIGN)
    assert vector_class(vector) == expected
    assert fault_class(event_word(TYPE_EXCEPTION, vector)) == expected


@pytest.mark.parametrize("kind", [TYPE_INTR, TYPE_NMI, TYPE_SOFT])
@pytest.mark.parametrize("vector", [0, 8, 13, 14, 0x80])
def test_other_types_are_benign(kind: int, vector: int) -> None:
    """S6-102: TYPE 0, 2 and 4 whatever their vector."""
    assert fault_class(event_word(kind, vector)) == BENIGN


FIRSTS = ["intr:0x68", "nmi", "soft:0x80", "ud", "db", "ac", "de", "ts", "np", "ss", "gp", "cp", "vc", "sx", "pf", "df"]
FIRST_CLASS = dict.fromkeys(FIRSTS, BENIGN) | {
    "de": CONTRIBUTORY, "ts": CONTRIBUTORY, "np": CONTRIBUTORY, "ss": CONTRIBUTORY, "gp": CONTRIBUTORY,
    "cp": CONTRIBUTORY, "vc": CONTRIBUTORY, "sx": CONTRIBUTORY, "pf": PAGE_FAULT, "df": DOUBLE_FAULT,
}  # fmt: skip
FIRST_VECTOR = {"intr:0x68": 0x68, "nmi": 2, "soft:0x80": 0x80, "ud": 6, "db": 1, "ac": 17, "de": 0, "ts": 10, "np": 11,
                "ss": 12, "gp": 13, "cp": 21, "vc": 29, "sx": 30, "pf": 14, "df": 8}  # fmt: skip


@pytest.mark.parametrize(("first", "second"), list(itertools.product(FIRSTS, FAULT_VECTORS)))
def test_injected_event_meets_a_fault(first: str, second: str) -> None:
    """S6-101, S6-102: all injected classes against all faults of a delivery, none intercepted; S6-104: #DF code 0."""
    vector, fault = FIRST_VECTOR[first], FAULT_VECTORS[second]
    # The gate of the first event raises the second.
    run = play(vmcb={"eventinj": first}, idt={vector: second}, handlers={fault: ["vmmcall"], 8: ["vmmcall"]})
    outcome = COMPOSITION[FIRST_CLASS[first]][CLASSES.index(vector_class(fault))]
    if outcome == BECOMES_SHUTDOWN:
        assert (run.cpu.stop, run.recorder.handlers) == (SHUTDOWN, [])
    elif outcome == BECOMES_DF:
        assert (last_handler(run).vector, last_handler(run).error_code) == (8, 0)
    elif vector == fault:  # #AC is handled alone, and its own gate raises it again: that does not end
        assert (first, second, run.cpu.stop, run.recorder.handlers) == ("ac", "ac", LIMIT, [])
    else:
        assert [h.vector for h in run.recorder.handlers] == [fault]


# --- 6.5 EXITINTINFO


def test_valid_only_while_delivering() -> None:
    """S6-70, S6-74, S6-92: injected and native, INTR, NMI, exception and soft; in EVENTINJ format."""
    native = {
        0x8000_0020: play(["vmrun"], ["nop", "nop"], idt={0x20: "npf"}, events=["intr@guest+1"]),
        0x8000_0202: play(["vmrun"], ["nop", "nop"], idt={2: "npf"}, events=["nmi@guest+1"]),
        0x8000_0306: play(guest=["nop", "ud2"], idt={6: "npf"}),
        0x8000_0480: play(guest=["nop", "int 0x80"], idt={0x80: "npf"}),
        0x8000_0303: play(guest=["nop", "int3"], idt={3: "npf"}),
        0x8000_0B0D: play(guest=["nop", "load gp"], idt={13: "npf"}),
    }
    for word, run in native.items():
        record = only_exit(run)
        assert (record.code, record.exitintinfo, exit_place(record)) == (0x400, word, 1)


@pytest.mark.parametrize(("event", "word"), [
    ("intr:0x68", 0x8000_0068), ("nmi", 0x8000_0202), ("ud", 0x8000_0306), ("soft:0x80", 0x8000_0480),
    ("gp(0x1234)", 0x1234_8000_0B0D), ("0x8000f068", 0x8000_0068),
])  # fmt: skip
def test_injected_event_is_reported(event: str, word: int) -> None:
    """S6-70, T-091; S1-45: without the reserved bits 30:12."""
    vectors = dict.fromkeys((2, 6, 13, 0x68, 0x80), "npf")
    record = only_exit(play(vmcb={"eventinj": event}, idt=vectors))
    assert (record.code, record.exitintinfo, record.eventinj, exit_place(record)) == (0x400, word, 0, 0)


def test_error_code_only_with_ev() -> None:
    """S6-80, S6-48: EV=0 reports and pushes none."""
    record = only_exit(play(vmcb={"eventinj": "0x128000030d"}, idt={13: "npf"}))
    assert record.exitintinfo == 0x8000_030D
    run = play(vmcb={"eventinj": "0x128000030d"})
    assert [h.error_code for h in run.recorder.handlers] == [-1]


def test_delivered_event_is_not_reported() -> None:
    """S6-79, T-090."""
    run = play(vmcb={"eventinj": "de"})
    assert taken(run) == [("guest", "injected", 0, 0)]
    assert (only_exit(run).exitintinfo, only_exit(run).eventinj) == (0, 0)


def test_reinjection_of_what_was_reported() -> None:
    """S6-71, T-092: the handler runs exactly once."""
    run = play(
        vmcb={"eventinj": "intr:0x68"},
        idt={0x68: "npf"},
        rounds=2,
        between=["set guest.memory=ok", "set vmcb.eventinj=exitintinfo"],
    )
    assert exit_codes(run) == ["npf", "vmmcall"]
    assert taken(run) == [("guest", "injected", 0x68, 0)]
    assert run.recorder.exits[1].exitintinfo == 0


def test_interrupt_exits_report_nothing() -> None:
    """S6-73, I-03."""
    for intercept, kind in (("intr", "intr"), ("nmi", "nmi"), ("smi", "smi"), ("init", "init")):
        run = play(intercept=[intercept], vmcb={"eventinj": "intr:0x68"}, events=[f"{kind}@guest"])
        assert (exit_codes(run), only_exit(run).exitintinfo) == ([intercept], 0)


@pytest.mark.parametrize(("program", "intercept"), [("int 0x80", "swint"), ("icebp", "icebp")])
def test_instruction_intercepts_come_before_delivery(program: str, intercept: str) -> None:
    """S6-75, T-105: EXITINTINFO.V=0 though the gate would fault."""
    run = play(guest=["nop", program], intercept=[intercept], idt={0x80: "npf", 1: "npf"})
    record = only_exit(run)
    assert (exit_codes(run), record.exitintinfo, exit_place(record)) == ([intercept], 0, 1)


def test_icebp_does_not_check_the_db_intercept() -> None:
    """APM2 15.12.2: its #DB has an intercept of its own (S6-75); the handler runs."""
    run = play(guest=["icebp", "vmmcall"], intercept=["exception:db"])
    assert (exit_codes(run), taken(run)) == (["vmmcall"], [("guest", "soft", 1, 1)])


# --- the algorithm of S6-72


def test_intercepted_fault_reports_the_aggregate_before_it() -> None:
    """S6-72 (i), S6-103, T-098: injected #SS, intercepted #GP; EXITINFO1 62h (S6-96)."""
    record = only_exit(play(intercept=["exception:gp"], vmcb={"eventinj": "ss"}, idt={12: "gp"}))
    assert (record.code, record.exitinfo1, record.exitintinfo) == (0x4D, 0x62, 0x8000_0B0C)


@pytest.mark.parametrize(("value", "word"), [("first-event", 0x8000_0B0C), ("invalid", 0)])
def test_intercepted_double_fault(value: str, word: int) -> None:
    """S6-72 (iii), S6-78, S6-103, S6-104, T-099: exit 48h, EXITINFO1=0."""
    run = play(intercept=["exception:df"], vmcb={"eventinj": "ss"}, idt={12: "gp"}, exitintinfo_on_df_exit=value)
    record = only_exit(run)
    assert (record.code, record.exitinfo1, record.exitintinfo) == (0x48, 0, word)


def test_nothing_intercepted_is_a_triple_fault() -> None:
    """S6-103, S6-72 (iii): #SS, #GP, and the #DF meets #GP again; SHUTDOWN intercepted or not (S6-94, S6-95)."""
    gates = {12: "gp", 8: "gp"}
    run = play(vmcb={"eventinj": "ss"}, idt=gates)
    assert (run.cpu.stop, run.recorder.exits) == (SHUTDOWN, [])
    run = play(intercept=["shutdown"], vmcb={"eventinj": "ss"}, idt=gates)
    assert exit_codes(run) == ["shutdown"]


def test_pending_ss_that_is_intercepted() -> None:
    """S6-103: not injected but raised, so its own intercept counts, with its error code."""
    record = only_exit(play(guest=["load ss"], intercept=["exception:ss"], idt={12: "gp"}))
    assert (record.code, record.exitinfo1, record.exitintinfo) == (0x4C, 0, 0)


def test_apm_example_of_three_faults() -> None:
    """S6-76, T-102: #GP meets #NP, that is #DF, whose delivery meets an intercepted #PF: exit 4Eh, EXITINTINFO #DF."""
    run = play(guest=["load gp"], intercept=["exception:pf"], idt={13: "np", 8: "pf"})
    assert (exit_codes(run), only_exit(run).exitintinfo) == (["pf"], 0x8000_0B08)


def test_apm_example_of_np_and_gp() -> None:
    """S6-77: with #GP and #DF intercepted exit 4Dh, EXITINTINFO #NP; with #DF alone exit 48h."""
    run = play(guest=["load np"], intercept=["exception:gp", "exception:df"], idt={11: "gp"})
    assert (exit_codes(run), only_exit(run).exitintinfo) == (["gp"], 0x8000_0B0B)
    run = play(guest=["load np"], intercept=["exception:df"], idt={11: "gp"})
    assert exit_codes(run) == ["df"]


def test_aggregate_is_the_double_fault_once_it_is_one() -> None:
    """S6-72 (iv): the #NPF of delivering the #DF."""
    record = only_exit(play(vmcb={"eventinj": "ss"}, idt={12: "gp", 8: "npf"}))
    assert (record.code, record.exitintinfo) == (0x400, 0x8000_0B08)


def test_shutdown_exit_of_a_plain_guest() -> None:
    """S6-94, T-101: UD2 with an IDT that is not there, SHUTDOWN intercepted."""
    run = play(guest=["ud2"], intercept=["shutdown"], idt={6: "pf", 14: "pf", 8: "pf"})
    assert exit_codes(run) == ["shutdown"]


def test_host_triple_fault_shuts_down() -> None:
    """S6-95."""
    run = play(["ud2"], host_idt={6: "gp", 13: "gp", 8: "gp"})
    assert (run.cpu.stop, run.recorder.handlers) == (SHUTDOWN, [])


# --- S6-81: QEMU's EXITINTINFO


def qemu(**scenario: object) -> Run:
    return play(exitintinfo_source="qemu", **scenario)  # type: ignore[arg-type]


def test_qemu_copies_a_valid_eventinj() -> None:
    """S6-81: the injected event, and then EVENTINJ is zeroed."""
    record = only_exit(qemu(vmcb={"eventinj": "intr:0x68"}, idt={0x68: "npf"}))
    assert (record.exitintinfo, record.eventinj) == (0x8000_0068, 0)


def test_qemu_copies_it_on_an_invalid_exit_too() -> None:
    """S6-81: the copy does not depend on the exit."""
    record = only_exit(qemu(vmcb={"eventinj": "intr:0x68", "asid": 0}))
    assert (record.code, record.exitintinfo) == (0xFFFF_FFFF_FFFF_FFFF, 0x8000_0068)


def test_qemu_leaves_a_delivered_event_without_v() -> None:
    """S6-81; emulators.md: after successful delivery a non-valid event is left."""
    assert only_exit(qemu(vmcb={"eventinj": "intr:0x68"})).exitintinfo == 0x68


@pytest.mark.parametrize(("program", "events", "vector", "word"), [
    (["nop", "int 0x80"], [], 0x80, 0x8000_0480),
    (["nop", "ud2"], [], 6, 0x8000_0306),
    (["nop", "nop"], ["intr@guest+1"], 0x20, 0x8000_0320),
    (["nop", "nop"], ["nmi@guest+1"], 2, 0x8000_0302),
])  # fmt: skip
def test_qemu_records_native_vectoring_with_a_wrong_type(
    program: list[str], events: list[str], vector: int, word: int
) -> None:
    """S6-81, correction: TYPE 4 for INTn, 3 for everything else, hardware interrupts included."""
    record = only_exit(qemu(guest=program, events=events, idt={vector: "npf"}))
    assert (record.code, record.exitintinfo) == (0x400, word)


# --- 6.6 particular exits


def test_intercepted_page_fault() -> None:
    """S6-90, T-106: CR2 not written; error code in EXITINFO1, address in EXITINFO2."""
    record = only_exit(play(guest=["store pf"], intercept=["exception:pf"], state={"cr2": 0x1234}))
    assert (record.code, record.cr2, record.exitinfo1, record.exitinfo2) == (0x4E, 0x1234, 2, 0x5000)


def test_intercepted_page_fault_of_a_delivery() -> None:
    """S6-90, S6-72 (i): the address is that of the stack; other exceptions of a delivery have none."""
    record = only_exit(play(intercept=["exception:pf"], vmcb={"eventinj": "intr:0x68"}, idt={0x68: "pf"}))
    assert (record.code, record.exitinfo1, record.exitinfo2, record.cr2) == (0x4E, 2, 0x7FF8, 0)
    record = only_exit(play(intercept=["exception:gp"], vmcb={"eventinj": "intr:0x68"}, idt={0x68: "gp"}))
    assert record.exitinfo2 == 0


def test_unintercepted_page_fault_of_a_delivery_writes_cr2() -> None:
    """S6-90: also where it becomes a double fault, as both have happened by then (APM2 15.12.9)."""
    run = play(vmcb={"eventinj": "intr:0x68"}, idt={0x68: "pf"}, handlers={14: ["vmmcall"]})
    assert only_exit(run).cr2 == 0x7FF8
    run = play(intercept=["exception:df"], vmcb={"eventinj": "pf"}, idt={14: "pf"})
    assert (exit_codes(run), only_exit(run).cr2) == (["df"], 0x7FF8)


def test_unintercepted_page_fault_writes_cr2() -> None:
    """S6-90: in the guest, where the exit then saves it."""
    run = play(guest=["store pf"], handlers={14: ["vmmcall"]}, state={"cr2": 0x1234})
    assert only_exit(run).cr2 == 0x5000


def test_nested_page_fault_information() -> None:
    """S6-91: bit 32, the final guest physical address; the address in EXITINFO2. A stack push is a user write."""
    record = only_exit(play(vmcb={"eventinj": "intr:0x68"}, idt={0x68: "npf"}))
    assert (record.exitinfo1 >> 32, record.exitinfo1 & 6, record.exitinfo2) == (1, 6, 0x7FF8)


def test_without_nested_paging_it_is_a_page_fault() -> None:
    """S6-91: there are no nested tables to fault in."""
    run = play(vmcb={"eventinj": "intr:0x68", "np_enable": False}, idt={0x68: "npf"}, intercept=["exception:pf"])
    assert (exit_codes(run), only_exit(run).exitintinfo) == (["pf"], 0x8000_0068)


def test_task_gate_exits_before_the_switch() -> None:
    """S6-74, S6-93, T-116: legacy mode; EXITINTINFO valid, nothing pushed; no error code, RF as it would be saved."""
    run = play(intercept=["task_switch"], vmcb={"eventinj": "intr:0x68"}, state={"mode": "protected"},
               idt={0x68: "task-gate"})  # fmt: skip
    record = only_exit(run)
    assert (record.code, record.exitintinfo, record.exitinfo2) == (0x7D, 0x8000_0068, 0)
    assert run.cpu.guest_world.frames == []


def test_task_gate_error_code_and_rf() -> None:
    """S6-93: bit 44 and bits 31:0 for the code, bit 48 for RFLAGS.RF, which a fault's image has set."""
    run = play(guest=["load gp"], intercept=["task_switch"], state={"mode": "protected"}, idt={13: "task-gate"})
    assert only_exit(run).exitinfo2 == 1 << 48 | 1 << 44
    run = play(intercept=["task_switch"], vmcb={"eventinj": "gp(0x18)"}, state={"mode": "protected"},
               idt={13: "task-gate"})  # fmt: skip
    assert only_exit(run).exitinfo2 & (1 << 44 | 0xFFFF_FFFF) == 1 << 44 | 0x18


def test_no_task_gates_in_long_mode() -> None:
    """S6-93: legacy mode only; in long mode the gate is a #GP."""
    run = play(intercept=["task_switch", "exception:gp"], vmcb={"eventinj": "intr:0x68"}, idt={0x68: "task-gate"})
    assert exit_codes(run) == ["gp"]


# --- error codes and DPL


@pytest.mark.parametrize(("value", "code"), [("0", 0x62), ("1", 0x63)])
def test_ext_bit_of_a_fault_during_injection(value: str, code: int) -> None:
    """S6-96, S6-97: vector 12 * 8 + 2."""
    run = play(intercept=["exception:gp"], vmcb={"eventinj": "ss"}, idt={12: "gp"}, idt_gp_ext_bit=value)
    assert only_exit(run).exitinfo1 == code


@pytest.mark.parametrize("fault", ["ac", "cp", "vc", "pf"])
def test_other_error_codes_have_no_ext_bit(fault: str) -> None:
    """S6-97: EXT belongs to the codes that name a selector or an IDT entry; bit 0 of a #PF code is P."""
    run = play(intercept=[f"exception:{fault}"], vmcb={"eventinj": "intr:0x68"}, idt={0x68: fault}, idt_gp_ext_bit="1")
    assert only_exit(run).exitinfo1 & 1 == 0


@pytest.mark.parametrize(("dpl", "cpl", "passes"), [(0, 0, True), (0, 3, False), (3, 3, True), (2, 3, False)])
@pytest.mark.parametrize(("event", "vector"), [("soft:0x80", 0x80), ("bp", 3)])
def test_dpl_check_of_injected_software_events(event: str, vector: int, dpl: int, cpl: int, passes: bool) -> None:
    """S6-46, S6-47, T-114: TYPE 4, and TYPE 3 with vector 3; a #GP whose code names the gate."""
    run = play(vmcb={"eventinj": event}, state={"cpl": cpl}, idt={vector: {"dpl": dpl}}, handlers={13: ["vmmcall"]})
    handler = run.recorder.handlers[0]
    assert (handler.vector, handler.error_code) == ((vector, -1) if passes else (13, vector * 8 + 2))


@pytest.mark.parametrize(("event", "vector"), [("intr:0x68", 0x68), ("nmi", 2), ("gp", 13), ("db", 1)])
def test_no_dpl_check_for_others(event: str, vector: int) -> None:
    """S6-47: TYPE 0 does not; nor do NMI and other exceptions."""
    run = play(vmcb={"eventinj": event}, state={"cpl": 3}, handlers={vector: ["vmmcall"]})
    assert [h.vector for h in run.recorder.handlers] == [vector]


def test_dpl_check_of_native_software_interrupts() -> None:
    """S6-47, S6-61: the #GP's RIP is the INT n itself; ICEBP has no such check."""
    run = play(guest=["nop", "int 0x80"], state={"cpl": 3}, handlers={13: ["vmmcall"]})
    assert taken(run) == [("guest", "exception", 13, 1)]
    run = play(guest=["nop", "icebp"], state={"cpl": 3}, handlers={1: ["vmmcall"]})
    assert taken(run) == [("guest", "soft", 1, 2)]


def test_handler_state() -> None:
    """S6-20 and the gate's type: an interrupt gate clears IF, a trap gate does not; TF, RF and NT go; CPL is 0."""
    for kind, interrupts in (("interrupt", 0), ("trap", 0x200)):
        run = play(["popf if,tf,nt", "int 0x80"], host_idt={0x80: {"type": kind}}, host_handlers={0x80: ["spin"]})
        assert run.cpu.regs.rflags & (1 << 8 | 1 << 9 | 1 << 14 | 1 << 16) == interrupts
        assert run.cpu.regs.cpl == 0
