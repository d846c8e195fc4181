import pytest
from tests.oracles.judging import NEW, PLAIN, run, signatures

from worldswitch.core.bits import EVENT_V
from worldswitch.core.record import KIND_INTR, KIND_NMI, KIND_SMI
from worldswitch.core.state import END, LIMIT, SHUTDOWN
from worldswitch.machine.run import Run
from worldswitch.oracles import lost_event

NAME = lost_event.NAME
OPEN = 'intercepts = ["shutdown", "vmrun", "vmmcall"]\nv_intr_masking = false'
GUEST = 'program = ["nop", "nop", "vmmcall"]'


def scenario(vmcb: str = "", guest: str = GUEST, events: str = "", host: str = "") -> str:
    arrivals = [event.partition("@") for event in events.split()]
    tables = "".join(f'[[event]]\nkind = "{kind}"\nat = "{at}"\n' for kind, _, at in arrivals)
    return f'[host]\npath = "{NEW}"\n{host}\n[vmcb]\n{OPEN}\n{vmcb}\n[guest]\n{guest}\n{tables}'


def objections(ended: Run) -> list[str]:
    return [finding.signature.removeprefix(f"{NAME}.") for finding in lost_event.judge(ended)]


# --- legal outcomes


@pytest.mark.parametrize("kind", ["intr", "nmi", "smi", "init", "mce"])
@pytest.mark.parametrize("at", ["start", "clgi+1", "vmrun", "guest+1", "vmexit", "stgi", "end"])
def test_every_arrival_is_accounted_for(kind: str, at: str) -> None:
    """I-06: delivered in the host or the guest, pending and masked, or the end of everything."""
    assert objections(run(scenario(events=f"{kind}@{at}"))) == []
    assert objections(run(PLAIN + f'[[event]]\nkind = "{kind}"\nat = "{at}"\n')) == []


def test_events_merge_in_their_latch() -> None:
    """S1-11: three NMIs with GIF=0 are one, and that is no loss."""
    ended = run(scenario(events="nmi@clgi+1 nmi@enter+1 nmi@sti intr@clgi+1 intr@sti"))
    assert sum(kind == KIND_NMI for _, kind, _ in ended.recorder.acknowledged) == 1
    assert objections(ended) == []


def test_an_internal_smi_with_gif_clear_is_discarded() -> None:
    """S3-13."""
    text = scenario(events="smi@clgi+1") + 'origin = "internal"\n'
    ended = run(text)
    assert ended.recorder.discarded
    assert objections(ended) == []


def test_out_smi_is_a_source_of_its_own() -> None:
    """S3-13: in the guest, in the host, and set by what stands for the outside."""
    assert objections(run(scenario(guest='program = ["out_smi", "out_smi", "vmmcall"]', events="smi@guest"))) == []
    for program in ('"out_smi", "nop"', '"set cpu.pending=nmi", "nop"', '"set cpu.pending=intr:0x30", "nop"'):
        ended = run(f"[host]\nprogram = [{program}]\n", "")
        assert len(ended.recorder.handlers) == 1
        assert objections(ended) == []
    masked = '[cpu]\nif = false\nnmi_masked = true\npending = ["intr:0x20"]\n'
    held = run(masked + '[host]\nprogram = ["set cpu.pending=nmi", "nop"]\n', "")
    assert held.cpu.pend_nmi
    assert objections(held) == []


def test_a_machine_check_with_gif_clear_may_be_a_shutdown() -> None:
    """S3-15: the shutdown exit is its fate."""
    guest = 'program = ["clgi", "nop", "vmmcall"]'
    ended = run("[options]\nmce_gif0 = 'shutdown'\n" + scenario(guest=guest, events="mce@guest+2"))
    assert [record.code for record in ended.recorder.exits] == [0x7F]
    assert objections(ended) == []
    ended.recorder.exits.clear()
    assert objections(ended) == ["acknowledged-in-vain.mce"]


@pytest.mark.parametrize(
    ("vmcb", "gate", "events"),
    [
        ("", "0x20", "intr@guest+1"),
        ("", "2", "nmi@guest+1"),
        ("v_irq = true\nv_intr_prio = 15\nv_intr_vector = 0x30", "0x30", ""),  # S5-12, T-078
        ('v_nmi_enable = true\nv_nmi = true\nintercepts = ["nmi", "vmrun"]', "2", ""),  # S4-34
    ],
)
def test_a_native_delivery_that_exits(vmcb: str, gate: str, events: str) -> None:
    """S6-70: EXITINTINFO of an event that was not injected."""
    text = scenario(vmcb, f'{GUEST}\nidt = {{ {gate} = "npf" }}', events)
    ended = run(text.replace(OPEN, "v_intr_masking = false") if "intercepts" in vmcb else text)
    (record,) = ended.recorder.exits
    assert record.code == 0x400
    assert record.exitintinfo & EVENT_V
    assert record.step > record.entry.step
    assert objections(ended) == []


def test_a_delivery_after_the_injected_one() -> None:
    """T-104: the handler's own INT n exits, which is no second fate of the injected event."""
    guest = 'program = ["nop"]\nidt = { 0x80 = "npf" }\nhandlers = { 0x68 = ["int 0x80"] }'
    ended = run(scenario('eventinj = "intr:0x68"', guest))
    assert [record.code for record in ended.recorder.exits] == [0x400]
    assert objections(ended) == []


@pytest.mark.parametrize("fault", ["gp", "np", "pf", "npf", "ss"])
@pytest.mark.parametrize("vmcb", ["", 'eventinj = "intr:0x20"', 'eventinj = "nmi"', 'eventinj = "ss(0)"'])
def test_an_event_whose_delivery_faults(fault: str, vmcb: str) -> None:
    """S6-101, I-09: superseded, folded into #DF, or in EXITINTINFO."""
    gates = ", ".join(f'{vector} = "{fault}"' for vector in ("0x20", "2", "12"))
    guest = f'program = ["nop", "nop", "vmmcall"]\nidt = {{ {gates} }}'
    assert objections(run(scenario(vmcb, guest, "intr@guest+1 nmi@guest+1"))) == []


def test_a_delivery_that_never_ends() -> None:
    """S6-101: #AC while #AC is delivered is handled alone, and so on; the run is cut off."""
    ended = run(scenario(guest=f'{GUEST}\nidt = {{ 0x20 = "ac", 17 = "ac" }}', events="intr@guest+1"))
    assert ended.cpu.stop == LIMIT
    assert not ended.recorder.handlers
    assert not ended.recorder.exits
    assert objections(ended) == []


def test_a_double_fault_that_shuts_down() -> None:
    guest = 'program = ["vmmcall"]\nidt = { 12 = "gp", 8 = "gp" }'
    for intercepts in (OPEN, OPEN.replace('"shutdown", ', "")):
        text = scenario('eventinj = "ss(0)"', guest).replace(OPEN, intercepts)
        assert objections(run(text)) == []


@pytest.mark.parametrize("vmcb", ['eventinj = "0x80000302"', 'eventinj = "intr:0x68"\nasid = 0'])
def test_a_rejected_injection(vmcb: str) -> None:
    """S6-32, I-09: VMEXIT_INVALID."""
    assert objections(run(scenario(vmcb))) == []


def test_reinjection_is_another_event() -> None:
    """S6-71, T-092: the same word, delivered once in the second round."""
    text = scenario(
        'eventinj = "intr:0x68"',
        'program = ["nop", "vmmcall"]\nidt = { 0x68 = "npf" }',
        host='rounds = 2\nbetween = ["set vmcb.eventinj=exitintinfo", "set guest.memory=ok"]',
    )
    ended = run(text)
    assert [bool(record.exitintinfo & EVENT_V) for record in ended.recorder.exits] == [True, False]
    assert objections(ended) == []


def test_a_guest_that_never_exits() -> None:
    """An injection is judged without an exit."""
    ended = run(scenario('eventinj = "intr:0x68"', 'program = ["spin"]'))
    assert ended.recorder.exits == []
    assert objections(ended) == []


def test_qemu_reports_a_rejected_injection() -> None:
    """I-02: EXITINTINFO.V=1 on an exit in which no delivery can end."""
    text = scenario('eventinj = "0x80000302"')
    assert signatures(text, NEW, oracle=NAME) == []
    assert signatures(text, NEW, "qemu-10", NAME) == [f"{NAME}.exitintinfo-on-other-exit.vmexit"]


# --- what the records would show if an event were lost or doubled


def test_an_event_that_vanishes() -> None:
    """I-06: its latch is empty, and nothing left it."""
    ended = run(scenario(events="intr@clgi+1"))
    assert objections(ended) == []
    assert bool(ended.cpu.irr) != bool(ended.recorder.acknowledged)
    ended.cpu.irr.clear()
    ended.recorder.acknowledged.clear()
    (finding,) = lost_event.judge(ended)
    assert finding.signature == f"{NAME}.vanished.intr"
    assert finding.message == "intr 0x20 arrived and left no trace"


@pytest.mark.parametrize("name", ["nmi", "smi", "init", "mce"])
def test_events_of_every_kind_can_be_missed(name: str) -> None:
    ended = run(PLAIN + f'[[event]]\nkind = "{name}"\nat = "exit"\n')
    ended.recorder.acknowledged.clear()
    ended.cpu.pend_nmi = ended.cpu.pend_init = ended.cpu.pend_mce = False
    ended.cpu.pend_smi = 0
    ended.cpu.stop = 1
    assert objections(ended) == [f"vanished.{name}"]


def test_an_event_that_was_pending_from_the_start_counts_too() -> None:
    ended = run('[cpu]\npending = ["nmi"]\n' + PLAIN)
    assert objections(ended) == []
    ended.recorder.acknowledged.clear()
    assert objections(ended) == ["vanished.nmi"]


@pytest.mark.parametrize("origin", ["external", "internal"])
def test_an_smi_is_not_excused_by_another_that_was_discarded(origin: str) -> None:
    """S3-13 holds for an internal SMI that arrives with GIF=0 only."""
    other = '[[event]]\nkind = "smi"\nat = "clgi+1"\norigin = "internal"\n'
    at = "clgi+1" if origin == "external" else "start"
    ended = run(scenario(events=f"smi@{at}") + f'origin = "{origin}"\n' + other)
    assert ended.recorder.discarded
    assert objections(ended) == []
    ended.cpu.pend_smi = 0
    ended.recorder.acknowledged.clear()
    assert objections(ended) == ["vanished.smi"]


def test_shutdown_ends_every_event() -> None:
    ended = run('[cpu]\npending = ["nmi"]\n' + PLAIN)
    ended.recorder.acknowledged.clear()
    ended.cpu.stop = SHUTDOWN
    assert objections(ended) == []


def test_one_event_that_is_taken_twice() -> None:
    """A second acknowledgement, with its handler, from a latch that nobody set again."""
    ended = run(scenario(events="nmi@guest+1"))
    assert objections(ended) == []
    step = ended.recorder.exits[0].step
    ended.recorder.acknowledged.append((step, KIND_NMI, 2))
    assert objections(ended) == ["taken-twice.nmi"]


@pytest.mark.parametrize("guest", [GUEST, 'program = ["out_smi", "nop", "vmmcall"]'])
@pytest.mark.parametrize(("name", "kind"), [("nmi", KIND_NMI), ("smi", KIND_SMI)])
def test_software_that_makes_smis_excuses_smis_only(guest: str, name: str, kind: int) -> None:
    ended = run(scenario(guest=guest))
    ended.recorder.acknowledged.append((ended.recorder.exits[0].step, kind, 0))
    excused = name == "smi" and guest != GUEST
    assert objections(ended) == ([] if excused else [f"taken-twice.{name}"])


def test_an_event_that_is_taken_and_stays() -> None:
    ended = run(scenario(events="intr@guest+1"))
    assert objections(ended) == []
    ended.cpu.irr.append(0x20)
    assert objections(ended) == ["taken-and-kept.intr"]


def test_an_acknowledged_event_without_a_handler() -> None:
    ended = run(scenario(events="intr@guest+1"))
    ended.recorder.handlers.clear()
    assert objections(ended) == ["acknowledged-in-vain.intr"]


def test_an_acknowledged_event_that_no_end_excuses() -> None:
    """An INIT that was taken, and no reset; an INTR that was lost before a reset."""
    ended = run(scenario(events="init@guest+1"))
    assert objections(ended) == []
    ended.cpu.stop = END
    assert objections(ended) == ["acknowledged-in-vain.init"]
    ended = run(scenario(events="intr@guest+1 init@guest+2"))
    assert objections(ended) == []
    ended.recorder.handlers.clear()
    assert objections(ended) == ["acknowledged-in-vain.intr"]


def test_an_event_that_is_delivered_and_reported() -> None:
    ended = run(scenario(events="intr@guest+1"))
    (step,) = [step for step, kind, _ in ended.recorder.acknowledged if kind == KIND_INTR]
    ended.recorder.exits[0].step = step
    assert "delivered-and-reported.intr" in objections(ended)


def test_an_injection_that_is_lost() -> None:
    """I-09."""
    ended = run(scenario('eventinj = "intr:0x68"'))
    assert objections(ended) == []
    ended.recorder.entries[0].injected_deliveries = 0
    assert objections(ended) == ["injection-lost.vmrun"]
    unreported = run(scenario('eventinj = "intr:0x68"', 'program = ["vmmcall"]\nidt = { 0x68 = "npf" }'))
    unreported.recorder.exits[0].exitintinfo = 0
    assert objections(unreported) == ["injection-lost.vmrun"]


def test_an_injection_that_is_doubled() -> None:
    """I-09: delivered twice; delivered although rejected; reported although delivered."""
    ended = run(scenario('eventinj = "intr:0x68"'))
    ended.recorder.entries[0].injected_deliveries = 2
    assert objections(ended) == ["injection-doubled.vmrun"]
    rejected = run(scenario('eventinj = "0x80000302"'))
    rejected.recorder.entries[0].injected_deliveries = 1
    assert objections(rejected) == ["injection-doubled.vmrun"]
    reported = run(scenario('eventinj = "intr:0x68"', 'program = ["vmmcall"]\nidt = { 0x68 = "npf" }'))
    assert objections(reported) == []
    reported.recorder.entries[0].injected_deliveries = 1
    assert objections(reported) == ["injection-doubled.vmrun"]


def test_an_exitintinfo_that_stays_after_delivery() -> None:
    """S6-79, I-09: a later #NPF of the guest's own that still reports the injected INTR."""
    ended = run(scenario('eventinj = "intr:0x68"', 'program = ["load npf"]\nhandlers = { 0x68 = ["load npf"] }'))
    (record,) = ended.recorder.exits
    assert record.code == 0x400
    assert objections(ended) == []
    record.exitintinfo = record.entry.eventinj
    assert objections(ended) == ["exitintinfo-of-nothing.vmexit"]


@pytest.mark.parametrize(
    ("word", "vmcb"),
    [(0x8000_0202, ""), (0x8000_0068, ""), (0x8000_0202, "v_nmi_enable = true"), (0x8000_0030, "v_intr_vector = 0x30")],
)
def test_an_exitintinfo_of_an_event_that_never_came(word: int, vmcb: str) -> None:
    """S6-70; with vNMI on or a virtual vector, a virtual event may have been delivered, which leaves no record."""
    ended = run(PLAIN.replace("[guest]", f"{vmcb}\n[guest]"))
    ended.recorder.exits[0].code = 0x400
    assert objections(ended) == []
    ended.recorder.exits[0].exitintinfo = word
    assert objections(ended) == ([] if vmcb else ["exitintinfo-of-nothing.vmexit"])


def test_an_exitintinfo_of_another_nmi() -> None:
    """An NMI was taken, but in another step, and an INTR in this one."""
    ended = run(scenario(guest='program = ["nop", "load npf"]', events="nmi@guest intr@guest+1"))
    record = ended.recorder.exits[-1]
    assert record.code == 0x400
    assert objections(ended) == []
    record.exitintinfo = 0x8000_0202
    assert objections(ended) == ["exitintinfo-of-nothing.vmexit"]
    (step,) = [step for step, kind, _ in ended.recorder.acknowledged if kind == KIND_INTR]
    ended.recorder.handlers = [handler for handler in ended.recorder.handlers if handler.step != step]
    record.step = step
    assert objections(ended) == ["exitintinfo-of-nothing.vmexit"]


@pytest.mark.parametrize("code", [0x60, 0x61, 0x62, 0x63, 0x64])
def test_exitintinfo_on_an_interrupt_exit(code: int) -> None:
    """I-03."""
    ended = run(PLAIN)
    ended.recorder.exits[0].code = code
    assert objections(ended) == []
    ended.recorder.exits[0].exitintinfo = 0x8000_0068
    assert objections(ended) == ["exitintinfo-on-interrupt-exit.vmexit"]
