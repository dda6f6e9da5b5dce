"""Say, once, when one half of a Wan 2.2 pair has come and the other one does not follow.

The intake thread of each watched directory calls it in every turn; it asks the journal now and then. It holds
nothing up: a half alone is delivered like any other file.
"""

import time
from collections.abc import Callable

from lorawatch.domain.pairing import pair_id_at
from lorawatch.engine import announcing
from lorawatch.engine.tracking import Tracker
from lorawatch.journal import pairs
from lorawatch.journal.database import Database

# The trainer saves one half right after the other; a 14B half takes it seconds, a slow network mount some minutes.
PATIENCE_SECONDS = 600.0
LOOK_SECONDS = 5.0


class PairWatch:
    """The pairs below one root. `now` is the wall clock: a half may have come before the last restart."""

    def __init__(self, root: str, *, journal: Database, now: Callable[[], float] = time.time) -> None:
        self._root = root
        self._journal = journal
        self._now = now
        self._next_look_at = 0.0

    def look(self, pending: Tracker) -> None:
        """Report what has been alone for too long, unless the other half is just coming."""
        now = self._now()
        if self._next_look_at - LOOK_SECONDS <= now < self._next_look_at:  # below that, the clock was set back
            return
        self._next_look_at = now + LOOK_SECONDS
        with self._journal.read() as connection:
            alone = pairs.alone(connection, self._root, since=now - PATIENCE_SECONDS)
        if not alone:
            return
        youngest = time.monotonic() - PATIENCE_SECONDS
        coming = {pair_id_at(each.candidate.path) for each in pending.all() if each.first_seen.monotonic > youngest}
        reported = [(pair_id, artifact) for pair_id, artifact in alone if pair_id not in coming]
        with self._journal.write() as connection:
            pairs.record_reported(connection, [pair_id for pair_id, _ in reported])
        for _, artifact in reported:
            announcing.pair_incomplete(artifact)
