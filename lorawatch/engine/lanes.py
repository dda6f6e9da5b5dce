"""The threads that carry: for each destination one express lane for small files, and `connections` for any size.

A lane claims what is due, has it carried, and sleeps until something is. Lanes share nothing but the journal, the
staged copies and the destination's health, so a destination that hangs holds up nobody else.
"""

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lorawatch.domain.errors import JournalError, LorawatchError
from lorawatch.domain.model import Delivery, DeliveryState
from lorawatch.domain.policy import Outcome
from lorawatch.engine import announcing
from lorawatch.engine.carrying import Carrier
from lorawatch.engine.progress import LEASE_SECONDS
from lorawatch.engine.settings import SMALL_BYTES
from lorawatch.engine.sidecars import Sidecars
from lorawatch.engine.staged import MOST_STAGED
from lorawatch.events import Event, emit
from lorawatch.journal import deliveries, upkeep

# What another process put back (`retry`) is noticed through the journal within this time.
LONGEST_SLEEP_SECONDS = 30.0
# What is due but was claimed by the other lane first is not asked for again at once.
SHORTEST_SLEEP_SECONDS = 0.05
# How long a copy that is ready waits for others that are nearly: they share one flush and one transaction.
GATHER_SECONDS = 0.02
FAULT_PAUSE_SECONDS = 5.0
NO_LIMIT = 1 << 62


class Bell:
    """Wakes the lanes of every destination. Rings are never lost: each lane waits for a number it has not seen."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rings = 0

    def ring(self) -> None:
        """Wake every lane."""
        with self._condition:
            self._rings += 1
            self._condition.notify_all()

    def count(self) -> int:
        """Return how often it has rung."""
        return self._rings

    def wait(self, seen: int, timeout: float) -> None:
        """Wait until it has rung more often than `seen`."""
        with self._condition:
            self._condition.wait_for(lambda: self._rings != seen, timeout)


@dataclass(slots=True)
class LaneWork:
    """What a lane is doing; read by the service to find lanes that hang."""

    name: str
    destination: str
    touched_at: float = 0.0  # monotonic; 0 while idle
    is_reported_stuck: bool = False


class Lane:
    """One thread that carries for one destination."""

    def __init__(
        self,
        carrier: Carrier,
        *,
        label: str,
        process: str,
        is_express: bool,
        bell: Bell,
        on_recovered: Callable[[str], None],
    ) -> None:
        self._carrier = carrier
        self._route = carrier.route
        self._bell = bell
        self._below = SMALL_BYTES if is_express else NO_LIMIT
        self._is_express = is_express
        self._owner = f"{process}:{label}:"  # no lane's is the beginning of another's
        self._on_recovered = on_recovered
        self._has_lost_claims = False
        self._sidecars = Sidecars(self._route, carrier.journal, carrier.now)
        self.is_draining = False  # set by the service before a reload: claim nothing more
        self.work = LaneWork(label, self._route.name)
        self.thread = threading.Thread(target=self._run, name=f"lane-{label}", daemon=True)

    def _run(self) -> None:
        while not self._carrier.stop.is_set():
            seen = self._bell.count()
            try:
                self._give_up_lost_claims()
                self._turn(seen)
            except JournalError:  # the service says so, once for all threads
                # What was claimed stays claimed until the journal works again; the destination knows what is there.
                self._has_lost_claims = True
                self._carrier.stop.wait(FAULT_PAUSE_SECONDS)
            except Exception as error:  # noqa: BLE001 the lane boundary: a bug costs a pause, not the lane
                self._has_lost_claims = True
                self._say_crashed(error)
                self._carrier.stop.wait(FAULT_PAUSE_SECONDS)
            finally:
                self._rest()

    def _turn(self, seen: int) -> None:
        group = self._claim()
        if group:
            self._touch()
            try:
                self._carrier.carry(group, touch=self._touch)
            except LorawatchError:
                raise
            except Exception as error:  # noqa: BLE001 the lane boundary: a bug fails its deliveries, not the lane
                self._fail(group, error)
        self._tend_sidecars()
        if not group:
            self._rest()
            self._bell.wait(seen, self._patience())

    def _tend_sidecars(self) -> None:
        if self.is_draining or not self._route.sidecars or not self._carrier.health.is_up(self._route.name):
            return
        self._touch()
        try:
            self._sidecars.tend()
        except LorawatchError:
            raise
        except Exception as error:  # noqa: BLE001 the lane boundary: a bug costs a sidecar, not the lane
            reason = f"{type(error).__name__}: {error}"
            emit(Event.LANE_CRASHED, destination=self._route.name, reason=reason, traceback=traceback.format_exc())

    def _fail(self, group: Sequence[Delivery], error: Exception) -> None:
        outcome = Outcome(DeliveryState.FAILED, "internal-error", self._say_crashed(error))
        with self._carrier.journal.write() as connection:
            for delivery in group:
                deliveries.record_outcome(connection, delivery.delivery_id, outcome, now=self._carrier.now())
        for delivery in group:
            announcing.not_delivered(delivery, outcome, fix="", now=self._carrier.now())

    def _say_crashed(self, error: Exception) -> str:
        reason = f"{type(error).__name__}: {error}"
        emit(Event.LANE_CRASHED, destination=self._route.name, reason=reason, traceback=traceback.format_exc())
        return reason

    def _give_up_lost_claims(self) -> None:
        if self._has_lost_claims:
            with self._carrier.journal.write() as connection:
                upkeep.release(connection, owner_prefix=self._owner, now=self._carrier.now())
            self._has_lost_claims = False

    def _claim(self) -> list[Delivery]:
        """Claim what is due. Staged copies only want publishing: they go first, in one group, by the express lane."""
        carrier = self._carrier
        due = self._next_due()
        is_due = due is not None and due <= carrier.now()
        if self.is_draining or (not is_due and carrier.health.is_up(self._route.name)):
            return []
        self._touch()
        if not carrier.health.probe_if_due(self._route.name):  # with or without work: who waits for it is told
            for given_up in carrier.health.hold(self._route.name):
                carrier.drop_staged(given_up)
            return []
        if not is_due:
            return []
        limit = self._route.destination.group_size
        staged = self._gather(limit) if self._is_express else carrier.staged.newest(self._route.name, limit=MOST_STAGED)
        group = self._claim_these(staged) if self._is_express else []
        if group:
            return group
        with carrier.journal.read() as connection:  # first: a lane that wakes for nothing is to hold up no writer
            numbers = deliveries.due(
                connection,
                self._route.destination_id,
                now=carrier.now(),
                owner=self._owner,
                limit=limit,
                below=self._below,
                besides=() if self._is_express else staged,
                besides_below=SMALL_BYTES,  # a larger staged copy is not for the express lane, which never looks at it
            )
        return self._claim_these(numbers)

    def _claim_these(self, numbers: Sequence[int]) -> list[Delivery]:
        """Claim those of these deliveries that no other lane has taken."""
        if not numbers:
            return []
        carrier = self._carrier
        with carrier.journal.write(is_durable=False) as connection:  # a claim is worth nothing after a power cut
            return deliveries.claim(
                connection, numbers, now=carrier.now(), lease_seconds=LEASE_SECONDS, owner=self._owner
            )

    def _gather(self, limit: int) -> list[int]:
        """Return the staged copies to publish together; wait a moment for those that are being made."""
        staged = self._carrier.staged
        deadline = time.monotonic() + GATHER_SECONDS
        while staged.is_more_coming and len(staged.newest(self._route.name, limit=limit)) < limit:
            left = deadline - time.monotonic()
            if left <= 0 or self._carrier.stop.wait(min(left, GATHER_SECONDS / 4)):
                break
        return staged.newest(self._route.name, limit=limit)

    def _next_due(self) -> float | None:
        with self._carrier.journal.read() as connection:
            return deliveries.next_due_at(connection, self._route.destination_id, owner=self._owner, below=self._below)

    def _patience(self) -> float:
        """Return how long to sleep unless the bell rings."""
        wait = self._carrier.health.seconds_to_probe(self._route.name)
        if wait is None:
            due = self._next_due()
            wait = LONGEST_SLEEP_SECONDS if due is None else due - self._carrier.now()
        return min(max(wait, SHORTEST_SLEEP_SECONDS), LONGEST_SLEEP_SECONDS)

    def _touch(self) -> None:
        self.work.touched_at = time.monotonic()
        if self.work.is_reported_stuck:
            self.work.is_reported_stuck = False
            self._on_recovered(self._route.name)

    def _rest(self) -> None:
        if self.work.is_reported_stuck:
            self._touch()
        self.work.touched_at = 0.0
