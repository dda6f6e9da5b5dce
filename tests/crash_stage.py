"""The stage of the crash tests: a watched folder, destinations, a daemon that may be killed, and what must hold after.

Used by tests/integration/test_crashes.py.
"""

import hashlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from tests.factories import finite_bytes, header_bytes, write_lora
from tests.process import PATIENCE_SECONDS, PROJECT, Lorawatch

CRASHING = str(PROJECT / "tests" / "fakes" / "crashing_daemon.py")


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


def place_copy(version: Path, target: Path) -> None:
    """Put a copy in place as a trainer does, by rename."""
    temporary = target.with_name(".tmp-of-the-trainer")
    shutil.copyfile(version, temporary)
    temporary.replace(target)


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
