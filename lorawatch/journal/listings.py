"""Named queries on what ComfyUI shows of delivered files, and on what it is still to be told.

Called by lanes when something arrives, and by the ComfyUI threads. Every function runs inside the caller's transaction.
"""

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from lorawatch.journal.rows import Connection, milliseconds, seconds


@dataclass(frozen=True, slots=True)
class Listing:
    """A delivered file that ComfyUI is to be asked about."""

    destination_id: int
    remote_name: str
    delivery_id: int
    state: str  # unknown | listed | not-listed
    code: str | None
    asked: int  # how often it has answered without the name


@dataclass(frozen=True, slots=True)
class Refresh:
    """A name whose bytes were replaced since ComfyUI was last told."""

    destination_id: int
    remote_name: str
    first_at: float
    latest_at: float
    next_try_at: float


def expect(connection: Connection, destination_id: int, *, delivery_id: int, remote_name: str, now: float) -> None:
    """Record that ComfyUI is to be asked about a name; what was known of its earlier bytes is forgotten."""
    connection.execute(
        "INSERT OR REPLACE INTO comfyui_listing (destination_id, remote_name, delivery_id, state, next_ask_at_ms,"
        " arrived_at_ms) VALUES (?, ?, ?, 'unknown', ?, ?)",
        (destination_id, os.fsencode(remote_name), delivery_id, milliseconds(now), milliseconds(now)),
    )


def due(connection: Connection, destination_ids: Sequence[int], *, now: float, limit: int) -> list[Listing]:
    """Return what ComfyUI is to be asked about now, the latest arrivals first."""
    rows = connection.execute(
        "SELECT destination_id, remote_name, delivery_id, state, code, asked FROM comfyui_listing"
        f" WHERE destination_id IN ({_marks(destination_ids)}) AND next_ask_at_ms <= ?"
        " ORDER BY arrived_at_ms DESC LIMIT ?",
        (*destination_ids, milliseconds(now), limit),
    )
    return [Listing(row[0], os.fsdecode(row[1]), *row[2:]) for row in rows]


def next_due_at(connection: Connection, destination_ids: Sequence[int], *, after: float = 0.0) -> float | None:
    """Return when ComfyUI is next to be asked or told something, of what becomes due after a time; None if never."""
    marks = _marks(destination_ids)
    row = connection.execute(
        "SELECT min(at) FROM (SELECT min(next_ask_at_ms) AS at FROM comfyui_listing"
        f" WHERE destination_id IN ({marks}) AND next_ask_at_ms > ?"
        " UNION ALL SELECT min(next_try_at_ms) FROM comfyui_refresh"
        f" WHERE destination_id IN ({marks}) AND next_try_at_ms > ?)",
        (*destination_ids, milliseconds(after), *destination_ids, milliseconds(after)),
    ).fetchone()
    return seconds(row[0])


def record(
    connection: Connection,
    listing: Listing,
    *,
    state: str,
    code: str | None = None,
    reason: str | None = None,
    asked: int = 0,
    next_ask_at: float | None = None,
) -> None:
    """Record what ComfyUI has answered, unless a later delivery has taken the name meanwhile."""
    connection.execute(
        "UPDATE comfyui_listing SET state = ?, code = ?, reason = ?, asked = ?, next_ask_at_ms = ?"
        " WHERE destination_id = ? AND remote_name = ? AND delivery_id = ?",
        (
            state,
            code,
            reason,
            asked,
            None if next_ask_at is None else milliseconds(next_ask_at),
            listing.destination_id,
            os.fsencode(listing.remote_name),
            listing.delivery_id,
        ),
    )


def drop(connection: Connection, listing: Listing) -> None:
    """Forget a name: it is not there any more, or nothing in ComfyUI would ever list it."""
    connection.execute(
        "DELETE FROM comfyui_listing WHERE destination_id = ? AND remote_name = ? AND delivery_id = ?",
        (listing.destination_id, os.fsencode(listing.remote_name), listing.delivery_id),
    )


def is_any_listed(connection: Connection, destination_id: int) -> bool:
    """Return whether ComfyUI lists anything that was delivered to this destination."""
    row = connection.execute(
        "SELECT 1 FROM comfyui_listing WHERE destination_id = ? AND state = 'listed' LIMIT 1", (destination_id,)
    ).fetchone()
    return row is not None


def leave_open(
    connection: Connection, destination_ids: Sequence[int], *, now: float, at: float, code: str, reason: str
) -> None:
    """Record that ComfyUI does not answer what is due now. What it has said before stands, and all of it stays due.

    It may not answer for months: nothing is written again for a name of which this is known.
    """
    marks = _marks(destination_ids)
    connection.execute(
        f"UPDATE comfyui_listing SET code = ?, reason = ? WHERE destination_id IN ({marks}) AND next_ask_at_ms <= ?"
        " AND state = 'unknown' AND code IS NOT ?",
        (code, reason, *destination_ids, milliseconds(now), code),
    )
    _postpone_refreshes(connection, destination_ids, now=now, at=at)


def postpone(
    connection: Connection, destination_ids: Sequence[int], *, now: float, at: float, code: str, reason: str
) -> None:
    """Have everything that is due now wait. What ComfyUI has said before stands."""
    marks = _marks(destination_ids)
    connection.execute(
        "UPDATE comfyui_listing SET next_ask_at_ms = ?, code = CASE state WHEN 'unknown' THEN ? ELSE code END,"
        " reason = CASE state WHEN 'unknown' THEN ? ELSE reason END"
        f" WHERE destination_id IN ({marks}) AND next_ask_at_ms <= ?",
        (milliseconds(at), code, reason, *destination_ids, milliseconds(now)),
    )
    _postpone_refreshes(connection, destination_ids, now=now, at=at)


def expect_soon(connection: Connection, destination_ids: Sequence[int], *, now: float) -> None:
    """Make everything due that waits: the clock was set, or ComfyUI is up again."""
    marks = _marks(destination_ids)
    for table, column in (("comfyui_listing", "next_ask_at_ms"), ("comfyui_refresh", "next_try_at_ms")):
        connection.execute(
            f"UPDATE {table} SET {column} = ? WHERE destination_id IN ({marks}) AND {column} > ?",
            (milliseconds(now), *destination_ids, milliseconds(now)),
        )


def is_settling(connection: Connection, destination_ids: Sequence[int], *, since: float, quiet_seconds: float) -> bool:
    """Return whether something that has arrived since then waits for ComfyUI's first answer.

    A ComfyUI that is busy or down is not waited for; that a burst has not been quiet for so long yet is.
    """
    marks = _marks(destination_ids)
    row = connection.execute(
        f"SELECT 1 FROM comfyui_listing WHERE destination_id IN ({marks}) AND state = 'unknown' AND code IS NULL"
        " AND next_ask_at_ms IS NOT NULL AND arrived_at_ms > ? UNION ALL"
        f" SELECT 1 FROM comfyui_refresh WHERE destination_id IN ({marks}) AND latest_at_ms > ?"
        " AND next_try_at_ms <= latest_at_ms + ? LIMIT 1",
        (
            *destination_ids,
            milliseconds(since),
            *destination_ids,
            milliseconds(since),
            milliseconds(quiet_seconds),
        ),
    ).fetchone()
    return row is not None


def expect_replacement(connection: Connection, destination_id: int, remote_name: str) -> None:
    """Record that a name is about to get new bytes, so that a kill right after it does not hide that."""
    connection.execute(
        "INSERT OR IGNORE INTO comfyui_refresh (destination_id, remote_name) VALUES (?, ?)",
        (destination_id, os.fsencode(remote_name)),
    )


def arrived(connection: Connection, destination_id: int, remote_name: str, *, now: float) -> None:
    """Have ComfyUI told of a name's new bytes, if they were expected to replace others."""
    connection.execute(
        "UPDATE comfyui_refresh SET first_at_ms = coalesce(first_at_ms, :now), latest_at_ms = :now,"
        " next_try_at_ms = :now WHERE destination_id = :destination AND remote_name = :name",
        {"now": milliseconds(now), "destination": destination_id, "name": os.fsencode(remote_name)},
    )


def refreshes(connection: Connection, destination_ids: Sequence[int]) -> list[Refresh]:
    """Return what ComfyUI is to be told of."""
    rows = connection.execute(
        "SELECT destination_id, remote_name, first_at_ms, latest_at_ms, next_try_at_ms FROM comfyui_refresh"
        f" WHERE destination_id IN ({_marks(destination_ids)}) AND next_try_at_ms IS NOT NULL",
        tuple(destination_ids),
    )
    return [Refresh(row[0], os.fsdecode(row[1]), *(each / 1000 for each in row[2:])) for row in rows]


def try_refresh_at(connection: Connection, pending: Iterable[Refresh], *, at: float) -> None:
    """Have ComfyUI told later."""
    connection.executemany(
        "UPDATE comfyui_refresh SET next_try_at_ms = ? WHERE destination_id = ? AND remote_name = ?",
        [(milliseconds(at), each.destination_id, os.fsencode(each.remote_name)) for each in pending],
    )


def refreshed(connection: Connection, told: Iterable[Refresh]) -> None:
    """Record that ComfyUI was told; what was replaced meanwhile is told again."""
    connection.executemany(
        "DELETE FROM comfyui_refresh WHERE destination_id = ? AND remote_name = ? AND latest_at_ms = ?",
        [(each.destination_id, os.fsencode(each.remote_name), milliseconds(each.latest_at)) for each in told],
    )


def _postpone_refreshes(connection: Connection, destination_ids: Sequence[int], *, now: float, at: float) -> None:
    connection.execute(
        f"UPDATE comfyui_refresh SET next_try_at_ms = ? WHERE destination_id IN ({_marks(destination_ids)})"
        " AND next_try_at_ms <= ?",
        (milliseconds(at), *destination_ids, milliseconds(now)),
    )


def _marks(values: Collection[object]) -> str:
    return ",".join("?" * len(values))
