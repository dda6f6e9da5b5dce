"""Which destinations are up: one state per destination, shared by its lanes, recorded in the journal.

A destination that is down costs one probe per interval, whatever the backlog. Lanes call it; the service reads it.
"""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lorawatch.domain.errors import DestinationDownError, DestinationError, DestinationParkedError
from lorawatch.domain.model import Delivery, DeliveryState
from lorawatch.domain.policy import Outcome, RetrySettings, backoff_seconds, gave_up
from lorawatch.engine import announcing
from lorawatch.engine.settings import Route
from lorawatch.events import Event, emit
from lorawatch.journal import deliveries, places, upkeep
from lorawatch.journal.database import Database
from lorawatch.journal.rows import Connection

# How soon a lane asks again about a destination that another lane is probing.
PROBING_SECONDS = 1.0


@dataclass(slots=True)
class _State:
    route: Route
    state: str = "unknown"  # unknown | up | down | parked; unknown until its first probe in this process
    code: str | None = None
    reason: str = ""
    failures: int = 0
    strains: int = 0  # in a row, without a delivery that arrived
    paused_until: float = 0.0  # nothing is carried there meanwhile
    next_probe_at: float = 0.0
    is_probing: bool = False
    is_swept: bool = False  # of what earlier processes left, once it was there
    was_down: bool = False  # and that was said
    said_notes: int = 0


class Health:
    """The state of each destination. Thread-safe."""

    def __init__(
        self,
        routes: list[Route],
        *,
        journal: Database,
        retry: RetrySettings,
        now: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self._states = {route.name: _State(route) for route in routes}
        self._journal = journal
        self._retry = retry
        self._now = now
        self._jitter = jitter
        self._lock = threading.Lock()

    def load(self) -> None:
        """Take over what the journal remembers. Every destination is probed before it is used."""
        with self._journal.read() as connection:
            for state in self._states.values():
                row = places.destination(connection, state.route.destination_id)
                state.code, state.was_down = row.code, row.state != "up"
                state.route.destination.was_mount_point = row.is_mount_point

    def is_up(self, name: str) -> bool:
        """Return whether deliveries may go to this destination now."""
        return self._states[name].state == "up"

    def is_taking(self, name: str) -> bool:
        """Return whether it is up, and not left in peace for a while."""
        return self.is_up(name) and self._now() >= self._states[name].paused_until

    def down_states(self) -> dict[str, str]:
        """Return the code of every destination that is known to be down or parked."""
        return {
            name: state.code or state.state for name, state in self._states.items() if state.state in {"down", "parked"}
        }

    def is_known(self, name: str) -> bool:
        """Return whether the destination has been probed in this process."""
        return self._states[name].state != "unknown"

    def probe_if_due(self, name: str) -> bool:
        """Return whether the destination is up, probing it first if it is down and a probe is due.

        One lane probes; the others are told no meanwhile.
        """
        state = self._states[name]
        with self._lock:
            if state.state == "up":
                return self._now() >= state.paused_until
            if state.state == "parked" or state.is_probing or self._now() < state.next_probe_at:
                return False
            state.is_probing = True
        try:
            state.route.destination.probe(needed_bytes=0)
            if not state.is_swept:
                state.route.destination.sweep()
                state.is_swept = True
        except DestinationError as error:  # whatever it is, nothing can be delivered there
            self.report_down(name, error)
            return False
        finally:
            state.is_probing = False
        self.report_up(name)
        return True

    def seconds_to_probe(self, name: str) -> float | None:
        """Return how long to wait before asking again; None if the destination is up and takes deliveries.

        For ever, if it is parked: the person who has it tried again is noticed by `refresh`.
        """
        state = self._states[name]
        if state.state == "up":
            pause = state.paused_until - self._now()
            return pause if pause > 0 else None
        if state.state == "parked":
            return math.inf
        if state.is_probing:
            return PROBING_SECONDS
        return max(0.05, state.next_probe_at - self._now())

    def report_strained(self, name: str, retry_after_seconds: float | None) -> None:
        """Let a destination rest that is up, and yet too busy or broken for a delivery: for longer each time.

        Without that, every delivery of a backlog would find it out for itself.
        """
        state = self._states[name]
        with self._lock:
            state.strains += 1
            wait = self._wait_seconds(state.strains, retry_after_seconds)
            until = max(state.paused_until, self._now() + wait)
        self._record_pause(state, until)
        state.paused_until = until

    def report_arrived(self, name: str) -> None:
        """Take note that a delivery has arrived."""
        state = self._states[name]
        if state.strains:
            state.strains, state.paused_until = 0, 0.0
            self._record_pause(state, None)

    def _record_pause(self, state: _State, until: float | None) -> None:
        """Record it, so that `retry` can end it."""
        with self._journal.write() as connection:
            places.record_destination(connection, state.route.destination_id, state="up", next_probe_at=until)

    def report_down(self, name: str, error: DestinationError) -> float:
        """Record that a destination is down, say so once per cause, and return when it is probed next."""
        state = self._states[name]
        with self._lock:
            is_news = state.state in {"up", "unknown"} or state.code != error.code
            state.failures += 1
            state.state = "parked" if isinstance(error, DestinationParkedError) else "down"
            state.code, state.reason, state.was_down = error.code, error.message, True
            asked = error.retry_after_seconds if isinstance(error, DestinationDownError) else None
            wait = self._wait_seconds(state.failures, asked)
            state.next_probe_at = self._now() + wait
        with self._journal.write() as connection:
            places.record_destination(
                connection,
                state.route.destination_id,
                state=state.state,
                code=error.code,
                reason=error.message,
                next_probe_at=state.next_probe_at,
            )
            upkeep.expect_not_before(connection, state.route.destination_id, at=state.next_probe_at)
        if is_news:
            emit(
                Event.DESTINATION_DOWN,
                destination=name,
                code=error.code,
                reason=error.message,
                fix=error.fix,
                retry_in_seconds=wait,
            )
        return state.next_probe_at

    def _wait_seconds(self, failures: int, asked: float | None) -> float:
        """Return the wait after so many failures in a row; a server may ask for more, up to the longest."""
        wait = backoff_seconds(failures, self._retry, jitter=self._jitter())
        return wait if asked is None else max(wait, min(asked, self._retry.max_seconds))

    def waiting_outcome(self, name: str) -> Outcome:
        """Return what becomes of a delivery to a destination that is down: it waits for the next probe."""
        state = self._states[name]
        return Outcome(DeliveryState.WAITING, state.code or "destination-down", state.reason, state.next_probe_at)

    def hold(self, name: str) -> Sequence[Delivery]:
        """Have what was planned for a destination that is down wait for its next probe, and say so of each once.

        What has waited for longer than `give_up_after_seconds` fails; it is returned.
        """
        state = self._states[name]
        if state.state not in {"down", "parked"}:
            return []
        number, now = state.route.destination_id, self._now()
        waits = self.waiting_outcome(name)
        self._settle(waits, lambda connection: upkeep.hold_planned(connection, number, waits, now=now))
        if not self._retry.give_up_after_seconds:
            return []
        fails, before = gave_up(state.reason, self._retry), now - self._retry.give_up_after_seconds
        return self._settle(
            fails, lambda connection: deliveries.give_up(connection, number, fails, failing_before=before, now=now)
        )

    def _settle(self, outcome: Outcome, record: Callable[[Connection], list[int]]) -> Sequence[Delivery]:
        """Record an outcome part by part, until none is left, and say so of each delivery; return them all."""
        settled: list[Delivery] = []
        while True:
            with self._journal.write() as connection:
                part = deliveries.get(connection, record(connection))
            for delivery in part:
                announcing.not_delivered(delivery, outcome, fix="", now=self._now())
            settled += part
            if not part:
                return settled

    def report_up(self, name: str) -> None:
        """Record that a destination is up again, and make everything that waits for it due."""
        state = self._states[name]
        destination = state.route.destination
        with self._lock:
            was_down = state.was_down
            state.state, state.code, state.failures, state.was_down = "up", None, 0, False
        with self._journal.write() as connection:
            places.record_destination(connection, state.route.destination_id, state="up")
            if destination.was_mount_point is not None:
                places.remember_mount_point(
                    connection, state.route.destination_id, is_mount_point=destination.was_mount_point
                )
            if was_down:
                upkeep.expect_soon(connection, state.route.destination_id, now=self._now())
        if was_down:
            emit(Event.DESTINATION_UP, destination=name)

    def say_notes(self, name: str) -> None:
        """Say what a destination has found out about itself since it was last asked: each thing once."""
        state = self._states[name]
        with self._lock:
            news = state.route.destination.notes[state.said_notes :]
            state.said_notes += len(news)
        for note in news:
            emit(Event.DESTINATION_NOTE, destination=name, code=note.code, reason=note.detail)

    def probe_soon(self) -> None:
        """Make every probe due: the clock was set."""
        for state in self._states.values():
            state.next_probe_at = state.paused_until = 0.0

    def refresh(self) -> None:
        """Notice what another process has recorded: a destination un-parked by `retry`, or met otherwise by `send`.

        It is probed anew; what that tells is recorded, and stands.
        """
        with self._journal.read() as connection:
            rows = {
                name: places.destination(connection, state.route.destination_id) for name, state in self._states.items()
            }
        with self._lock:
            for name, row in rows.items():
                state = self._states[name]
                if state.state in {"down", "parked"} and row.state == "up":
                    state.state, state.next_probe_at = "down", 0.0
                elif state.state == "up" and row.state != "up":
                    state.state, state.next_probe_at = "unknown", 0.0
                elif state.paused_until and row.next_probe_at is None:
                    state.paused_until = 0.0
