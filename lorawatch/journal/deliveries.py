"""Named queries on deliveries: plan, claim, record what became of them. Called by intake, lanes and commands.

A claim is a lease: one lane owns the delivery until it records an outcome, or until the lease runs out because
its process died. Every function runs inside the caller's transaction.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lorawatch.domain.model import Artifact, Delivery, Receipt, states_before
from lorawatch.domain.policy import Outcome
from lorawatch.journal.rows import (
    ARTIFACT_COLUMNS,
    DELIVERY_COLUMNS,
    DELIVERY_TABLES,
    Connection,
    delivery_from,
    milliseconds,
    seconds,
)

# Deliveries up to this size are carried in one group, as long as the group stays below the second number:
# their fsyncs and their transaction are shared (measured: 200 of 1 MB, 150 to 105 ms of fsync).
GROUP_MEMBER_BYTES = 8 << 20
GROUP_BYTES = 64 << 20

# `state IN …` is said in the words of the index delivery_due: without them SQLite reads everything ever delivered.
_DUE = """
    destination_id = :destination AND state IN ('planned', 'waiting', 'sending') AND (
        state = 'planned'
        OR (state = 'waiting' AND next_attempt_at_ms <= :now)
        OR (state = 'sending' AND lease_until_ms < :now AND lease_owner NOT LIKE :process || '%'))
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """A delivery to be recorded as planned."""

    artifact: Artifact
    destination_id: int
    base_name: str
    remote_name: str
    series: str
    step: int | None
    keep_latest: int | None = None  # once it has arrived, older steps of its series beyond so many are removed


def plan(connection: Connection, new: Plan, *, now: float) -> int | None:
    """Record a planned delivery and claim its name; return its number, or None if it was planned before."""
    row = connection.execute(
        """
        INSERT INTO delivery (artifact_id, destination_id, base_name, remote_name, state, size_bytes, is_backlog,
                              series, step, keep_latest, planned_at_ms, changed_at_ms)
        VALUES (?, ?, ?, ?, 'planned', ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (artifact_id, destination_id) DO NOTHING RETURNING delivery_id
        """,
        (
            new.artifact.artifact_id,
            new.destination_id,
            os.fsencode(new.base_name),
            os.fsencode(new.remote_name),
            new.artifact.version.size_bytes,
            new.artifact.is_backlog,
            os.fsencode(new.series),
            new.step,
            new.keep_latest,
            milliseconds(now),
            milliseconds(now),
        ),
    ).fetchone()
    return None if row is None else int(row[0])


def get(connection: Connection, delivery_ids: Collection[int]) -> list[Delivery]:
    """Return these deliveries, in the order asked for; unknown numbers are left out."""
    if not delivery_ids:
        return []
    marks = ",".join("?" * len(delivery_ids))
    rows = connection.execute(
        f"SELECT {DELIVERY_COLUMNS}, {ARTIFACT_COLUMNS} FROM {DELIVERY_TABLES} WHERE delivery_id IN ({marks})",
        tuple(delivery_ids),
    )
    found = {delivery.delivery_id: delivery for delivery in map(delivery_from, rows)}
    return [found[number] for number in delivery_ids if number in found]


def due(
    connection: Connection,
    destination_id: int,
    *,
    now: float,
    owner: str,
    limit: int,
    below: int,
    besides: Collection[int] = (),
    besides_below: int = 0,
) -> list[int]:
    """Return what is to be claimed next, new before backlog, newest first: one delivery, or a group of small ones.

    `below` leaves out deliveries of that many bytes or more; `besides`, as far as they are smaller than
    `besides_below`, are for another lane to take. `owner` is `<process>:<lane>`; a lease of the same process never
    runs out: its lane may hang in one system call, and a second one would only hang beside it.
    """
    rows = connection.execute(
        f"SELECT delivery_id, size_bytes FROM delivery WHERE {_DUE} AND size_bytes < :below"
        " ORDER BY is_backlog, delivery_id DESC LIMIT :limit",
        {
            "destination": destination_id,
            "now": milliseconds(now),
            "below": below,
            "limit": limit + len(besides),
            "process": owner.partition(":")[0],
        },
    ).fetchall()
    return _group([row for row in rows if row[0] not in besides or row[1] >= besides_below][:limit])


def claim(
    connection: Connection, delivery_ids: Sequence[int], *, now: float, lease_seconds: float, owner: str
) -> list[Delivery]:
    """Claim those of these deliveries that nobody else owns, whether they are due or not."""
    marks = ",".join("?" * len(delivery_ids))
    rows = connection.execute(
        f"""
        UPDATE delivery SET state = 'sending', attempt = attempt + 1, lease_owner = ?, lease_until_ms = ?,
                            next_attempt_at_ms = NULL, changed_at_ms = ?,
                            sent_bytes = CASE WHEN coalesce(resume, '') = '' THEN 0 ELSE sent_bytes END,
                            begun_bytes = CASE WHEN coalesce(resume, '') = '' THEN 0 ELSE sent_bytes END
        WHERE delivery_id IN ({marks})
          AND (state IN ('planned', 'waiting') OR (state = 'sending' AND lease_until_ms < ?))
        RETURNING delivery_id
        """,
        (owner, milliseconds(now + lease_seconds), milliseconds(now), *delivery_ids, milliseconds(now)),
    ).fetchall()
    claimed = {row[0] for row in rows}
    return get(connection, [number for number in delivery_ids if number in claimed])


def report_progress(
    connection: Connection, delivery_id: int, *, sent_bytes: int, resume: str | None, now: float, lease_seconds: float
) -> None:
    """Record how far a delivery is, where it could be resumed, and that its owner is alive."""
    connection.execute(
        "UPDATE delivery SET sent_bytes = ?, begun_bytes = min(begun_bytes, ?), resume = coalesce(?, resume),"
        " lease_until_ms = ? WHERE delivery_id = ? AND state = 'sending'",
        (sent_bytes, sent_bytes, resume, milliseconds(now + lease_seconds), delivery_id),
    )


def rename(connection: Connection, delivery_id: int, remote_name: str) -> None:
    """Record the intent to carry a delivery to another name than planned; nothing of it stands there yet."""
    connection.execute(
        "UPDATE delivery SET remote_name = ?, is_sent = 0 WHERE delivery_id = ?",
        (os.fsencode(remote_name), delivery_id),
    )


def record_sent(connection: Connection, delivery_ids: Sequence[int]) -> None:
    """Record that the bytes of these deliveries are about to get their names: what stands there then is ours."""
    marks = ",".join("?" * len(delivery_ids))
    connection.execute(f"UPDATE delivery SET is_sent = 1 WHERE delivery_id IN ({marks})", tuple(delivery_ids))


def is_sent(connection: Connection, delivery_id: int) -> bool:
    """Return whether an attempt at this delivery came so far that its bytes may have got their name."""
    row = connection.execute("SELECT is_sent FROM delivery WHERE delivery_id = ?", (delivery_id,)).fetchone()
    return bool(row[0])


def record_receipt(connection: Connection, delivery: Delivery, receipt: Receipt, *, now: float) -> None:
    """Record that a delivery arrived."""
    connection.execute(
        """
        UPDATE delivery SET state = 'delivered', evidence = ?, is_replacement = ?, sent_bytes = ?,
            carried_bytes = max(coalesce(carried_bytes, 0), ?),  -- what a retry finds in its place was carried before
            remote_name = ?, code = NULL, reason = NULL, next_attempt_at_ms = NULL, failing_since_ms = NULL,
            resume = NULL, lease_owner = NULL, lease_until_ms = NULL, changed_at_ms = ?
        WHERE delivery_id = ?
        """,
        (
            receipt.evidence.label,
            receipt.is_replacement,
            delivery.artifact.version.size_bytes,
            receipt.carried_bytes,
            os.fsencode(receipt.remote_name),
            milliseconds(now),
            delivery.delivery_id,
        ),
    )


def record_outcome(connection: Connection, delivery_id: int, outcome: Outcome, *, now: float) -> None:
    """Record that a delivery waits, failed or was cancelled, and give up the claim.

    Nothing happens if it is in a state from which that cannot follow: it has arrived meanwhile, or was cancelled.
    """
    before = states_before(outcome.state)
    connection.execute(
        f"""
        UPDATE delivery SET state = ?, code = ?, reason = ?, next_attempt_at_ms = ?,
            failing_since_ms = coalesce(failing_since_ms, ?), lease_owner = NULL, lease_until_ms = NULL,
            is_sent = is_sent AND ? <> 'name-taken',  -- what took the name was there before us
            changed_at_ms = ?
        WHERE delivery_id = ? AND state IN ({",".join("?" * len(before))})
        """,
        (
            outcome.state.value,
            outcome.code,
            outcome.reason,
            None if outcome.next_attempt_at is None else milliseconds(outcome.next_attempt_at),
            milliseconds(now),
            outcome.code,
            milliseconds(now),
            delivery_id,
            *before,
        ),
    )


def failing_since(connection: Connection, delivery_id: int, *, now: float) -> float:
    """Return when this delivery first failed in its present row of failures."""
    row = connection.execute("SELECT failing_since_ms FROM delivery WHERE delivery_id = ?", (delivery_id,)).fetchone()
    return seconds(row[0] if row else None) or now


def give_up(
    connection: Connection, destination_id: int, outcome: Outcome, *, failing_before: float, now: float
) -> list[int]:
    """Fail up to 500 deliveries that wait for a destination and have failed since so long ago; return their numbers.

    What waits and was never said to fail (its process died) fails from now on.
    """
    connection.execute(
        "UPDATE delivery INDEXED BY delivery_due SET failing_since_ms = ?"
        " WHERE destination_id = ? AND state IN ('planned', 'waiting', 'sending') AND state = 'waiting'"
        " AND failing_since_ms IS NULL",
        (milliseconds(now), destination_id),
    )
    rows = connection.execute(
        """
        UPDATE delivery SET state = 'failed', code = ?, reason = ?, next_attempt_at_ms = NULL, changed_at_ms = ?
        WHERE delivery_id IN (
            SELECT delivery_id FROM delivery INDEXED BY delivery_due
            WHERE destination_id = ? AND state IN ('planned', 'waiting', 'sending') AND state = 'waiting'
                AND failing_since_ms <= ?
            LIMIT 500)
        RETURNING delivery_id
        """,
        (outcome.code, outcome.reason, milliseconds(now), destination_id, milliseconds(failing_before)),
    )
    return sorted(row[0] for row in rows)


def next_due_at(connection: Connection, destination_id: int, *, owner: str, below: int) -> float | None:
    """Return when something is due at a destination: 0 for at once, None for nothing at all."""
    row = connection.execute(
        """
        SELECT min(CASE state WHEN 'waiting' THEN next_attempt_at_ms WHEN 'sending' THEN lease_until_ms ELSE 0 END)
        FROM delivery INDEXED BY delivery_due
        WHERE destination_id = ? AND size_bytes < ? AND state IN ('planned', 'waiting', 'sending')
            AND (state <> 'sending' OR lease_owner NOT LIKE ? || '%')
        """,
        (destination_id, below, owner.partition(":")[0]),
    ).fetchone()
    return seconds(row[0])


def _group(rows: list[tuple[int, int]]) -> list[int]:
    """Return the first delivery, and the small ones right behind it if it is small too."""
    group: list[int] = []
    total = 0
    for number, size_bytes in rows:
        total += size_bytes
        if group and (size_bytes > GROUP_MEMBER_BYTES or total > GROUP_BYTES):
            break
        group.append(number)
        if size_bytes > GROUP_MEMBER_BYTES:
            break
    return group
