"""Named queries on destinations, pairings and placements: where things go, and what lorawatch put there."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from lorawatch.domain.model import Candidate, Placement, Version
from lorawatch.journal.rows import Connection, milliseconds, seconds, signed


@dataclass(frozen=True, slots=True)
class DestinationRow:
    """What the journal remembers of a destination."""

    destination_id: int
    state: str  # up | down | parked
    code: str | None
    reason: str | None
    next_probe_at: float | None
    is_mount_point: bool | None


def register_destination(connection: Connection, *, name: str, location: str, kind: str, now: float) -> int:
    """Return the number of a destination, giving it one the first time it is seen."""
    connection.execute(
        "INSERT INTO destination (name, location, kind, seen_at_ms) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (name, location) DO UPDATE SET kind = excluded.kind, seen_at_ms = excluded.seen_at_ms",
        (name, location, kind, milliseconds(now)),
    )
    row = connection.execute(
        "SELECT destination_id FROM destination WHERE name = ? AND location = ?", (name, location)
    ).fetchone()
    return int(row[0])


def destination(connection: Connection, destination_id: int) -> DestinationRow:
    """Return what is remembered of a destination."""
    row = connection.execute(
        "SELECT destination_id, state, code, reason, next_probe_at_ms, is_mount_point FROM destination"
        " WHERE destination_id = ?",
        (destination_id,),
    ).fetchone()
    is_mount_point = None if row[5] is None else bool(row[5])
    return DestinationRow(row[0], row[1], row[2], row[3], seconds(row[4]), is_mount_point)


def record_destination(
    connection: Connection,
    destination_id: int,
    *,
    state: str,
    code: str | None = None,
    reason: str | None = None,
    next_probe_at: float | None = None,
) -> None:
    """Record whether a destination is up, down until its next probe, or parked."""
    connection.execute(
        "UPDATE destination SET state = ?, code = ?, reason = ?, next_probe_at_ms = ? WHERE destination_id = ?",
        (state, code, reason, None if next_probe_at is None else milliseconds(next_probe_at), destination_id),
    )


def remember_mount_point(connection: Connection, destination_id: int, *, is_mount_point: bool) -> None:
    """Remember whether a destination's directory is where a disk is mounted."""
    connection.execute(
        "UPDATE destination SET is_mount_point = ? WHERE destination_id = ? AND is_mount_point IS NOT ?",
        (is_mount_point, destination_id, is_mount_point),
    )


def wants_of_pairing(connection: Connection, root: str, destination_id: int) -> str | None:
    """Return what a destination took when it last met a watched directory; None if they never have."""
    row = connection.execute(
        "SELECT wants FROM pairing WHERE root = ? AND destination_id = ?", (os.fsencode(root), destination_id)
    ).fetchone()
    return None if row is None else str(row[0])


def pair(connection: Connection, root: str, destination_id: int, *, wants: str, now: float) -> None:
    """Record that a watched directory and a destination have met, and what was there then has been dealt with."""
    connection.execute(
        "INSERT INTO pairing (root, destination_id, wants, seen_at_ms) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (root, destination_id) DO UPDATE SET wants = excluded.wants",
        (os.fsencode(root), destination_id, wants, milliseconds(now)),
    )


def ignore(connection: Connection, destination_id: int, candidates: Iterable[Candidate]) -> None:
    """Remember that these versions were there before a destination was, and are not for it."""
    connection.executemany(
        "INSERT OR REPLACE INTO ignored VALUES (?, ?, ?, ?, ?)",
        [(destination_id, os.fsencode(each.path), *_stored(each.version)) for each in candidates],
    )


def ignoring(connection: Connection, path: str, version: Version) -> frozenset[int]:
    """Return the destinations that this version of a path is not for."""
    rows = connection.execute(
        "SELECT destination_id FROM ignored WHERE path = ? AND inode = ? AND size_bytes = ? AND mtime_ns = ?",
        (os.fsencode(path), *_stored(version)),
    )
    return frozenset(row[0] for row in rows)


def owner_of(connection: Connection, destination_id: int, remote_name: str) -> Placement | None:
    """Return what lorawatch last put at a name, or who claimed it."""
    row = connection.execute(
        "SELECT path, sha256, fingerprint FROM placement WHERE destination_id = ? AND remote_name = ?",
        (destination_id, os.fsencode(remote_name)),
    ).fetchone()
    return None if row is None else Placement(os.fsdecode(row[0]), remote_name, row[1], row[2])


def kept_name(connection: Connection, destination_id: int, *, path: str, base_name: str) -> str | None:
    """Return the name that a path was given at a destination for this base name."""
    row = connection.execute(
        "SELECT remote_name FROM placement WHERE destination_id = ? AND path = ? AND base_name = ?"
        " ORDER BY changed_at_ms DESC LIMIT 1",
        (destination_id, os.fsencode(path), os.fsencode(base_name)),
    ).fetchone()
    return None if row is None else os.fsdecode(row[0])


def claim_name(
    connection: Connection, destination_id: int, *, remote_name: str, path: str, base_name: str, now: float
) -> None:
    """Claim a name for a path; a name that is claimed already stays with its owner."""
    connection.execute(
        "INSERT OR IGNORE INTO placement (destination_id, remote_name, path, base_name, changed_at_ms)"
        " VALUES (?, ?, ?, ?, ?)",
        (destination_id, os.fsencode(remote_name), os.fsencode(path), os.fsencode(base_name), milliseconds(now)),
    )


def release_name(connection: Connection, destination_id: int, *, remote_name: str, path: str) -> None:
    """Give up a name: what stands there is not ours, and the path goes on under another."""
    connection.execute(
        "DELETE FROM placement WHERE destination_id = ? AND remote_name = ? AND path = ?",
        (destination_id, os.fsencode(remote_name), os.fsencode(path)),
    )


def record_placement(
    connection: Connection,
    destination_id: int,
    *,
    remote_name: str,
    path: str,
    base_name: str,
    sha256: str,
    fingerprint: str | None,
    now: float,
) -> None:
    """Record what now stands at a name; another path that owned the name keeps it."""
    connection.execute(
        """
        INSERT INTO placement (destination_id, remote_name, path, base_name, sha256, fingerprint, changed_at_ms)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (destination_id, remote_name) DO UPDATE SET
            sha256 = excluded.sha256, fingerprint = excluded.fingerprint, changed_at_ms = excluded.changed_at_ms
        """,
        (
            destination_id,
            os.fsencode(remote_name),
            os.fsencode(path),
            os.fsencode(base_name),
            sha256,
            fingerprint,
            milliseconds(now),
        ),
    )


def was_sent(connection: Connection, destination_id: int, *, remote_name: str, path: str, sha256: str) -> bool:
    """Return whether lorawatch put these bytes of this path at this name, or was about to when it was killed.

    Bytes that were found there and not carried do not count, nor do attempts that ended before: somebody else put
    them there.
    """
    row = connection.execute(
        """
        SELECT 1 FROM delivery JOIN artifact USING (artifact_id)
        WHERE destination_id = ? AND remote_name = ? AND path = ? AND sha256 = ? AND is_sent
        """,
        (destination_id, os.fsencode(remote_name), os.fsencode(path), sha256),
    ).fetchone()
    return row is not None


def _stored(version: Version) -> tuple[int, int, int]:
    return signed(version.inode), version.size_bytes, version.mtime_ns
