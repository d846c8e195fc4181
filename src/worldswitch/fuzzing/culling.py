"""Minimising the corpora of a campaign, now and then, in a slice of its own.

It is a step of the campaign like any other, planned by what the corpus has grown to and not by time, so that a campaign
does it at the same point however often it was killed.
"""

from typing import Final

from worldswitch.fuzzing.chores import Cull
from worldswitch.fuzzing.helper import Helper
from worldswitch.fuzzing.ledger import CULL, Ledger, Slice
from worldswitch.fuzzing.store import Store
from worldswitch.fuzzing.targets import JOINT

FROM: Final = 256
"""A corpus of fewer inputs is not minimised; a larger one is, whenever it has grown by half since the last time."""

GROWTH: Final = 1.5


class Culling:
    """Does it, one target at a time."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._helper = Helper()
        self.piece: Slice | None = None

    def due(self, target: str) -> bool:
        """Whether a target's corpus has grown enough; where coverage guides it nothing else says what it reaches."""
        if any(lane.configuration.guidance != JOINT for lane in self._ledger.lanes.values()):
            return False
        size = self._ledger.corpus_size(target)
        return self.piece is None and size >= FROM and size > GROWTH * self._ledger.culled_at(target)

    def begin(self, piece: Slice) -> None:
        """Start on a slice whose lane names a target."""
        target = piece.lane.removeprefix(CULL)
        rows = self._store.connection.execute(
            "SELECT name, data FROM units WHERE target = ? AND id <= ? AND retired IS NULL", (target, piece.corpus)
        )
        lanes = self._ledger.lanes.values()
        configurations = tuple(lane.configuration for lane in lanes if lane.configuration.target == target)
        self._ledger.begin(piece)
        self._helper.begin(Cull(configurations, tuple((str(name), bytes(data)) for name, data in rows)))
        self.piece = piece

    def step(self) -> None:
        """Take the result, once it is there."""
        result = self._helper.poll()
        if result is None or self.piece is None:
            return
        piece, target = self.piece, self.piece.lane.removeprefix(CULL)
        self.close()
        if "keep" not in result:
            self._store.tell(f"the corpus of {target} could not be minimised: {result.get('problem')}")
        before = self._ledger.corpus_size(target)
        gone = self._ledger.close_cull(piece, result.get("keep", self._ledger.units(piece, target)))
        self._ledger.remove_retired()
        self._store.save_state()
        if gone:
            self._store.tell(f"corpus of {target}: {before - gone} of {before} inputs reach what all of them reach")

    def close(self) -> None:
        """End the helper; a corpus that it was at work on is minimised in the next run."""
        self._helper.close()
        self.piece = None
