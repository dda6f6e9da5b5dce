"""Who is read first, and that one can see it: small new files find a reader, large ones tell how far they are."""

import os
import threading
import time
from pathlib import Path

import pytest

from lorawatch.domain.model import Candidate, Version
from lorawatch.engine import progress
from lorawatch.engine.progress import ReadingReport
from lorawatch.engine.settings import SMALL_BYTES
from lorawatch.engine.tickets import QUICK_BYTES, Size, Tickets
from lorawatch.journal import files
from lorawatch.journal.database import Database


def candidate(name: str, size_bytes: int, *, is_backlog: bool = False) -> Candidate:
    return Candidate("/out", f"/out/{name}", Version(1, size_bytes, 1), 1, is_backlog=is_backlog)


def test_a_reader_for_quick_files_never_takes_a_backlog_or_a_larger_file() -> None:
    tickets = Tickets()
    tickets.put(candidate("backlog", 1, is_backlog=True))
    tickets.put(candidate("medium", QUICK_BYTES))
    tickets.put(candidate("large", SMALL_BYTES))
    taken: list[Candidate | None] = []
    reader = threading.Thread(target=lambda: taken.append(tickets.take(Size.QUICK)))
    reader.start()
    reader.join(0.05)
    assert reader.is_alive()
    tickets.put(candidate("quick", 1))
    reader.join(5)
    assert [each and each.path for each in taken] == ["/out/quick"]
    assert [tickets.take(Size.SMALL), tickets.take(Size.SMALL)] == [
        candidate("medium", QUICK_BYTES),
        candidate("backlog", 1, is_backlog=True),
    ]
    assert tickets.take(Size.LARGE) == candidate("large", SMALL_BYTES)


def test_the_newest_goes_first_and_a_closed_board_ends_every_reader() -> None:
    tickets = Tickets()
    tickets.put(candidate("first", 1))
    tickets.put(candidate("second", 1))
    assert tickets.take(Size.SMALL) == candidate("second", 1)
    tickets.close()
    assert tickets.take(Size.SMALL) is None


def test_a_reader_that_finds_nothing_to_do_for_a_while_is_told_so_once_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lorawatch.engine.tickets.IDLE_SECONDS", 0.01)
    tickets, is_idle = Tickets(), threading.Event()
    told: list[str] = []

    def on_idle() -> None:
        told.append("idle")
        is_idle.set()

    taken: list[Candidate | None] = []
    reader = threading.Thread(target=lambda: taken.append(tickets.take(Size.LARGE, on_idle=on_idle)))
    reader.start()
    assert is_idle.wait(5)
    tickets.put(candidate("small", 1))
    reader.join(0.05)
    assert reader.is_alive()
    tickets.put(candidate("large", SMALL_BYTES))
    reader.join(5)
    assert taken == [candidate("large", SMALL_BYTES)]
    assert told == ["idle"]


def test_status_can_tell_how_far_a_large_file_is_before_its_verdict(tmp_path: Path) -> None:
    journal = Database.open(os.fspath(tmp_path))
    large = candidate("large", 1000)
    with journal.write() as connection:
        record = files.FileRecord(large.root, large.path, large.version, "settling", "key", reason="waits")
        files.record(connection, [record], now=time.time())
    report = ReadingReport(large, "comfyui", journal)
    report._recorded_at -= progress.JOURNAL_SECONDS
    report(370)
    with journal.read() as connection:
        (reason,) = connection.execute("SELECT reason FROM file").fetchone()
    journal.close()
    assert reason == "it is being checked and copied to comfyui: 37% of 1 kB"
