"""What stands at a path now, and a descriptor of exactly that: the one place where watched files are opened.

The folder source calls it on the intake thread, `open_version` also on reader threads. Everything that decides is
asked of a descriptor, so that nobody can swap the file between the question and the answer. What has not been seen to
be a regular file is opened with O_PATH first, which opens nothing for real: no FIFO blocks, no device wakes up. It
never writes, and never opens by another path.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lorawatch.domain.errors import FileChangedError, FileRejectedError
from lorawatch.domain.model import Candidate, Version
from lorawatch.transport.os_errors import source_error

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


@dataclass(frozen=True, slots=True)
class Sighting:
    """What stands at a path. `flaw` says why it can never be delivered as it is."""

    version: Version
    ctime_ns: int
    flaw: FileRejectedError | None = None


def sight(path: str, root: str) -> Sighting:
    """Look at a path below a watched root. Raises FileVanishedError and FileUnreadableError."""
    with _held(path, root) as (sighting, _):
        return sighting


def open_sighted(path: str, root: str) -> tuple[Sighting, int]:
    """Return what stands at a path and a read-only descriptor, which the caller closes. Raises as `open_version`."""
    with _held(path, root) as (sighting, held):
        if sighting.flaw is not None:
            raise sighting.flaw
        return sighting, _open_to_read(f"/proc/self/fd/{held}")


def open_version(candidate: Candidate) -> int:
    """Return a read-only descriptor of this very version; the caller closes it.

    Raises FileRejectedError (not-a-regular-file, symlink-outside, symlink-dangling), FileChangedError,
    FileVanishedError and FileUnreadableError.
    """
    descriptor = _open_again(candidate)
    if descriptor >= 0:
        return descriptor
    with _held(candidate.path, candidate.root) as (sighting, held):
        _refuse_other(sighting.version, candidate)
        if sighting.flaw is not None:
            raise sighting.flaw
        descriptor = _open_to_read(f"/proc/self/fd/{held}")
        try:
            require_version(descriptor, candidate)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _open_again(candidate: Candidate) -> int:
    """Open what was a regular file when it was last seen, and still is that very version; -1: look at it anew.

    Half of the system calls of a look: it is asked for every file of a burst.
    """
    path, version = candidate.path, candidate.version
    if not version.size_bytes:  # it may be no regular file: see version_of
        return -1
    descriptor = -1
    try:
        descriptor = _open_to_read(path, flags=_READ | os.O_NOFOLLOW)
        status = os.fstat(descriptor)
        is_same = version_of(status) == version
        if is_same and not _flaw(status.st_mode, os.readlink(f"/proc/self/fd/{descriptor}"), path, candidate.root):
            return descriptor
    except OSError:
        pass  # whoever looks anew is told the reason
    if descriptor >= 0:
        os.close(descriptor)
    return -1


def require_version(descriptor: int, candidate: Candidate) -> None:
    """Raise FileChangedError unless the open file still is this version."""
    _refuse_other(version_of(os.fstat(descriptor)), candidate)


def version_of(status: os.stat_result) -> Version:
    """Return the version that this status stands for.

    What is neither a file nor a link is rejected for its type, which never changes; its times do, with every
    file made in a directory and every write to a pipe, and must not bring the rejection up again.
    """
    if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
        return Version(status.st_ino, status.st_size, status.st_mtime_ns)
    return Version(status.st_ino, 0, 0)


@contextmanager
def _held(path: str, root: str) -> Iterator[tuple[Sighting, int]]:
    """Look at a path and hold on to what stands there, as long as the body runs; -1 for a link to nothing."""
    descriptor = -1
    try:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            sighting = _sighting(descriptor, path, root)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                raise
            sighting = _dangling(path, error)
        yield sighting, descriptor
    except OSError as error:
        raise source_error(error, path) from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _sighting(descriptor: int, path: str, root: str) -> Sighting:
    status = os.fstat(descriptor)
    flaw = _flaw(status.st_mode, os.readlink(f"/proc/self/fd/{descriptor}"), path, root)
    if flaw is not None:
        status = os.lstat(path)  # a link is rejected as a link: what it points to is not ours to follow
    return Sighting(version_of(status), status.st_ctime_ns, flaw)


def _flaw(mode: int, real_path: str, path: str, root: str) -> FileRejectedError | None:
    if not stat.S_ISREG(mode):
        return FileRejectedError(
            f"{path} is {_type_in_words(mode)}, not a regular file",
            code="not-a-regular-file",
            fix="remove or rename it, or name it in watch.exclude",
        )
    # Where the path has no link in it there is nothing to resolve: that is nearly always, and the root's own
    # resolution would cost as much as all the rest of a look.
    if real_path != path and not real_path.startswith(os.path.join(os.path.realpath(root), "")):
        return FileRejectedError(
            f"{path} is a link to {real_path}, which lies outside of {root}",
            code="symlink-outside",
            fix="put the file itself into the watched directory, or watch the one that holds it",
        )
    return None


def _dangling(path: str, error: OSError) -> Sighting:
    status = os.lstat(path)
    if not stat.S_ISLNK(status.st_mode):
        raise error
    flaw = FileRejectedError(
        f"{path} is a link to {os.readlink(path)}, where no file is",
        code="symlink-dangling",
        fix="mend or remove the link",
    )
    return Sighting(version_of(status), status.st_ctime_ns, flaw)


def _refuse_other(version: Version, candidate: Candidate) -> None:
    if version != candidate.version:
        raise FileChangedError(f"{candidate.path} changed: it was {candidate.version}, it is {version}")


def _open_to_read(path: str, *, flags: int = _READ) -> int:
    """Open without a trace in the access time, where that is permitted."""
    try:
        return os.open(path, flags | os.O_NOATIME)
    except PermissionError as error:
        if error.errno != errno.EPERM:  # open(2): EPERM is what only the owner may ask for, EACCES the mode's no
            raise
        return os.open(path, flags)


def _type_in_words(mode: int) -> str:
    words = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return words.get(stat.S_IFMT(mode), "something else")
