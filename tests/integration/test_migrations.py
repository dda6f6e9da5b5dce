"""A journal that an older lorawatch wrote: what it knows of files outlives every migration, and is found quickly."""

import os
import sqlite3
from importlib import resources
from itertools import islice
from pathlib import Path

import pytest

from lorawatch.domain.errors import JournalError
from lorawatch.domain.model import Version
from lorawatch.journal import checkup, files, views
from lorawatch.journal.database import Database, newest_version

ROOT = "/out"
DIRECTORIES = ("/out", "/out/cat", "/out/cat/below", "/out/d\udcff")
NAMES = ("1.safetensors", "2.safetensors", "\udcfe.safetensors")
STATES = ("accepted", "ignored", "rejected", "skipped", "settling", "incomplete", "unreadable")
HUGE_INODE = -5  # as the journal keeps one above 2^63
READ_BYTES_SINCE = 6  # the migration that brought this column
Row = dict[str, object]


def journal_at(version: int, directory: Path) -> Path:
    """Make a journal with the migrations up to a version, as a lorawatch that knew no later one did."""
    directory.mkdir()
    path = directory / "journal.sqlite3"
    connection = sqlite3.connect(path)
    scripts = [each for each in resources.files("lorawatch.journal.schema").iterdir() if each.name.endswith(".sql")]
    for script in sorted(scripts, key=lambda each: each.name):
        if int(script.name[:4]) <= version:
            connection.executescript(script.read_text(encoding="utf-8"))
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()
    return path


def fill(path: Path, *, version: int) -> list[Row]:
    """Give it files of every state; return them as they are to be found, by directory and name."""
    rows: list[Row] = []
    for number, (directory, name) in enumerate((directory, name) for directory in DIRECTORIES for name in NAMES):
        state = STATES[number % len(STATES)]
        rows.append(
            {
                "root": os.fsencode(ROOT),
                "directory": os.fsencode(directory),
                "name": os.fsencode(name),
                "inode": HUGE_INODE,
                "size_bytes": 100 + number,
                "mtime_ns": 1000 + number,
                "state": state,
                "code": "html-page" if state == "rejected" else None,
                "reason": f"reason {number}",
                "verdict_key": f"key {number}",
                "artifact_id": 7 if state == "accepted" else None,
                "is_backlog": number % 2,
                "changed_at_ms": 2000 + number,
                "read_bytes": 4096 if state == "settling" and version >= READ_BYTES_SINCE else None,
            }
        )
    connection = sqlite3.connect(path)
    connection.execute(
        "INSERT INTO artifact VALUES (7, x'2f6f7574', x'2f6f75742f312e73616665', 5, 10, 20, 'ab', '{}', 0, 1)"
    )
    columns = [column for column in rows[0] if column != "read_bytes" or version >= READ_BYTES_SINCE]
    connection.executemany(
        f"INSERT INTO file ({','.join(columns)}) VALUES ({','.join('?' * len(columns))})",
        [[row[column] for column in columns] for row in reversed(rows)],
    )
    connection.commit()
    connection.close()
    return rows


@pytest.mark.parametrize("version", range(1, newest_version()))
def test_what_an_older_journal_knows_of_files_is_known_after_the_migrations(version: int, tmp_path: Path) -> None:
    before = fill(journal_at(version, tmp_path / "state"), version=version)
    journal = Database.open(str(tmp_path / "state"))
    with journal.read() as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (newest_version(),)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        cursor = connection.execute(f"SELECT {','.join(before[0])} FROM file ORDER BY directory, name")
        assert [dict(zip(before[0], row, strict=True)) for row in cursor] == before
        known = files.known(connection, "/out", NAMES)
        version_seen = Version((1 << 64) + HUGE_INODE, 100, 1000)
        assert known["1.safetensors"] == files.KnownFile(version_seen, "accepted", "key 0", 7)
    journal.close()


def test_files_lie_in_the_order_of_their_directories_and_belong_to_artifacts(tmp_path: Path) -> None:
    fill(journal_at(7, tmp_path / "state"), version=7)
    journal = Database.open(str(tmp_path / "state"))
    with journal.write() as connection:
        (text,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'file'").fetchone()
        assert text.endswith("PRIMARY KEY (directory, name)\n) STRICT, WITHOUT ROWID")
        plan = connection.execute("EXPLAIN QUERY PLAN SELECT * FROM file WHERE directory = x'2f'").fetchall()
        assert [step[3] for step in plan] == ["SEARCH file USING PRIMARY KEY (directory=?)"]
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute("UPDATE file SET artifact_id = 8")  # there is none
    journal.close()


def test_what_needs_attention_is_found_without_reading_what_was_ever_accepted(tmp_path: Path) -> None:
    fill(journal_at(7, tmp_path / "state"), version=7)
    journal = Database.open(str(tmp_path / "state"))
    asked: list[str] = []
    with journal.write() as connection:
        connection.set_trace_callback(asked.append)
        assert files.queued(connection, ROOT, limit=10)
        assert views.in_flight(connection)[1]
        assert views.files(connection)
        assert checkup.troubles(connection)
        files.requeue_ignored(connection, ROOT)
        assert views.file_counts(connection)
        connection.set_trace_callback(None)
        questions = [each for each in asked if "FROM file" in each or "UPDATE file" in each]
        plans = [connection.execute(f"EXPLAIN QUERY PLAN {each}").fetchall()[0][3] for each in questions]
    journal.close()
    *others, counts = plans
    assert others == ["SEARCH file USING INDEX file_needing_attention (state=?)"] * 5
    assert counts == "SCAN file USING COVERING INDEX file_needing_attention"


def test_every_path_in_a_state_is_given_once_however_many_there_are(tmp_path: Path) -> None:
    journal = Database.open(str(tmp_path / "state"))
    paths = {f"/out/{number % 7}/{number:05}.safetensors" for number in range(1700)}
    with journal.write() as connection:
        for state, chosen in (("rejected", paths), ("ignored", {f"{path}.other" for path in paths})):
            records = [files.FileRecord("/out", path, Version(1, 2, 3), state, "key") for path in chosen]
            files.record(connection, records, now=1.0)
    with journal.read() as connection:
        found = list(islice(files.paths_in_states(connection, "/out", ("rejected", "incomplete")), len(paths) + 1))
        assert len(found) == len(paths)
        assert set(found) == paths
        assert list(files.paths_in_states(connection, "/elsewhere", ("rejected",))) == []
    journal.close()


def test_a_command_that_watches_an_older_journal_being_brought_up_to_date_says_to_start_it_again(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "a state? #1 100% \udcff"
    path = journal_at(newest_version(), directory)
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("SELECT * FROM file").fetchall()  # it has the journal open for good, as a daemon has
    fill(path, version=newest_version())
    follower = Database.open_read_only(str(directory))
    assert follower is not None
    with follower.read() as connection:
        assert views.files(connection)
    writer.execute("ALTER TABLE file RENAME TO other")
    with pytest.raises(JournalError) as raised, follower.read() as connection:
        views.files(connection)
    assert "start this command again" in raised.value.fix
    follower.close()
    writer.close()
