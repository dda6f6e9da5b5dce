"""Named queries that set deliveries right from outside a lane: cancel, retry, free the claims of the dead.

Called by intake, by the service at its start, and by the `retry` command beside the daemon.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lorawatch.domain.model import Candidate, Delivery, DeliveryState
from lorawatch.domain.policy import Outcome
from lorawatch.journal import deliveries
from lorawatch.journal.rows import Connection, milliseconds, signed

_PUT_BACK = """
    state = 'planned', attempt = 0, sent_bytes = 0, code = NULL, reason = NULL, next_attempt_at_ms = NULL,
    failing_since_ms = NULL, evidence = NULL
"""


def release(connection: Connection, *, owner_prefix: str, now: float) -> int:
    """Give up the claims of a process that is gone; return how many there were."""
    cursor = connection.execute(
        """
        UPDATE delivery SET state = 'waiting', next_attempt_at_ms = ?, lease_owner = NULL, lease_until_ms = NULL
        WHERE state = 'sending' AND (lease_owner LIKE ? || '%' OR lease_until_ms < ?)
        """,
        (milliseconds(now), owner_prefix, milliseconds(now)),
    )
    return cursor.rowcount


def expect_soon(connection: Connection, destination_id: int, *, now: float) -> None:
    """Make every waiting delivery of a destination due: it is up again."""
    connection.execute(
        "UPDATE delivery SET next_attempt_at_ms = ? WHERE destination_id = ? AND state = 'waiting'",
        (milliseconds(now), destination_id),
    )


def expect_not_before(connection: Connection, destination_id: int, *, at: float) -> None:
    """Make nothing that waits for a destination due before its next probe."""
    connection.execute(
        "UPDATE delivery SET next_attempt_at_ms = ? WHERE destination_id = ? AND state = 'waiting'"
        " AND next_attempt_at_ms < ?",
        (milliseconds(at), destination_id, milliseconds(at)),
    )


def hold_planned(connection: Connection, destination_id: int, outcome: Outcome, *, now: float) -> list[int]:
    """Have up to 500 planned deliveries to a destination that is down wait; return their numbers."""
    rows = connection.execute(
        """
        UPDATE delivery SET state = 'waiting', code = ?, reason = ?, next_attempt_at_ms = ?,
            failing_since_ms = coalesce(failing_since_ms, ?), changed_at_ms = ?
        WHERE delivery_id IN (
            SELECT delivery_id FROM delivery WHERE destination_id = ? AND state = 'planned'
            ORDER BY delivery_id LIMIT 500)
        RETURNING delivery_id
        """,
        (
            outcome.code,
            outcome.reason,
            milliseconds(outcome.next_attempt_at or now),
            milliseconds(now),
            milliseconds(now),
            destination_id,
        ),
    )
    return sorted(row[0] for row in rows)


def cancel(
    connection: Connection, delivery_ids: Iterable[int], *, code: str, reason: str, now: float
) -> list[Delivery]:
    """Cancel those of these deliveries that have not arrived and that no lane owns; return them."""
    cancelled = []
    for number in delivery_ids:
        cursor = connection.execute(
            """
            UPDATE delivery SET state = 'cancelled', code = ?, reason = ?, next_attempt_at_ms = NULL, changed_at_ms = ?
            WHERE delivery_id = ? AND state IN ('planned', 'waiting', 'failed')
            """,
            (code, reason, milliseconds(now), number),
        )
        if cursor.rowcount:
            cancelled.append(number)
    return deliveries.get(connection, cancelled)


def owed(connection: Connection, path: str) -> list[int]:
    """Return the deliveries of every version of a path that no lane has carried: to be carried still, or failed."""
    rows = connection.execute(
        "SELECT delivery_id FROM delivery JOIN artifact USING (artifact_id)"
        " WHERE path = ? AND state IN ('planned', 'waiting', 'failed')",
        (os.fsencode(path),),
    )
    return [row[0] for row in rows]


def owed_paths(connection: Connection, root: str, *, is_failed_counted: bool = False) -> list[str]:
    """Return the paths below a root of which something is still to be carried, or has failed; at most 10,000."""
    states = ("planned", "waiting", *(("failed",) if is_failed_counted else ()))
    rows = connection.execute(
        "SELECT DISTINCT path FROM delivery JOIN artifact USING (artifact_id)"
        f" WHERE root = ? AND state IN ({','.join('?' * len(states))}) LIMIT 10000",
        (os.fsencode(root), *states),
    )
    return [os.fsdecode(row[0]) for row in rows]


def steps_of_series(
    connection: Connection, destination_id: int, series: str, *, up_to: int, states: Sequence[DeliveryState]
) -> dict[int, int]:
    """Return each delivery of a series in these states and its step, if that is not above `up_to`."""
    marks = ",".join("?" * len(states))
    rows = connection.execute(
        f"SELECT delivery_id, step FROM delivery WHERE destination_id = ? AND series = ? AND step <= ?"
        f" AND state IN ({marks}) AND code IS NOT 'retired'",
        (destination_id, os.fsencode(series), up_to, *(state.value for state in states)),
    )
    return {row[0]: row[1] for row in rows}


@dataclass(frozen=True, slots=True)
class Retiring:
    """A step that has arrived, after which only the latest `keep_latest` of its series are to stay."""

    delivery_id: int
    series: str
    step: int
    keep_latest: int


def retiring(connection: Connection, destination_id: int) -> list[Retiring]:
    """Return the deliveries that have arrived and after which older steps are still to be removed."""
    rows = connection.execute(
        "SELECT delivery_id, series, step, keep_latest FROM delivery"
        " WHERE destination_id = ? AND keep_latest IS NOT NULL AND state = 'delivered'",
        (destination_id,),
    )
    return [Retiring(number, os.fsdecode(series), step, keep_latest) for number, series, step, keep_latest in rows]


def finish_retiring(connection: Connection, delivery_id: int) -> None:
    """Record that what a delivery made needless has been removed."""
    connection.execute("UPDATE delivery SET keep_latest = NULL WHERE delivery_id = ?", (delivery_id,))


def record_retired(connection: Connection, delivery_id: int, *, now: float) -> None:
    """Record that what was delivered has been removed again, because newer steps have arrived."""
    connection.execute(
        "UPDATE delivery SET code = 'retired', reason = 'newer checkpoints have arrived', changed_at_ms = ?"
        " WHERE delivery_id = ?",
        (milliseconds(now), delivery_id),
    )


def take_up(
    connection: Connection, candidate: Candidate, sha256: str, destination_id: int, base_name: str, *, now: float
) -> int | None:
    """Put back the delivery of this very version that has not arrived; return its number, None if there is none.

    How much of it a server holds already stays known.
    """
    version = candidate.version
    row = connection.execute(
        f"""
        UPDATE delivery SET {_PUT_BACK}, changed_at_ms = ?
        WHERE delivery_id = (
            SELECT max(delivery_id) FROM delivery JOIN artifact USING (artifact_id)
            WHERE path = ? AND inode = ? AND artifact.size_bytes = ? AND mtime_ns = ? AND sha256 = ?
                AND destination_id = ? AND base_name = ? AND state IN ('planned', 'waiting', 'failed'))
        RETURNING delivery_id
        """,
        (
            milliseconds(now),
            os.fsencode(candidate.path),
            signed(version.inode),
            version.size_bytes,
            version.mtime_ns,
            sha256,
            destination_id,
            os.fsencode(base_name),
        ),
    ).fetchone()
    return None if row is None else int(row[0])


def displace(
    connection: Connection, destination_id: int, *, remote_name: str, path: str, sha256: str, now: float
) -> None:
    """Plan anew what other paths had delivered under a name that now holds other bytes.

    They shared it because their bytes were the same; each gets its own now. The `+` has them found by their name, not
    by their state, and CROSS JOIN asks the artifact before any file: all files are read for the shared ones only.
    """
    connection.execute(
        f"""
        UPDATE delivery SET {_PUT_BACK}, changed_at_ms = ?
        WHERE destination_id = ? AND remote_name = ? AND +state = 'delivered'
            AND EXISTS (
                SELECT 1 FROM artifact CROSS JOIN file USING (artifact_id)
                WHERE artifact_id = delivery.artifact_id AND path <> ? AND sha256 <> ?)
        """,
        (milliseconds(now), destination_id, os.fsencode(remote_name), os.fsencode(path), sha256),
    )


def being_sent(connection: Connection, delivery_ids: Sequence[int]) -> list[int]:
    """Return those of these deliveries that a lane carries at this moment."""
    marks = ",".join("?" * len(delivery_ids))
    rows = connection.execute(
        f"SELECT delivery_id FROM delivery WHERE state = 'sending' AND delivery_id IN ({marks}) ORDER BY delivery_id",
        tuple(delivery_ids),
    )
    return [row[0] for row in rows]


def retry(connection: Connection, delivery_ids: Sequence[int] | None, *, now: float) -> list[int]:
    """Put deliveries back: these, whatever became of them, or (None) all that failed or wait.

    Destinations that were parked, or left in peace for a while, are tried again.
    """
    where = "state IN ('failed', 'waiting')"
    values: tuple[int, ...] = ()
    if delivery_ids is not None:
        where = f"delivery_id IN ({','.join('?' * len(delivery_ids))}) AND state <> 'sending'"
        values = tuple(delivery_ids)
    rows = connection.execute(
        f"""
        UPDATE delivery SET {_PUT_BACK}, changed_at_ms = ? WHERE {where} RETURNING delivery_id, destination_id
        """,
        (milliseconds(now), *values),
    ).fetchall()
    for destination_id in {row[1] for row in rows}:
        connection.execute(
            "UPDATE destination SET state = 'up', next_probe_at_ms = NULL"
            " WHERE destination_id = ? AND (state <> 'up' OR next_probe_at_ms IS NOT NULL)",
            (destination_id,),
        )
    return sorted(row[0] for row in rows)
