"""Reach files through `docker cp`, which needs no program in the container and works while it is stopped.

Lane threads call it, several at once. `docker cp` cannot rename, but the archive that it takes may hold a hard link:
so the bytes come under a temporary name, are read back, and the real name is made a link to them, whole from the first
moment. It cannot remove either: the temporary name stays, as an empty hidden file, and is used again. It overwrites
what stands at a name, so that is looked at right before; it tells no free room, and times to the second only.
"""

import hashlib
import io
import os
import tarfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

from lorawatch.destinations.docker.client import Docker
from lorawatch.destinations.docker.reach import (
    BrokenOffError,
    Freight,
    Ground,
    Landed,
    Naming,
    error_from_words,
    last_line,
    missing_root,
)
from lorawatch.domain.errors import DeliveryDelayedError, DeliveryRefusedError
from lorawatch.domain.model import RemoteFile
from lorawatch.domain.ports import Stop
from lorawatch.transport.piping import feed, stream
from lorawatch.transport.process import Finished

_SETGID = 0o2000
_RECORD_BYTES = 512
# 28.x; 20.10's own command says it in other words
_NOT_THERE = ("could not find the file", "no such container:path", "no such file or directory", "not a directory")
_FROM_DAEMON = "error response from daemon"


class ArchiveReach:
    """One container, by its id. `owner` has been checked to be in numbers; `where` names it in messages."""

    is_exclusive = False
    is_distinct = False

    def __init__(self, docker: Docker, container_id: str, *, where: str) -> None:
        self._docker = docker
        self._id = container_id
        self._where = where

    def look(self, root: str, folders: Sequence[str], *, trial: str | None = None) -> Ground:  # noqa: ARG002
        """Return what the root is like; nothing is tried, as nothing could be removed."""
        there = self._head(f"{root}/.")
        if there is None or not there.isdir():
            raise missing_root(root, self._where)
        folder = next((each for each in folders if self._is_folder(each)), root)
        return Ground(folder, f"{there.uid}:{there.gid}", is_group_kept=bool(there.mode & _SETGID), free_bytes=None)

    def find(self, root: str, path: str) -> RemoteFile | None:
        """Return what stands at a path."""
        there = self._head(path)
        if there is None:
            self.look(root, ())
            return None
        return RemoteFile("", there.size, _fingerprint(there), is_link=there.issym(), is_distinct=False)

    def digest(self, path: str) -> str | None:
        """Return the sha256 of what `docker cp` gives back."""
        read = self._read_back(path)
        return read[1] if read is not None else None

    def land(self, freight: Freight, *, stop: Stop) -> Landed:
        """Write a temporary file and read it back."""
        ground = self.look(freight.folders[-1], freight.folders[:-1])
        entry = _entry(freight.part_name, freight.owner or ground.owner, freight.file_mode)
        entry.size = freight.size_bytes
        self._put(ground.folder, _archive_of(entry, freight.blocks), stop=stop)
        path = f"{ground.folder}/{freight.part_name}"
        read = self._read_back(path, stop=stop, heartbeat=freight.heartbeat)
        if read is None:
            raise DeliveryDelayedError(f"{path} is gone", code="destination-changed")
        return Landed(path, _fingerprint(read[0]), read[1])

    def give_name(self, naming: Naming) -> tuple[RemoteFile, bool] | None:
        """Link the name to the temporary file, and empty that one."""
        there = self._head(naming.temporary)
        if there is None or _fingerprint(there) != naming.fingerprint:
            raise DeliveryDelayedError(f"{naming.temporary} was changed by somebody", code="destination-changed")
        folder = os.path.dirname(naming.temporary)
        entries = list(self._new_folders(naming, folder))
        before = self._head(naming.target)
        if before is not None and (before.isdir() or _fingerprint(before) != naming.replaces):
            return None
        owner = f"{there.uid}:{there.gid}"  # what is said of a link is done to the file
        link = _entry(os.path.relpath(naming.target, folder), owner, there.mode)
        link.type, link.linkname = tarfile.LNKTYPE, os.path.basename(naming.temporary)
        link.mtime = there.mtime
        entries += [link, _entry(os.path.basename(naming.temporary), owner, 0o600)]
        self._put(folder, (_header(each) for each in entries), stop=threading.Event())
        named = self.find(naming.root, naming.target)
        if named is None:
            raise DeliveryDelayedError(f"{naming.target!r} is not there after it was put there", code="not-listed")
        return named, False

    def remove(self, path: str, fingerprint: str, *, aside: str) -> bool:  # noqa: ARG002
        """Return False: `docker cp` removes nothing."""
        return False

    def leftovers(self, root: str, pattern: str) -> list[str]:  # noqa: ARG002
        """Return nothing: they could not be removed; a shell finds them when there is one."""
        return []

    def drop(self, paths: Iterable[str]) -> None:
        """Make the temporary files empty."""
        for path in paths:
            folder, name = os.path.split(path)
            if self._head(path) is not None:
                self._put(folder, [_header(_entry(name, "0:0", 0o600))], stop=threading.Event())

    def _new_folders(self, naming: Naming, above: str) -> Iterator[tarfile.TarInfo]:
        for folder in naming.folders:
            there = self._head(f"{folder}/.")
            if there is None and self._head(folder) is not None:
                raise DeliveryRefusedError(
                    f"{folder} is no directory, so nothing can be delivered below it",
                    code="name-refused",
                    fix="move it away, or change name_template",
                )
            if there is None:
                entry = _entry(os.path.relpath(folder, above), naming.owner, naming.folder_mode)
                entry.type = tarfile.DIRTYPE
                yield entry

    def _is_folder(self, path: str) -> bool:
        there = self._head(f"{path}/.")
        return there is not None and there.isdir()

    def _head(self, path: str) -> tarfile.TarInfo | None:
        """Return what `docker cp` says about a path before its first byte; None if nothing is there."""
        with _Reader(self._get(path, threading.Event())) as reader:
            return self._first(reader, path)

    def _read_back(
        self, path: str, *, stop: Stop | None = None, heartbeat: Callable[[], object] = bool
    ) -> tuple[tarfile.TarInfo, str] | None:
        """Return a regular file's entry and the sha256 of its bytes."""
        with _Reader(self._get(path, stop or threading.Event())) as reader:
            there = self._first(reader, path)
            if there is None or not there.isreg():
                return None
            digest, left = hashlib.sha256(), there.size
            while left:
                piece = reader.read(min(left, 1 << 20))
                if not piece:
                    raise BrokenOffError(reader.finished, doing=f"read {path!r} back")
                digest.update(piece)
                left -= len(piece)
                heartbeat()
            return there, digest.hexdigest()

    def _first(self, reader: "_Reader", path: str) -> tarfile.TarInfo | None:
        doing = f"look at {path!r}"
        try:
            return tarfile.open(fileobj=reader, mode="r|", bufsize=_RECORD_BYTES).next()
        except tarfile.ReadError as error:
            said = reader.finished.stderr.lower()
            if any(words in said for words in _NOT_THERE):
                return None
            raise BrokenOffError(reader.finished, doing=doing) from error

    def _get(self, path: str, stop: Stop) -> Generator[bytes, None, Finished]:
        return stream(self._docker.words("cp", f"{self._id}:{_utf8(path)}", "-"), stop=stop)

    def _put(self, folder: str, blocks: Iterable[memoryview | bytes], *, stop: Stop) -> None:
        doing = f"copy into {folder} of {self._where}"
        finished = feed(self._docker.words("cp", "-", f"{self._id}:{_utf8(folder)}"), blocks, stop=stop)
        said = last_line(finished)
        if not finished.is_fine and _FROM_DAEMON in said.lower():
            raise error_from_words(said, doing=doing, where=self._where)
        if not finished.is_fine:
            raise BrokenOffError(finished, doing=doing)


class _Reader(io.RawIOBase):
    """The pieces of a stream as a file; `finished` is what the program left, once it has ended."""

    def __init__(self, pieces: Generator[bytes, None, Finished]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = b""
        self.finished = Finished(0, "", "")

    def read(self, size: int = -1, /) -> bytes:
        while len(self._rest) < size:
            try:
                self._rest += next(self._pieces)
            except StopIteration as end:
                self.finished = end.value or self.finished
                break
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def close(self) -> None:
        self._pieces.close()
        super().close()


def _utf8(path: str) -> str:
    """Return the path; DeliveryRefusedError if it is no UTF-8, which `docker cp` cannot give back."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise DeliveryRefusedError(
            f"the name {path!r} is not UTF-8, and `docker cp` cannot carry it",
            code="name-refused",
            fix="change name_template, or give a name with --as",
        ) from error
    return path


def _entry(name: str, owner: str, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    user, _, group = owner.partition(":")
    entry.uid, entry.gid, entry.mode, entry.mtime = int(user), int(group or user), mode, int(time.time())
    return entry


def _header(entry: tarfile.TarInfo) -> bytes:
    return entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _archive_of(entry: tarfile.TarInfo, blocks: Iterable[memoryview | bytes]) -> Iterator[memoryview | bytes]:
    yield _header(entry)
    yield from blocks
    yield bytes(-entry.size % _RECORD_BYTES + 2 * _RECORD_BYTES)


def _fingerprint(there: tarfile.TarInfo) -> str:
    return f"{there.size}:{int(there.mtime)}"
