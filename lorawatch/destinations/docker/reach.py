"""How the docker destination reaches files: what every way of doing it offers, and how their failures are named.

There are two ways: a shell in the container (shell.py) and `docker cp` (archive.py). containers.py chooses. It does no
I/O.
"""

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lorawatch.domain.errors import DeliveryRefusedError, DestinationDownError, DestinationError, LorawatchError
from lorawatch.domain.model import RemoteFile
from lorawatch.domain.ports import Stop
from lorawatch.transport.os_errors import error_of_number
from lorawatch.transport.process import Finished

# Tools say what strerror(3) says: glibc's words are this machine's, these are musl's, and the shells' own.
_OTHER_WORDS = {
    "nonexistent directory": errno.ENOENT,
    "directory nonexistent": errno.ENOENT,
    "quota exceeded": errno.EDQUOT,
    "filename too long": errno.ENAMETOOLONG,
    "i/o error": errno.EIO,
    "stale nfs file handle": errno.ESTALE,
    "marked read-only": errno.EROFS,
}
_NUMBERS = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENAMETOOLONG, errno.EIO,
    errno.ESTALE, errno.ENOENT, errno.ENOTDIR, errno.EXDEV, errno.EILSEQ, errno.EEXIST, errno.EISDIR, errno.EINVAL,
)  # fmt: skip
_WORDS = {os.strerror(number).lower(): number for number in _NUMBERS} | _OTHER_WORDS
_NAME_NUMBERS = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL})


class NoToolsError(LorawatchError):
    """There is no shell, or it lacks a tool: another way is needed."""


class BrokenOffError(LorawatchError):
    """A call to Docker ended without its result; who knows the container finds out why."""

    def __init__(self, finished: Finished, *, doing: str) -> None:
        super().__init__(f"could not {doing}: {last_line(finished)}")
        self.finished = finished


@dataclass(frozen=True, slots=True)
class Ground:
    """What can be seen of the destination's directory. `folder`: the deepest existing one of those asked for."""

    folder: str
    owner: str  # numbers, as in "1000:1000": whoever owns the root
    is_group_kept: bool  # new folders get the group of the one they are in
    free_bytes: int | None  # of the folder's file system; None: it cannot be known


@dataclass(frozen=True, slots=True)
class Landed:
    """A temporary file that is complete. `sha256` is that of the bytes read back."""

    path: str
    fingerprint: str
    sha256: str
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Naming:
    """What is to get which name. `folders` are those on the way, from the top, that may be missing."""

    root: str
    temporary: str
    fingerprint: str  # of the temporary file
    target: str
    replaces: str | None  # the fingerprint of what may be replaced
    folders: tuple[str, ...] = ()
    owner: str = ""  # of new folders
    folder_mode: int = 0o775  # whoever shares the group may tidy up there


@dataclass(frozen=True, slots=True)
class Freight:
    """Bytes on their way to a temporary file, and how they are to be given there.

    It goes into the first of `folders` that exists, the last of which is the root: a rename reaches every name from
    there, also where something is mounted below the root.
    """

    folders: tuple[str, ...]
    part_name: str
    size_bytes: int
    blocks: Iterable[memoryview | bytes]
    owner: str  # "": whoever owns the root
    file_mode: int
    min_free_bytes: int
    heartbeat: Callable[[], object]  # called while the copy is read back


class Reach(Protocol):
    """A way to the files. Paths are absolute, as seen at the destination.

    Every method raises DestinationError, NoToolsError or BrokenOffError; `land` StoppedError and SourceError too.
    """

    is_exclusive: bool  # a new name is taken only if nothing stands there, whatever happens meanwhile
    is_distinct: bool  # fingerprints tell any two files apart

    def look(self, root: str, folders: Sequence[str], *, trial: str | None = None) -> Ground:
        """Return what the root is like; with `trial` also create and remove a file of that name there."""

    def find(self, root: str, path: str) -> RemoteFile | None:
        """Return what stands at a path, under an empty name."""

    def digest(self, path: str) -> str | None:
        """Return the sha256 of a regular file; None if there is none."""

    def land(self, freight: Freight, *, stop: Stop) -> Landed:
        """Write a temporary file that does not exist yet, make it durable and read it back."""

    def give_name(self, naming: Naming) -> tuple[RemoteFile, bool] | None:
        """Give a temporary file its name; return what stands there, and whether races were excluded. None: taken."""

    def remove(self, path: str, fingerprint: str, *, aside: str) -> bool:
        """Remove a file if it is this one."""

    def leftovers(self, root: str, pattern: str) -> list[str]:
        """Return the paths below the root whose last part matches a shell pattern."""

    def drop(self, paths: Iterable[str]) -> None:
        """Remove temporary files."""


class Place(Protocol):
    """A container or a volume."""

    words: str
    why_archive: str | None

    def reach(self) -> Reach:
        """Return the way to its files now. Raises DestinationDownError."""

    def explain(self, error: BrokenOffError) -> DestinationError:
        """Return why a call was cut off."""


def error_from_words(words: str, *, doing: str, where: str) -> DestinationError:
    """Return what the words of a tool mean. `where` says which place cannot be written to."""
    lowered = words.lower()
    number = next((number for text, number in _WORDS.items() if text in lowered), 0)
    if number in {errno.EACCES, errno.EPERM}:
        return DestinationDownError(
            f"could not {doing}: {words}",
            code="destination-permission-denied",
            fix=f"even root may not write to {where}: see its mount options, and which capabilities the container has"
            " (cap_drop)",
        )
    if number in _NAME_NUMBERS:
        return DeliveryRefusedError(
            f"could not {doing}: {words}",
            code="name-refused",
            fix="change name_template, or give a name with --as",
        )
    return error_of_number(number, doing=doing, words=words or "it said nothing")


def no_room(where: str, *, free_bytes: int, needed_bytes: int, least_bytes: int) -> DestinationDownError:
    """Return the error for a place that has not enough room."""
    return DestinationDownError(
        f"{where} has {free_bytes:,} bytes free; {needed_bytes:,} more would leave less than"
        f" min_free_bytes = {least_bytes:,}",
        code="low-disk-space",
        fix="free some space, or lower min_free_bytes; the delivery goes on by itself",
    )


def missing_root(root: str, where: str) -> DestinationDownError:
    """Return the error for a directory that is not there."""
    return DestinationDownError(
        f"the directory {root} does not exist in {where}; it is not created, as a mount may be missing",
        code="destination-missing",
        fix=f"correct `directory`, or create it: docker exec CONTAINER mkdir -p {root}",
    )


def last_line(finished: Finished) -> str:
    """Return the last thing that a program said."""
    lines = [line for line in finished.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"it ended with {finished.exit_code} and said nothing"
