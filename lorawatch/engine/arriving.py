"""What is recorded when a delivery has arrived: the receipt, what stands at its name now, and whom that displaces.

The carrier calls it on lane threads, inside its transaction. It touches no file and no destination.
"""

from lorawatch.domain.model import Delivery, Receipt
from lorawatch.engine.settings import Route
from lorawatch.journal import deliveries, places, sidecars, upkeep
from lorawatch.journal.rows import Connection


def record_arrival(connection: Connection, route: Route, delivery: Delivery, receipt: Receipt, *, now: float) -> None:
    """Record an arrival. Bytes that were found in place and not carried do not become lorawatch's own."""
    artifact = delivery.artifact
    deliveries.record_receipt(connection, delivery, receipt, now=now)
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
