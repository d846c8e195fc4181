import pytest
from tests.oracles.judging import INTERCEPTS, NEW, OLD, mutant, run, signatures, variant

from worldswitch.oracles import shadow_bleed

INJECTION = "shadow-bleed.unexplained-shadow.injection"
RELOADED = "shadow-bleed.unexplained-shadow.reloaded"
GUEST = "shadow-bleed.unexplained-shadow.guest"
INVALID = (1 << 64) - 1


def scenario(guest: str, vmcb: str = "", host: str = "", more: str = "") -> str:
    return f"""
[host]
path = "{OLD}"
{host}
[vmcb]
{INTERCEPTS}
{vmcb}
[guest]
{guest}
{more}
"""


GOLDEN = scenario('program = ["nop", "vmmcall"]\nidt = { 0x68 = "npf" }', 'eventinj = "intr:0x68"')


def bleeds(text: str, path: str = OLD, profile: str | None = None) -> list[str]:
    return signatures(text, path, profile, shadow_bleed.NAME)


def test_the_golden_trace_bleeds_on_the_old_path_only() -> None:
    """S2-72, T-120."""
    assert bleeds(GOLDEN) == [INJECTION]
    assert bleeds(GOLDEN, NEW) == []


def test_the_finding_points_at_the_entry_and_at_the_exit_and_says_who_sees_it() -> None:
    (finding,) = shadow_bleed.judge(run(GOLDEN, OLD))
    (record,) = run(GOLDEN, OLD).recorder.exits
    assert finding.steps == (record.step,)  # VMRUN and the exit are one step here
    assert finding.level == "L0"
    assert "S2-70" in finding.rules


def test_an_intercepted_exception_during_injection_bleeds_too() -> None:
    """S2-73, T-124."""
    text = scenario('program = ["vmmcall"]\nidt = { 12 = "gp" }', 'eventinj = "ss(0)"').replace(
        '"vmmcall"]', '"vmmcall", "exception:gp"]', 1
    )
    assert bleeds(text) == [INJECTION]
    assert bleeds(text, NEW) == []


def test_the_switch_is_not_what_it_looks_at() -> None:
    """Without the quirk there is nothing to see; with a bleed of another cause there is."""
    assert bleeds(GOLDEN, profile="amd-noquirk") == []
    movss = GOLDEN.replace('path = "linux-6.1"', 'program = ["clgi", "mov_ss", "vmrun"]')
    movss = "[options]\nbleed_movss_shadow = 'on'\n" + movss  # S2-77
    assert signatures(movss, "", oracle=shadow_bleed.NAME) == [INJECTION]


@pytest.mark.parametrize("between", ["nop", "vmload vmcb01", "mov rax", "pop rax"])
def test_anything_between_sti_and_vmrun_ends_it(between: str) -> None:
    """S2-75, T-122, T-123."""
    assert signatures(GOLDEN, variant(OLD, "sti", f"sti: sti\n{between}"), oracle=shadow_bleed.NAME) == []


def test_a_second_sti_ends_it() -> None:
    """S2-07, S2-78."""
    assert signatures(GOLDEN, mutant(OLD, "repeat sti"), oracle=shadow_bleed.NAME) == []


def test_a_delivered_injection_does_not_bleed() -> None:
    """S2-74, T-126."""
    assert bleeds(scenario('program = ["vmmcall"]', 'eventinj = "intr:0x68"')) == []


def test_an_exit_of_the_first_instruction_without_injection_does_not_bleed() -> None:
    """S2-76, T-127; QEMU up to 9.0 differs (T-135)."""
    text = scenario('program = ["load npf", "vmmcall"]')
    assert bleeds(text) == []
    assert bleeds(text, profile="qemu-7.2") == [GUEST]


# --- what explains a shadow


@pytest.mark.parametrize(
    ("program", "guest_if"),
    [('["sti", "vmmcall"]', "false"), ('["mov_ss", "vmmcall"]', "true"), ('["pop_ss", "vmmcall"]', "false")],
)
def test_the_guest_makes_its_own_shadow(program: str, guest_if: str) -> None:
    """S2-01, S2-03, S2-53, T-080."""
    text = scenario(f"program = {program}\nif = {guest_if}")
    (record,) = run(text).recorder.exits
    assert record.int_state == 1
    assert bleeds(text) == []


def test_sti_with_if_set_explains_nothing() -> None:
    """S2-02: QEMU makes a shadow all the same."""
    text = scenario('program = ["sti", "vmmcall"]')
    assert bleeds(text) == []
    assert signatures(text, NEW, "qemu-10", shadow_bleed.NAME) == [GUEST]


def test_a_delivery_that_faults_in_the_guests_own_shadow_is_explained() -> None:
    """The guest's STI, then INT n with no page for its stack."""
    text = scenario('program = ["sti", "int 0x80", "vmmcall"]\nidt = { 0x80 = "npf" }\nif = false')
    (record,) = run(text).recorder.exits
    assert record.int_state == 1
    assert bleeds(text) == []


def test_a_loaded_shadow_is_explained_by_whoever_wrote_it() -> None:
    """S2-50, S2-58: the scenario; software between two rounds."""
    loaded = scenario('program = ["vmmcall"]\nidt = { 0x68 = "npf" }', 'eventinj = "intr:0x68"\nint_state = 1')
    assert [record.int_state for record in run(loaded, NEW).recorder.exits] == [1]
    assert bleeds(loaded, NEW) == []
    assert bleeds(loaded, OLD) == []
    written = scenario(
        'program = ["load npf"]', host='rounds = 2\nbetween = ["set vmcb.int_state=1"]'
    )  # the second exit keeps what software wrote
    assert [record.int_state for record in run(written, NEW).recorder.exits] == [0, 1]
    assert bleeds(written, NEW) == []


def test_a_shadow_that_an_exit_rightly_reports_may_be_loaded_again() -> None:
    """S2-55: the guest's own, twice over the same VMMCALL."""
    text = scenario('program = ["sti", "vmmcall"]\nif = false', host="rounds = 2")
    assert [record.int_state for record in run(text).recorder.exits] == [1, 1]
    assert bleeds(text, NEW) == []


def test_a_guest_instruction_ends_a_loaded_shadow() -> None:
    text = scenario('program = ["nop", "load npf"]', "int_state = 1")
    (record,) = run(text).recorder.exits
    assert record.int_state == 0
    doctored = run(text)
    doctored.recorder.exits[0].int_state = 1
    assert [finding.signature for finding in shadow_bleed.judge(doctored)] == [GUEST]


def test_a_delivery_ends_a_loaded_shadow() -> None:
    """S2-57: the handler exits at once, and still no shadow of the VMCB explains one."""
    text = scenario('program = ["nop"]\nhandlers = { 0x68 = ["vmmcall"] }', 'eventinj = "intr:0x68"\nint_state = 1')
    ended = run(text)
    (record,) = ended.recorder.exits
    assert (record.entry.delivered, record.entry.retired, record.int_state) == (1, 0, 0)
    record.int_state = 1
    assert [finding.signature for finding in shadow_bleed.judge(ended)] == [GUEST]


def test_a_leak_into_the_handler_is_none_during_injection() -> None:
    """10.1: in QEMU up to 9.0 the host's shadow outlives the delivery."""
    text = scenario('program = ["nop"]\nhandlers = { 0x68 = ["vmmcall"] }', 'eventinj = "intr:0x68"')
    assert bleeds(text, OLD, "qemu-7.2") == [GUEST]
    assert bleeds(text, OLD) == []


@pytest.mark.parametrize(
    ("program", "at"),
    [
        ('["nop", "rep 4", "vmmcall"]', "guest+1"),  # not begun: the NOP before it is what completed last
        ('["rep 1", "nop", "vmmcall"]', "guest+1"),  # done
    ],
)
def test_a_rep_that_was_not_interrupted_is_like_any_instruction(program: str, at: str) -> None:
    ended = run(scenario(f"program = {program}", more=f'[[event]]\nkind = "nmi"\nat = "{at}"'))
    ended.recorder.exits[0].int_state = 1
    assert [finding.signature for finding in shadow_bleed.judge(ended)] == [GUEST]


def test_a_rep_that_was_interrupted_proves_nothing() -> None:
    """S2-24: whether the shadow ends with its first iteration has no source."""
    text = "[options]\nrep_iteration_ends_shadow = 'no'\n" + scenario(
        'program = ["sti", "rep 4", "vmmcall"]\nif = false', more='[[event]]\nkind = "nmi"\nat = "guest+2"'
    )
    (record,) = run(text, NEW).recorder.exits
    assert record.int_state == 1
    assert bleeds(text, NEW) == []


@pytest.mark.parametrize("vmcb", ['eventinj = "0x80000302"', 'eventinj = "intr:0x68"\nasid = 0'])
def test_an_invalid_exit_says_nothing(vmcb: str) -> None:
    """S2-79: int_state of VMEXIT_INVALID is not asserted, whatever it holds."""
    text = "[options]\nbleed_on_invalid_exit = 'yes'\n" + scenario('program = ["vmmcall"]', vmcb)
    (record,) = run(text, OLD).recorder.exits
    assert record.int_state == 1
    assert bleeds(text) == []


def test_a_shutdown_exit_says_nothing() -> None:
    """S6-94: a double fault that cannot be delivered, in the STI shadow."""
    text = scenario('program = ["vmmcall"]\nidt = { 8 = "gp", 13 = "gp" }', 'eventinj = "df(0)"')
    (record,) = run(text, OLD).recorder.exits
    assert (record.code, record.int_state) == (0x7F, 1)
    assert bleeds(text) == []


# --- a bled bit that is loaded again


def rounds(between: str, number: int = 2) -> str:
    return scenario(
        'program = ["load npf", "vmmcall"]\nidt = { 0x68 = "npf" }',
        'eventinj = "intr:0x68"',
        f"rounds = {number}\nbetween = [{between}]",
    )


def test_reinjection_that_fails_again_shows_the_bit_again() -> None:
    """S9-25: what was left at 1 is loaded and kept."""
    text = rounds('"set vmcb.eventinj=exitintinfo"')
    assert [record.int_state for record in run(text, OLD).recorder.exits] == [1, 1]
    assert bleeds(text) == [INJECTION, RELOADED]
    assert bleeds(text, NEW) == []


def test_without_reinjection_the_bit_is_kept_too() -> None:
    """S2-81: the first instruction of the second round exits in a shadow that the guest never made."""
    text = rounds('"nop"')
    assert [record.int_state for record in run(text, OLD).recorder.exits] == [1, 1]
    assert bleeds(text) == [INJECTION, RELOADED]


def test_a_bled_bit_that_software_clears_is_gone() -> None:
    text = rounds('"set vmcb.int_state=0"')
    assert [record.int_state for record in run(text, OLD).recorder.exits] == [1, 0]
    assert bleeds(text) == [INJECTION]


def test_a_bled_bit_that_software_writes_again_is_software_s() -> None:
    text = rounds('"set vmcb.int_state=1"')
    assert [record.int_state for record in run(text, OLD).recorder.exits] == [1, 1]
    assert bleeds(text) == [INJECTION]


def test_a_bled_bit_does_not_taint_the_guests_own_shadow() -> None:
    """The second round's STI makes its own."""
    text = rounds('"nop"').replace('"load npf", "vmmcall"]', '"cli", "sti", "vmmcall"]')
    assert [record.int_state for record in run(text, OLD).recorder.exits] == [1, 1]
    assert bleeds(text) == [INJECTION]


def test_a_bled_bit_ends_with_the_delivery_of_the_event() -> None:
    """S2-57: reinjection that succeeds."""
    text = rounds('"set vmcb.eventinj=exitintinfo", "set guest.idt.0x68=ok"')
    assert [record.int_state for record in run(text, OLD).recorder.exits] == [1, 0]
    assert bleeds(text) == [INJECTION]


def test_a_bled_bit_survives_an_invalid_exit() -> None:
    """S6-37: VMEXIT_INVALID leaves int_state alone, so it explains nothing that was there before."""
    three = run(rounds('"set vmcb.asid=0"', 3), OLD)
    assert [(record.code, record.int_state) for record in three.recorder.exits] == [
        (0x400, 1),
        (INVALID, 1),
        (INVALID, 1),
    ]
    assert [finding.signature for finding in shadow_bleed.judge(three)] == [INJECTION]
    three.recorder.exits[2].code = 0x400  # as if the third round had run the guest, which keeps the bit
    assert [finding.signature for finding in shadow_bleed.judge(three)] == [INJECTION, RELOADED]
