"""Staged copies between the reader that made them and the lane that publishes them. Thread-safe, bounded."""

import threading

from lorawatch.domain.model import StagedCopy

# Each staged copy holds a file descriptor; beyond this the lane copies by itself. systemd gives a service 1,024.
MOST_STAGED = 256


class StagedCopies:
    """Staged copies of one destination by delivery number."""

    def __init__(self) -> None:
        self._copies: dict[str, dict[int, StagedCopy]] = {}
        self._reserved = 0
        self._lock = threading.Lock()

    def reserve(self) -> bool:
        """Take a place for a copy that is about to be made; False when there is none."""
        with self._lock:
            if self._reserved >= MOST_STAGED:
                return False
            self._reserved += 1
            return True

    def give_back(self) -> None:
        """Give a place back: the copy was not made, was published or was removed."""
        with self._lock:
            self._reserved -= 1

    @property
    def is_more_coming(self) -> bool:
        """Return whether copies are being made right now that will be handed over soon."""
        with self._lock:
            return self._reserved > sum(len(copies) for copies in self._copies.values())

    def put(self, destination: str, delivery_id: int, staged: StagedCopy) -> None:
        """Hand over a copy that has a reserved place."""
        with self._lock:
            self._copies.setdefault(destination, {})[delivery_id] = staged

    def take_back(self, destination: str, delivery_id: int) -> None:
        """Take a copy back that was handed over in vain; its place stays taken."""
        with self._lock:
            self._copies.get(destination, {}).pop(delivery_id, None)

    def newest(self, destination: str, *, limit: int) -> list[int]:
        """Return the deliveries of a destination whose copies wait, newest first."""
        with self._lock:
            return sorted(self._copies.get(destination, {}), reverse=True)[:limit]

    def take(self, destination: str, delivery_id: int) -> StagedCopy | None:
        """Take a copy and give its place back."""
        with self._lock:
            staged = self._copies.get(destination, {}).pop(delivery_id, None)
            if staged is not None:
                self._reserved -= 1
            return staged

    def take_all(self, destination: str) -> list[StagedCopy]:
        """Take every copy of a destination."""
        return [
            staged
            for number in self.newest(destination, limit=1 << 30)
            if (staged := self.take(destination, number)) is not None
        ]
