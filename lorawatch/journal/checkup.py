"""What `doctor` asks the journal: is it whole, what went wrong and how often, what was delivered. Read-only queries."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from lorawatch.journal.rows import NEEDS_ATTENTION, Connection, seconds

MOST_LISTED = 500  # deliveries that are compared with a destination's own list


@dataclass(frozen=True, slots=True)
class Trouble:
    """So many files or deliveries in one state, for one reason; the latest of them as the example."""

    what: str  # delivery | file
    state: str
    code: str
    count: int
    path: str
    reason: str
    destination: str = ""


def damage(connection: Connection) -> str:
    """Return what is wrong with the file itself, in SQLite's words; empty if nothing is."""
    (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return "" if answer == "ok" else str(answer)


def troubles(connection: Connection) -> list[Trouble]:
    """Return what failed, waits after a failure, was rejected or could not be read, a line for each reason."""
    # With a bare column beside max(), SQLite takes it from the row that has the maximum (its documentation of SELECT).
    deliveries = connection.execute(
        "SELECT delivery.state, delivery.code, count(*), artifact.path, delivery.reason, destination.name,"
        " max(delivery.changed_at_ms) FROM delivery JOIN artifact USING (artifact_id) JOIN destination"
        " USING (destination_id) WHERE delivery.state IN ('failed', 'waiting') AND delivery.code IS NOT NULL"
        " GROUP BY delivery.state, delivery.code, destination.destination_id ORDER BY 1, 2"
    )
    found = [
        Trouble("delivery", state, code, count, os.fsdecode(path), reason or "", name)
        for state, code, count, path, reason, name, _ in deliveries
    ]
    files = connection.execute(
        "SELECT state, code, count(*), directory, name, reason, max(changed_at_ms) FROM file"
        f" WHERE {NEEDS_ATTENTION} AND state IN ('rejected', 'unreadable', 'incomplete') AND code IS NOT NULL"
        " GROUP BY state, code ORDER BY 1, 2"
    )
    return found + [
        Trouble("file", state, code, count, os.fsdecode(os.path.join(directory, name)), reason or "")
        for state, code, count, directory, name, reason, _ in files
    ]


def with_finding(connection: Connection, code: str) -> tuple[int, str]:
    """Return how many accepted files carry a finding, and the path of the latest; 0 and "" without one."""
    count, directory, name, _ = connection.execute(
        "SELECT count(*), directory, name, max(changed_at_ms) FROM file JOIN artifact USING (artifact_id)"
        " WHERE file.state = 'accepted' AND EXISTS (SELECT 1 FROM json_each(artifact.facts, '$.findings') AS finding"
        " WHERE json_extract(finding.value, '$.code') = ?)",
        (code,),
    ).fetchone()
    return int(count), os.fsdecode(os.path.join(directory, name)) if count else ""


def families(connection: Connection) -> Sequence[tuple[str, int]]:
    """Return the base models that delivered LoRAs are for, the most frequent first; "" where it is unknown."""
    rows = connection.execute(
        "SELECT coalesce(json_extract(artifact.facts, '$.family'), '') AS family, count(*) FROM delivery"
        " JOIN artifact USING (artifact_id) WHERE delivery.state = 'delivered' GROUP BY family ORDER BY 2 DESC"
    )
    return [(str(family), int(count)) for family, count in rows]


def delivered(connection: Connection, name: str, location: str) -> dict[str, int]:
    """Return the latest names that were delivered to a destination, each with the size it was delivered with."""
    rows = connection.execute(
        "SELECT remote_name, delivery.size_bytes, max(delivery.changed_at_ms) AS at FROM delivery JOIN destination"
        " USING (destination_id) WHERE destination.name = ? AND destination.location = ?"
        " AND delivery.state = 'delivered' GROUP BY remote_name ORDER BY at DESC LIMIT ?",
        (name, location, MOST_LISTED),
    )
    return {os.fsdecode(remote_name): int(size_bytes) for remote_name, size_bytes, _ in rows}


def was_mount_point(connection: Connection, name: str, location: str) -> bool | None:
    """Return whether a disk was mounted at a destination when it was last up; None if that is not known."""
    row = connection.execute(
        "SELECT is_mount_point FROM destination WHERE name = ? AND location = ?", (name, location)
    ).fetchone()
    return None if row is None or row[0] is None else bool(row[0])


def parked(connection: Connection, name: str, location: str) -> tuple[str, str] | None:
    """Return code and reason of a destination that waits for a person; None if it does not."""
    row = connection.execute(
        "SELECT code, reason FROM destination WHERE name = ? AND location = ? AND state = 'parked'", (name, location)
    ).fetchone()
    return None if row is None else (str(row[0] or ""), str(row[1] or ""))


def latest_change(connection: Connection) -> float | None:
    """Return when something was last recorded, by the clock of that time."""
    row = connection.execute(
        "SELECT max(at) FROM (SELECT max(changed_at_ms) AS at FROM file"
        " UNION ALL SELECT max(changed_at_ms) FROM delivery)"
    ).fetchone()
    return seconds(row[0])
