"""Have ComfyUI forget the old weights of files that were replaced, when that disturbs nobody.

The thread of each ComfyUI calls it. It goes on computing with what it has loaded under a name, whatever stands there
now, until it is told to unload its models. What it is to be told of stands in the journal since before the replacement.
"""

import time
from collections.abc import Callable, Sequence

from lorawatch.domain.errors import ComfyUIDownError, ComfyUIError
from lorawatch.domain.policy import RetrySettings, backoff_seconds
from lorawatch.domain.ports import ComfyUIApi, Stop
from lorawatch.engine.settings import Route
from lorawatch.events import Event, emit
from lorawatch.journal import listings
from lorawatch.journal.database import Database
from lorawatch.journal.listings import Refresh

# A burst of replacements is told at once, when nothing more has come for so long; but it may not go on for ever.
QUIET_SECONDS = 1.0
LONGEST_BURST_SECONDS = 10.0
# How often a busy ComfyUI is asked whether it is idle: the first question, and later ones.
FIRST_LOOK_SECONDS = 2.0
LONGEST_LOOK_SECONDS = 10.0
MOST_NAMES = 50  # in one event


class Refresher:
    """Tells one ComfyUI. `routes` are the destinations that it reads."""

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        journal: Database,
        stop: Stop,
        retry: RetrySettings,
        jitter: Callable[[], float],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._links = {route.destination_id: route.comfyui for route in routes if route.comfyui is not None}
        self._names = {route.destination_id: route.name for route in routes}
        self._journal = journal
        self._stop = stop
        self._retry = retry
        self._jitter = jitter
        self._now = now
        self._looks = 0  # at a busy queue, since it was last told
        self._failures = 0

    def tend(self, comfyui: ComfyUIApi) -> bool:
        """Tell it what is due; return whether it was asked anything. Raises as ListingCheck.tend."""
        pending, now = self._pending(), self._now()
        if not any(each.next_try_at <= now for each in pending):
            return False
        latest, first = max(each.latest_at for each in pending), min(each.first_at for each in pending)
        if now - latest < QUIET_SECONDS and now - first < LONGEST_BURST_SECONDS:
            self._try_at(pending, latest + QUIET_SECONDS)
            return False
        try:
            if not self._is_time(comfyui, pending, now):
                self._looks += 1
                wait = min(FIRST_LOOK_SECONDS * 1.5 ** (self._looks - 1), LONGEST_LOOK_SECONDS)
                self._try_at(pending, now + wait)
                return True
            comfyui.free(stop=self._stop)
        except ComfyUIDownError:
            raise
        except ComfyUIError as error:
            self._report_failure(pending, error, now)
            return True
        self._looks = self._failures = 0
        with self._journal.write() as connection:
            listings.refreshed(connection, pending)
        for name, names in self._by_destination(pending).items():
            emit(Event.COMFYUI_REFRESHED, destination=name, remote_names=names)
        return True

    def _pending(self) -> list[Refresh]:
        """Return what it is to be told of; what the user wants to do by hand is forgotten."""
        with self._journal.read() as connection:
            pending = listings.refreshes(connection, list(self._links))
        needless = [each for each in pending if self._links[each.destination_id].refresh == "never"]
        if needless:
            with self._journal.write() as connection:
                listings.refreshed(connection, needless)
        return [each for each in pending if each not in needless]

    def _is_time(self, comfyui: ComfyUIApi, pending: Sequence[Refresh], now: float) -> bool:
        """Return whether it may be told now: at once, when it is idle, or when it has been busy for too long."""
        for each in pending:
            link = self._links[each.destination_id]
            if link.refresh == "always" or 0 < link.refresh_wait_seconds <= now - each.first_at:
                return True
        return comfyui.queue(stop=self._stop).is_empty

    def _report_failure(self, pending: Sequence[Refresh], error: ComfyUIError, now: float) -> None:
        """Say once that it cannot be told, and try again later and later."""
        self._failures += 1
        self._try_at(pending, now + backoff_seconds(self._failures, self._retry, jitter=self._jitter()))
        if self._failures > 1:
            return
        for name, names in self._by_destination(pending).items():
            emit(
                Event.COMFYUI_NOT_REFRESHED,
                destination=name,
                remote_names=names,
                code="old-weights",
                reason=f"ComfyUI cannot be told to forget its old weights: {error.message}",
                fix=error.fix,
            )

    def _try_at(self, pending: Sequence[Refresh], at: float) -> None:
        with self._journal.write() as connection:
            listings.try_refresh_at(connection, pending, at=at)

    def _by_destination(self, pending: Sequence[Refresh]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for each in pending:
            names = found.setdefault(self._names[each.destination_id], [])
            if len(names) < MOST_NAMES:
                names.append(each.remote_name)
        return found
