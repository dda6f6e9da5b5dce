"""From a hint or a scan to a recorded verdict: look, settle, read, plan, record. One intake per watched directory.

Its thread is the only one that looks at the source's names, decides who is settled and records verdicts; it reads
the smallest files itself, reader threads read the others, and lanes carry them. A hung mount therefore stops its own
intake and nothing else. It never writes to the source, and touches a destination only to stage a copy on a local disk.
"""

import queue
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lorawatch.domain.errors import JournalError, StoppedError
from lorawatch.domain.ports import Hint, Source, Stop
from lorawatch.engine.candidates import MOST_PENDING, Candidates, Crash
from lorawatch.engine.desk import VerdictDesk
from lorawatch.engine.pairing import PairWatch
from lorawatch.engine.reader_pool import ReaderPool
from lorawatch.engine.reading import Reader, Reading, Refused, Unread
from lorawatch.engine.recording import Accepted
from lorawatch.engine.scanning import ScanSchedule
from lorawatch.engine.settings import IntakeSettings
from lorawatch.engine.surveying import Surveyor
from lorawatch.engine.tracking import Newcomers
from lorawatch.engine.watching import WatchReporter
from lorawatch.events import Event, emit
from lorawatch.journal import files
from lorawatch.journal.database import Database

SUPERVISE_SECONDS = 1.0  # how soon a lost root is noticed; one stat each time
READ_AHEAD = 64  # backlog files in memory at once; the rest waits in the journal
MOST_HINTS = 20_000  # beyond this a full scan is cheaper and complete; inotify's own queue holds 16,384
# A new name is nearly always closed by its writer at once or written for a while: looking right away helps neither.
CREATED_PATIENCE_SECONDS = 0.05
GROUP = 256  # messages handled, and verdicts recorded, together
# In a burst, what comes within this time is looked at, recorded and handed on together.
GATHER_SECONDS = 0.02
JOURNAL_RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Rescan:
    pass


_Message = Hint | Accepted | Refused | Unread | Crash | _Rescan


class Intake:
    """The intake of one source."""

    def __init__(
        self,
        *,
        source: Source,
        reader: Reader,
        desk: VerdictDesk,
        surveyor: Callable[[Callable[[str], bool], Callable[[], None]], Surveyor],
        journal: Database,
        settings: IntakeSettings,
        stop: Stop,
    ) -> None:
        self.root = source.root
        self.is_local = source.is_local
        self.is_ready = threading.Event()
        self.beat = time.monotonic()
        self._source = source
        self._desk = desk
        self._journal = journal
        self._stop = stop
        self._mailbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._pool = ReaderPool(
            reader, on_result=self._mailbox.put, on_crash=lambda *crash: self._mailbox.put(Crash(*crash))
        )
        self._watch = WatchReporter(source)
        self._pairs = PairWatch(source.root, journal=journal)
        self._candidates = Candidates(
            source=source,
            pool=self._pool,
            desk=desk,
            journal=journal,
            settings=settings,
            is_reading_enough=reader.examiner.sees_gaps,
            is_root_trusted=lambda: self._watch.is_trusted,
        )
        self._tracker = self._candidates.tracker
        self._surveyor = surveyor(self._tracker.__contains__, self._touch_scan)
        self._scans = ScanSchedule(
            self._surveyor, desk=desk, watch=self._watch, candidates=self._candidates, settings=settings
        )
        self._newcomers = Newcomers(CREATED_PATIENCE_SECONDS)
        self._is_rescan_asked = False
        self._is_queue_known_empty = False
        self._next_supervision = 0.0

    @property
    def is_root_trusted(self) -> bool:
        """Return whether a missing file below the root is really gone, not merely out of sight."""
        return self._watch.is_trusted

    def _touch(self) -> None:
        self.beat = time.monotonic()

    def _touch_scan(self) -> None:
        self._touch()
        if self._stop.is_set():
            raise StoppedError("stopped in the middle of a scan")

    def wake(self) -> None:
        """Have the thread turn around once, to notice that it is to stop."""
        self._mailbox.put(Hint(path="", is_gone=True))

    def pending_seconds(self) -> list[float]:
        """Return the age of every pending version that is not being read now."""
        now = time.monotonic()
        return [0.0 if each.is_reading else now - each.first_seen.monotonic for each in self._tracker.all()]

    @property
    def is_queue_empty(self) -> bool:
        """Return whether nothing waits in the journal to be looked at, no message waits here, and none will come."""
        is_idle = self._mailbox.empty() and not self._newcomers
        return self._source.is_settled and self._is_queue_known_empty and is_idle

    def run(self) -> None:
        """Work until stopped; the thread's target. Nothing but the stop ends it."""
        is_begun = False
        while not self._stop.is_set():
            self._touch()
            try:
                if not is_begun:
                    self._begin()
                    is_begun = True
                self._turn()
            except StoppedError:
                break
            except JournalError:  # the service says so, once for all threads
                self._start_over(JOURNAL_RETRY_SECONDS)
            except Exception as error:  # noqa: BLE001 the intake boundary: start over from the next scan
                emit(
                    Event.INTAKE_CRASHED,
                    directory=self.root,
                    reason=f"{type(error).__name__}: {error}",
                    traceback=traceback.format_exc(),
                )
                self._start_over(1.0)
        self._source.stop()

    def stop_readers(self, *, deadline: Callable[[], float]) -> bool:
        """End the reader threads and drop the copies they staged; return whether all of them ended in time."""
        are_ended = self._pool.stop(deadline=deadline)
        while not self._mailbox.empty():
            message = self._mailbox.get_nowait()
            if isinstance(message, Accepted):
                self._desk.drop_staged(message)
        return are_ended

    def _begin(self) -> None:
        self._source.start(self._on_hint, self._on_overflow)
        self._watch.begin()
        if self._watch.is_present:
            self._scans.survey_first()
        self.is_ready.set()
        self._pool.start()  # only now: what it loads at first must not hold up the start

    def _on_hint(self, hint: Hint) -> None:
        if self._mailbox.qsize() < MOST_HINTS:
            self._mailbox.put(hint)
        elif not self._is_rescan_asked:
            self._on_overflow()

    def _on_overflow(self) -> None:
        if not self._is_rescan_asked:
            self._is_rescan_asked = True
            emit(Event.WATCH_OVERFLOW, directory=self.root, code="inotify-overflow")
            self._mailbox.put(_Rescan())

    def _start_over(self, pause_seconds: float) -> None:
        """Forget what is in memory; the journal and the next scan bring it back."""
        self._stop.wait(pause_seconds)
        self._tracker.clear()
        self._pool.forget_at_hand()
        self._is_queue_known_empty = self._is_rescan_asked = False
        self._scans.ask()

    def _turn(self) -> None:
        messages = self._take()
        # Verdicts first: whatever the rest may raise, no staged copy is forgotten.
        readings: list[Reading] = [each for each in messages if isinstance(each, Accepted | Refused | Unread)]
        if readings:
            self._candidates.take_readings(readings)
        if any(isinstance(each, _Rescan) for each in messages):
            self._is_rescan_asked = False
            self._scans.ask()
        for message in messages:
            if isinstance(message, Crash):
                self._candidates.take_crash(message)
        self._take_hints([each for each in messages if isinstance(each, Hint)])
        now = time.monotonic()
        self._candidates.look(self._newcomers.take_due(now))
        self._candidates.look_at_due(now)
        if now >= self._next_supervision:
            self._supervise(now)
        if self._scans.scan_due(now):
            self._is_queue_known_empty = False
        self._scans.take_gone()
        self._refill()
        self._candidates.record_refused()
        self._pool.read_at_hand()
        if self._is_queue_known_empty:  # what is still to be read may be the other half
            self._pairs.look(self._tracker)

    def _take(self) -> list[_Message]:
        """Wait for messages until the next thing is due; return them, at most a group."""
        dues = [self._next_supervision, self._scans.next_due(), self._tracker.next_due(), self._newcomers.next_due()]
        if self._is_refill_due():
            dues.append(0.0)
        patience = min(due for due in dues if due is not None) - time.monotonic()
        messages: list[_Message] = []
        try:
            messages.append(self._mailbox.get(timeout=min(max(patience, 0.0), SUPERVISE_SECONDS)))
            if self._pool.is_busy:  # nobody waits for us: more comes meanwhile, and is handled at the price of one
                self._stop.wait(GATHER_SECONDS)
            while len(messages) < GROUP:
                messages.append(self._mailbox.get_nowait())
        except queue.Empty:
            pass
        return messages

    def _take_hints(self, hints: Sequence[Hint]) -> None:
        """Act on hints in their order; files that were closed one after the other are looked at together."""
        closed: dict[str, None] = {}
        for hint in hints:
            if hint.is_gone or hint.is_directory:
                self._candidates.look(closed, is_closed=True)
                closed.clear()
                self._take_other_hint(hint)
            elif hint.is_closed:
                self._newcomers.drop(hint.path)
                closed[hint.path] = None
            else:
                self._newcomers.add(hint.path, time.monotonic())
        self._candidates.look(closed, is_closed=True)

    def _take_other_hint(self, hint: Hint) -> None:
        if not hint.is_gone:
            self._scans.scan_below(hint.path)
        elif hint.is_directory:
            self._scans.ask_what_is_gone()
        elif hint.path and not self._surveyor.is_there(hint.path):
            self._candidates.gone(hint.path)

    def _supervise(self, now: float) -> None:
        self._next_supervision = now + SUPERVISE_SECONDS
        if self._watch.check():
            self._scans.ask()
        self._desk.note_pending([each for each in self._tracker.all() if each.recorded_state is None])

    def _is_refill_due(self) -> bool:
        """Return whether more may wait in the journal, and the readers would soon have nothing to do."""
        if self._is_queue_known_empty or len(self._tracker) >= MOST_PENDING:
            return False
        return sum(each.is_reading for each in self._tracker.all()) <= READ_AHEAD // 2

    def _refill(self) -> None:
        """Take more of what waits in the journal in hand."""
        if self._candidates.has_turned_away and len(self._tracker) < MOST_PENDING // 2:
            self._candidates.has_turned_away = False
            self._scans.ask()
        if not self._is_refill_due():
            return
        with self._journal.read() as connection:
            waiting = files.queued(connection, self.root, limit=READ_AHEAD + len(self._tracker))
        fresh = [(path, is_backlog) for path, is_backlog in waiting if path not in self._tracker]
        self._is_queue_known_empty = not fresh
        for path, is_backlog in fresh[:READ_AHEAD]:
            self._candidates.look([path], is_backlog=is_backlog)
            if path not in self._tracker and len(self._tracker) < MOST_PENDING:
                self._desk.drop_if_gone(path)
