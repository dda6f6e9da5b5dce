"""Where verdicts are written down and said aloud: journal first, then events, then the lanes are woken.

Used by one intake thread. It touches no file of the source; staged copies that nobody needs are removed through
their destination.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from lorawatch.domain import settle
from lorawatch.domain.errors import SourceError
from lorawatch.domain.model import Delivery, Version
from lorawatch.domain.ports import Stager
from lorawatch.engine import announcing
from lorawatch.engine.reading import Reading, Refused
from lorawatch.engine.recording import Accepted, Recorded, record_accepted
from lorawatch.engine.settings import IntakeSettings, Route
from lorawatch.engine.staged import StagedCopies
from lorawatch.engine.tally import Tally
from lorawatch.engine.tracking import Tracked
from lorawatch.events import Event, emit, together
from lorawatch.journal import files, upkeep
from lorawatch.journal.database import Database
from lorawatch.journal.rows import Connection

_NO_VERSION = Version(0, 0, 0)


class VerdictDesk:
    """Records what intake finds out about the files of one root."""

    def __init__(
        self,
        root: str,
        *,
        journal: Database,
        routes: Sequence[Route],
        settings: IntakeSettings,
        staged: StagedCopies,
        tally: Tally,
        wake_lanes: Callable[[], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._root = root
        self._journal = journal
        self._routes = routes
        self._settings = settings
        self._staged = staged
        self._tally = tally
        self._wake_lanes = wake_lanes
        self._now = now
        self._unreadable_directories: dict[str, str] = {}

    def record(self, readings: Sequence[Reading]) -> None:
        """Record a group of verdicts in one transaction, hand the staged copies over with it, and say them.

        Raises JournalError; the staged copies are gone then, and the files are read again.
        """
        handed_over: dict[int, Accepted] = {}
        try:
            recorded, news = self._record_all(readings, handed_over)
        except BaseException:
            for delivery_id, accepted in handed_over.items():
                self._staged.take_back(str(accepted.staged_at), delivery_id)
            for reading in readings:
                if isinstance(reading, Accepted):
                    self.drop_staged(reading)
            raise
        with together():
            for refused in news:
                self._tally.count(refused.rejection.state)
                announcing.refused(refused.candidate.path, refused.rejection)
            for _, result in recorded:
                announcing.accepted(result.artifact)
        wanted = {id(accepted) for accepted in handed_over.values()}
        for accepted, _ in recorded:
            if id(accepted) not in wanted:
                self.drop_staged(accepted)
        self.announce([result for _, result in recorded])

    def _record_all(
        self, readings: Sequence[Reading], handed_over: dict[int, Accepted]
    ) -> tuple[list[tuple[Accepted, Recorded]], list[Refused]]:
        """Record the verdicts. A power cut may take them along: the files are then found, and read, once more.

        The staged copies are handed over before anybody can see the deliveries: a lane that is looking for work would
        carry the file again, and leave the copy lying.
        """
        recorded: list[tuple[Accepted, Recorded]] = []
        news: list[Refused] = []
        with self._journal.write(is_durable=False) as connection:
            for reading in readings:
                if isinstance(reading, Accepted):
                    result = record_accepted(connection, reading, self._routes, self._settings, now=self._now())
                    recorded.append((reading, result))
                    self._hand_over(reading, result, handed_over)
                elif isinstance(reading, Refused) and self._record_refused(connection, reading):
                    news.append(reading)
        return recorded, news

    def announce(self, recorded: Sequence[Recorded]) -> None:
        """Say what was planned and cancelled, remove the copies made in vain, and wake the lanes."""
        with together():
            for result in recorded:
                announcing.planned(result)
        for result in recorded:
            self._drop_copies_of(result.cancelled)
        if any(result.planned for result in recorded):
            self._wake_lanes()

    def drop_staged(self, accepted: Accepted) -> None:
        """Remove the staged copy of a verdict that came to nothing."""
        stager = self._stager(accepted.staged_at)
        if accepted.staged is not None and stager is not None:
            stager.unstage(accepted.staged)
            self._staged.give_back()

    def _drop_copies_of(self, cancelled: Sequence[Delivery]) -> None:
        for delivery in cancelled:
            stager = self._stager(delivery.destination)
            staged = self._staged.take(delivery.destination, delivery.delivery_id)
            if stager is not None and staged is not None:
                stager.unstage(staged)

    def announce_detected(self, tracked: Tracked) -> None:
        """Say once per candidate that it was seen."""
        if not tracked.is_announced:
            tracked.is_announced = True
            candidate = tracked.candidate
            emit(Event.FILE_DETECTED, file=candidate.path, size_bytes=candidate.version.size_bytes)

    def note_waiting(self, tracked: Tracked, wait: settle.Wait) -> None:
        """Say and record once that a file has stayed incomplete for long."""
        if wait.is_incomplete and tracked.recorded_state != "incomplete":
            self._record_state(tracked, "incomplete", wait.code, wait.reason)
            emit(Event.FILE_INCOMPLETE, file=tracked.candidate.path, code=wait.code, reason=wait.reason)

    def note_unreadable(self, tracked: Tracked, error: SourceError) -> None:
        """Say and record once that a file cannot be read."""
        if tracked.recorded_state == "unreadable":
            return
        candidate = tracked.candidate
        with self._journal.read() as connection:
            was_told = files.was_told(
                connection, candidate.path, candidate.version, state="unreadable", code=error.code
            )
        self._record_state(tracked, "unreadable", error.code, error.message)
        self._tally.count("unreadable")
        if not was_told:
            emit(Event.FILE_UNREADABLE, file=candidate.path, code=error.code, reason=error.message, fix=error.fix)

    def note_pending(self, pending: Sequence[Tracked]) -> None:
        """Record what is pending, so that `status` can tell where a file is."""
        if not pending:
            return
        with self._journal.write() as connection:
            files.record(
                connection,
                [self._file_record(each, "settling", None, "its writer may not be done") for each in pending],
                now=self._now(),
            )
        for each in pending:
            each.recorded_state = "settling"

    def note_directories(self, unreadable: Mapping[str, str]) -> None:
        """Say and record which directories could not be read, once each, and forget those that can be again."""
        fresh = {path: reason for path, reason in unreadable.items() if path not in self._unreadable_directories}
        healed = [path for path in self._unreadable_directories if path not in unreadable]
        self._unreadable_directories = dict(unreadable)
        if not fresh and not healed:
            return
        code = "permission-denied"
        with self._journal.write() as connection:
            records = [
                files.FileRecord(
                    self._root, path, _NO_VERSION, "unreadable", self._settings.verdict_key, code=code, reason=reason
                )
                for path, reason in fresh.items()
            ]
            files.record(connection, records, now=self._now())
            for path in healed:
                files.forget(connection, path)
        for path, reason in fresh.items():
            self._tally.count("unreadable")
            fix = "let the daemon's user list it (setfacl -m u:USER:rx DIRECTORY), or run as the trainer's user"
            emit(Event.FILE_UNREADABLE, file=path, code=code, reason=reason, fix=fix)

    def gone(self, path: str, *, was_pending: bool) -> None:
        """Cancel what a vanished file still owes, and forget it unless it had been accepted."""
        code, reason = "source-vanished", "the file was removed before it was delivered"
        with self._journal.write() as connection:
            owed = upkeep.owed(connection, path)
            cancelled = upkeep.cancel(connection, owed, code=code, reason=reason, now=self._now())
            was_unfinished = files.forget_unaccepted(connection, path)
        if was_pending or was_unfinished or cancelled:
            emit(Event.FILE_VANISHED, file=path)
        for delivery in cancelled:
            announcing.cancelled(delivery)
        self._drop_copies_of(cancelled)

    def drop_if_gone(self, path: str) -> None:
        """Forget a queued file that turned out to be gone or settled meanwhile."""
        with self._journal.write() as connection:
            files.forget_queued(connection, path)

    def is_anything_owed(self) -> bool:
        """Return whether anything of this root is still to be carried."""
        with self._journal.read() as connection:
            return bool(upkeep.owed_paths(connection, self._root))

    def _record_refused(self, connection: Connection, refused: Refused) -> bool:
        """Record a rejection; return whether it is news, and not what was said of this version before."""
        candidate, rejection = refused.candidate, refused.rejection
        was_told = files.was_told(
            connection, candidate.path, candidate.version, state=rejection.state, code=rejection.code
        )
        files.record(
            connection,
            [
                files.FileRecord(
                    candidate.root,
                    candidate.path,
                    candidate.version,
                    rejection.state,
                    self._settings.verdict_key,
                    code=rejection.code,
                    reason=rejection.reason,
                    is_backlog=candidate.is_backlog,
                )
            ],
            now=self._now(),
        )
        return not was_told

    def _hand_over(self, accepted: Accepted, recorded: Recorded, handed_over: dict[int, Accepted]) -> None:
        """Give the staged copy to the delivery it was made for, if that is planned."""
        if accepted.staged is None or accepted.staged_at is None:
            return
        for planned in recorded.planned:
            if planned.destination == accepted.staged_at and planned.failure is None:
                self._staged.put(accepted.staged_at, planned.delivery_id, accepted.staged)
                handed_over[planned.delivery_id] = accepted
                return

    def _stager(self, destination: str | None) -> Stager | None:
        return next((route.stager for route in self._routes if route.name == destination), None)

    def _record_state(self, tracked: Tracked, state: str, code: str, reason: str) -> None:
        with self._journal.write() as connection:
            files.record(connection, [self._file_record(tracked, state, code, reason)], now=self._now())
        tracked.recorded_state = state

    def _file_record(self, tracked: Tracked, state: str, code: str | None, reason: str) -> files.FileRecord:
        candidate = tracked.candidate
        return files.FileRecord(
            candidate.root,
            candidate.path,
            candidate.version,
            state,
            self._settings.verdict_key,
            code=code,
            reason=reason,
            is_backlog=candidate.is_backlog,
        )
