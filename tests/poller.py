"""Looks into destination directories every few milliseconds, as ComfyUI might at any moment, and reads what it finds.

with Poller([loras], allowed={sha256}) as poller:
    ...
poller.check()   # fails with everything that should never have been visible
"""

import hashlib
import os
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from lorawatch.domain.planning import MODEL_EXTENSIONS

PAUSE_SECONDS = 0.003


@dataclass
class Poller:
    """Reads every model-named file it ever sees: by contents, because a length proves nothing.

    A file is read again only after its inode, length, mtime or ctime changed; `check` reads all of them once more.
    """

    directories: Collection[Path]
    allowed: set[str] = field(default_factory=set)  # sha256; more may be added before they can become visible
    looks: int = 0
    seen: set[str] = field(default_factory=set)  # sha256 of everything that ever was visible
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._known: dict[tuple[str, int, int, int, int], None] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="poller", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def check(self) -> None:
        """Fail if a model's name ever showed other bytes than a whole, allowed file's."""
        self._known.clear()
        self._look()
        assert not self.wrong, "\n".join(self.wrong)
        assert self.looks > 1

    def _run(self) -> None:
        while not self._end.is_set():
            self._look()
            self._end.wait(PAUSE_SECONDS)

    def _look(self) -> None:
        self.looks += 1
        for path in self._model_files():
            try:
                self._read(path)
            except FileNotFoundError:
                continue  # replaced by a rename since it was listed

    def _model_files(self) -> Iterator[str]:
        for directory in self.directories:
            for parent, _, names in os.walk(directory):
                for name in names:
                    if os.path.splitext(name)[1].lower() in MODEL_EXTENSIONS:
                        yield os.path.join(parent, name)

    def _read(self, path: str) -> None:
        with open(path, "rb", buffering=0) as file:
            before = _version(path, os.fstat(file.fileno()))
            if before in self._known:
                return
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            status = os.fstat(file.fileno())
        self.seen.add(sha256)
        if sha256 not in self.allowed:
            self.wrong.append(f"{path} ({status.st_size} bytes) was visible with sha256 {sha256}")
        elif before[2:4] != _version(path, status)[2:4]:  # the ctime changes with the directory entry alone
            self.wrong.append(f"{path} was written to while it was visible")
        self._known[before] = None


def _version(path: str, status: os.stat_result) -> tuple[str, int, int, int, int]:
    return path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
