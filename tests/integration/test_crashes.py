"""Killed at any instant, nothing is lost, nothing arrives twice, and nothing unproved is ever visible.

Real processes, real SIGKILL, real files; the destination is watched all the time, by contents.
"""

import hashlib
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.factories import finite_bytes, header_bytes, write_lora
from tests.poller import Poller
from tests.process import PATIENCE_SECONDS, PROJECT, Lorawatch

CRASHING = str(PROJECT / "tests" / "fakes" / "crashing_daemon.py")
# Above every write of these scenarios, below an endless loop; each test says how many there must be at least.
MOST_WRITES = 80
LEAST_WRITES = 12
LIVES_AT_ONCE = 2  # one for each core of a small server
LARGE_BYTES = 150_000_000
RANDOM_KILLS = 16
MIDDLE_BYTES = 100_000_000
COPY_SECONDS = 0.4  # from the first look at a file of 150 MB to its arrival, and a little more


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def held(directory: Path) -> dict[str, str]:
    """Return everything that a destination holds, hidden or not, with its sha256."""
    return {
        str(path.relative_to(directory)): sha256_of(path) for path in sorted(directory.rglob("*")) if not path.is_dir()
    }


def inodes(directory: Path, wanted: dict[str, str]) -> dict[str, int]:
    """Return the inodes of what has arrived already."""
    return {
        name: (directory / name).stat().st_ino
        for name, sha256 in wanted.items()
        if (directory / name).exists() and sha256_of(directory / name) == sha256
    }


def traces(directory: Path) -> dict[str, tuple[int, ...]]:
    """Return all that our touching the watched tree would change."""
    return {
        str(path): (
            status.st_ino,
            status.st_mode,
            status.st_nlink,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )
        for path in [directory, *sorted(directory.rglob("*"))]
        for status in [path.lstat()]
    }


@dataclass
class Stage:
    """A watched folder, some destinations, and a daemon that may be killed."""

    base: Path
    destination_count: int = 1
    allowed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.base.mkdir()
        self.outputs = self.base / "outputs"
        self.outputs.mkdir()
        self.destinations = [self.base / f"loras-{number}" for number in range(self.destination_count)]
        for directory in self.destinations:
            directory.mkdir()
        self.arguments = [f"--config={self.base / 'lorawatch.toml'}"]
        lines = ["[retry]", "max_seconds = 1", "[watch]", f'directories = ["{self.outputs}"]']
        for directory in self.destinations:
            lines += ["[[destinations]]", f'name = "{directory.name}"', 'kind = "directory"']
            lines += [f'directory = "{directory}"', "min_free_bytes = 0"]
        self.config = "\n".join(lines)

    def daemon(self, *program: str) -> Lorawatch:
        daemon = Lorawatch(self.base, config=self.config, is_ready_awaited=False)
        if program:
            daemon.program = (sys.executable, CRASHING, *program)
        return daemon

    def write(self, name: str, *, seed: int, size_bytes: int | None = None) -> None:
        """Write a version of a file as safetensors 0.8 does: whole, by rename."""
        temporary = self.outputs / ".tmp-of-the-trainer"
        self.allowed.add(write_lora(temporary, seed=seed, size_bytes=size_bytes))
        temporary.replace(self.outputs / name)

    def finish(self) -> None:
        """Let a last pass settle everything, and require that it does."""
        wanted = held(self.outputs)
        arrived = [inodes(directory, wanted) for directory in self.destinations]
        before = traces(self.outputs)
        finished = self.daemon().run_once()
        assert finished.exit_code == 0, finished
        for directory, there in zip(self.destinations, arrived, strict=True):
            assert held(directory) == wanted, finished
            assert there.items() <= inodes(directory, wanted).items(), f"carried a second time: {finished}"
        assert traces(self.outputs) == before

    def require_rest(self) -> None:
        """Require that one more pass finds nothing to do and nothing to tell."""
        again = self.daemon().run_once()
        assert again.exit_code == 0
        assert not [event for event in again.events if event["event"].startswith(("file.", "delivery."))]


def killed_or_through(daemon: Lorawatch, deliveries: int) -> bool:
    """Wait until so many deliveries are done, or the daemon was killed; return whether it was killed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while daemon.is_running and len(daemon.of("delivery.delivered")) < deliveries:
        assert time.monotonic() < deadline, daemon.account()
        time.sleep(0.005)
    if daemon.is_running and len(daemon.of("delivery.delivered")) >= deliveries:
        return False
    code = daemon.wait()
    assert code == -signal.SIGKILL, daemon.account()
    return True


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


def place_copy(version: Path, target: Path) -> None:
    """Put a copy in place as a trainer does, by rename."""
    temporary = target.with_name(".tmp-of-the-trainer")
    shutil.copyfile(version, temporary)
    temporary.replace(target)


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


def write_large_lora(path: Path, *, size_bytes: int) -> None:
    """Write a LoRA of one pair of tensors without holding it in memory."""
    rank = size_bytes // 2 // (2 * 3072)
    half = rank * 3072 * 2
    prefix = "transformer.transformer_blocks.0.attn.to_q"
    header = header_bytes(
        {
            f"{prefix}.lora_A.weight": {"dtype": "BF16", "shape": [rank, 3072], "data_offsets": [0, half]},
            f"{prefix}.lora_B.weight": {"dtype": "BF16", "shape": [3072, rank], "data_offsets": [half, 2 * half]},
        }
    )
    block = finite_bytes(8 << 20)
    with path.open("wb") as file:
        file.write(header)
        for offset in range(0, 2 * half, len(block)):
            file.write(block[: 2 * half - offset])


def wait_for_part(directory: Path, *, at_least_bytes: int, leftovers: Collection[Path] = ()) -> Path:
    """Return the temporary file of a copy that has come so far."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for name in os.listdir(directory):
            part = directory / name
            if part.suffix == ".part" and part not in leftovers and size_of(part) >= at_least_bytes:
                return part
        time.sleep(0.002)
    raise AssertionError(f"no copy of {at_least_bytes} bytes was begun in {directory}")


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it has got its name
        return 0


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
