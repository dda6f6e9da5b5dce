"""One attempt at a group of deliveries: resolve the name, carry, publish, prove, record.

Lane threads call it, and the `send` command. The intent is in the journal before anything is carried, the outcome
right after; killed in between, the next attempt asks the destination what is there.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lorawatch.domain.errors import (
    DeliveryDelayedError,
    DestinationDownError,
    DestinationError,
    DestinationParkedError,
    FileVanishedError,
    JournalError,
    LorawatchError,
)
from lorawatch.domain.model import Delivery, DeliveryState, Evidence, Receipt, RemoteFile
from lorawatch.domain.planning import Resolution
from lorawatch.domain.policy import Outcome, RetrySettings, after_failure
from lorawatch.domain.ports import Consignment, Prepared, Stop
from lorawatch.engine import announcing
from lorawatch.engine.arriving import record_arrival, record_departure
from lorawatch.engine.health import Health
from lorawatch.engine.naming import Naming
from lorawatch.engine.progress import ProgressReport
from lorawatch.engine.retiring import retire_older_steps
from lorawatch.engine.settings import Route
from lorawatch.engine.staged import StagedCopies
from lorawatch.events import Event, emit, together
from lorawatch.journal import deliveries
from lorawatch.journal.database import Database


@dataclass(frozen=True, slots=True)
class _Carried:
    """A delivery whose bytes are at the destination, or were there already."""

    delivery: Delivery
    prepared: Prepared | None
    there: RemoteFile | None  # what stood at the name before
    started: float
    was_sent: bool = False  # by an earlier attempt


@dataclass(frozen=True, slots=True)
class Arrived:
    """A delivery that is at its destination, and the proof."""

    delivery: Delivery
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Failed:
    """A delivery that did not arrive, and why."""

    delivery: Delivery
    error: LorawatchError


class _SkippedError(LorawatchError):
    """The name is taken and the user wants such files skipped."""

    code = "name-taken"


@dataclass(slots=True)
class Carrier:
    """Carries deliveries of one route."""

    route: Route
    journal: Database
    health: Health
    staged: StagedCopies
    retry: RetrySettings
    stop: Stop
    jitter: Callable[[], float]
    is_root_trusted: Callable[[str], bool]
    now: Callable[[], float] = time.time
    watcher: Callable[[int], None] | None = None  # told of progress too: the bar of `send`

    def carry(self, group: Sequence[Delivery], *, touch: Callable[[], None]) -> list[Arrived | Failed]:
        """Carry claimed deliveries and record what became of each. `touch` is called whenever there is progress."""
        carried: list[_Carried] = []
        results: list[Arrived | Failed] = []
        try:
            for delivery in group:
                try:
                    carried.append(self._carry_one(delivery, touch))
                except JournalError:
                    raise  # it says nothing about this delivery
                except LorawatchError as error:
                    self.drop_staged(delivery)
                    results.append(Failed(delivery, error))
                touch()
            self._record_sent(carried)
        except BaseException:
            self._discard(carried)
            raise
        results += self._publish(carried)
        self.health.say_notes(self.route.name)
        self._record(results)
        retire_older_steps(self.route, self.journal, now=self.now)
        return results

    def _carry_one(self, delivery: Delivery, touch: Callable[[], None]) -> _Carried:
        started = time.monotonic()
        delivery, resolution, there = Naming(self.route, self.journal).settle_name(delivery)
        if resolution is Resolution.SKIP:
            raise _SkippedError(
                f"{self.route.name} holds another file named {delivery.remote_name!r}, and on_conflict is skip"
            )
        emit(
            Event.DELIVERY_STARTED,
            **announcing.named(delivery),
            size_bytes=delivery.artifact.version.size_bytes,
            attempt=delivery.attempt,
        )
        if resolution is Resolution.ALREADY_THERE:
            self.drop_staged(delivery)
            return _Carried(delivery, None, there, started, was_sent=self._was_sent_before(delivery))
        report = ProgressReport(delivery, self.journal, touch, self.watcher)
        consignment = Consignment(
            delivery,
            replaces=there if resolution is Resolution.REPLACE else None,
            staged=self.staged.take(self.route.name, delivery.delivery_id),
            waypoints=report,
        )
        prepared = self.route.destination.prepare(consignment, progress=report, stop=self.stop)
        return _Carried(delivery, prepared, there, started)

    def _publish(self, carried: Sequence[_Carried]) -> list[Arrived | Failed]:
        """Make everything that was carried visible, as one group, and prove each by asking what stands there."""
        prepared = [each.prepared for each in carried if each.prepared is not None]
        published = iter(self.route.destination.publish(prepared) if prepared else [])
        results: list[Arrived | Failed] = []
        for each in carried:
            result = next(published) if each.prepared is not None else None
            try:
                if isinstance(result, DestinationError):
                    raise result
                results.append(Arrived(each.delivery, self._prove(each, result)))
            except LorawatchError as error:
                if each.prepared is not None:
                    self.route.destination.discard(each.prepared)
                results.append(Failed(each.delivery, error))
        return results

    def _prove(self, carried: _Carried, published: RemoteFile | None) -> Receipt:
        """Ask the destination what stands at the name now, and weigh what the answer proves."""
        delivery, before = carried.delivery, carried.there
        size_bytes = delivery.artifact.version.size_bytes
        after = self.route.destination.find(delivery.remote_name)
        if after is None:
            raise DeliveryDelayedError(
                f"{self.route.name} does not show {delivery.remote_name!r} after it was delivered", code="not-listed"
            )
        if after.size_bytes not in {None, size_bytes}:
            raise DeliveryDelayedError(
                f"{self.route.name} shows {delivery.remote_name!r} with {after.size_bytes} bytes,"
                f" {size_bytes} were sent",
                code="size-mismatch",
            )
        return Receipt(
            delivery_id=delivery.delivery_id,
            remote_name=delivery.remote_name,
            evidence=self._weigh(carried, published, after),
            fingerprint=after.fingerprint,
            carried_bytes=size_bytes if carried.prepared is not None or carried.was_sent else 0,
            is_replacement=before is not None and carried.prepared is not None,
            seconds=time.monotonic() - carried.started,
        )

    def _record_sent(self, carried: Sequence[_Carried]) -> None:
        """Record what is about to be published, so that after a kill in between it is known as ours.

        A power cut may take this along: the file then counts as the user's, which costs a second name and no bytes.
        """
        leaving = [(each.delivery, each.there) for each in carried if each.prepared is not None]
        if leaving:
            with self.journal.write(is_durable=False) as connection:
                record_departure(connection, self.route, leaving)

    def _was_sent_before(self, delivery: Delivery) -> bool:
        """Return whether what was found in its place is what an earlier attempt of this delivery put there."""
        if delivery.attempt <= 1:
            return False
        with self.journal.read() as connection:
            return deliveries.is_sent(connection, delivery.delivery_id)

    def _weigh(self, carried: _Carried, published: RemoteFile | None, after: RemoteFile) -> Evidence:
        """Return what is proved by what stands there; a listing proves a delivery only if it changed."""
        if carried.prepared is None:
            return Evidence.SHA256  # resolve() compared the hash of what stands there
        wanted, before = carried.delivery.artifact.sha256, carried.there
        is_ours = published is not None and published.fingerprint == after.fingerprint
        if is_ours and carried.prepared.sha256 == wanted:
            return Evidence.SHA256
        is_changed = before is None or before.fingerprint != after.fingerprint
        known = after.sha256 or (published.sha256 if published is not None and is_ours else None)
        if known is None and (self.route.reads_back or not is_changed):
            known = self.route.destination.digest(after.remote_name)
        if known not in {None, wanted}:
            raise DeliveryDelayedError(
                f"{self.route.name} holds other bytes under {after.remote_name!r} than were sent",
                code="content-mismatch",
                fix="it is sent again",
            )
        if known is not None:
            return Evidence.SHA256
        if not is_changed or (published is not None and not published.is_proven):
            return Evidence.ANSWERED
        return Evidence.LISTED if after.size_bytes is None else Evidence.SIZE

    def _record(self, results: Sequence[Arrived | Failed]) -> None:
        arrived = [each for each in results if isinstance(each, Arrived)]
        outcomes = [(each, self._outcome(each)) for each in results if isinstance(each, Failed)]
        now = self.now()
        with self.journal.write() as connection:
            for each in arrived:
                record_arrival(connection, self.route, each.delivery, each.receipt, now=now)
            for failed, outcome in outcomes:
                deliveries.record_outcome(connection, failed.delivery.delivery_id, outcome, now=now)
        if self.route.comfyui is not None:
            self.route.comfyui.wake.set()
        if arrived:
            self.health.report_arrived(self.route.name)
        with together():
            for each in arrived:
                announcing.delivered(each.delivery, each.receipt)
            for failed, outcome in outcomes:
                announcing.not_delivered(failed.delivery, outcome, fix=failed.error.fix, now=now)

    def _outcome(self, failed: Failed) -> Outcome:
        """Decide what becomes of a delivery that did not arrive, and whether its destination is down."""
        error, delivery = failed.error, failed.delivery
        if isinstance(error, _SkippedError):
            return Outcome(DeliveryState.CANCELLED, error.code, error.message)
        if isinstance(error, FileVanishedError) and not self.is_root_trusted(delivery.artifact.root):
            error = DeliveryDelayedError(
                f"{delivery.artifact.path} is out of sight: its watched directory is not there now",
                code="root-missing",
            )
        now = self.now()
        with self.journal.read() as connection:
            since = deliveries.failing_since(connection, delivery.delivery_id, now=now)
        outcome = after_failure(
            error, attempt=delivery.attempt, since=since, now=now, settings=self.retry, jitter=self.jitter()
        )
        if isinstance(error, DeliveryDelayedError) and error.is_strained:
            self.health.report_strained(self.route.name, error.retry_after_seconds)
        if isinstance(error, DestinationDownError) and outcome.state is DeliveryState.WAITING:
            next_probe_at = self._confirm_down(error)
            if next_probe_at is not None:
                return replace(outcome, next_attempt_at=next_probe_at)
        return outcome

    def _confirm_down(self, error: DestinationDownError) -> float | None:
        """Probe a destination that failed; return its next probe if it is down, None if only this delivery fails.

        A disk that is too full for one file may have room for the others: those go on.
        """
        if isinstance(error, DestinationParkedError) or not self.health.is_up(self.route.name):
            return self.health.report_down(self.route.name, error)
        try:
            self.route.destination.probe(needed_bytes=0)
        except DestinationError as probed:
            return self.health.report_down(self.route.name, probed)
        return None

    def _discard(self, carried: Sequence[_Carried]) -> None:
        for each in carried:
            if each.prepared is not None:
                self.route.destination.discard(each.prepared)

    def drop_staged(self, delivery: Delivery) -> None:
        """Remove the staged copy of a delivery that is not carried, if it has one."""
        staged = self.staged.take(self.route.name, delivery.delivery_id)
        if staged is not None and self.route.stager is not None:
            self.route.stager.unstage(staged)
