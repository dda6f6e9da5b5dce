"""The candidates whose verdict is pending, and when each is looked at again. Used by one intake thread only."""

import heapq
from dataclasses import dataclass, replace

from lorawatch.domain.model import Candidate
from lorawatch.domain.settle import Moment


@dataclass(slots=True)
class Tracked:
    """A candidate whose verdict is pending."""

    candidate: Candidate
    first_seen: Moment  # of this version
    due: float | None = None  # monotonic; None while it is being read
    is_announced: bool = False  # file.detected was said
    recorded_state: str | None = None  # what the journal was told last
    is_reading: bool = False
    is_doubted: bool = False  # it was read on its writer's word alone, and was not whole


class Newcomers:
    """Names that appeared and were not closed yet, each with the monotonic time at which it is looked at."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._dues: dict[str, float] = {}  # in the order of their times: the patience is the same for all

    def __len__(self) -> int:
        return len(self._dues)

    def add(self, path: str, now: float) -> None:
        """Take note of a name."""
        self._dues.setdefault(path, now + self._patience_seconds)

    def drop(self, path: str) -> None:
        """Forget a name: it is being looked at."""
        self._dues.pop(path, None)

    def next_due(self) -> float | None:
        """Return when the next one is to be looked at."""
        return next(iter(self._dues.values()), None)

    def take_due(self, now: float) -> list[str]:
        """Return the names to be looked at now."""
        taken = []
        for path, due in self._dues.items():
            if due > now:
                break
            taken.append(path)
        for path in taken:
            del self._dues[path]
        return taken


class Tracker:
    """Pending candidates by path, with a queue of due times."""

    def __init__(self) -> None:
        self._by_path: dict[str, Tracked] = {}
        self._due: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._by_path)

    def __contains__(self, path: str) -> bool:
        return path in self._by_path

    def get(self, path: str) -> Tracked | None:
        """Return what is pending at a path."""
        return self._by_path.get(path)

    def see(self, candidate: Candidate, now: Moment) -> Tracked:
        """Take note of a candidate; the same version keeps its age and the knowledge that it was closed."""
        tracked = self._by_path.get(candidate.path)
        if tracked is None:
            tracked = self._by_path[candidate.path] = Tracked(candidate, now)
        elif tracked.candidate.version != candidate.version:
            tracked.candidate, tracked.first_seen = candidate, now
            tracked.is_reading = tracked.is_doubted = False
        else:
            tracked.candidate = replace(
                candidate,
                is_closed=candidate.is_closed or tracked.candidate.is_closed,
                is_backlog=tracked.candidate.is_backlog,
            )
        return tracked

    def schedule(self, tracked: Tracked, at: float) -> None:
        """Look at a candidate again at this monotonic time."""
        tracked.due = at
        heapq.heappush(self._due, (at, tracked.candidate.path))

    def next_due(self) -> float | None:
        """Return when the next candidate is to be looked at again."""
        while self._due and not self._is_current(*self._due[0]):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def take_due(self, now: float) -> list[Tracked]:
        """Return the candidates to be looked at again now."""
        taken = []
        while self._due and self._due[0][0] <= now:
            at, path = heapq.heappop(self._due)
            if self._is_current(at, path):
                tracked = self._by_path[path]
                tracked.due = None
                taken.append(tracked)
        return taken

    def drop(self, path: str) -> Tracked | None:
        """Forget a path; return what was pending there."""
        return self._by_path.pop(path, None)

    def all(self) -> list[Tracked]:
        """Return everything that is pending."""
        return list(self._by_path.values())

    def clear(self) -> None:
        """Forget everything: the next scan finds it again."""
        self._by_path.clear()
        self._due.clear()

    def _is_current(self, at: float, path: str) -> bool:
        tracked = self._by_path.get(path)
        return tracked is not None and tracked.due == at
