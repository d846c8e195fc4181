"""What a person sees of a running campaign: a block that is drawn again and again on a terminal, lines elsewhere."""

import shutil
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TextIO

from worldswitch.report.terminal import Screen, cut

if TYPE_CHECKING:
    from worldswitch.fuzzing.campaign import Campaign
    from worldswitch.fuzzing.growth import Progress
    from worldswitch.fuzzing.records import Record

LINE_EVERY: Final = 5.0
"""Seconds between two progress lines where there is no terminal."""

LINE_AT_MOST: Final = 60.0
"""The same, in a run that goes on for long."""

_UP: Final = "\x1b[{}F"
_CLEAR_BELOW: Final = "\x1b[J"
_TREND: Final = "▁▂▃▄▅▆▇█"


def spell_seconds(seconds: float) -> str:
    """``7 s``, ``3 min``, ``5 h 12 min``, ``3 d 4 h``."""
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole} s" if minutes else f"{whole} s"


def line(progress: "Progress", findings: int) -> str:
    """The campaign in one line."""
    return (
        f"{progress.executions} cases, {progress.rate:.0f}/s, {progress.features} points, corpus {progress.units}, "
        f"{findings} findings, last new {progress.since_new:.0f} s ago"
    )


class Display:
    """Progress on a stream."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._clock = clock
        self._drawn = 0  # lines of the block on the screen
        self._last = self._began = clock()
        self._features: list[int] = []

    def tick(self, progress: "Progress", campaign: "Campaign") -> None:
        """Show where the campaign is."""
        now = self._clock()
        if self._terminal:
            size = shutil.get_terminal_size()
            self._features = [*self._features, progress.features][-240:]
            lines = block(progress, campaign, self._features, Screen(size.columns, True), max(8, size.lines - 2))
            self._draw(lines)
            return
        every = min(max(LINE_EVERY, (now - self._began) / 20), LINE_AT_MOST)
        if now - self._last >= every:
            self._last = now
            print(line(progress, len(campaign.store.records)), file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        print(text, file=self._stream, flush=True)

    def clear(self) -> None:
        """Make room for other output."""
        if self._drawn:
            self._stream.write(_UP.format(self._drawn) + _CLEAR_BELOW)
            self._stream.flush()
            self._drawn = 0

    def _draw(self, lines: list[str]) -> None:
        start = _UP.format(self._drawn) if self._drawn else ""
        self._stream.write(start + _CLEAR_BELOW + "".join(f"{text}\n" for text in lines))
        self._stream.flush()
        self._drawn = len(lines)


def block(progress: "Progress", campaign: "Campaign", features: list[int], screen: Screen, height: int) -> list[str]:
    """The live view, in at most ``height`` lines of the screen's width."""
    width = screen.width - 1
    head = (
        f"{progress.executions} cases  {progress.rate:.0f}/s  {spell_seconds(progress.seconds)}  "
        f"corpus {progress.units}  last new {spell_seconds(progress.since_new)} ago"
    )
    lines = [screen.bold(cut(f"worldswitch fuzz  {campaign.directory}", width)), cut(head, width)]
    label = f"points {progress.features}  "
    lines.append(cut(label + trend(features, max(0, width - len(label))), width))
    for lane in progress.lanes:
        rests = "  rests: its processes keep failing" if lane.failures >= 5 else ""
        text = f"  {lane.name}: {lane.executions} cases, {lane.features} points, {lane.slices} slices{rests}"
        lines.append(cut(text, width))
    workers = "  ".join(f"{name} {rss} MB" for name, rss in progress.workers.items())
    lines.append(cut(f"at work: {workers or 'nobody'}{'  reducing' if progress.reducing else ''}", width))
    records = sorted(campaign.store.records.values(), key=lambda record: -record.last_execution)
    lines.append(screen.bold(cut(f"{len(records)} findings" + (", latest seen first" if records else ""), width)))
    room = max(0, height - len(lines))
    shown = records if len(records) <= room else records[: max(0, room - 1)]
    for record in shown:
        lines.append(_finding(record, screen, width))
    if len(shown) < len(records):
        lines.append(cut(f"  and {len(records) - len(shown)} more", width))
    return lines[:height]


def _finding(record: "Record", screen: Screen, width: int) -> str:
    state = "!" if record.problem else ("+" if record.minimized else " ")
    where = ", ".join(record.paths)
    rest = f"  {max(1, record.cases)} cases  {where}"
    name = cut(f"{state} {record.signature}", width)
    return screen.bad(name) + cut(rest, width - len(name)) if width - len(name) > 4 else screen.bad(name)


def trend(values: list[int], width: int) -> str:
    """The latest values as a row of bars, between their own extremes."""
    shown = values[-width:] if width else []
    if len(shown) < 2:
        return ""
    low, high = min(shown), max(shown)
    if low == high:
        return _TREND[0] * len(shown)
    return "".join(_TREND[(value - low) * (len(_TREND) - 1) // (high - low)] for value in shown)
