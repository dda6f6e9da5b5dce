"""Killed at any instant, nothing is lost, nothing arrives twice, and nothing unproved is ever visible.

Real processes, real SIGKILL, real files; the destination is watched all the time, by contents.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.factories import write_lora
from tests.poller import Poller
from tests.process import PATIENCE_SECONDS, PROJECT, Lorawatch

CRASHING = str(PROJECT / "tests" / "fakes" / "crashing_daemon.py")
# Above every write of these scenarios, below an endless loop; each test says how many there must be at least.
MOST_WRITES = 60
LARGE_BYTES = 150_000_000
RANDOM_KILLS = 16


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
        tables = [
            f'[[destinations]]\nname = "{directory.name}"\nkind = "directory"\ndirectory = "{directory}"\nmin_free_bytes = 0\n'
            for directory in self.destinations
        ]
        self.config = f'[watch]\ndirectories = ["{self.outputs}"]\n' + "".join(tables)

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


def lives(stage: Stage, moment: str, number: int) -> bool:
    """Live one life: backlog, a new file, a new version of a delivered one, the end. Return whether it was killed."""
    stage.write("a.safetensors", seed=1)
    stage.write("b.safetensors", seed=2)
    with stage.daemon(moment, str(number)) as daemon:
        is_killed = killed_or_through(daemon, 2 * stage.destination_count)
        stage.write("a.safetensors", seed=3)
        stage.write("c.safetensors", seed=4)
        is_killed = is_killed or killed_or_through(daemon, 4 * stage.destination_count)
        return is_killed or daemon.stop() == -signal.SIGKILL


@pytest.mark.timeout(600)
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("destination_count", [1, 2])
def test_a_kill_at_any_journal_write_loses_nothing_and_carries_nothing_twice(
    tmp_path: Path, moment: str, destination_count: int
) -> None:
    for number in range(1, MOST_WRITES):
        stage = Stage(tmp_path / str(number), destination_count)
        with Poller(stage.destinations, stage.allowed) as poller:
            is_killed = lives(stage, moment, number)
            stage.finish()
        poller.check()
        if not is_killed:
            break
        shutil.rmtree(stage.base)
    else:
        pytest.fail(f"still writing after {MOST_WRITES} transactions")
    assert number > 15, "the scenario has become too small to show anything"
