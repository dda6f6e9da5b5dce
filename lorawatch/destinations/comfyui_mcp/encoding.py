"""From a file to request bodies: read, hash, base64, wrap; in memory that does not depend on the file's size.

Used by uploads on lane threads. Bodies are put together by hand: a megabyte never goes through json.dumps, and is
never joined to anything. The source is read by position and is checked to be the accepted version all the time.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pybase64

from lorawatch.destinations.comfyui_mcp.dialects import Route
from lorawatch.domain.errors import FileChangedError, StoppedError
from lorawatch.domain.model import Version
from lorawatch.domain.ports import Stop
from lorawatch.transport.files import require_version
from lorawatch.transport.os_errors import source_error

# A piece has the connect time-out to leave (urllib3 sets the longer one after sending): small ones suit slow links.
PIECE_BYTES = 256 << 10
# Read, encoded and sent at once by a direct upload. A multiple of three: base64 then needs no padding in between.
BLOCK_BYTES = 3 << 18
_PLACEHOLDER = "lorawatch-content-goes-here"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of the file, encoded. `end` is where the next one begins."""

    index: int
    end: int
    content: bytes


class PiecewiseBody:
    """A request body around one encoded chunk; it can be sent again."""

    def __init__(self, frame: tuple[bytes, bytes], content: bytes) -> None:
        self._frame = frame
        self._content = memoryview(content)

    def __len__(self) -> int:
        return len(self._frame[0]) + len(self._content) + len(self._frame[1])

    def __iter__(self) -> Iterator[bytes | memoryview]:
        yield self._frame[0]
        for start in range(0, len(self._content), PIECE_BYTES):
            yield self._content[start : start + PIECE_BYTES]
        yield self._frame[1]


def frame(route: Route, tool: str, arguments: Mapping[str, object], *, content_key: str | None) -> tuple[bytes, bytes]:
    """Return what stands before and after the content of a call, as JSON."""
    held = dict(arguments)
    if content_key is not None:
        held[content_key] = _PLACEHOLDER
    document: dict[str, object]
    if route.is_jsonrpc:
        call = {"name": tool, "arguments": held}
        document = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    else:
        document = {route.tool_key: tool, route.arguments_key: held}
    text = json.dumps(document)
    before, found, after = text.rpartition(_PLACEHOLDER)
    return (before.encode(), after.encode()) if found else (text.encode(), b"")


class SourceReader:
    """Reads one accepted version of a file in order, and knows whether it held the bytes that were inspected."""

    def __init__(self, descriptor: int, path: str, version: Version, sha256: str) -> None:
        self._descriptor = descriptor
        self._path = path
        self._version = version
        self._sha256 = sha256
        self._digest = hashlib.sha256()

    def skip(self, offset: int, stop: Stop) -> None:
        """Pass over what the server has already; it counts for the hash."""
        position = 0
        while position < offset:
            if stop.is_set():
                raise StoppedError(f"reading {self._path} was interrupted")
            position += len(self._read(position, min(BLOCK_BYTES, offset - position)))

    def chunks(self, *, first: int, chunk_bytes: int) -> Iterator[Chunk]:
        """Yield the file from chunk `first` on. FileChangedError instead of the last chunk if the bytes are others.

        An empty file is one empty chunk.
        """
        size_bytes = self._version.size_bytes
        count = chunk_count(size_bytes, chunk_bytes)
        for index in range(first, count):
            offset = index * chunk_bytes
            data = self._read(offset, min(chunk_bytes, size_bytes - offset))
            if index == count - 1:
                self.verify()
            yield Chunk(index, offset + len(data), pybase64.b64encode(data))

    def verify(self) -> None:
        """Raise FileChangedError unless all that was read is what was inspected, and the file is still that version."""
        require_version(self._descriptor, self._path, self._version)
        if self._digest.hexdigest() != self._sha256:
            raise FileChangedError(f"{self._path} does not hold the bytes that were inspected")

    def _read(self, offset: int, count: int) -> bytes:
        data = self._pread(offset, count)
        require_version(self._descriptor, self._path, self._version)
        if len(data) != count:
            raise FileChangedError(f"{self._path} ended at {offset + len(data)} while it was read")
        self._digest.update(data)
        return data

    def _pread(self, offset: int, count: int) -> bytes:
        try:
            return os.pread(self._descriptor, count, offset) if count else b""
        except OSError as error:
            raise source_error(error, self._path) from error


def chunk_count(size_bytes: int, chunk_bytes: int) -> int:
    """Return how many chunks a file has; an empty file has one."""
    return max(1, -(-size_bytes // chunk_bytes))


def encoded_bytes(size_bytes: int) -> int:
    """Return how long the base64 of so many bytes is."""
    return -(-size_bytes // 3) * 4
