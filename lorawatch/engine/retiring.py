"""Remove older step checkpoints from a destination once a newer one has arrived there: `retire = true`.

The carrier calls it on lane threads, after arrivals. That it is to be done stands in the journal with the newer
delivery, so whatever interrupts it, the next arrival makes up for it. It removes only what lorawatch itself put
there and nobody has changed since; it never touches a source.
"""

from collections.abc import Callable

from lorawatch.domain.errors import DestinationError
from lorawatch.domain.model import Delivery, DeliveryState, RemoteFile
from lorawatch.domain.planning import CheckpointPolicy, surplus_steps
from lorawatch.engine import announcing
from lorawatch.engine.settings import Route
from lorawatch.engine.sidecars import Sidecars
from lorawatch.events import Event, emit
from lorawatch.journal import deliveries, places, upkeep
from lorawatch.journal.database import Database


def retire_older_steps(route: Route, journal: Database, *, now: Callable[[], float]) -> None:
    """Remove what the deliveries that have arrived at a destination make needless."""
    with journal.read() as connection:
        due = upkeep.retiring(connection, route.destination_id)
    for each in due:
        try:
            for delivery in _older(each, route, journal):
                _retire(delivery, route, journal, now=now)
        except DestinationError:
            return  # nothing is lost by waiting: the next arrival there tries again
        with journal.write() as connection:
            upkeep.finish_retiring(connection, each.delivery_id)


def _older(newer: upkeep.Retiring, route: Route, journal: Database) -> list[Delivery]:
    """Return the deliveries of the steps before this one that are not wanted beside it, and are still there."""
    with journal.read() as connection:
        steps = upkeep.steps_of_series(
            connection, route.destination_id, newer.series, up_to=newer.step, states=[DeliveryState.DELIVERED]
        )
        surplus = surplus_steps(steps.values(), CheckpointPolicy(latest=newer.keep_latest))
        return deliveries.get(connection, [number for number, step in steps.items() if step in surplus])


def _retire(delivery: Delivery, route: Route, journal: Database, *, now: Callable[[], float]) -> None:
    artifact, name = delivery.artifact, delivery.remote_name
    with journal.read() as connection:
        placement = places.owner_of(connection, route.destination_id, name)
    is_ours = placement is not None and (placement.path, placement.sha256) == (artifact.path, artifact.sha256)
    if placement is None or not is_ours or placement.fingerprint is None:
        return
    there = RemoteFile(name, artifact.version.size_bytes, placement.fingerprint)
    if not route.destination.remove(there) and route.destination.find(name) is not None:
        return  # somebody changed it: it is theirs now
    Sidecars(route, journal, now).remove_beside(delivery)
    with journal.write() as connection:
        upkeep.record_retired(connection, delivery.delivery_id, now=now())
        places.release_name(connection, route.destination_id, remote_name=name, path=artifact.path)
    emit(Event.DELIVERY_RETIRED, **announcing.named(delivery))
