"""lorawatch, ended by SIGKILL at one exact journal write: `crashing_daemon.py after|before <number> run …`.

`before`: everything of the write is done but its commit. `after`: the commit is the last thing that is done. The
product knows nothing of this: the journal's `write` is wrapped from outside, in this process only.
"""

import itertools
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lorawatch.cli import main
from lorawatch.journal.database import Database


def crash_at(moment: str, number: int) -> None:
    """Have this process killed at its journal write of this number, counted from 1."""
    numbers = itertools.count(1)
    real_write = Database.write

    @contextmanager
    def write(self: Database, *, is_durable: bool = True) -> Iterator[sqlite3.Connection]:
        with real_write(self, is_durable=is_durable) as connection:
            yield connection
            present = next(numbers)  # one writer at a time: the journal's own lock is held
            if moment == "before" and present == number:
                os.kill(os.getpid(), signal.SIGKILL)
        if moment == "after" and present == number:
            os.kill(os.getpid(), signal.SIGKILL)

    Database.write = write  # type: ignore[method-assign]  # the whole point of this runner


if __name__ == "__main__":
    crash_at(sys.argv[1], int(sys.argv[2]))
    del sys.argv[1:3]
    main()
