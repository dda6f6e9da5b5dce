"""AI Toolkit on a machine whose disk is out of reach: its models are fetched, and then found like any others.

A folder source over a spool directory, and a fetcher that fills it. The intake thread calls it; the fetcher has a
thread of its own. A model is fetched again when the server lets a change be seen (size, time or hash): a new file of
the same size, on a server that tells nothing else, cannot be noticed.
"""

from collections.abc import Callable, Iterator, Sequence

from lorawatch.domain.model import Candidate
from lorawatch.domain.ports import Hint, Observation, Unsettled, WatchState
from lorawatch.sources.fetching import Fetcher
from lorawatch.sources.folder import FolderSource


class AIToolkitSource:
    """Implements `domain.ports.Source`."""

    def __init__(self, folder: FolderSource, fetcher: Fetcher) -> None:
        self.root = folder.root
        self.is_local = folder.is_local
        self._folder = folder
        self._fetcher = fetcher

    @property
    def is_settled(self) -> bool:
        """Return whether everything that the server offered at the start has been fetched, as far as possible."""
        return self._fetcher.has_polled.is_set()

    def start(self, on_hint: Callable[[Hint], None], on_overflow: Callable[[], None]) -> None:
        """Begin to fetch, and to send hints about what has come. Idempotent."""
        self._fetcher.start()  # first: it makes the spool
        self._folder.start(on_hint, on_overflow)

    def supervise(self) -> WatchState:
        """Check the spool, and tell what the fetcher cannot do."""
        state = self._folder.supervise()
        trouble = self._fetcher.trouble
        if trouble is None or state.code is not None:
            return state
        code, reason = trouble
        return WatchState(state.is_present, code, reason, is_rescan_needed=state.is_rescan_needed)

    def scan(self, below: str | None = None, *, unsettled: Unsettled | None = None) -> Iterator[Candidate]:
        """Yield what has been fetched."""
        return self._folder.scan(below, unsettled=unsettled)

    def unreadable(self) -> dict[str, str]:
        """Return the directories of the spool that could not be read."""
        return self._folder.unreadable()

    def polled(self) -> Sequence[str]:
        """Return what sends no hints."""
        return self._folder.polled()

    def look(self, path: str) -> Candidate | None:
        """Return the candidate at a path of the spool."""
        return self._folder.look(path)

    def observe(self, candidate: Candidate) -> Observation:
        """Look at its bytes."""
        return self._folder.observe(candidate)

    def open(self, candidate: Candidate) -> int:
        """Return a descriptor of it."""
        return self._folder.open(candidate)

    def stop(self) -> None:
        """Fetch nothing more. Idempotent."""
        self._fetcher.stop()
        self._folder.stop()
