"""Copy one open file into another, read the copy back, and prove that it holds the source's bytes.

Called by the directory destination on lane, intake and reader threads. Above INLINE_BYTES a second thread, which
lives no longer than the call, follows the copier through the *copy* and computes the sha256 there: so the source is
read once, and a copy with a hole in it (OpenZFS #15526) is found. A small copy is read back afterwards, by whomever
the caller has for that. A large copy is durable on return; small ones are left to the caller, who flushes many at
once. Memory is two blocks, whatever the size of the file.
It never writes to the source, never truncates the target, and never leaves its thread behind.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import xxhash

from lorawatch.domain.errors import DeliveryDelayedError, FileChangedError, StoppedError
from lorawatch.domain.ports import Stop
from lorawatch.transport.files import clone, flush, own_block, start_writing_back
from lorawatch.transport.os_errors import source_error

# Below, starting a thread and waiting for it costs more than it saves, and a burst is flushed as a group.
INLINE_BYTES = 8 << 20
# Measured: any step between 4 and 16 MiB keeps the disk busy without holding up the writer.
_WRITE_BACK_BYTES = 8 << 20


def copy_verified(
    source: int,
    target: int,
    *,
    size_bytes: int,
    progress: Callable[[int], None],
    stop: Stop,
    sinks: Sequence[Callable[[memoryview], object]] = (),
) -> str:
    """Copy `size_bytes` from the start of one descriptor to that of an empty one, read them back, return the sha256.

    `progress` gets the bytes carried so far. Each sink gets the source's bytes in order, in this thread; a view is
    valid during the call only. Raises DeliveryDelayedError (copy-corrupt) if the copy differs, FileChangedError if
    the source ends early, another SourceError if it cannot be read, StoppedError, and OSError for the target.
    """
    if size_bytes <= INLINE_BYTES:
        xxh3 = copy_unproven(source, target, size_bytes=size_bytes, progress=progress, stop=stop, sinks=sinks)
        return prove_copy(target, size_bytes=size_bytes, xxh3=xxh3, stop=stop)
    is_reflink = _shares_blocks(source, target, size_bytes)
    trail = _Trail(size_bytes if is_reflink else 0)
    carrier = _Carrier(source, target, size_bytes, trail, is_reflink=is_reflink)
    with ThreadPoolExecutor(1, thread_name_prefix="read-back") as pool:
        reading = pool.submit(_read_back, target, size_bytes, trail, stop)
        try:
            xxh3 = carrier.carry(progress, stop, sinks)
            flush(target)  # while the other thread is still hashing
        except BaseException:
            trail.abandon()
            raise
        return _sha256_of(reading.result(), xxh3, size_bytes)


def copy_unproven(
    source: int,
    target: int,
    *,
    size_bytes: int,
    progress: Callable[[int], None],
    stop: Stop,
    sinks: Sequence[Callable[[memoryview], object]] = (),
) -> bytes:
    """Copy as `copy_verified`, but read nothing back: return the xxh3 of the source, for `prove_copy`."""
    is_reflink = _shares_blocks(source, target, size_bytes)
    return _Carrier(source, target, size_bytes, _Trail(0), is_reflink=is_reflink).carry(progress, stop, sinks)


def prove_copy(target: int, *, size_bytes: int, xxh3: bytes, stop: Stop) -> str:
    """Read a whole copy back; return its sha256. Raises as `copy_verified`, but for the source."""
    return _sha256_of(_read_back(target, size_bytes, _Trail(size_bytes), stop), xxh3, size_bytes)


class _Trail:
    """How far the copy may be read: the copier moves it on, the reader waits for it."""

    def __init__(self, reached: int) -> None:
        self._reached = reached
        self._is_abandoned = False
        self._moved = threading.Condition()

    def advance(self, reached: int) -> None:
        with self._moved:
            self._reached = max(self._reached, reached)
            self._moved.notify()

    def abandon(self) -> None:
        with self._moved:
            self._is_abandoned = True
            self._moved.notify()

    def wait_beyond(self, offset: int) -> int:
        """Return how far it goes once that is beyond `offset`. The copier always moves on or abandons."""
        with self._moved:
            self._moved.wait_for(lambda: self._reached > offset or self._is_abandoned)
            if self._is_abandoned:
                raise StoppedError("the copy was abandoned")
            return self._reached


@dataclass(frozen=True, slots=True)
class _Carrier:
    """The one pass over the source: hash it, feed the sinks, write it unless the target already shares it."""

    source: int
    target: int
    size_bytes: int
    trail: _Trail
    is_reflink: bool

    def carry(
        self, progress: Callable[[int], None], stop: Stop, sinks: Sequence[Callable[[memoryview], object]]
    ) -> bytes:
        """Return the xxh3 of the source."""
        digest = xxhash.xxh3_128()
        block = own_block()
        offset = 0
        while offset < self.size_bytes:
            if stop.is_set():
                raise StoppedError(f"stopped after {offset} of {self.size_bytes} bytes")
            view = self._read(block, offset)
            digest.update(view)
            for sink in sinks:
                sink(view)
            if not self.is_reflink:
                self._write(view, offset)
            offset += len(view)
            self.trail.advance(offset)
            progress(offset)
        return digest.digest()

    def _read(self, block: memoryview, offset: int) -> memoryview:
        wanted = min(len(block), self.size_bytes - offset)
        try:
            count = os.preadv(self.source, [block[:wanted]], offset)
        except OSError as error:
            raise source_error(error, _path_of(self.source)) from error
        if count == 0:
            raise FileChangedError(f"{_path_of(self.source)} ended after {offset} of {self.size_bytes} bytes")
        return block[:count]

    def _write(self, view: memoryview, offset: int) -> None:
        written = 0
        while written < len(view):
            written += os.pwrite(self.target, view[written:], offset + written)
        end = offset + written
        is_step = end // _WRITE_BACK_BYTES > offset // _WRITE_BACK_BYTES
        if is_step or end == self.size_bytes:
            start = (offset // _WRITE_BACK_BYTES) * _WRITE_BACK_BYTES
            start_writing_back(self.target, start, end - start)


@dataclass(frozen=True, slots=True)
class _Proof:
    sha256: str
    xxh3: bytes


def _read_back(target: int, size_bytes: int, trail: _Trail, stop: Stop) -> _Proof:
    sha256, xxh3 = hashlib.sha256(), xxhash.xxh3_128()
    block = own_block()
    offset = 0
    while offset < size_bytes:
        if stop.is_set():
            raise StoppedError(f"stopped after {offset} of {size_bytes} bytes were read back")
        reached = trail.wait_beyond(offset)
        count = os.preadv(target, [block[: min(len(block), reached - offset)]], offset)
        if count == 0:
            break  # shorter than what was written: the hashes will tell
        sha256.update(block[:count])
        xxh3.update(block[:count])
        offset += count
    return _Proof(sha256.hexdigest(), xxh3.digest())


def _shares_blocks(source: int, target: int, size_bytes: int) -> bool:
    """Return whether the empty target could be made to share the source's blocks."""
    is_reflink = size_bytes > 0 and clone(source, target)
    if is_reflink and os.fstat(target).st_size != size_bytes:
        raise FileChangedError(f"{_path_of(source)} is not {size_bytes} bytes long any more")
    return is_reflink


def _sha256_of(proof: _Proof, xxh3: bytes, size_bytes: int) -> str:
    if proof.xxh3 == xxh3:
        return proof.sha256
    raise DeliveryDelayedError(
        f"a copy of {size_bytes} bytes was read back and differs from its source",
        code="copy-corrupt",
        fix="it is copied again; if this repeats, memory, disk or file system are at fault",
    )


def _path_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return "the source"
