"""The candidates of one watched directory on their way to a verdict: look, settle, have them read, hand in.

Used by one intake thread. It asks the source, keeps what is pending, and gives verdicts to the desk; it schedules
nothing but the next look at each candidate.
"""

import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from lorawatch.domain import settle
from lorawatch.domain.errors import (
    FileChangedError,
    FileRejectedError,
    FileUnreadableError,
    FileVanishedError,
    SourceError,
)
from lorawatch.domain.model import Candidate, Rejection
from lorawatch.domain.ports import Source
from lorawatch.engine.checkpoints import CheckpointFilter
from lorawatch.engine.desk import VerdictDesk
from lorawatch.engine.reader_pool import ReaderPool
from lorawatch.engine.reading import Reading, Refused, Unread
from lorawatch.engine.recording import Accepted
from lorawatch.engine.settings import IntakeSettings
from lorawatch.engine.surveying import fresh_of
from lorawatch.engine.tracking import Tracked, Tracker
from lorawatch.events import Event, emit
from lorawatch.journal.database import Database

UNREADABLE_RETRY_SECONDS = 10.0  # a chmod sends no event that we listen to
RELOOK_SECONDS = 0.05  # it changed while we looked
MOST_REFUSED = 256  # refusals recorded together
MOST_TOGETHER = 256  # paths asked for in one query
MOST_PENDING = 4096  # in memory; the rest waits in the journal, or for the next scan


@dataclass(frozen=True, slots=True)
class Crash:
    """A bug that came up while a candidate was read."""

    candidate: Candidate
    error: Exception


class Candidates:
    """What is pending below one root."""

    def __init__(
        self,
        *,
        source: Source,
        pool: ReaderPool,
        desk: VerdictDesk,
        journal: Database,
        settings: IntakeSettings,
        is_reading_enough: bool,
        is_root_trusted: Callable[[], bool],
    ) -> None:
        self.tracker = Tracker()
        self.has_turned_away = False  # something was not taken in hand for want of room: only a scan finds it again
        self._refused: list[Reading] = []  # without being read, in this turn
        self._source = source
        self._pool = pool
        self._desk = desk
        self._journal = journal
        self._settings = settings
        self._is_reading_enough = is_reading_enough  # the reading itself finds out whether a file is whole
        self._is_root_trusted = is_root_trusted
        self._checkpoints = CheckpointFilter(settings.checkpoints, source)

    def look_at_due(self, now: float) -> None:
        """Look again at what is due at this monotonic time."""
        for tracked in self.tracker.take_due(now):
            self.look([tracked.candidate.path], is_backlog=tracked.candidate.is_backlog)

    def take_crash(self, crash: Crash) -> None:
        """Reject a file over which our own code stumbled, so that it holds up nothing else."""
        error = crash.error
        text = "".join(traceback.format_exception(error))
        emit(
            Event.INTAKE_CRASHED, directory=self._source.root, reason=f"{type(error).__name__}: {error}", traceback=text
        )
        rejection = Rejection("rejected", "internal-error", f"inspecting it failed: {type(error).__name__}: {error}")
        self.take_readings([Refused(crash.candidate, rejection)])

    def look(self, paths: Iterable[str], *, is_closed: bool = False, is_backlog: bool = False) -> None:
        """Look at paths that something pointed to; what the journal knows of them is asked for together."""
        remaining = iter(paths)
        while page := list(islice(remaining, MOST_TOGETHER)):
            self._look(page, is_closed=is_closed, is_backlog=is_backlog)

    def _look(self, paths: Sequence[str], *, is_closed: bool, is_backlog: bool) -> None:
        seen = [
            replace(candidate, is_closed=is_closed, is_backlog=is_backlog)
            for candidate in map(self._sighted, paths)
            if candidate is not None
        ]
        fresh = {each.path for each in fresh_of(seen, self._journal, self._settings.verdict_key)}
        for candidate in seen:
            if candidate.path in fresh:
                self.consider(candidate)
            else:
                self.tracker.drop(candidate.path)

    def _sighted(self, path: str) -> Candidate | None:
        """Return what stands at a path; take note if there is nothing, or if it cannot be told."""
        try:
            candidate = self._source.look(path)
        except FileUnreadableError as error:
            tracked = self.tracker.get(path)
            if tracked is not None:
                self._unreadable(tracked, error)
            return None
        if candidate is None and self.tracker.get(path) is not None:
            self.gone(path)
        return candidate

    def consider(self, candidate: Candidate) -> bool:
        """Take a fresh candidate in hand; False if there are too many already."""
        if candidate.path not in self.tracker and len(self.tracker) >= MOST_PENDING:
            self.has_turned_away = True
            return False
        tracked = self.tracker.see(candidate, _now())
        if not tracked.is_reading:
            self._settle(tracked)
        return True

    def _settle(self, tracked: Tracked) -> None:
        """Have a candidate read if its writer is done; a close is believed as long as the reading bears it out."""
        candidate = tracked.candidate
        if candidate.is_closed and self._is_reading_enough and not tracked.is_doubted:
            self._desk.announce_detected(tracked)
            self._read(tracked)
            return
        try:
            observation = self._source.observe(candidate)
        except FileRejectedError as error:
            self._refuse(tracked, error.code, error.message)
            return
        except FileUnreadableError as error:
            self._unreadable(tracked, error)
            return
        except SourceError:  # changed or gone: the next look tells
            self.tracker.schedule(tracked, time.monotonic() + RELOOK_SECONDS)
            return
        verdict = settle.observe(
            observation, first_seen=tracked.first_seen, now=_now(), quiet_seconds=self._settings.quiet_seconds
        )
        self._desk.announce_detected(tracked)
        if isinstance(verdict, settle.Wait):
            self.tracker.schedule(tracked, time.monotonic() + verdict.recheck_in_seconds)
            self._desk.note_waiting(tracked, verdict)
        elif isinstance(verdict, settle.Torn):
            self._refuse(tracked, verdict.code, verdict.reason)
        else:
            self._read(tracked)

    def _read(self, tracked: Tracked) -> None:
        refusal = self._checkpoints.refusal(tracked.candidate)
        if refusal is not None:
            self._take_refused(Refused(tracked.candidate, Rejection("skipped", *refusal)))
            return
        tracked.is_reading = True
        self._pool.submit(tracked.candidate)

    def _refuse(self, tracked: Tracked, code: str, reason: str) -> None:
        self._desk.announce_detected(tracked)
        self._take_refused(Refused(tracked.candidate, Rejection("rejected", code, reason)))

    def _take_refused(self, refused: Refused) -> None:
        self._refused.append(refused)
        if len(self._refused) >= MOST_REFUSED:
            self.record_refused()

    def record_refused(self) -> None:
        """Record what was refused without being read since the last time: one transaction for all."""
        refused, self._refused = self._refused, []
        if refused:
            self.take_readings(refused)

    def _unreadable(self, tracked: Tracked, error: SourceError) -> None:
        self._desk.announce_detected(tracked)
        tracked.is_reading = False
        self.tracker.schedule(tracked, time.monotonic() + UNREADABLE_RETRY_SECONDS)
        self._desk.note_unreadable(tracked, error)

    def take_readings(self, readings: Sequence[Reading]) -> None:
        """Record the verdicts on versions that are still the pending ones; look again at what changed."""
        current: list[Reading] = []
        doubted: list[Tracked] = []
        unread: list[tuple[Tracked, Unread]] = []
        for reading in readings:
            tracked = self.tracker.get(reading.candidate.path)
            if tracked is None or tracked.candidate.version != reading.candidate.version:
                if isinstance(reading, Accepted):
                    self._desk.drop_staged(reading)
            elif isinstance(reading, Unread):
                unread.append((tracked, reading))
            elif isinstance(reading, Refused) and self._is_doubtful(tracked, reading):
                doubted.append(tracked)
            else:
                current.append(reading)
        if current:
            self._desk.record(current)
            for reading in current:
                self.tracker.drop(reading.candidate.path)
        for tracked, each in unread:
            self._take_unread(tracked, each)
        for tracked in doubted:
            tracked.is_reading, tracked.is_doubted = False, True
            self._settle(tracked)

    def _is_doubtful(self, tracked: Tracked, refused: Refused) -> bool:
        """Return whether a file was read on its writer's close alone: what is wrong may be that it is not done."""
        was_believed = tracked.is_reading and tracked.candidate.is_closed and not tracked.is_doubted
        return was_believed and self._is_reading_enough and refused.rejection.state == "rejected"

    def _take_unread(self, tracked: Tracked, unread: Unread) -> None:
        tracked.is_reading = False
        if isinstance(unread.error, FileUnreadableError):
            self._unreadable(tracked, unread.error)
        elif isinstance(unread.error, FileChangedError | FileVanishedError):
            self.tracker.schedule(tracked, time.monotonic() + RELOOK_SECONDS)
        else:  # the journal could not be asked; nothing is known about the file itself
            self.tracker.schedule(tracked, time.monotonic() + UNREADABLE_RETRY_SECONDS)

    def gone(self, path: str) -> None:
        """Take note that a path is gone, if the root can be believed."""
        tracked = self.tracker.drop(path)
        if self._is_root_trusted():
            self._desk.gone(path, was_pending=tracked is not None)


def _now() -> settle.Moment:
    return settle.Moment(wall=time.time(), monotonic=time.monotonic())
