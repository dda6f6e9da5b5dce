"""The temporary files of a local destination: their names, their permissions, whose they are, and when they go.

Used by the directory destination on lane, intake and reader threads. A temporary file is in use as long as its
descriptor is open, because that holds a lock which dies with its process: so a sweep, in whichever process of this
installation, takes leftovers only. It never touches a file whose name does not carry this installation's mark.
"""

import errno
import fcntl
import itertools
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from lorawatch.destinations.permissions import Permissions
from lorawatch.transport.files import flush, open_regular, remove_quietly

# A name is new in this process by its number, and among processes by what goes before that.
_process_mark = secrets.token_hex(4)
_numbers = itertools.count()
# Of the whole process: after a reload another object publishes, or removes, what the one before it staged.
_descriptors: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class TemporaryFile:
    """An open, locked, empty file under a name that no program takes for a model's."""

    path: str
    descriptor: int


class StagingArea:
    """Creates, keeps and removes the temporary files below one root.

    `instance` marks this installation: another one may deliver into the same directory.
    """

    def __init__(self, root: str, *, instance: str, permissions: Permissions) -> None:
        self._root = root
        self._prefix = f".lorawatch-{instance}-"
        self._pattern = re.compile(rf"{re.escape(self._prefix)}[0-9a-f]{{16}}\.part")
        self._permissions = permissions

    def path_in(self, directory: str) -> str:
        """Return a new temporary name. It is short, so that no source name makes it too long."""
        return os.path.join(directory, f"{self._prefix}{_process_mark}{next(_numbers):08x}.part")

    def create(self, directory: str) -> TemporaryFile:
        """Create a temporary file with the permissions that the delivered one shall have. Raises OSError."""
        path = self.path_in(directory)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        _descriptors[path] = descriptor
        try:
            _try_lock(descriptor, fcntl.LOCK_EX)
            self._permissions.give_to_file(descriptor, directory)
        except BaseException:
            self.discard(path)
            raise
        return TemporaryFile(path, descriptor)

    def opened(self, path: str) -> TemporaryFile:
        """Return a temporary file that this process created and has not released. Raises FileNotFoundError."""
        descriptor = _descriptors.get(path)
        if descriptor is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return TemporaryFile(path, descriptor)

    def flush(self, path: str) -> bool:
        """Make a temporary file durable; False where the file system has no such thing. Raises OSError."""
        descriptor = _descriptors.get(path)
        if descriptor is not None:
            return flush(descriptor)
        with open(path, "rb", buffering=0) as file:  # not staged by this process
            return flush(file.fileno())

    def release(self, path: str) -> None:
        """Close a temporary file that now has its final name, or whose removal is next. Never raises."""
        descriptor = _descriptors.pop(path, None)
        if descriptor is None:
            return
        try:
            os.close(descriptor)
        except OSError:
            pass  # what a close could still tell (NFS), the flush has told before

    def discard(self, path: str) -> None:
        """Remove a temporary file. Never raises; another file's path is left alone."""
        self.release(path)
        if self._pattern.fullmatch(os.path.basename(path)):
            remove_quietly(path)

    def sweep(self) -> None:
        """Remove the temporary files that processes of this installation left. Raises OSError for the root only."""
        for path in _files_below(self._root):
            if self._pattern.fullmatch(os.path.basename(path)) and not _is_in_use(path):
                remove_quietly(path)


def _try_lock(descriptor: int, operation: int) -> bool:
    """Return False if somebody else holds the lock. Where there are no locks, nobody does."""
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in {errno.EWOULDBLOCK, errno.EACCES}
    return True


def _is_in_use(path: str) -> bool:
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return True  # its owner has just renamed or removed it
    except OSError:
        return False
    if descriptor is None:
        return True  # not a regular file: not one of ours
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH)  # on NFS an exclusive one needs a writable descriptor
    finally:
        os.close(descriptor)


def _files_below(root: str) -> Iterator[str]:
    """Yield every path below the root that is no directory; linked directories are followed, each one once."""
    seen: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:
        directory = waiting.pop()
        try:
            status = os.stat(directory)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(directory) as entries:
                for entry in entries:
                    if _is_directory(entry):
                        waiting.append(entry.path)
                    else:
                        yield entry.path
        except OSError:
            if directory == root:
                raise
            continue  # what we may not list, we could not stage in either


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
