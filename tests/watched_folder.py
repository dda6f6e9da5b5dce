"""A folder source with its hints collected, for the tests of watching."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lorawatch.domain.model import Candidate
from lorawatch.domain.ports import Hint
from lorawatch.sources.folder import FolderSource
from lorawatch.sources.watching import WatchHub

DEFAULT_INCLUDE = ("**/*.safetensors",)
PATIENCE_SECONDS = 20.0  # only a failing test waits so long


def folder_source(
    root: str | Path,
    *,
    mode: Literal["auto", "inotify", "polling"] = "auto",
    include: Sequence[str] = DEFAULT_INCLUDE,
    exclude: Sequence[str] = (),
    hub: WatchHub | None = None,
    retry_watch_seconds: float = 60.0,
) -> FolderSource:
    return FolderSource(
        str(root),
        mode=mode,
        include=include,
        exclude=exclude,
        max_header_bytes=1 << 24,
        hub=hub or WatchHub(),
        retry_watch_seconds=retry_watch_seconds,
    )


def candidate_at(source: FolderSource, path: str | Path) -> Candidate:
    candidate = source.look(str(path))
    assert candidate is not None, f"{path} is not seen"
    return candidate


def paths(source: FolderSource, below: str | None = None) -> set[str]:
    return {os.path.relpath(candidate.path, source.root) for candidate in source.scan(below)}


def eventually(is_true: Callable[[], bool]) -> bool:
    """Return whether it becomes true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if is_true():
            return True
        time.sleep(0.005)
    return False


@dataclass
class Hints:
    """What a source said, as the intake would take it: a directory that appeared is scanned."""

    source: FolderSource
    seen: list[Hint] = field(default_factory=list)
    found: set[str] = field(default_factory=set)
    overflows: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, hint: Hint) -> None:
        with self.lock:
            self.seen.append(hint)

    def overflow(self) -> None:
        self.overflows += 1

    def has(self, hint: Hint) -> bool:
        with self.lock:
            return hint in self.seen

    def found_paths(self) -> set[str]:
        """Follow the hints so far, and return every path that they led to."""
        with self.lock:
            hints = list(self.seen)
        for hint in hints:
            if hint.is_directory and not hint.is_gone:
                self.found |= {candidate.path for candidate in self.source.scan(hint.path)}
            elif not hint.is_gone:
                self.found.add(hint.path)
        return self.found

    def settle_down(self) -> None:
        """Return when all that happened before has been told: by making one more thing happen."""
        marker = os.path.join(self.source.root, f"marker-{len(self.seen)}-{time.monotonic_ns()}.safetensors")
        with open(marker, "wb"):
            pass
        assert eventually(lambda: self.has(Hint(marker, is_closed=True))), "the watcher says nothing any more"


@contextmanager
def watching(source: FolderSource) -> Iterator[Hints]:
    hints = Hints(source)
    source.start(hints.take, hints.overflow)
    try:
        yield hints
    finally:
        source.stop()
