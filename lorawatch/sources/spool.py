"""The directory in which fetched models wait to be delivered: what comes into it, and what leaves it again.

Used by fetching.py on its thread, which alone writes there. A file leaves when the server has it no more and nothing
is owed of it; where room is short, also when it was delivered. Nothing that leaves is fetched a second time.
"""

import os
import secrets
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from lorawatch.domain.model import Standing, Version
from lorawatch.transport.calls import CallError, Failure
from lorawatch.transport.files import flush, flush_directory, free_bytes, remove_quietly
from lorawatch.transport.renaming import rename_over

# The journal lives on the same disk: it must never be what fills it.
KEPT_FREE_BYTES = 1 << 30
# Hidden, so that no scan takes it for a model; what a dead process left is removed at the start.
_TEMPORARY = ".fetching-"


@dataclass(frozen=True, slots=True)
class Spool:
    """A directory of fetched models. `standing_of` tells what is still to be done about a version of a path."""

    directory: str
    standing_of: Callable[[str, Version], Standing]

    def prepare(self) -> None:
        """Make the directory, and remove what a dead process was fetching."""
        os.makedirs(self.directory, mode=0o750, exist_ok=True)
        for folder, _, names in os.walk(self.directory):
            for name in names:
                if name.startswith(_TEMPORARY):
                    remove_quietly(os.path.join(folder, name))

    def size_of(self, relative_path: str) -> int | None:
        """Return the size of what was fetched under this path; None if nothing is there."""
        try:
            return os.stat(self._path(relative_path)).st_size
        except OSError:
            return None

    def write(self, relative_path: str, download: Callable[[Callable[[bytes], None]], object]) -> None:
        """Have a download write a model, and make it visible when it is whole, at once and durably.

        Raises what the download raises, CallError (DISK_FULL) when room runs out, and OSError.
        """
        target = self._path(relative_path)
        folder = os.path.dirname(target)
        os.makedirs(folder, mode=0o750, exist_ok=True)
        temporary = os.path.join(folder, f"{_TEMPORARY}{secrets.token_hex(6)}")
        try:
            with open(temporary, "xb", buffering=0) as file:
                download(self._writer(file.fileno()))
                flush(file.fileno())
            rename_over(temporary, target, is_expected=lambda _: True)
        finally:
            remove_quietly(temporary)
        flush_directory(folder)

    def make_room(self, needed_bytes: int) -> bool:
        """Return whether so much can be fetched; remove what was delivered, the oldest first, if that helps."""
        missing = needed_bytes - self._room_bytes()
        if missing <= 0:
            return True
        delivered = [each for each in self._files() if self._standing(each) is Standing.DELIVERED]
        delivered.sort(key=lambda each: each.version.mtime_ns)
        if sum(each.version.size_bytes for each in delivered) < missing:
            return False
        for each in delivered:
            if self._room_bytes() >= needed_bytes:
                break
            self._remove(each)
        return self._room_bytes() >= needed_bytes

    def drop_unlisted(self, listed: Collection[str]) -> None:
        """Remove what the server does not list any more and of which nothing is owed."""
        for each in list(self._files()):
            if each.relative_path not in listed and self._standing(each) is not Standing.OPEN:
                self._remove(each)

    def _path(self, relative_path: str) -> str:
        return os.path.join(self.directory, relative_path)

    def _room_bytes(self) -> int:
        return free_bytes(self.directory) - KEPT_FREE_BYTES

    def _writer(self, descriptor: int) -> Callable[[bytes], None]:
        def write(data: bytes) -> None:
            if self._room_bytes() < len(data):
                raise CallError(Failure.DISK_FULL, f"{self.directory} has no room for more")
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]

        return write

    def _files(self) -> Iterator["_Kept"]:
        for folder, _, names in os.walk(self.directory):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    status = os.lstat(path)
                except FileNotFoundError:
                    continue
                version = Version(status.st_ino, status.st_size, status.st_mtime_ns)
                yield _Kept(os.path.relpath(path, self.directory), version)

    def _standing(self, kept: "_Kept") -> Standing:
        return self.standing_of(self._path(kept.relative_path), kept.version)

    def _remove(self, kept: "_Kept") -> None:
        path = self._path(kept.relative_path)
        os.unlink(path)
        folder = os.path.dirname(path)
        while folder != self.directory:
            try:
                os.rmdir(folder)
            except OSError:
                return  # there is more in it
            folder = os.path.dirname(folder)


@dataclass(frozen=True, slots=True)
class _Kept:
    relative_path: str
    version: Version
