"""How large a chunk may be on one server: down when it is refused or late, up again when all is well.

Pure, but for a lock: the uploads of one destination share it. Within one upload the size never changes, because some
servers compute a chunk's place from it.
"""

import threading

LARGEST_BYTES = 1 << 20  # what the documented server takes at most
SMALLEST_BYTES = 16 << 10


class ChunkSizer:
    """The size for the next upload. `configured` of 0 starts at the largest."""

    def __init__(self, configured: int) -> None:
        self._lock = threading.Lock()
        self._most_bytes = configured or LARGEST_BYTES
        self._size_bytes = self._most_bytes

    @property
    def size_bytes(self) -> int:
        """Return the size to use now."""
        return self._size_bytes

    def refused(self, size_bytes: int) -> bool:
        """Note that a request with this size was too large; return whether a smaller one can be tried.

        It is never tried again: the server will not change its mind.
        """
        with self._lock:
            self._most_bytes = min(self._most_bytes, max(SMALLEST_BYTES, size_bytes // 2))
            self._size_bytes = min(self._size_bytes, self._most_bytes)
        return size_bytes > SMALLEST_BYTES

    def was_late(self, size_bytes: int) -> None:
        """Note that the answer to a chunk of this size did not come in time."""
        with self._lock:
            self._size_bytes = min(self._size_bytes, max(SMALLEST_BYTES, size_bytes // 2))

    def went_well(self, size_bytes: int) -> None:
        """Note that an upload with this size succeeded: the next one may take double."""
        with self._lock:
            self._size_bytes = max(self._size_bytes, min(self._most_bytes, size_bytes * 2))
