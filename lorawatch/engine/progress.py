"""How far a delivery is: in the journal once a second, as an event every five. Called from carrying threads."""

import time
from collections.abc import Callable

from lorawatch.domain.model import Delivery
from lorawatch.engine import announcing
from lorawatch.events import Event, emit
from lorawatch.journal import deliveries
from lorawatch.journal.database import Database

EVENT_SECONDS = 5.0
JOURNAL_SECONDS = 1.0  # what `status` shows is at most this old
# A lease outlives many progress reports; one that runs out belongs to a process that died.
LEASE_SECONDS = 120.0


class ProgressReport:
    """Called with the bytes sent so far."""

    def __init__(
        self,
        delivery: Delivery,
        journal: Database,
        touch: Callable[[], None],
        watcher: Callable[[int], None] | None = None,
    ) -> None:
        self._delivery = delivery
        self._journal = journal
        self._touch = touch
        self._watcher = watcher
        self._recorded_at = self._said_at = time.monotonic()

    def __call__(self, sent_bytes: int) -> None:
        """Take note; cheap unless something is due."""
        self._touch()
        if self._watcher is not None:
            self._watcher(sent_bytes)
        now = time.monotonic()
        if now - self._recorded_at >= JOURNAL_SECONDS:
            self._recorded_at = now
            with self._journal.write() as connection:
                deliveries.report_progress(
                    connection,
                    self._delivery.delivery_id,
                    sent_bytes=sent_bytes,
                    resume=None,
                    now=time.time(),
                    lease_seconds=LEASE_SECONDS,
                )
        if now - self._said_at >= EVENT_SECONDS:
            self._said_at = now
            size_bytes = self._delivery.artifact.version.size_bytes
            emit(
                Event.DELIVERY_PROGRESS,
                **announcing.named(self._delivery),
                sent_bytes=sent_bytes,
                size_bytes=size_bytes,
            )
