"""Counts of what happened since the start, for `once` and for the status line. Thread-safe."""

import threading
from collections import Counter


class Tally:
    """How often each thing happened."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count(self, what: str) -> None:
        """Count one more of this."""
        with self._lock:
            self._counts[what] += 1

    def __getitem__(self, what: str) -> int:
        with self._lock:
            return self._counts[what]
