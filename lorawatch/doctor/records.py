"""The journal, as far as it can be read without touching it. Checks that want to know what was delivered ask here."""

from collections.abc import Callable
from typing import TypeVar

from lorawatch.domain.errors import JournalError
from lorawatch.journal.database import Database
from lorawatch.journal.rows import Connection

T = TypeVar("T")


def ask(state_directory: str, question: Callable[[Connection], T]) -> T | None:
    """Return the answer of the journal; None where there is none, or it cannot be read: state.py says why."""
    try:
        database = Database.open_read_only(state_directory)
        if database is None:
            return None
        try:
            with database.read() as connection:
                return question(connection)
        finally:
            database.close()
    except JournalError:
        return None
