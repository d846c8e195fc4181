import re
import subprocess
import sys
from pathlib import Path

import pytest

from worldswitch.core.options import BY_NAME
from worldswitch.errors import InputError
from worldswitch.rules import facts
from worldswitch.rules.left_out import left_out

TEXT = facts.FACTS.read_text(encoding="utf-8")
BUDGET = 0.030  # seconds to parse all facts


def test_no_rule_row_or_invariant_of_the_text_is_missed() -> None:
    assert list(facts.rules()) == re.findall(r"(?m)^- \*\*(S\d+-\d+)", TEXT)
    assert list(facts.rows()) == re.findall(r"(?m)^\| (T-\d+)", TEXT)
    assert list(facts.invariants()) == re.findall(r"(?m)^- \*\*(I-\d+)", TEXT)
    assert list(facts.facts().options) == re.findall(r"(?m)^\| (\w+) \|", TEXT.split("## 13.")[1])[1:]


def test_every_fact_stands_on_the_line_it_names() -> None:
    lines = TEXT.splitlines()
    for fact in facts.known_ids().values():
        assert lines[fact.line - 1].lstrip("-*| ").startswith(fact.id)


def test_no_text_of_a_rule_is_lost() -> None:
    lines = TEXT.splitlines()
    for rule in facts.rules().values():
        line = lines[rule.line - 1]
        assert rule.text in re.sub(r"^- \*\*\S+ \[.\] (\(.*?\))\*\*", r"\1", line), rule.id
        assert rule.remark in line, rule.id
        assert len(rule.text) > 5, rule.id


def test_a_rule_with_source_and_remark() -> None:
    rule = facts.rule("S2-83")
    assert rule.confidence == "certain"
    assert rule.text == (
        "It becomes guest-visible under nesting because KVM copies int_state verbatim from vmcb02 to vmcb12."
    )
    assert rule.source == "SEED; KVM nested.c"
    assert rule.remark == "XEN nestedsvm.c copies int_stat both ways too (prepare4vmentry/prepare4vmexit)."
    assert (rule.section, rule.section_title) == ("2.5", "Host shadow at VMRUN and the AMD quirk")


def test_a_label_after_the_tag_belongs_to_the_text() -> None:
    assert facts.rule("S2-70").text.startswith("(the quirk) Let `hs` = host is in an STI shadow")


@pytest.mark.parametrize("name", ["S6-81", "S9-13"])
def test_corrections_are_remarks(name: str) -> None:
    assert facts.rule(name).remark.startswith("Correction: ")
    assert "Correction" not in facts.rule(name).text + facts.rule(name).source


def test_a_dash_inside_a_sentence_does_not_begin_the_source() -> None:
    assert facts.rule("S3-16").source == ""
    assert facts.rule("S9-03").source == "KVM nested.c nested_vmcb02_prepare_control"
    assert facts.rule("S3-21").text.endswith("STGI creates no shadow.")


def test_sources_given_for_several_rules_reach_each_of_them() -> None:
    assert facts.rule("S3-12").source == "APM2 Table 15-10"
    assert facts.rule("S8-51").source == facts.rule("S8-53").source == "IRQFLAGS, kernel/trace/trace_preemptirq.c"
    assert facts.rule("S8-62").source == facts.rule("S8-67").source == "LOCKDEP lockdep.c"
    assert facts.rule("S8-65").source.startswith("S8-61/62; SEED")


@pytest.mark.parametrize("word", ["certain", "likely", "disputed", "uncertain"])
def test_confidence_words(word: str) -> None:
    tag = f"[{word[0].upper()}]"
    expected = re.findall(rf"(?m)^- \*\*(S\d+-\d+) {re.escape(tag)}", TEXT)
    assert [rule.id for rule in facts.rules().values() if rule.confidence == word] == expected


def test_a_conformance_row() -> None:
    row = facts.rows()["T-098"]
    assert row.start == "EVENTINJ #SS, IDT[12] invalid, #GP intercepted"
    assert row.ops == "VMRUN"
    assert row.expected == "exit 4Dh, EXITINFO1=62h, EXITINTINFO=#SS with V=1"
    assert row.confidence == "certain / likely"
    assert row.rules == ("S6-72",)
    assert row.section == "11.5"


def test_rows_resolve_ranges_and_lists_of_rules() -> None:
    assert facts.rows()["T-144"].rules == ("S7-08", "S7-09", "S7-10", "S7-11", "S7-15")
    assert facts.rows()["T-156"].rules == ("S8-63", "S8-64", "S8-67")
    assert facts.rows()["T-120"].rules == ()


def test_invariants_state_their_confidence() -> None:
    assert facts.invariants()["I-04"].confidence == "likely"
    assert all(invariant.confidence == "certain" for name, invariant in facts.invariants().items() if name != "I-04")


def test_abbreviated_sources() -> None:
    sources = facts.facts().sources
    assert "be45bc4eff33" in sources["SEED"]
    assert sources["QEMU-old"] == sources["QEMU-new"]
    assert {"APM2", "APM2-B", "APM3-VMRUN(q)", "GK", "nested.c", "KUT", "LOCKDEP"} <= set(sources)


@pytest.mark.parametrize("typed", ["S2-70", "s2-70", " S2-70 "])
def test_ids_as_people_type_them(typed: str) -> None:
    assert facts.rule(typed).id == "S2-70"


def test_leading_zeros_may_be_missing() -> None:
    assert facts.find("t-1").id == "T-001"
    assert facts.find("I-4").id == "I-04"


@pytest.mark.parametrize(
    ("unknown", "near"),
    [("S2-61", "S2-60"), ("T-121", "T-120"), ("I-44", "I-11"), ("S270", "S2-70"), ("S12-1", "S1-01")],
)
def test_an_unknown_id_names_near_ones(unknown: str, near: str) -> None:
    with pytest.raises(InputError) as caught:
        facts.find(unknown)
    assert unknown in str(caught.value)
    assert near in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "S", "-", "S2-" + "9" * 5000, "S" + "9" * 5000 + "-1", "S2-\u00b2", "\x00"]
)
def test_hostile_ids(text: str) -> None:
    with pytest.raises(InputError):
        facts.find(text)


def test_a_row_is_no_rule() -> None:
    with pytest.raises(InputError, match="T-120 is not a rule but a conformance row"):
        facts.rule("T-120")


def test_importing_loads_nothing_heavy() -> None:
    heavy = {"argparse", "ast", "atheris", "dataclasses", "inspect", "tomlkit", "tomllib"}
    code = "import sys, worldswitch.rules.explain; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-S", "-c", code],  # without site: what other packages hook into start-up is not ours
        env={"PYTHONPATH": str(Path(facts.__file__).parents[2])},
        capture_output=True,
        check=True,
        text=True,
    )
    assert heavy & set(result.stdout.split()) == set()


def test_the_model_has_every_option_of_the_facts_or_says_why_not() -> None:
    missing = {name for name in facts.facts().options if name not in BY_NAME}
    assert missing == set(left_out().options)


@pytest.mark.parametrize("name", [name for name in facts.facts().options if name in BY_NAME])
def test_options_agree_with_the_facts(name: str) -> None:
    fact, option = facts.facts().options[name], BY_NAME[name]
    assert option.default == fact.default
    assert set(fact.values) <= set(option.values)
    assert set(fact.rules) <= set(option.rules)
    assert set(option.rules) <= set(facts.rules())
