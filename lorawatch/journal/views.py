"""What people ask: which deliveries, which files, how many. Read-only; called by commands and the heartbeat."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from lorawatch.domain.model import Delivery, DeliveryState
from lorawatch.journal.rows import (
    ARTIFACT_COLUMNS,
    DELIVERY_COLUMNS,
    DELIVERY_TABLES,
    NEEDS_ATTENTION,
    Connection,
    delivery_from,
    milliseconds,
    seconds,
)

# A person reads a screen, a script a page; whoever has more than this open has one cause, not a thousand.
MOST_OPEN = 1000
MOST_DELIVERED = 20
EVERYTHING = -1  # as a limit, SQLite takes it so
STATES = tuple(state.value for state in DeliveryState)


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery with what is recorded beside it."""

    delivery: Delivery
    evidence: str | None
    changed_at: float | None
    begun_bytes: int = 0  # what was there when the present attempt began
    comfyui: str | None = None  # whether ComfyUI lists it: unknown | listed | not-listed; None: it is not asked
    comfyui_code: str | None = None
    comfyui_reason: str | None = None


@dataclass(frozen=True, slots=True)
class CarriedView:
    """What one delivery that arrived has moved."""

    delivery_id: int
    destination: str
    carried_bytes: int
    at: float


@dataclass(frozen=True, slots=True)
class FileView:
    """A file that is not (yet) accepted, and why."""

    path: str
    state: str
    code: str | None
    reason: str | None
    size_bytes: int = 0
    read_bytes: int | None = None  # None: it is not being read


@dataclass(frozen=True, slots=True)
class DestinationView:
    """A destination as the journal knows it."""

    name: str
    kind: str
    location: str
    state: str
    code: str | None
    reason: str | None
    next_probe_at: float | None


def open_deliveries(connection: Connection, *, most: int = MOST_OPEN) -> list[DeliveryView]:
    """Return what is sending, waiting, planned or failed, in this order, latest change first."""
    return _deliveries(
        connection,
        "delivery.state IN ('sending', 'waiting', 'planned', 'failed')"
        " ORDER BY instr('sending waiting planned failed', delivery.state), delivery.changed_at_ms DESC",
        most,
    )


def in_flight(connection: Connection) -> tuple[list[DeliveryView], list[FileView]]:
    """Return the deliveries that are being sent, and the files that are being read."""
    sending = _deliveries(connection, "delivery.state = 'sending' ORDER BY delivery.delivery_id", MOST_OPEN)
    return sending, _files(connection, "state = 'settling' AND read_bytes IS NOT NULL ORDER BY directory, name")


def rested_deliveries(connection: Connection, *, most: int = MOST_DELIVERED) -> list[DeliveryView]:
    """Return the latest deliveries that arrived or were cancelled."""
    return _deliveries(
        connection, "delivery.state IN ('delivered', 'cancelled') ORDER BY delivery.changed_at_ms DESC", most
    )


def delivered_of(connection: Connection, path: str) -> list[Delivery]:
    """Return the deliveries of a path that arrived, the latest first."""
    condition = "artifact.path = ? AND delivery.state = 'delivered' ORDER BY delivery.changed_at_ms DESC"
    return [view.delivery for view in _deliveries(connection, condition, MOST_DELIVERED, os.fsencode(path))]


def delivered_as(connection: Connection, name: str) -> list[Delivery]:
    """Return the deliveries that arrived under a name, or below directories under it; the latest first."""
    whole = os.fsencode(name)
    condition = (
        "(delivery.remote_name = ? OR substr(delivery.remote_name, -?) = ?) AND delivery.state = 'delivered'"
        " ORDER BY delivery.changed_at_ms DESC"
    )
    below = b"/" + whole
    found = _deliveries(connection, condition, MOST_DELIVERED, whole, len(below), below)
    return [view.delivery for view in found]


def open_count(connection: Connection, destination_ids: Sequence[int]) -> int:
    """Return how many deliveries to these destinations have not arrived and were not cancelled."""
    marks = ",".join("?" * len(destination_ids))
    row = connection.execute(
        f"SELECT count(*) FROM delivery WHERE destination_id IN ({marks}) AND state NOT IN ('delivered', 'cancelled')",
        tuple(destination_ids),
    ).fetchone()
    return int(row[0])


def counts(connection: Connection) -> dict[str, int]:
    """Return how many deliveries are in each state."""
    return dict(connection.execute("SELECT state, count(*) FROM delivery GROUP BY state").fetchall())


def unlisted_count(connection: Connection) -> int:
    """Return how many delivered files ComfyUI does not list, at the destinations that are used now."""
    row = connection.execute(
        "SELECT count(*) FROM comfyui_listing JOIN destination USING (destination_id)"
        " WHERE comfyui_listing.state = 'not-listed' AND seen_at_ms = (SELECT max(seen_at_ms) FROM destination)"
    ).fetchone()
    return int(row[0])


def counts_by_destination(connection: Connection) -> dict[str, dict[str, int]]:
    """Return how many deliveries are in each state, for each destination's name."""
    rows = connection.execute(
        "SELECT name, delivery.state, count(*) FROM delivery JOIN destination USING (destination_id) GROUP BY 1, 2"
    )
    found: dict[str, dict[str, int]] = {}
    for name, state, number in rows:
        found.setdefault(name, {})[state] = number
    return found


def carried_since(connection: Connection, at: float) -> list[CarriedView]:
    """Return what has arrived since then, oldest first."""
    rows = connection.execute(
        "SELECT delivery_id, name, coalesce(carried_bytes, 0), changed_at_ms FROM delivery"
        " JOIN destination USING (destination_id)"
        " WHERE delivery.state = 'delivered' AND changed_at_ms > ? ORDER BY changed_at_ms",
        (milliseconds(at),),
    )
    return [CarriedView(number, name, carried, at_ms / 1000) for number, name, carried, at_ms in rows]


def in_flight_bytes(connection: Connection) -> tuple[int, int]:
    """Return how much is sent of the deliveries that are under way, and how much they are together."""
    sent, whole = connection.execute(
        "SELECT coalesce(sum(sent_bytes), 0), coalesce(sum(size_bytes), 0) FROM delivery WHERE state = 'sending'"
    ).fetchone()
    return int(sent), int(whole)


def waited_for(connection: Connection) -> list[str]:
    """Return the names of the destinations that deliveries wait for."""
    rows = connection.execute(
        "SELECT DISTINCT name FROM delivery JOIN destination USING (destination_id) WHERE delivery.state = 'waiting'"
    )
    return [name for (name,) in rows]


def file_counts(connection: Connection) -> dict[str, int]:
    """Return how many files are in each state other than accepted."""
    return dict(
        connection.execute(f"SELECT state, count(*) FROM file WHERE {NEEDS_ATTENTION} GROUP BY state").fetchall()
    )


def files(connection: Connection, *, most: int = MOST_OPEN) -> list[FileView]:
    """Return the files that are neither accepted nor ignored, latest change first."""
    states = (
        "'settling', 'incomplete', 'unreadable', 'rejected', 'skipped'"  # named: all but two would read the ignored
    )
    return _files(connection, f"state IN ({states}) ORDER BY changed_at_ms DESC", most)


def _files(connection: Connection, condition: str, limit: int = MOST_OPEN) -> list[FileView]:
    rows = connection.execute(
        "SELECT directory, name, state, code, reason, size_bytes, read_bytes FROM file"
        f" WHERE {NEEDS_ATTENTION} AND {condition} LIMIT ?",
        (limit,),
    )
    return [FileView(os.fsdecode(os.path.join(row[0], row[1])), *row[2:]) for row in rows]


def destinations(connection: Connection) -> list[DestinationView]:
    """Return the destinations of the configuration that was used last."""
    rows = connection.execute(
        "SELECT name, kind, location, state, code, reason, next_probe_at_ms FROM destination"
        " WHERE seen_at_ms = (SELECT max(seen_at_ms) FROM destination) ORDER BY name"
    )
    return [
        DestinationView(name, kind, location, state, code, reason, seconds(probe_at_ms))
        for name, kind, location, state, code, reason, probe_at_ms in rows
    ]


def _deliveries(connection: Connection, condition: str, limit: int, *values: object) -> list[DeliveryView]:
    rows = connection.execute(
        "SELECT delivery.evidence, delivery.changed_at_ms, begun_bytes, comfyui.state, comfyui.code, comfyui.reason,"
        f" {DELIVERY_COLUMNS}, {ARTIFACT_COLUMNS} FROM {DELIVERY_TABLES}"
        " LEFT JOIN comfyui_listing AS comfyui ON comfyui.delivery_id = delivery.delivery_id"
        f" WHERE {condition} LIMIT ?",
        (*values, limit),
    )
    return [DeliveryView(delivery_from(row[6:]), row[0], seconds(row[1]), *row[2:6]) for row in rows]
