"""What a person sees of a running campaign: a block on a terminal, lines elsewhere, never more than fits."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from worldswitch.fuzzing.campaign import Campaign
from worldswitch.fuzzing.growth import Progress
from worldswitch.fuzzing.live import Display, block, spell_seconds, trend
from worldswitch.fuzzing.records import LaneRecord, Record
from worldswitch.report.terminal import Screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def progress(executions: int = 1000) -> Progress:
    lane = LaneRecord("sequence", "sequence", ("program",), 3, executions, 77, 1.5, 0)
    return Progress(executions, 70.0, 123.4, 77, 55, 3.0, {"sequence/3": 61}, [lane], True)


def records(count: int) -> dict[str, Record]:
    made = [
        Record(f"oracle.cause-{n}.place", "oracle", "", [], "sequence", "amd", {}, "", "program", n, 0.0,
               paths={"program": n}, last_execution=n, minimized=bool(n % 2), problem="x" if n == 4 else "")
        for n in range(count)
    ]  # fmt: skip
    return {record.signature: record for record in made}


def campaign(count: int) -> Campaign:
    return cast(Campaign, SimpleNamespace(directory=Path("out"), store=SimpleNamespace(records=records(count))))


@pytest.mark.parametrize(("width", "height", "findings"), [(100, 24, 3), (100, 12, 50), (40, 10, 50), (20, 5, 2)])
def test_the_block_fits(width: int, height: int, findings: int) -> None:
    lines = block(progress(), campaign(findings), [1, 2, 3], Screen(width), height)
    assert len(lines) <= height
    assert max(map(len, lines)) < width


def test_the_block_says_all_that_there_is_to_know() -> None:
    text = "\n".join(block(progress(), campaign(6), [10, 11, 77], Screen(100), 24))
    for words in (
        "1000 cases", "123/s", "1 min 10 s", "corpus 55", "last new 3 s ago", "points 77", "▁▁█", "sequence/3 61 MB",
        "reducing", "6 findings", "sequence: 1000 cases, 77 points, 3 slices",
    ):  # fmt: skip
        assert words in text
    order = [line[2:] for line in text.splitlines() if "oracle." in line]
    assert [line.split(".")[1] for line in order] == [f"cause-{n}" for n in (5, 4, 3, 2, 1, 0)]  # latest seen first
    marks = {line[2:].split(".")[1].split(" ")[0]: line[0] for line in text.splitlines() if "oracle." in line}
    assert (marks["cause-3"], marks["cause-4"], marks["cause-2"]) == ("+", "!", " ")


def test_what_does_not_fit_is_counted() -> None:
    lines = block(progress(), campaign(50), [], Screen(100), 12)
    assert lines[-1] == f"  and {50 - sum('oracle.' in line for line in lines)} more"


def test_a_terminal_is_drawn_over() -> None:
    stream = Terminal()
    display = Display(stream)
    display.tick(progress(), campaign(1))
    drawn = stream.getvalue().count("\n")
    display.tick(progress(2000), campaign(1))
    assert f"\x1b[{drawn}F\x1b[J" in stream.getvalue()
    display.say("new finding")
    assert stream.getvalue().endswith(f"\x1b[{drawn}F\x1b[Jnew finding\n")


def test_elsewhere_there_are_lines_and_they_get_rarer() -> None:
    now = 0.0
    stream = io.StringIO()
    display = Display(stream, lambda: now)
    times: list[Any] = []
    while now < 7200:
        now += 0.5
        before = len(stream.getvalue())
        display.tick(progress(), campaign(1))
        if len(stream.getvalue()) > before:
            times.append(now)
    assert "\x1b" not in stream.getvalue()
    assert times[0] == 5.0
    assert times[-1] - times[-2] == 60.0
    assert stream.getvalue().splitlines()[0] == (
        "1000 cases, 123/s, 77 points, corpus 55, 1 findings, last new 3 s ago"
    )


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (3600, "1 h 0 min"), (90_000, "1 d 1 h")]
)
def test_seconds_in_words(seconds: float, words: str) -> None:
    assert spell_seconds(seconds) == words


def test_a_trend_is_between_its_own_extremes() -> None:
    assert trend([5, 5, 5], 10) == "▁▁▁"
    assert trend([0, 7, 14], 10) == "▁▄█"
    assert trend([1, 2, 3, 4], 2) == "▁█"
    assert trend([1], 10) == trend([], 10) == ""
