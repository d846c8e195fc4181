"""What guides the fuzzer in the nested world: a joint projection of exits, who got them, and what L0 had to do.

Each exit to L1 is one point: its class, what L1 had injected, what EXITINTINFO says, the shadow loaded and stored, and
whether L0 made the exit up. Each run of the processor that L0 handled is a point, and so is each decision before an
entry and the end.
"""

from typing import Final, cast

from worldswitch.core.bits import EVENT_V
from worldswitch.fuzzing.projection import ALWAYS, CLASSES, EXIT_CLASSES, OTHER_CLASS, event_class
from worldswitch.machine.run import Run
from worldswitch.nested.record import Decided, Query, Ran
from worldswitch.nested.run import STOP_TEXTS, NestedRun

REFLECTED_POINTS: Final = CLASSES * 6 * 2 * 2 * 2
RAN_BASE: Final = REFLECTED_POINTS
RAN_POINTS: Final = CLASSES * 6 * 6 * 3 * 2 * 2
DECIDED_BASE: Final = RAN_BASE + RAN_POINTS
DECIDED_POINTS: Final = 6 * 2 * 2
QUERY_BASE: Final = DECIDED_BASE + DECIDED_POINTS
QUERY_POINTS: Final = 2**5
STOP_BASE: Final = QUERY_BASE + QUERY_POINTS
STOPS: Final = {name: number for number, name in enumerate(STOP_TEXTS)}
NESTED_POINTS: Final = STOP_BASE + len(STOPS)
"""All of them lie below ``fuzzing.projection.SIZE``: the two kinds of target never share a campaign."""


def nested_points(run: Run) -> list[int]:
    """The points that a nested run reaches."""
    nested = cast(NestedRun, run)
    result = [ALWAYS]
    for record in nested.journal.exits:
        kind = EXIT_CLASSES.get(record.code, OTHER_CLASS)
        index = (kind * 6 + event_class(record.exitintinfo)) * 4 + (record.int_state & 1) * 2 + (record.loaded & 1)
        result.append(index * 2 + record.synthesised)
    for item in nested.journal.items:
        if isinstance(item, Ran):
            result.append(RAN_BASE + _ran(item))
        elif isinstance(item, Decided):
            index = event_class(item.eventinj) if item.eventinj & EVENT_V else 0
            result.append(DECIDED_BASE + (index * 2 + item.forced) * 2 + item.waiting)
        elif isinstance(item, Query):
            bits = (item.vmcb == "vmcb02", item.what == "nmi", item.blocked, item.without_shadow, item.occupied)
            result.append(QUERY_BASE + sum(bit << place for place, bit in enumerate(bits)))
    result.append(STOP_BASE + STOPS[nested.stop_name])
    return result


def _ran(item: Ran) -> int:
    entry, record = item.entry, item.exit
    kind = EXIT_CLASSES.get(record.code, OTHER_CLASS) if record else OTHER_CLASS
    progress = 2 if entry.retired else (1 if entry.delivered else 0)
    word = record.exitintinfo if record else 0
    shadow = record.int_state & 1 if record else 0
    index = (kind * 6 + event_class(entry.eventinj)) * 6 + event_class(word)
    return ((index * 3 + progress) * 2 + shadow) * 2 + item.level - 1
