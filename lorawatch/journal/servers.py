"""What is remembered about servers: the memory that app.py hands to destinations and sources. Implements `Memory`.

Used on lane and intake threads. It knows nothing about what it keeps.
"""

import time
from dataclasses import dataclass

from lorawatch.journal.database import Database
from lorawatch.journal.rows import milliseconds


@dataclass(frozen=True, slots=True)
class ServerMemory:
    """The texts of one owner: a destination at its location, or a source."""

    journal: Database
    owner: str

    def recall(self, key: str) -> str | None:
        """Return what was remembered under a key."""
        with self.journal.read() as connection:
            row = connection.execute(
                "SELECT value FROM memory WHERE owner = ? AND key = ?", (self.owner, key)
            ).fetchone()
        return None if row is None else str(row[0])

    def remember(self, key: str, value: str | None) -> None:
        """Remember a text at once and durably; None forgets it. What has not changed is not written again."""
        if value == self.recall(key):
            return
        with self.journal.write() as connection:
            if value is None:
                connection.execute("DELETE FROM memory WHERE owner = ? AND key = ?", (self.owner, key))
            else:
                connection.execute(
                    "INSERT INTO memory VALUES (?, ?, ?, ?) ON CONFLICT (owner, key) DO UPDATE"
                    " SET value = excluded.value, changed_at_ms = excluded.changed_at_ms",
                    (self.owner, key, value, milliseconds(time.time())),
                )
