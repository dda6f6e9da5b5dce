"""When the watched directory is scanned: at first, on demand, every so often, and where no hints come from.

Used by one intake thread. It reads no file; what a scan finds goes to the candidates, what it cannot list to the desk.
"""

import time

from lorawatch.engine.candidates import UNREADABLE_RETRY_SECONDS, Candidates
from lorawatch.engine.desk import VerdictDesk
from lorawatch.engine.settings import IntakeSettings
from lorawatch.engine.surveying import Survey, Surveyor
from lorawatch.engine.watching import WatchReporter
from lorawatch.events import Event, emit

ABSENT_RETRY_SECONDS = 1.0  # a root that is not there cannot be scanned


class ScanSchedule:
    """The scans of one watched directory, and when each is due."""

    def __init__(
        self,
        surveyor: Surveyor,
        *,
        desk: VerdictDesk,
        watch: WatchReporter,
        candidates: Candidates,
        settings: IntakeSettings,
    ) -> None:
        self._surveyor = surveyor
        self._source = surveyor.source
        self._desk = desk
        self._watch = watch
        self._candidates = candidates
        self._settings = settings
        self._is_surveyed = False
        self._is_gone_check_due = False
        self._next_full = self._next_poll = self._next_unreadable = 0.0

    def ask(self) -> None:
        """Have everything scanned as soon as possible."""
        self._next_full = 0.0

    def ask_what_is_gone(self) -> None:
        """Have what is known compared with what is there, as soon as that can be told."""
        self._is_gone_check_due = True

    def next_due(self) -> float:
        """Return the monotonic time at which something is to be scanned next."""
        if not self._is_surveyed:
            return self._next_full
        dues = [self._next_full]
        if self._source.polled():
            dues.append(self._next_poll)
        if self._source.unreadable():
            dues.append(self._next_unreadable)
        return min(dues)

    def survey_first(self) -> None:
        """Scan for the first time since the root is there; until then nothing is known to be new or gone."""
        started, is_owed = time.monotonic(), self._desk.is_anything_owed()
        survey = self._surveyor.first(self._desk.announce, is_owed=is_owed)
        self._is_surveyed = not (survey.is_root_blank and is_owed)
        self._watch.note_survey(survey, is_owed=is_owed, is_first=True)
        self._finish(survey, started, is_first=True)

    def scan_below(self, directory: str) -> None:
        """Scan one directory and what is below it, now."""
        self._surveyor.again(directory, self._candidates.consider)
        self._desk.note_directories(self._source.unreadable())

    def scan_due(self, now: float) -> bool:
        """Scan what is due at this monotonic time; return whether that was everything."""
        if not self._watch.is_present:
            self._next_full = max(self._next_full, now + ABSENT_RETRY_SECONDS)
            self._next_poll = self._next_unreadable = now + ABSENT_RETRY_SECONDS
            return False
        if not self._is_surveyed:
            if now < self._next_full and not self._watch.is_trusted:
                return False
            self.survey_first()
            return True
        if now >= self._next_full:
            self._finish(self._surveyor.again(None, self._candidates.consider), now, is_first=False)
            return True
        if now >= self._next_unreadable:
            self._next_unreadable = now + UNREADABLE_RETRY_SECONDS
            for directory in self._source.unreadable():
                self.scan_below(directory)
        if self._source.polled() and now >= self._next_poll:
            for directory in self._source.polled():
                self.scan_below(directory)
            self._is_gone_check_due = True
            self._next_poll = time.monotonic() + self._settings.poll_seconds
        return False

    def take_gone(self) -> None:
        """Find out what is gone, if that is due and the root can be believed."""
        if self._is_gone_check_due and self._watch.is_trusted:
            self._is_gone_check_due = False
            for path in self._surveyor.gone():
                self._candidates.gone(path)

    def _finish(self, survey: Survey, started: float, *, is_first: bool) -> None:
        ended = time.monotonic()
        self._is_gone_check_due = True
        self._next_full = ended + self._settings.reconcile_seconds
        self._next_poll = ended + self._settings.poll_seconds
        self._next_unreadable = ended + UNREADABLE_RETRY_SECONDS
        self._desk.note_directories(self._source.unreadable())
        emit(
            Event.SCAN_FINISHED,
            directory=self._source.root,
            files=survey.file_count,
            backlog_files=survey.new_count,
            backlog_bytes=survey.new_bytes,
            seconds=ended - started,
            level=None if is_first or survey.new_count else "debug",
        )
