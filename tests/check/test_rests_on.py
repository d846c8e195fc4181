"""What a finding rests on: `finding.json` has the model options without which it vanishes, the disputed ones apart."""

import json
from pathlib import Path

from worldswitch.fuzzing.campaign import Campaign
from worldswitch.fuzzing.codec import Codec
from worldswitch.fuzzing.lanes import make_lanes
from worldswitch.fuzzing.records import Record
from worldswitch.report.stance import examine
from worldswitch.result import Variant
from worldswitch.scenario.read import read_text

BLEED = "shadow-bleed.unexplained-shadow.injection"

CASE = """
format = 1
[host]
path = "linux-6.1"
[vmcb]
eventinj = "intr:0x68"
v_ign_tpr = true
[guest]
idt = { 0x68 = "npf" }
"""

AFTER_MOV_SS = """
format = 1
[options]
bleed_movss_shadow = "on"
[host]
program = ["clgi", "mov_ss", "vmrun", "stgi"]
[vmcb]
eventinj = "ud"
[guest]
idt = { 0x06 = "npf" }
"""


def test_a_campaign_writes_it_into_finding_json(tmp_path: Path) -> None:
    lanes = make_lanes(["world-switch"], [("linux-6.1",)], "amd", ())
    case = Codec("world-switch", "linux-6.1").encode(read_text(CASE)).hex()
    record = Record(
        BLEED, "shadow-bleed", "", [], "world-switch", "amd", {}, case, "linux-6.1", 1, 0.0, lane="world-switch"
    )
    with Campaign(lanes, tmp_path, lambda text: None) as campaign:
        campaign.open()
        campaign.store.add(record, CASE)
        campaign.reduce()
    data = json.loads((tmp_path / "findings" / BLEED / "finding.json").read_text())
    assert data["stands_only_on"] == {"bleed_sti_shadow": ["off"]}  # S2-70; as QEMU 7.2 does it, it shows as well
    assert data["disputed"] == []  # S2-70 and S2-71 are certain


def test_a_finding_that_stands_on_an_open_question_is_labelled_so() -> None:
    stance = examine(read_text(AFTER_MOV_SS), Variant("", "", (), None))
    assert stance.needed(BLEED) == {"bleed_movss_shadow": ["off"]}
    assert stance.disputed(BLEED) == ["bleed_movss_shadow"]  # S2-77: no source
