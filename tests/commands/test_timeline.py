"""The parts of the timeline: folding, alignment, columns, colours."""

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import run_plan
from worldswitch.machine.trace import Row
from worldswitch.report.align import align
from worldswitch.report.fold import LONGEST_CYCLE, WORTHWHILE, Fold, Item, fold
from worldswitch.report.terminal import FILE_WIDTH, Screen, screen
from worldswitch.report.timeline import mark, timelines, title
from worldswitch.result import Result, Variant, execute
from worldswitch.scenario.model import Scenario
from worldswitch.scenario.read import read_text

BLEED = """\
format = 1
host.path = "linux-6.1"
vmcb.intercepts = ["intr", "vmrun", "vmmcall"]
vmcb.eventinj = "intr:0x68"
guest.idt = { 0x68 = "npf" }
"""


def row(step: int, where: str = "guest", text: str = "nop") -> Row:
    return Row(step, "guest", where, text, True, "-", True, False, None, "", "")


def rows_of(letters: str) -> list[Row]:
    return [row(step, text=letter) for step, letter in enumerate(letters, 1)]


def unfolded(items: list[Item]) -> str:
    texts: list[str] = []
    for item in items:
        if isinstance(item, Fold):
            texts += texts[-item.period :] * item.times
        else:
            texts.append(item.text)
    return "".join(texts)


def traced(text: str, path: str = "") -> Result:
    return execute(read_text(text), Variant(path, "", (), None), traced=True)


@given(st.text("ab", max_size=40).flatmap(lambda text: st.integers(1, 40).map(lambda times: "c" + text * times + "d")))
def test_folding_loses_nothing(letters: str) -> None:
    items = fold(rows_of(letters))
    assert unfolded(items) == letters
    assert sum(isinstance(item, Row) for item in items) <= len(letters)


@pytest.mark.parametrize("period", [1, 2, 7, LONGEST_CYCLE])
def test_a_repetition_is_shown_once(period: int) -> None:
    cycle = "".join(chr(ord("a") + number) for number in range(period))
    items = fold(rows_of("." + cycle * 100 + "!"))
    assert len([item for item in items if isinstance(item, Row)]) == period + 2
    assert Fold(period, 99, 1 + 100 * period) in items


def test_a_few_repetitions_are_not_worth_a_fold() -> None:
    letters = "a" * WORTHWHILE
    assert fold(rows_of(letters)) == rows_of(letters)
    assert Fold(1, WORTHWHILE, WORTHWHILE + 1) in fold(rows_of(letters + "a"))


def test_rows_that_differ_in_anything_a_person_reads_are_not_folded() -> None:
    rows = rows_of("a" * 40)
    for number, changed in enumerate(rows):
        changed.notes = [f"note {number}"]
    assert fold(rows) == rows
    for changed in rows:
        changed.notes = []
    rows[20].gif = False
    assert [item for item in fold(rows) if isinstance(item, Row) and not item.gif] == [rows[20]]


places = st.lists(
    st.sampled_from(["start", "sti", "sti+1", "sti+2", "vmrun", "guest", "guest+1", "cli", "end"]), max_size=12
)


@given(st.lists(places, min_size=1, max_size=3))
def test_alignment_keeps_every_row_in_order(runs: list[list[str]]) -> None:
    given_rows = [[row(step, where) for step, where in enumerate(run)] for run in runs]
    lines = align(given_rows)
    for number, rows in enumerate(given_rows):
        assert [line.items[number] for line in lines if line.items[number] is not None] == rows
    for line in lines:
        landmarks = {item.where.partition("+")[0] for item in line.items if isinstance(item, Row)}
        assert len(landmarks) == 1, "neither an empty line nor two landmarks on one"
        assert line.landmark in ("", *landmarks)


def test_the_same_landmark_is_on_one_line() -> None:
    first, second = (traced(BLEED, path) for path in ("linux-6.1", "linux-6.14"))
    runs = [result.run.trace.rows for result in (first, second) if result.run.trace]
    lines = align(runs)
    for landmark in ("start", "clgi", "enter", "sti", "vmrun", "cli", "exit", "stgi", "end"):
        (line,) = (line for line in lines if line.landmark == landmark)
        assert [item.where for item in line.items if isinstance(item, Row)] == [landmark, landmark]


def test_three_runs_align() -> None:
    names = ("linux-6.1", "linux-6.14", "linux-fix-v1")
    results = [traced(BLEED, name) for name in names]
    lines = timelines(results, Screen(240))
    (vmrun,) = (line for line in lines if line.startswith("vmrun "))
    assert vmrun.count("vmrun") == 4
    (titles,) = (line for line in lines if all(f"{name}, profile amd" in line for name in names))
    assert titles.count("|") == 3


def test_marks_come_from_the_findings_steps() -> None:
    result = traced(BLEED)
    mark(result)
    trace = result.run.trace
    assert trace is not None
    assert [(row.where, row.marks) for row in trace.rows if row.marks] == [("vmrun", ["shadow-bleed"])]
    mark(result)
    assert [row.marks for row in trace.rows if row.marks] == [["shadow-bleed"]], "marking twice changes nothing"


def test_what_a_path_documents_is_marked_as_such() -> None:
    result = traced('format = 1\ncpu.svme = false\nkernel.kvm_rebooting = true\nhost.path = "linux-6.1"\n')
    assert result.verdict.documented
    mark(result)
    trace = result.run.trace
    assert trace is not None
    steps = {step for finding, _ in result.verdict.documented for step in finding.steps}
    assert steps
    marked = {row.step for row in trace.rows if any("(documented)" in name for name in row.marks)}
    assert marked == steps


def test_of_several_rows_of_one_step_the_last_is_marked() -> None:
    result = traced(BLEED)
    trace = result.run.trace
    assert trace is not None
    number = next(number for number, row in enumerate(trace.rows) if row.where == "vmrun")
    trace.rows.insert(number + 1, replace(trace.rows[number], where="(C code)", text="svm_complete_interrupts"))
    mark(result)
    assert [row.where for row in trace.rows if row.marks] == ["(C code)"]


def test_an_untraced_run_has_no_timeline() -> None:
    result = execute(read_text(BLEED), Variant("", "", (), None))
    with pytest.raises(ValueError, match="not traced"):
        timelines([result], Screen())


def test_a_title_names_what_was_run() -> None:
    assert title(execute(read_text(BLEED), Variant("linux-6.14", "kvm", (("eventinj_clear", "V-only"),), None))) == (
        "linux-6.14, profile kvm, eventinj_clear=V-only"
    )


def test_what_changes_is_bold_and_what_is_objected_to_is_red() -> None:
    lines = timelines([traced(BLEED)], Screen(120, colour=True))
    (vmrun,) = (line for line in lines if line.endswith("  vmrun"))
    assert vmrun.startswith("\x1b[1;31m!!\x1b[0m")
    assert "\x1b[1m1 \x1b[0m \x1b[1msti   \x1b[0m 0 " in vmrun, "IF and the shadow have just changed, GIF has not"
    plain = timelines([traced(BLEED)], Screen(120))
    assert [line.replace("\x1b[0m", "") for line in plain] == plain


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_only_on_a_terminal_and_not_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert screen(Terminal()).colour
    assert not screen(io.StringIO()).colour
    monkeypatch.setenv("NO_COLOR", "")
    assert screen(Terminal()).colour, "an empty NO_COLOR counts as not set"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not screen(Terminal()).colour
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not screen(Terminal()).colour


def test_the_width_is_that_of_the_terminal_or_of_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert screen(io.StringIO()).width == FILE_WIDTH
    for given_columns, width in (("132", 132), ("20", 80), ("wide", FILE_WIDTH)):
        monkeypatch.setenv("COLUMNS", given_columns)
        assert screen(io.StringIO()).width == width


def test_every_step_of_a_run_is_a_row() -> None:
    result = traced(BLEED)
    untraced = run_plan(compile_scenario(Scenario(path="linux-6.1")))
    assert untraced.trace is None
    trace = result.run.trace
    assert trace is not None
    assert [row.step for row in trace.rows] == list(range(1, result.run.cpu.step + 1))
