"""The thread of one ComfyUI: it asks what is listed and has old weights forgotten, beside all deliveries.

Lanes only set its wake after they have recorded an arrival; they never wait for it. While ComfyUI is down, what it is
to be asked waits in the journal. It sleeps when nothing is due.
"""

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace

from lorawatch.domain.errors import ComfyUIDownError, JournalError, StoppedError
from lorawatch.domain.policy import RetrySettings, backoff_seconds
from lorawatch.domain.ports import ComfyUIApi
from lorawatch.engine.comfyui_checking import ListingCheck
from lorawatch.engine.comfyui_refreshing import QUIET_SECONDS, Refresher
from lorawatch.engine.settings import Route
from lorawatch.events import Event, emit
from lorawatch.journal import listings
from lorawatch.journal.database import Database

# A burst is asked for with one list: so long after its first file.
GATHER_SECONDS = 0.2
LONGEST_SLEEP_SECONDS = 30.0
# A ComfyUI that is down answers nothing, or refuses at once: asking it costs next to nothing, and it is wanted soon.
LONGEST_BACKOFF_SECONDS = 30.0
# New arrivals are worth a question before that, but not each of a burst.
LEAST_PAUSE_SECONDS = 1.0
FAULT_PAUSE_SECONDS = 5.0
CRASH_PAUSE_SECONDS = 300.0  # a bug that one file brings about is met again with it
# `once` waits for the first answers so long, and no longer: a ComfyUI that hangs holds nothing up.
SETTLING_SECONDS = 15.0


class ComfyUIWatch:
    """One ComfyUI, and the destinations that it reads."""

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        url: str,
        connect: Callable[[], ComfyUIApi],
        journal: Database,
        stop: threading.Event,
        wake: threading.Event,
        retry: RetrySettings,
        jitter: Callable[[], float],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.url = url
        self._connect = connect
        self._comfyui: ComfyUIApi | None = None
        self._numbers = [route.destination_id for route in routes]
        self._names = [route.name for route in routes]
        self._journal = journal
        self._stop = stop
        self._wake = wake
        self._retry = replace(retry, max_seconds=min(retry.max_seconds, LONGEST_BACKOFF_SECONDS))
        self._jitter = jitter
        self._now = now
        self._failures = 0
        # While it is down only what becomes due after the last question is asked for before its time (monotonic).
        self._asked_at = 0.0
        self._silent_until = 0.0
        self._check = ListingCheck(routes, journal=journal, stop=stop, now=now)
        self._refresher = Refresher(routes, journal=journal, stop=stop, retry=retry, jitter=jitter, now=now)
        self.thread = threading.Thread(target=self._run, name=f"comfyui-{url}", daemon=True)

    def wake(self) -> None:
        """Have it look at the journal now."""
        self._wake.set()

    def expect_soon(self) -> None:
        """Make everything due: the clock was set, and stored times mean nothing. Raises JournalError."""
        with self._journal.write() as connection:
            listings.expect_soon(connection, self._numbers, now=self._now())
        self._silent_until = 0.0
        self.wake()

    @property
    def is_settling(self) -> bool:
        """Return whether something that arrived just now waits for a ComfyUI that answers."""
        since = self._now() - SETTLING_SECONDS
        with self._journal.read() as connection:
            return listings.is_settling(connection, self._numbers, since=since, quiet_seconds=2 * QUIET_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                self._turn()
                wait = self._patience()
            except StoppedError:
                return
            except JournalError:  # the service says so, once for all threads
                wait = FAULT_PAUSE_SECONDS
            except Exception as error:  # noqa: BLE001 the thread's boundary: a bug costs a check, nothing else
                self._report_crash(error)
                wait = FAULT_PAUSE_SECONDS
            if not self._stop.is_set():
                self._wake.wait(wait)

    def _turn(self) -> None:
        due = self._next_due()
        if due is None or due > self._now() or self._stop.wait(GATHER_SECONDS):
            return
        if self._comfyui is None:
            self._comfyui = self._connect()
        try:
            was_told = self._refresher.tend(self._comfyui)
            was_asked = self._check.tend(self._comfyui)
        except ComfyUIDownError as error:
            self._report_down(error)
            self._stop.wait(LEAST_PAUSE_SECONDS)
        else:
            if was_told or was_asked:
                self._report_up()

    @property
    def _silence(self) -> float:
        """How long it is still to be left alone with what it has not answered."""
        return self._silent_until - time.monotonic()

    def _next_due(self) -> float | None:
        after = self._asked_at if self._silence > 0 else 0.0
        with self._journal.read() as connection:
            return listings.next_due_at(connection, self._numbers, after=after)

    def _patience(self) -> float:
        due = self._next_due()
        waits = [LONGEST_SLEEP_SECONDS]
        if due is not None:
            waits.append(max(due - self._now(), 0.0))
        if self._silence > 0:
            waits.append(self._silence)
        return min(waits)

    def _report_down(self, error: ComfyUIDownError) -> None:
        """Have everything wait, and say so once."""
        self._failures += 1
        wait = backoff_seconds(self._failures, self._retry, jitter=self._jitter())
        now = self._now()
        with self._journal.write() as connection:
            listings.leave_open(
                connection, self._numbers, now=now, at=now + wait, code=error.code, reason=error.message
            )
        self._asked_at, self._silent_until = now, time.monotonic() + wait
        if self._failures == 1:
            emit(
                Event.COMFYUI_DOWN,
                url=self.url,
                destinations=self._names,
                code=error.code,
                reason=error.message,
                fix=error.fix,
                retry_in_seconds=wait,
            )

    def _report_up(self) -> None:
        """Ask at once for everything that has waited for it, and say so."""
        if not self._failures:
            return
        self._failures = 0
        self.expect_soon()
        emit(Event.COMFYUI_UP, url=self.url, destinations=self._names)

    def _report_crash(self, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        emit(Event.COMFYUI_CRASHED, url=self.url, reason=reason, traceback=traceback.format_exc())
        now, code = self._now(), "internal-error"
        try:
            with self._journal.write() as connection:
                at = now + CRASH_PAUSE_SECONDS
                listings.postpone(connection, self._numbers, now=now, at=at, code=code, reason=reason)
        except JournalError:
            pass  # then it is met again in a moment, and said again
