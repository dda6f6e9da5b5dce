"""Which name a delivery gets in the end: what stands there is asked of the destination just before it is carried.

Lane threads call it through the carrier. It writes down a change of name before anything is carried; it carries
nothing itself.
"""

import time
from dataclasses import dataclass, replace

from lorawatch.domain.errors import DeliveryDelayedError, FileChangedError
from lorawatch.domain.model import Delivery, RemoteFile
from lorawatch.domain.planning import Resolution, numbered_name, resolve
from lorawatch.engine import announcing
from lorawatch.engine.settings import Route
from lorawatch.events import Event, emit
from lorawatch.journal import deliveries, files, places
from lorawatch.journal.database import Database

MOST_RENAMES = 3  # -sha8, -sha12, -sha16: whoever has all of these taken by strangers has another problem


@dataclass(frozen=True, slots=True)
class Naming:
    """Settles names at one destination."""

    route: Route
    journal: Database

    def settle_name(self, delivery: Delivery) -> tuple[Delivery, Resolution, RemoteFile | None]:
        """Decide what to do about what stands at the name now; take another name where both are to be kept."""
        for attempt in range(MOST_RENAMES + 1):
            there = self.route.destination.find(delivery.remote_name)
            resolution = self._resolve(delivery, there)
            if resolution is not Resolution.KEEP_BOTH:
                self._refuse_outdated(delivery)
                return delivery, resolution, there
            delivery = self._take_other_name(delivery, skip=attempt)
        raise DeliveryDelayedError(
            f"{self.route.name} holds other files under every name for {delivery.base_name!r}", code="name-taken"
        )

    def _refuse_outdated(self, delivery: Delivery) -> None:
        """Raise FileChangedError if a newer version of the path was accepted: it must not be replaced by this one.

        Asked after `find`: whatever newer version stands there by now was accepted before it was delivered.
        """
        with self.journal.read() as connection:
            if files.is_outdated(connection, delivery.artifact):
                raise FileChangedError(f"a newer version of {delivery.artifact.path} takes its place")

    def _resolve(self, delivery: Delivery, there: RemoteFile | None) -> Resolution:
        artifact, name = delivery.artifact, delivery.remote_name
        with self.journal.read() as connection:
            placement = places.owner_of(connection, self.route.destination_id, name)
            return resolve(
                there,
                artifact=artifact,
                placement=placement,
                was_sent=lambda sha256: places.was_sent(
                    connection, self.route.destination_id, remote_name=name, path=artifact.path, sha256=sha256
                ),
                digest=lambda: self.route.destination.digest(name),
                on_conflict=self.route.on_conflict,
            )

    def _take_other_name(self, delivery: Delivery, *, skip: int) -> Delivery:
        artifact, destination_id = delivery.artifact, self.route.destination_id
        taken = delivery.remote_name
        with self.journal.write() as connection:
            name = numbered_name(
                delivery.base_name,
                path=artifact.path,
                sha256=artifact.sha256,
                owner_of=lambda candidate: places.owner_of(connection, destination_id, candidate),
                skip=skip,
            )
            places.release_name(connection, destination_id, remote_name=taken, path=artifact.path)
            places.claim_name(
                connection,
                destination_id,
                remote_name=name,
                path=artifact.path,
                base_name=delivery.base_name,
                now=time.time(),
            )
            deliveries.rename(connection, delivery.delivery_id, name)
        delivery = replace(delivery, remote_name=name)
        emit(Event.DELIVERY_COLLISION, **announcing.named(delivery), taken_name=taken)
        return delivery
