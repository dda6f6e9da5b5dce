"""Killed at any instant, nothing is lost, nothing arrives twice, and nothing unproved is ever visible.

Real processes, real SIGKILL, real files; the destination is watched all the time, by contents.
"""

import random
import shutil
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.crash_stage import Stage, held, killed_or_through, place_copy, wait_for_part, write_large_lora
from tests.factories import write_lora
from tests.poller import Poller

# Above every write of these scenarios, below an endless loop; each test says how many there must be at least.
MOST_WRITES = 80
LEAST_WRITES = 12
LIVES_AT_ONCE = 2  # one for each core of a small server
LARGE_BYTES = 150_000_000
RANDOM_KILLS = 16
MIDDLE_BYTES = 100_000_000
COPY_SECONDS = 0.4  # from the first look at a file of 150 MB to its arrival, and a little more


def is_life_cut_short(base: Path, moment: str, number: int, destination_count: int) -> bool:
    """Live one life (a backlog, a new file, a new version of a delivered one, the end), then recover from it.

    Return whether the life was ended by its write of this number.
    """
    stage = Stage(base / str(number), destination_count)
    with Poller(stage.destinations, stage.allowed) as poller:
        stage.write("a.safetensors", seed=1)
        stage.write("b.safetensors", seed=2)
        with stage.daemon(moment, str(number)) as daemon:
            is_killed = killed_or_through(daemon, 2 * destination_count)
            stage.write("a.safetensors", seed=3)
            stage.write("c.safetensors", seed=4)
            is_killed = is_killed or killed_or_through(daemon, 4 * destination_count)
            is_killed = is_killed or daemon.stop() == -signal.SIGKILL
        stage.finish()
    poller.check()
    shutil.rmtree(stage.base)
    return is_killed


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("moment", "destination_count", "stride"),
    [("before", 1, 1), ("after", 1, 1), ("after", 2, 3)],  # two destinations double the writes, not their kinds
)
def test_a_kill_at_any_journal_write_loses_nothing_and_carries_nothing_twice(
    tmp_path: Path, moment: str, destination_count: int, stride: int
) -> None:
    with ThreadPoolExecutor(LIVES_AT_ONCE) as pool:
        for first in range(1, MOST_WRITES, stride * LIVES_AT_ONCE):
            numbers = range(first, first + stride * LIVES_AT_ONCE, stride)
            are_cut = [
                pool.submit(is_life_cut_short, tmp_path, moment, number, destination_count) for number in numbers
            ]
            if not all(each.result() for each in are_cut):
                break
        else:
            pytest.fail(f"still writing after {MOST_WRITES} transactions")
    assert first > LEAST_WRITES, "the scenario has become too small to show anything"


@pytest.mark.timeout(300)
def test_kills_in_the_middle_of_large_copies_leave_nothing_partial_nothing_twice_and_nothing_behind(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path / "stage")
    versions = [tmp_path / f"version-{number}" for number in range(3)]
    for number, version in enumerate(versions):
        stage.allowed.add(write_lora(version, seed=number, size_bytes=LARGE_BYTES))
    (directory,) = stage.destinations
    with Poller(stage.destinations, stage.allowed) as poller:
        for kill in range(RANDOM_KILLS):
            with stage.daemon() as daemon:
                if kill % 2 == 0:  # in the middle of the copy of a new version
                    leftovers = set(directory.iterdir())
                    place_copy(versions[kill // 2 % len(versions)], stage.outputs / "large.safetensors")
                    wait_for_part(directory, at_least_bytes=random.randrange(1, MIDDLE_BYTES), leftovers=leftovers)
                else:  # anywhere in the recovery from that
                    daemon.wait_for("daemon.ready")
                    time.sleep(random.uniform(0.0, COPY_SECONDS))
                daemon.kill()
            if kill % 4 == 3:
                stage.finish()
                stage.require_rest()
    poller.check()


@pytest.mark.timeout(300)
def test_a_stop_in_the_middle_of_a_gigabyte_takes_less_than_five_seconds_and_the_next_start_completes_it(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path / "stage")
    write_large_lora(stage.outputs / "large.safetensors", size_bytes=1 << 30)
    with stage.daemon() as daemon:
        part = wait_for_part(stage.destinations[0], at_least_bytes=200 << 20)
        started = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - started < 5.0
        assert not daemon.of("delivery.delivered"), "it was too fast to be stopped in the middle"
    assert not part.exists()
    assert held(stage.destinations[0]) == {}
    stage.finish()


def test_a_second_start_tells_only_what_is_new(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "stage")
    stage.write("a.safetensors", seed=1)
    with stage.daemon() as daemon:
        daemon.wait_for("delivery.delivered")
        assert daemon.stop() == 0
    with stage.daemon() as daemon:
        daemon.wait_for("daemon.ready")
        stage.write("b.safetensors", seed=2)
        daemon.wait_for("delivery.delivered", file=stage.outputs / "b.safetensors")
        assert daemon.stop() == 0
        told = {event["file"] for event in daemon.events if "file" in event}
        assert told == {str(stage.outputs / "b.safetensors")}
    stage.finish()
    stage.require_rest()


def test_two_daemons_never_share_a_state_directory(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "stage")
    with stage.daemon() as daemon:
        daemon.wait_for("daemon.ready")
        second = stage.daemon().run_once()
        assert second.exit_code == 4
        assert f"process {daemon.pid}" in second.stderr
        stage.write("a.safetensors", seed=1)
        daemon.wait_for("delivery.delivered")
        assert daemon.stop() == 0
    stage.finish()


def test_a_destination_that_is_gone_for_a_while_is_waited_for_and_never_made(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "stage")
    (directory,) = stage.destinations
    away = stage.base / "away"
    with stage.daemon() as daemon:
        daemon.wait_for("daemon.ready")
        directory.rename(away)
        stage.write("a.safetensors", seed=1)
        stage.write("b.safetensors", seed=2)
        down = daemon.wait_for("destination.down")
        assert down["code"] == "destination-missing"
        assert down["fix"]
        waiting = daemon.wait_for("delivery.waiting")
        assert waiting["code"] == "destination-missing"
        assert daemon.command("status").exit_code == 0
        assert not directory.exists()
        away.rename(directory)
        daemon.wait_for("destination.up")
        daemon.wait_for("delivery.delivered", count=2)
        assert len(daemon.of("destination.down")) == 1
        assert daemon.stop() == 0
    stage.finish()


def test_leftovers_of_a_killed_daemon_are_swept_also_when_the_destination_comes_back_late(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "stage")
    (directory,) = stage.destinations
    write_large_lora(stage.outputs / "large.safetensors", size_bytes=LARGE_BYTES)
    with stage.daemon() as daemon:
        wait_for_part(directory, at_least_bytes=1)
        daemon.kill()
    assert list(directory.glob(".lorawatch-*.part"))
    foreign = directory / ".lorawatch-0123456789ab-0123456789abcdef.part"  # another installation's
    foreign.write_bytes(b"theirs")
    away = stage.base / "away"
    directory.rename(away)
    with stage.daemon() as daemon:
        daemon.wait_for("destination.down")
        away.rename(directory)
        daemon.wait_for("delivery.delivered")
        assert daemon.stop() == 0
    foreign.unlink()
    stage.finish()


def test_a_journal_of_a_newer_program_is_left_untouched(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "stage")
    stage.write("a.safetensors", seed=1)
    stage.finish()
    journal = stage.daemon().state_directory / "journal.sqlite3"
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("PRAGMA user_version = 9999")
    before = held(journal.parent) | {"lock": ""}
    for words in (("run", *stage.arguments), ("once", *stage.arguments), ("status",), ("retry", "--all")):
        refused = stage.daemon().command(*words)
        assert refused.exit_code == 1, words
        assert "newer lorawatch" in refused.stderr
        assert "upgrade lorawatch" in refused.stderr
        assert held(journal.parent) | {"lock": ""} == before, words


@pytest.mark.parametrize("damage", ["all", "middle"])
def test_a_damaged_journal_is_reported_and_without_it_nothing_is_carried_again(tmp_path: Path, damage: str) -> None:
    stage = Stage(tmp_path / "stage")
    stage.write("a.safetensors", seed=1)
    stage.finish()
    journal = stage.daemon().state_directory / "journal.sqlite3"
    content = bytearray(journal.read_bytes())
    start, end = (0, len(content)) if damage == "all" else (4096, len(content))
    content[start:end] = b"\xa5" * (end - start)
    journal.write_bytes(content)
    for words in (("once", *stage.arguments), ("status",)):
        refused = stage.daemon().command(*words)
        assert refused.exit_code == 1, refused
        assert f"move {journal} away" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert journal.read_bytes() == content
    journal.rename(tmp_path / "damaged")
    finished = stage.daemon().run_once()
    (delivered,) = [event for event in finished.events if event["event"] == "delivery.delivered"]
    assert delivered["carried_bytes"] == 0
    stage.finish()
