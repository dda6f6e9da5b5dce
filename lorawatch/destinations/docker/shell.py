"""Reach files through a shell where they are: `docker exec` in a running container, or a helper container of a volume.

Lane threads call it, several at once. A new name is taken by a hard link, which is made or refused; a file that may be
replaced is looked at right before the rename. What it writes is made durable before it has its name.
"""

import hashlib
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence

from lorawatch.destinations.docker import scripts
from lorawatch.destinations.docker.reach import (
    BrokenOffError,
    Freight,
    Ground,
    Landed,
    Naming,
    NoToolsError,
    error_from_words,
    last_line,
    missing_root,
    no_room,
)
from lorawatch.destinations.docker.scripts import encoded
from lorawatch.domain.errors import DeliveryDelayedError
from lorawatch.domain.model import RemoteFile
from lorawatch.domain.ports import Stop
from lorawatch.transport.piping import STALL_SECONDS, Patience, feed, stream
from lorawatch.transport.process import Finished, run

# The slowest sha256sum met, busybox on a busy machine, does 70 MB/s; a third of it is still no stall.
_SLOWEST_BYTES_PER_SECOND = 20e6
# A file of unknown size is read in silence.
_HASHING_SECONDS = 3600.0
# A container's program that cannot be started: 126 and 127, as in a shell.
_NOT_STARTED = frozenset({126, 127})


class ShellReach:
    """`words` starts a shell there: the script and its arguments follow; `feeding` does so with our bytes as its stdin.

    `where` names the place in messages.
    """

    is_exclusive = True
    is_distinct = True

    def __init__(self, words: Sequence[str], *, feeding: Sequence[str], where: str) -> None:
        self._words = [*words, "-c"]
        self._feeding = [*feeding, "-c"]
        self._where = where

    def require_tools(self) -> None:
        """Raise NoToolsError if there is no shell, or one without the tools that are needed."""
        doing = f"start a shell in {self._where}"
        finished = self._run(scripts.CHECK, *scripts.TOOLS)
        lines = scripts.lines_of(finished.stdout)
        if lines is None and finished.exit_code in _NOT_STARTED:
            raise NoToolsError(f"could not {doing}: {last_line(finished)}")
        if lines is None:
            raise BrokenOffError(finished, doing=doing)
        if "lacks" in lines:
            raise NoToolsError(f"{self._where} has no {lines['lacks']}")

    def look(self, root: str, folders: Sequence[str], *, trial: str | None = None) -> Ground:
        """Return what the root is like."""
        asked = [encoded(each) for each in (*folders, root)]
        lines = self._ask(f"look at {root}", scripts.LOOK, encoded(root), encoded(trial or ""), *asked, root=root)
        mode, owner = lines["root"].split()
        free = [int(number) for number in lines.get("room", "").split()]
        return Ground(
            folder=dict(zip(asked, (*folders, root), strict=True))[lines["folder"]],
            owner=owner,
            is_group_kept=bool(int(mode, 16) & stat.S_ISGID),
            free_bytes=free[0] * free[1] if len(free) == 2 else None,
        )

    def find(self, root: str, path: str) -> RemoteFile | None:
        """Return what stands at a path."""
        lines = self._ask(f"look at {path!r}", scripts.FIND, encoded(root), encoded(path), root=root)
        return _file_of(lines["found"]) if "found" in lines else None

    def digest(self, path: str) -> str | None:
        """Return the sha256, computed there; where no tool can, the bytes come back to us."""
        lines = self._ask(f"read {path!r} back", scripts.DIGEST, encoded(path), patience_seconds=_HASHING_SECONDS)
        told = lines.get("sha256")
        return self._read_back(path) if told is not None and not _is_sha256(told) else told

    def land(self, freight: Freight, *, stop: Stop) -> Landed:
        """Write, flush and read back a temporary file, in one call."""
        doing = f"write {freight.size_bytes} bytes into {self._where}"
        asked = [encoded(folder) for folder in freight.folders]
        numbers = (f"{freight.file_mode:o}", str(freight.size_bytes), str(freight.min_free_bytes))
        words = [*self._feeding, scripts.LAND, "lorawatch", freight.owner, *numbers, freight.part_name, *asked]
        patience = Patience(STALL_SECONDS + freight.size_bytes / _SLOWEST_BYTES_PER_SECOND, freight.heartbeat)
        lines = self._result(feed(words, freight.blocks, stop=stop, patience=patience), doing, root=freight.folders[-1])
        if "room" in lines:
            free, needed = int(lines["room"]), freight.size_bytes
            raise no_room(self._where, free_bytes=free, needed_bytes=needed, least_bytes=freight.min_free_bytes)
        if "short" in lines:
            raise DeliveryDelayedError(f"only a part of the bytes reached {self._where}", code="connection-lost")
        folder = dict(zip(asked, freight.folders, strict=True))[lines["folder"]]
        path, told = f"{folder}/{freight.part_name}", lines["sha256"]
        sha256 = told if _is_sha256(told) else self._read_back(path)
        return Landed(path, _file_of(lines["landed"]).fingerprint, sha256, tuple(_notes(lines, self._where)))

    def give_name(self, naming: Naming) -> tuple[RemoteFile, bool] | None:
        """Link, or rename over what may be replaced."""
        lines = self._ask(
            f"give {naming.target!r} its name",
            scripts.NAME,
            encoded(naming.temporary),
            naming.fingerprint,
            encoded(naming.target),
            naming.replaces or "",
            naming.owner,
            f"{naming.folder_mode:o}",
            *map(encoded, naming.folders),
        )
        if "taken" in lines:
            return None
        if "changed" in lines:
            raise DeliveryDelayedError(
                f"{naming.temporary} was changed or removed by somebody before it was published",
                code="destination-changed",
                fix="it is copied again; see which program touches hidden files there",
            )
        return _file_of(lines["named"]), "exclusive" in lines

    def remove(self, path: str, fingerprint: str, *, aside: str) -> bool:
        """Move it aside, look at it again, remove it."""
        lines = self._ask(f"remove {path!r}", scripts.REMOVE, encoded(path), fingerprint, encoded(aside))
        return "removed" in lines

    def leftovers(self, root: str, pattern: str) -> list[str]:
        """Return what `find` finds, here and in sub-directories."""
        found = bytearray()
        for piece in self._stream(scripts.LEFTOVERS, encoded(root), pattern):
            found += piece
        return [path.decode("utf-8", "surrogateescape") for path in bytes(found).split(b"\0") if path]

    def drop(self, paths: Iterable[str]) -> None:
        """Remove temporary files, as many at once as fit into a command line."""
        waiting = [encoded(path) for path in paths]
        while waiting:
            self._ask("remove temporary files", scripts.DROP, *waiting[:50])
            del waiting[:50]

    def _read_back(self, path: str) -> str:
        digest = hashlib.sha256()
        for piece in self._stream(scripts.READ, encoded(path)):
            digest.update(piece)
        return digest.hexdigest()

    def _stream(self, script: str, *arguments: str) -> Iterator[bytes]:
        finished = yield from stream([*self._words, script, "lorawatch", *arguments], stop=threading.Event())
        if not finished.is_fine:
            raise BrokenOffError(finished, doing=f"read from {self._where}")

    def _ask(
        self, doing: str, script: str, *arguments: str, root: str = "", patience_seconds: float = 60.0
    ) -> dict[str, str]:
        return self._result(self._run(script, *arguments, patience_seconds=patience_seconds), doing, root=root)

    def _run(self, script: str, *arguments: str, patience_seconds: float = 60.0) -> Finished:
        return run([*self._words, script, "lorawatch", *arguments], timeout_seconds=patience_seconds)

    def _result(self, finished: Finished, doing: str, *, root: str) -> dict[str, str]:
        lines = scripts.lines_of(finished.stdout)
        if lines is None:
            raise BrokenOffError(finished, doing=doing)
        if "missing" in lines:
            raise missing_root(root, self._where)
        if "failed" in lines:
            raise error_from_words(lines["failed"].partition(" ")[2], doing=doing, where=self._where)
        return lines


def _file_of(shown: str) -> RemoteFile:
    mode, size_bytes, fingerprint = shown.split(" ", 2)
    return RemoteFile("", int(size_bytes), fingerprint, is_link=stat.S_ISLNK(int(mode, 16)))


def _notes(lines: dict[str, str], where: str) -> Iterator[tuple[str, str]]:
    if "not-owner" in lines:
        yield "owner-not-set", f"what is delivered to {where} cannot be given to {lines['not-owner']}"
    if "not-mode" in lines:
        yield "mode-not-set", f"what is delivered to {where} does not get the mode {lines['not-mode']}"


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and all(character in "0123456789abcdef" for character in text)
