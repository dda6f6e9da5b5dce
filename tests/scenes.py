"""What the scenario tests share: a watched folder, ComfyUI's folder, and a daemon configured for the two."""

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.factories import lora_bytes
from tests.process import PATIENCE_SECONDS, Lorawatch

# Small files arrive in milliseconds; this only decides how long a file is watched that nobody vouches for.
QUIET_SECONDS = 0.3


@dataclass(frozen=True)
class Scene:
    """Two folders. `watch` and `destination` are lines of TOML for these tables, `tables` is what follows them."""

    tmp_path: Path
    outputs: Path
    loras: Path

    def daemon(
        self, *, watch: str = "", destination: str = "", tables: str = "", is_ready_awaited: bool = True
    ) -> Lorawatch:
        """Return a daemon, not yet started; `with` starts it and waits until it is ready."""
        config = self.config(watch=watch, destination=destination, tables=tables)
        return Lorawatch(self.tmp_path, config=config, is_ready_awaited=is_ready_awaited)

    def config(self, *, watch: str = "", destination: str = "", tables: str = "") -> str:
        """Return a configuration file."""
        return (
            f'[watch]\ndirectories = ["{self.outputs}"]\nquiet_seconds = {QUIET_SECONDS}\n{watch}\n'
            f"[retry]\nfirst_seconds = 0.1\nmax_seconds = 0.5\n"
            f'[[destinations]]\nname = "comfyui"\nkind = "directory"\ndirectory = "{self.loras}"\n'
            f"min_free_bytes = 0\n{destination}\n{tables}\n"
        )

    def second_destination(self, directory: Path, lines: str = "") -> str:
        """Return the table of another destination."""
        directory.mkdir(exist_ok=True)
        table = '[[destinations]]\nname = "other"\nkind = "directory"\n'
        return f'{table}directory = "{directory}"\nmin_free_bytes = 0\n{lines}\n'


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    outputs, loras = tmp_path / "outputs", tmp_path / "loras"
    outputs.mkdir()
    loras.mkdir()
    return Scene(tmp_path, outputs, loras)


def contents(directory: Path) -> dict[str, bytes]:
    """Return what is in every file below a directory, by relative name; nothing is left out."""
    found = {}
    for path in directory.rglob("*"):
        try:
            if not path.is_dir():
                found[str(path.relative_to(directory))] = path.read_bytes()
        except FileNotFoundError:  # as the file of a probe is, between the two
            continue
    return found


def names(directory: Path) -> list[str]:
    return sorted(contents(directory))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def small_lora(seed: int = 0) -> bytes:
    """Return a few hundred kB of LoRA; every seed gives other bytes of the same size."""
    return lora_bytes(seed=seed, size_bytes=200_000)


def save_in_place(path: Path, content: bytes) -> None:
    """Save as safetensors up to 0.7 does: create or truncate the final name, write, close."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def save_by_rename(path: Path, content: bytes) -> None:
    """Save as safetensors 0.8 does: a preallocated hidden file, renamed while it is still open, mode 0600."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp{path.stem[-6:]}")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, len(content))
        os.pwrite(descriptor, content, 0)
        os.rename(temporary, path)
    finally:
        os.close(descriptor)


def eventually(is_true: Callable[[], bool], timeout: float = PATIENCE_SECONDS) -> bool:
    """Return whether it becomes true in time."""
    deadline = time.monotonic() + timeout
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
