"""Named queries on files and artifacts: what is known of each path. Called by intake, inside its transactions."""

import os
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from lorawatch.domain.model import Artifact, Facts, Version
from lorawatch.domain.ports import Entry
from lorawatch.journal.rows import (
    ARTIFACT_COLUMNS,
    NEEDS_ATTENTION,
    Connection,
    artifact_from,
    facts_to_text,
    milliseconds,
    signed,
    version_of,
)

# A delivery was given up because its file was away; a file that is there as it was accepted has come back since.
_HAS_COME_BACK = """
    EXISTS (SELECT 1 FROM delivery WHERE delivery.artifact_id = file.artifact_id AND delivery.state = 'cancelled'
        AND delivery.code IN ('source-vanished', 'source-changed'))
"""

PAGE = 500  # rows fetched at once, so that memory stays flat
MOST_FETCHED = 4000  # of one directory: a megabyte, whatever the directory holds


@dataclass(frozen=True, slots=True)
class KnownFile:
    """The last verdict on a path."""

    version: Version
    state: str
    verdict_key: str
    artifact_id: int | None


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A verdict to be recorded."""

    root: str
    path: str
    version: Version
    state: str
    verdict_key: str
    code: str | None = None
    reason: str | None = None
    artifact_id: int | None = None
    is_backlog: bool = False


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """An accepted file, before the journal has given it a number."""

    root: str
    path: str
    version: Version
    sha256: str
    facts: Facts
    is_backlog: bool


def known(connection: Connection, directory: str, names: Sequence[str]) -> dict[str, KnownFile]:
    """Return what is known of these names of one directory. Ask for a few hundred at a time.

    An accepted file that was away when it was to be delivered is to be looked at again.
    """
    marks = ",".join("?" * len(names))
    rows = connection.execute(
        "SELECT name, inode, size_bytes, mtime_ns,"
        f" CASE WHEN state = 'accepted' AND {_HAS_COME_BACK} THEN 'settling' ELSE state END, verdict_key, artifact_id"
        f" FROM file WHERE directory = ? AND name IN ({marks})",
        (os.fsencode(directory), *map(os.fsencode, names)),
    )
    return {os.fsdecode(row[0]): KnownFile(version_of(row[1], row[2], row[3]), *row[4:]) for row in rows}


class Settled:
    """Tells which files need no further look: their verdict lasts for that very version.

    A rejection lasts as long as the rules it was made by. Directories are asked about one after the other; what is
    known of one is fetched at once if it is not too much, which costs a quarter of asking name by name.
    """

    def __init__(self, connection: Connection, *, verdict_key: str) -> None:
        self._connection = connection
        self._verdict_key = verdict_key
        self._directory: str | None = None
        self._known: set[Entry] | None = None

    def left_of(self, directory: str, entries: Collection[Entry]) -> Collection[Entry]:
        """Return those of a directory's entries, a few hundred at a time, that are not settled."""
        if directory != self._directory:
            self._directory = directory
            rows = self._rows(directory, f"LIMIT {MOST_FETCHED + 1}")
            self._known = set(rows) if len(rows) <= MOST_FETCHED else None
        known = self._known
        if known is None:
            names = [name for name, *_ in entries]
            known = set(self._rows(directory, f"AND name IN ({','.join('?' * len(names))})", *names))
        if known.issuperset(entries):  # without a line of Python for each: it is asked for all files at a start
            return ()
        return [entry for entry in entries if (entry[0], signed(entry[1]), *entry[2:]) not in known]

    def _rows(self, directory: str, condition: str, *names: bytes) -> list[Entry]:
        return self._connection.execute(
            "SELECT name, inode, size_bytes, mtime_ns FROM file WHERE directory = ?"
            f" AND (state = 'ignored' OR (state = 'accepted' AND NOT {_HAS_COME_BACK})"
            f" OR (state IN ('rejected', 'skipped') AND verdict_key = ?)) {condition}",
            (os.fsencode(directory), self._verdict_key, *names),
        ).fetchall()


def record(connection: Connection, records: Iterable[FileRecord], *, now: float) -> None:
    """Record the verdicts; each replaces what was known of its path.

    A version that is looked at again keeps its code meanwhile, so that the same verdict is not told twice.
    """
    connection.executemany(
        """
        INSERT INTO file (root, directory, name, inode, size_bytes, mtime_ns, state, code, reason, verdict_key,
                          artifact_id, is_backlog, changed_at_ms)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (directory, name) DO UPDATE SET
            root = excluded.root, inode = excluded.inode, size_bytes = excluded.size_bytes,
            mtime_ns = excluded.mtime_ns,
            code = CASE WHEN excluded.state = 'settling' AND state <> 'incomplete' AND (inode, size_bytes, mtime_ns)
                = (excluded.inode, excluded.size_bytes, excluded.mtime_ns) THEN code ELSE excluded.code END,
            state = excluded.state, reason = excluded.reason,
            verdict_key = excluded.verdict_key, artifact_id = excluded.artifact_id,
            is_backlog = excluded.is_backlog, changed_at_ms = excluded.changed_at_ms, read_bytes = NULL
        """,
        [
            (
                os.fsencode(each.root),
                *map(os.fsencode, os.path.split(each.path)),
                signed(each.version.inode),
                each.version.size_bytes,
                each.version.mtime_ns,
                each.state,
                each.code,
                each.reason,
                each.verdict_key,
                each.artifact_id,
                each.is_backlog,
                milliseconds(now),
            )
            for each in records
        ],
    )


def forget(connection: Connection, path: str) -> bool:
    """Forget a path; return whether anything was known of it."""
    return _forget(connection, path, "1")


def forget_unaccepted(connection: Connection, path: str) -> bool:
    """Forget a path that is gone; an accepted one is remembered, for it may come back as it was."""
    return _forget(connection, path, "state <> 'accepted'")


def forget_queued(connection: Connection, path: str) -> bool:
    """Forget a path that waited to be looked at and is not there."""
    return _forget(connection, path, "state = 'settling'")


def _forget(connection: Connection, path: str, condition: str) -> bool:
    directory, name = os.path.split(path)
    cursor = connection.execute(
        f"DELETE FROM file WHERE directory = ? AND name = ? AND {condition}",
        (os.fsencode(directory), os.fsencode(name)),
    )
    return cursor.rowcount > 0


def was_told(connection: Connection, path: str, version: Version, *, state: str, code: str) -> bool:
    """Return whether this very verdict on a version was recorded before, or is just being looked at again."""
    directory, name = os.path.split(path)
    row = connection.execute(
        "SELECT inode, size_bytes, mtime_ns FROM file WHERE directory = ? AND name = ? AND code = ?"
        " AND state IN (?, 'settling')",
        (os.fsencode(directory), os.fsencode(name), code, state),
    ).fetchone()
    return row is not None and version_of(*row) == version


def queued(connection: Connection, root: str, *, limit: int) -> list[tuple[str, bool]]:
    """Return (path, is backlog) of what waits to be looked at below a root, the newest files first."""
    rows = connection.execute(
        f"SELECT directory, name, is_backlog FROM file WHERE root = ? AND state = 'settling' AND {NEEDS_ATTENTION}"
        " ORDER BY is_backlog, mtime_ns DESC LIMIT ?",
        (os.fsencode(root), limit),
    )
    return [(os.fsdecode(os.path.join(directory, name)), bool(is_backlog)) for directory, name, is_backlog in rows]


def requeue_ignored(connection: Connection, root: str) -> None:
    """Have every ignored file below a root looked at again."""
    connection.execute(
        f"UPDATE file SET state = 'settling' WHERE root = ? AND state = 'ignored' AND {NEEDS_ATTENTION}",
        (os.fsencode(root),),
    )


def paths_in_states(connection: Connection, root: str, states: Sequence[str]) -> Iterator[str]:
    """Yield every path below a root with one of these states, a page at a time. It reads what is accepted, too."""
    marks = ",".join("?" * len(states))
    last = (b"", b"")
    while True:
        rows = connection.execute(
            "SELECT directory, name FROM file WHERE (directory, name) > (?, ?) AND root = ?"
            f" AND state IN ({marks}) ORDER BY directory, name LIMIT {PAGE}",
            (*last, os.fsencode(root), *states),
        ).fetchall()
        if not rows:
            return
        last = rows[-1]
        yield from (os.fsdecode(os.path.join(directory, name)) for directory, name in rows)


def note_reading(connection: Connection, path: str, reason: str, *, read_bytes: int) -> None:
    """Record how far a file is that is being read."""
    directory, name = os.path.split(path)
    connection.execute(
        "UPDATE file SET reason = ?, read_bytes = ? WHERE directory = ? AND name = ? AND state = 'settling'",
        (reason, read_bytes, os.fsencode(directory), os.fsencode(name)),
    )


def add_artifact(connection: Connection, new: NewArtifact, *, now: float) -> Artifact:
    """Record an accepted version of a path and return it with its number."""
    cursor = connection.execute(
        """
        INSERT INTO artifact (root, path, inode, size_bytes, mtime_ns, sha256, facts, is_backlog, accepted_at_ms)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            os.fsencode(new.root),
            os.fsencode(new.path),
            signed(new.version.inode),
            new.version.size_bytes,
            new.version.mtime_ns,
            new.sha256,
            facts_to_text(new.facts),
            new.is_backlog,
            milliseconds(now),
        ),
    )
    number = cursor.lastrowid
    if number is None:
        msg = "SQLite gave no number to a new artifact"
        raise RuntimeError(msg)
    return Artifact(number, new.root, new.path, new.version, new.sha256, new.facts, is_backlog=new.is_backlog)


def artifact(connection: Connection, artifact_id: int) -> Artifact:
    """Return one artifact by its number."""
    row = connection.execute(
        f"SELECT {ARTIFACT_COLUMNS} FROM artifact WHERE artifact_id = ?",
        (artifact_id,),
    ).fetchone()
    return artifact_from(row)


def is_outdated(connection: Connection, artifact: Artifact) -> bool:
    """Return whether a newer version of the same path, with other bytes, has been accepted."""
    row = connection.execute(
        "SELECT 1 FROM artifact WHERE path = ? AND artifact_id > ? AND sha256 <> ?",
        (os.fsencode(artifact.path), artifact.artifact_id, artifact.sha256),
    ).fetchone()
    return row is not None


def current_artifacts(connection: Connection, root: str) -> Iterator[Artifact]:
    """Yield the accepted current version of every path below a root, oldest first.

    Their numbers are taken at the beginning, 8 bytes each; the artifacts follow a page at a time.
    """
    rows = connection.execute(
        "SELECT artifact_id FROM file WHERE root = ? AND state = 'accepted' ORDER BY artifact_id", (os.fsencode(root),)
    )
    numbers = array("q", (number for (number,) in rows))
    for start in range(0, len(numbers), PAGE):
        page = numbers[start : start + PAGE]
        yield from map(
            artifact_from,
            connection.execute(
                f"SELECT {ARTIFACT_COLUMNS} FROM artifact WHERE artifact_id IN ({','.join('?' * len(page))})"
                " ORDER BY artifact_id",
                page,
            ).fetchall(),
        )
