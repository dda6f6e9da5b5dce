"""How well a watched directory is seen, said once per change. Used by one intake thread."""

from lorawatch.domain.ports import Source, WatchState
from lorawatch.engine.surveying import Survey
from lorawatch.events import Event, emit


class WatchReporter:
    """Turns the source's watch state into events, and tells whether a missing file may be taken as gone."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._state = WatchState(is_present=True)
        self._is_blank = False

    @property
    def is_present(self) -> bool:
        """Return whether the root is there."""
        return self._state.is_present

    @property
    def is_trusted(self) -> bool:
        """Return whether a file that is not there is gone, rather than on a disk that is not mounted."""
        return self._state.is_present and not self._is_blank

    def begin(self) -> None:
        """Check for the first time."""
        self._state = self._source.supervise()
        if self._state.is_present:
            polled = list(self._source.polled())
            emit(Event.WATCH_ARMED, directory=self._source.root, polled=polled)
        if self._state.code is not None:
            self._say(self._state)

    def check(self) -> bool:
        """Check again, say what has changed, and return whether the directory must be scanned."""
        before, now = self._state, self._source.supervise()
        self._state = now
        if (before.is_present, before.code) != (now.is_present, now.code):
            self._say(now)
        return now.is_present and (now.is_rescan_needed or not before.is_present)

    def note_survey(self, survey: Survey, *, is_owed: bool, is_first: bool) -> None:
        """Distrust a root that is blank at the start while files below it are still owed: its disk may be missing."""
        if is_first and survey.is_root_blank and is_owed:
            if self._is_blank:
                return
            self._is_blank = True
            reason = "the directory is empty, but files of it are still to be delivered; is its disk mounted?"
            emit(Event.WATCH_LOST, directory=self._source.root, code="root-empty", reason=reason)
        elif self._is_blank and not survey.is_root_blank:
            self._is_blank = False
            emit(Event.WATCH_REESTABLISHED, directory=self._source.root)

    def _say(self, state: WatchState) -> None:
        if not state.is_present:
            event = Event.WATCH_LOST
        elif state.code is not None:
            event = Event.WATCH_INCOMPLETE
        else:
            event = Event.WATCH_REESTABLISHED
        emit(event, directory=self._source.root, code=state.code, reason=state.reason)
