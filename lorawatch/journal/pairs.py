"""Named queries on the pairs of Wan 2.2 halves. Called by intake, inside its transactions."""

import os
from collections.abc import Sequence

from lorawatch.domain.model import Artifact
from lorawatch.journal.rows import ARTIFACT_COLUMNS, Connection, artifact_from, milliseconds

_HALVES = {"high": "high_artifact_id", "low": "low_artifact_id"}


def record_half(connection: Connection, pair_id: str, artifact: Artifact, *, now: float) -> None:
    """Record an accepted half; it takes the place of an older version of the same half."""
    column = _HALVES[artifact.facts.pair or ""]
    connection.execute(
        f"INSERT INTO pair (pair_id, {column}, begun_at_ms) VALUES (?, ?, ?)"
        f" ON CONFLICT (pair_id) DO UPDATE SET {column} = excluded.{column}",
        (pair_id, artifact.artifact_id, milliseconds(now)),
    )


def alone(connection: Connection, root: str, *, since: float) -> list[tuple[str, Artifact]]:
    """Return the pairs below a root with one half only, since then or longer, of which nobody was told."""
    rows = connection.execute(
        f"SELECT pair_id, {ARTIFACT_COLUMNS} FROM pair"
        " JOIN artifact ON artifact_id = coalesce(high_artifact_id, low_artifact_id)"
        " WHERE is_reported = 0 AND (high_artifact_id IS NULL OR low_artifact_id IS NULL)"
        " AND begun_at_ms <= ? AND root = ?",
        (milliseconds(since), os.fsencode(root)),
    )
    return [(row[0], artifact_from(row[1:])) for row in rows]


def record_reported(connection: Connection, pair_ids: Sequence[str]) -> None:
    """Record that a person was told of these pairs."""
    connection.executemany("UPDATE pair SET is_reported = 1 WHERE pair_id = ?", [(each,) for each in pair_ids])
