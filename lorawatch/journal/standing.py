"""What is still to be done about one version of a file. A named query, for whoever keeps a copy of that file."""

import os

from lorawatch.domain.model import Standing, Version
from lorawatch.journal.rows import Connection, version_of

_UNDECIDED = frozenset({"settling", "incomplete", "unreadable"})
_OPEN = frozenset({"planned", "sending", "waiting", "failed"})


def standing_of(connection: Connection, path: str, version: Version) -> Standing:
    """Return what is still to be done about this version of a path; a failed delivery still wants its file."""
    directory, name = os.path.split(path)
    row = connection.execute(
        "SELECT inode, size_bytes, mtime_ns, state, artifact_id FROM file WHERE directory = ? AND name = ?",
        (os.fsencode(directory), os.fsencode(name)),
    ).fetchone()
    if row is None or version_of(*row[:3]) != version or row[3] in _UNDECIDED:
        return Standing.OPEN
    states = {
        state for (state,) in connection.execute("SELECT DISTINCT state FROM delivery WHERE artifact_id = ?", (row[4],))
    }
    if states & _OPEN:
        return Standing.OPEN
    return Standing.DELIVERED if "delivered" in states else Standing.JUDGED
