"""Named queries on sidecars: what lorawatch wrote beside delivered files, and where it is still to look.

Called by lanes and by `send`; every function runs inside the caller's transaction.
"""

import os
from dataclasses import dataclass

from lorawatch.journal.rows import Connection, milliseconds


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What lorawatch wrote, or was about to write, beside a delivered file."""

    name: str
    sha256: str
    fingerprint: str | None  # None: it may not have been written
    beside_sha256: str  # of the delivered file that it belongs to


def expect(connection: Connection, destination_id: int, delivery_id: int, *, now: float) -> None:
    """Record that the sidecars of a delivery are to be written."""
    connection.execute(
        "INSERT OR REPLACE INTO sidecar_due VALUES (?, ?, ?)", (delivery_id, destination_id, milliseconds(now))
    )


def is_any_due(connection: Connection, destination_id: int, *, now: float) -> bool:
    """Return whether the sidecars of any delivery are to be looked at now."""
    row = connection.execute(
        "SELECT 1 FROM sidecar_due WHERE destination_id = ? AND next_look_at_ms <= ? LIMIT 1",
        (destination_id, milliseconds(now)),
    ).fetchone()
    return row is not None


def take_due(connection: Connection, destination_id: int, *, now: float, again_at: float) -> list[int]:
    """Return the deliveries whose sidecars are to be looked at now; nobody else is given them before `again_at`."""
    rows = connection.execute(
        "UPDATE sidecar_due SET next_look_at_ms = ? WHERE destination_id = ? AND next_look_at_ms <= ?"
        " RETURNING delivery_id",
        (milliseconds(again_at), destination_id, milliseconds(now)),
    )
    return sorted(row[0] for row in rows)


def finish(connection: Connection, delivery_id: int) -> None:
    """Record that nothing more is to be done for a delivery."""
    connection.execute("DELETE FROM sidecar_due WHERE delivery_id = ?", (delivery_id,))


def beside(connection: Connection, destination_id: int, remote_name: str) -> list[Sidecar]:
    """Return what lorawatch wrote beside a delivered file."""
    rows = connection.execute(
        "SELECT name, sha256, fingerprint, beside_sha256 FROM sidecar WHERE destination_id = ? AND remote_name = ?",
        (destination_id, os.fsencode(remote_name)),
    )
    return [Sidecar(os.fsdecode(row[0]), *row[1:]) for row in rows]


def record(connection: Connection, destination_id: int, remote_name: str, sidecar: Sidecar) -> None:
    """Record a sidecar that is about to be written, or has been."""
    connection.execute(
        "INSERT OR REPLACE INTO sidecar (destination_id, name, remote_name, sha256, fingerprint, beside_sha256)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            destination_id,
            os.fsencode(sidecar.name),
            os.fsencode(remote_name),
            sidecar.sha256,
            sidecar.fingerprint,
            sidecar.beside_sha256,
        ),
    )


def forget(connection: Connection, destination_id: int, name: str) -> None:
    """Forget a sidecar: it is gone, or somebody else's."""
    connection.execute("DELETE FROM sidecar WHERE destination_id = ? AND name = ?", (destination_id, os.fsencode(name)))
