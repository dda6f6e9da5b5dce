"""What is recorded around the moment in which bytes get their name: what is about to, and what has arrived.

The carrier calls it on lane threads, inside its transactions. It touches no file and no destination.
"""

from collections.abc import Sequence

from lorawatch.domain.model import Delivery, Receipt, RemoteFile
from lorawatch.engine.settings import Route
from lorawatch.journal import deliveries, listings, places, sidecars, upkeep
from lorawatch.journal.rows import Connection


def record_departure(
    connection: Connection, route: Route, leaving: Sequence[tuple[Delivery, RemoteFile | None]]
) -> None:
    """Record what is about to get its name, each with what stands there, so that a kill in between hides nothing."""
    deliveries.record_sent(connection, [delivery.delivery_id for delivery, _ in leaving])
    if route.comfyui is None or route.comfyui.refresh == "never":
        return
    for delivery, there in leaving:
        # ComfyUI keeps what it has loaded under a name, also if the file was removed meanwhile.
        before = places.owner_of(connection, route.destination_id, delivery.remote_name)
        was_other = before is not None and before.sha256 not in {None, delivery.artifact.sha256}
        if there is not None or was_other:
            listings.expect_replacement(connection, route.destination_id, delivery.remote_name)


def record_arrival(connection: Connection, route: Route, delivery: Delivery, receipt: Receipt, *, now: float) -> None:
    """Record an arrival. Bytes that were found in place and not carried do not become lorawatch's own."""
    artifact = delivery.artifact
    deliveries.record_receipt(connection, delivery, receipt, now=now)
    if route.comfyui is not None:
        number, name = route.destination_id, receipt.remote_name
        listings.expect(connection, number, delivery_id=delivery.delivery_id, remote_name=name, now=now)
        listings.arrived(connection, number, name, now=now)
    if route.sidecars:
        sidecars.expect(connection, route.destination_id, delivery.delivery_id, now=now)
    if not receipt.carried_bytes:
        return
    places.record_placement(
        connection,
        route.destination_id,
        remote_name=receipt.remote_name,
        path=artifact.path,
        base_name=delivery.base_name,
        sha256=artifact.sha256,
        fingerprint=receipt.fingerprint,
        now=now,
    )
    if receipt.is_replacement:
        upkeep.displace(
            connection,
            route.destination_id,
            remote_name=receipt.remote_name,
            path=artifact.path,
            sha256=artifact.sha256,
            now=now,
        )
