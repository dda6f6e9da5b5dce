"""What the readers of one source have before them, and who takes what. Thread-safe; used by intake and readers.

Small new files always find a reader that nothing large can hold; files above SMALL_BYTES have readers of their own.
"""

import heapq
import threading
from collections.abc import Callable
from enum import IntEnum

from lorawatch.domain.model import Candidate
from lorawatch.engine.settings import SMALL_BYTES

# A backlog may keep every other reader busy for seconds; a new file below this is read in hundredths of one.
QUICK_BYTES = 16 << 20
IDLE_SECONDS = 1.0  # after that long a reader lets go of what it keeps for the next file


class Size(IntEnum):
    """How long a file takes to read; a reader takes what is at most of its own size, quick ones first."""

    QUICK = 0  # new, and below QUICK_BYTES
    SMALL = 1
    LARGE = 2


class Tickets:
    """Candidates to be read, new before backlog, the newest first."""

    def __init__(self) -> None:
        lock = threading.Lock()
        self._for_small = threading.Condition(lock)
        self._for_large = threading.Condition(lock)  # its reader is not woken by a burst of small files
        self._heaps: dict[Size, list[tuple[bool, int, Candidate]]] = {size: [] for size in Size}
        self._count = 0
        self._is_closed = False

    def put(self, candidate: Candidate) -> None:
        """Have a candidate read."""
        size, changed = _size_of(candidate), self._condition(_size_of(candidate))
        with changed:
            self._count += 1
            heapq.heappush(self._heaps[size], (candidate.is_backlog, -self._count, candidate))
            changed.notify_all()

    def take(self, largest: Size, *, on_idle: Callable[[], None] = lambda: None) -> Candidate | None:
        """Wait for a candidate that a reader of this size takes; None when there will be no more.

        A reader of large files takes nothing else: there would be nobody left when one comes. `on_idle` is called
        once if nothing comes for a while.
        """
        sizes = (Size.LARGE,) if largest is Size.LARGE else tuple(size for size in Size if size <= largest)
        changed = self._condition(largest)
        patience: float | None = IDLE_SECONDS
        with changed:
            while not self._is_closed:
                for size in sizes:
                    if self._heaps[size]:
                        return heapq.heappop(self._heaps[size])[2]
                if not changed.wait(patience):
                    on_idle()
                    patience = None
        return None

    @property
    def is_anything_waiting(self) -> bool:
        """Return whether more is to be read than the readers have in hand."""
        return any(self._heaps.values())

    def close(self) -> None:
        """Let every reader end; what was not taken is found again by the next scan."""
        with self._for_small:  # the lock is that of both
            self._is_closed = True
            self._for_small.notify_all()
            self._for_large.notify_all()

    def _condition(self, size: Size) -> threading.Condition:
        return self._for_large if size is Size.LARGE else self._for_small


def _size_of(candidate: Candidate) -> Size:
    size_bytes = candidate.version.size_bytes
    if not candidate.is_backlog and size_bytes < QUICK_BYTES:
        return Size.QUICK
    return Size.SMALL if size_bytes < SMALL_BYTES else Size.LARGE
