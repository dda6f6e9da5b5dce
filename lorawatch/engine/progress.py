"""How far a delivery is: in the journal once a second, as an event every five. Called from carrying threads."""

import time
from collections.abc import Callable

from lorawatch import humanize
from lorawatch.domain.errors import JournalError
from lorawatch.domain.model import Candidate, Delivery
from lorawatch.engine import announcing
from lorawatch.events import Event, emit
from lorawatch.journal import deliveries, files
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
        self._said_bytes = 0

    def __call__(self, sent_bytes: int) -> None:
        """Take note; cheap unless something is due."""
        self._touch()
        if self._watcher is not None:
            self._watcher(sent_bytes)
        now = time.monotonic()
        if now - self._recorded_at >= JOURNAL_SECONDS:
            self._recorded_at = now
            self._record(sent_bytes)
        if now - self._said_at >= EVENT_SECONDS:
            self._say(sent_bytes, now)

    def reached(self, resume: str, *, sent_bytes: int) -> None:
        """Record at once where the upload can be taken up again. Implements `Waypoints`."""
        self._recorded_at = time.monotonic()
        self._record(sent_bytes, resume)

    def resumed(self, sent_bytes: int) -> None:
        """Say that an interrupted upload goes on."""
        self._said_bytes = sent_bytes
        size_bytes = self._delivery.artifact.version.size_bytes
        emit(Event.DELIVERY_RESUMED, **announcing.named(self._delivery), sent_bytes=sent_bytes, size_bytes=size_bytes)

    def _say(self, sent_bytes: int, now: float) -> None:
        """Say how far it is, and how fast it has been since the last time."""
        size_bytes = self._delivery.artifact.version.size_bytes
        rate = (sent_bytes - self._said_bytes) / (now - self._said_at)
        self._said_at, self._said_bytes = now, sent_bytes
        emit(
            Event.DELIVERY_PROGRESS,
            **announcing.named(self._delivery),
            sent_bytes=sent_bytes,
            size_bytes=size_bytes,
            bytes_per_second=rate,
            seconds_left=(size_bytes - sent_bytes) / rate if rate > 0 else None,
        )

    def _record(self, sent_bytes: int, resume: str | None = None) -> None:
        try:
            with self._journal.write(is_durable=False) as connection:
                deliveries.report_progress(
                    connection,
                    self._delivery.delivery_id,
                    sent_bytes=sent_bytes,
                    resume=resume,
                    now=time.time(),
                    lease_seconds=LEASE_SECONDS,
                )
        except JournalError:
            pass  # the copy goes on: the next report tries again, and the service says what is wrong


class ReadingReport:
    """How far a file is that is read, and copied to a local destination, before its deliveries are planned.

    Called by one thread, whoever reads the file, with the bytes done so far.
    """

    def __init__(self, candidate: Candidate, destination: str | None, journal: Database) -> None:
        self._candidate = candidate
        self._destination = destination
        self._journal = journal
        self._recorded_at = self._said_at = time.monotonic()

    def __call__(self, done_bytes: int) -> None:
        """Take note; cheap unless something is due."""
        now = time.monotonic()
        if now - self._recorded_at >= JOURNAL_SECONDS:
            self._recorded_at = now
            self._record(done_bytes)
        if now - self._said_at >= EVENT_SECONDS:
            self._said_at = now
            emit(
                Event.FILE_PROGRESS,
                file=self._candidate.path,
                destination=self._destination,
                sent_bytes=done_bytes,
                size_bytes=self._candidate.version.size_bytes,
            )

    def _record(self, done_bytes: int) -> None:
        size_bytes = self._candidate.version.size_bytes
        doing = f"checked and copied to {self._destination}" if self._destination else "checked"
        reason = f"it is being {doing}: {humanize.percent(done_bytes, size_bytes)} of {humanize.size(size_bytes)}"
        try:
            with self._journal.write(is_durable=False) as connection:
                files.note_reading(connection, self._candidate.path, reason, read_bytes=done_bytes)
        except JournalError:
            pass  # only what `status` shows; the service says that the journal is in trouble
