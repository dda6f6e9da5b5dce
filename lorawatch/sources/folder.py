"""A watched directory as a source of candidates: the scan is the truth, inotify gives hints, polling stands in for it.

One intake thread calls it; `open` is also called from reader threads, and hints leave on the hub's thread. It never
changes anything in the watched tree: no name, no byte, no mode, and no access time where that can be avoided.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from lorawatch.domain.errors import FileRejectedError, FileVanishedError
from lorawatch.domain.model import Candidate
from lorawatch.domain.ports import Hint, Observation, Unsettled, WatchState
from lorawatch.inspection.wholeness import Wholeness, wholeness
from lorawatch.sources.looking import open_version, require_version, sight
from lorawatch.sources.mounts import Mount, MountTable
from lorawatch.sources.rooting import Root, RootMissingError, find_root
from lorawatch.sources.scanning import NameFilter, scan_tree
from lorawatch.sources.watching import LIMITS, WatchedTree, WatchHub
from lorawatch.sources.writers import is_held_open

# A limit is raised by hand, a mode is changed by hand: a minute is soon enough, and until then there is the polling.
RETRY_WATCH_SECONDS = 60.0
# More directories than this without a watch are not polled one by one: one scan of the root is cheaper.
_MOST_POLLED = 64


class FolderSource:
    """One watched directory. Implements `domain.ports.Source`."""

    is_settled = True

    def __init__(
        self,
        root: str,
        *,
        mode: Literal["auto", "inotify", "polling"],
        include: Sequence[str],
        exclude: Sequence[str],
        max_header_bytes: int,
        hub: WatchHub,
        retry_watch_seconds: float = RETRY_WATCH_SECONDS,
    ) -> None:
        self.root = os.path.abspath(root)
        self._start = len(os.path.join(self.root, ""))
        self._mode = mode
        self._wanted = NameFilter(include, exclude)
        self._max_header_bytes = max_header_bytes
        self._hub = hub
        self._retry_watch_seconds = retry_watch_seconds
        self._mounts = MountTable()
        self.is_local = self._mounts.of(os.path.realpath(self.root)).is_local
        self._unreadable: dict[str, str] = {}
        self._is_started = False
        self._tree: WatchedTree | None = None  # None: it is polled, or not there
        self._known: Root | None = None  # what the root was when it was last well
        self._is_lost = True
        self._mounts_below: dict[str, Mount] = {}
        self._retry_watch_at = 0.0  # monotonic

    def start(self, on_hint: Callable[[Hint], None], on_overflow: Callable[[], None]) -> None:
        """Begin to send hints. Idempotent; never raises for a root that is missing: `supervise` tells."""
        if self._is_started:
            return
        self._is_started = True
        self._is_lost = True  # whatever was found before: nothing is armed yet
        self._on_hint, self._on_overflow = on_hint, on_overflow
        self.supervise()

    def stop(self) -> None:
        """Send no more hints; the last source of a hub also joins its thread. Idempotent."""
        self._is_started = False
        self._is_lost = True
        self._disarm()

    def supervise(self) -> WatchState:
        """Check the root and the watch, and mend what can be mended. Cheap; called about once a second."""
        self._mounts.refresh()
        try:
            root = find_root(self.root, self._mounts, before=self._known)
        except RootMissingError as error:
            self._is_lost = True
            self._disarm()
            return WatchState(is_present=False, code=error.code, reason=error.reason)
        before, self._known = self._known, root
        was_lost, self._is_lost = self._is_lost, False
        # A directory made where one was just removed often gets its inode number: only the watch knows better.
        is_same = before is not None and root.is_same_as(before) and self._is_root_watched()
        is_dead = self._tree is not None and not self._tree.is_alive  # its watches are gone, the root is not
        is_replaced = not (was_lost or is_dead or is_same)
        mounts_below = self._find_mounts_below(root)
        if was_lost or is_replaced or is_dead or mounts_below != self._mounts_below:
            self._mounts_below = mounts_below
            self._arm(root)
            return self._state(is_rescan_needed=True, is_replaced=is_replaced)
        return self._state(is_rescan_needed=self._retry_watch())

    def scan(self, below: str | None = None, *, unsettled: Unsettled | None = None) -> Iterator[Candidate]:
        """Yield every file below a directory (default: the root) whose name may be a LoRA's, with its version.

        What only has such a name, and a link that cannot be followed, is yielded too: `observe` rejects it.
        """
        top = self.root if below is None else os.path.abspath(below)
        start = os.path.join(top, "")
        self._unreadable = {
            path: reason for path, reason in self._unreadable.items() if path != top and not path.startswith(start)
        }
        if top == self.root or (self._may_hold(top) and not os.path.islink(top)):
            yield from scan_tree(
                top, root=self.root, wanted=self._wanted, unreadable=self._unreadable, unsettled=unsettled
            )

    def unreadable(self) -> dict[str, str]:
        """Return the directories that the last scan could not read, each with the reason."""
        return dict(self._unreadable)

    def polled(self) -> Sequence[str]:
        """Return the directories that send no hints and must be scanned every `poll_seconds`."""
        if self._mode == "polling":
            return (self.root,)
        if self._mode == "inotify" or self._known is None:
            return ()
        if not self._known.mount.is_local:
            return (self.root,)
        polled = (*self._remote_below(), *self._limited())
        return (self.root,) if self.root in polled or len(polled) > _MOST_POLLED else polled

    def wants(self, path: str) -> bool:
        """Return whether a file at this path would be looked at."""
        return self._may_hold(path) and self._wanted.wants(path, self._start)

    def look(self, path: str) -> Candidate | None:
        """Return the candidate at this path now, or None if it is gone or not wanted.

        What can never be delivered is a candidate too: `observe` rejects it. Raises FileUnreadableError.
        """
        if not self.wants(path):
            return None
        try:
            sighting = sight(path, self.root)
        except FileVanishedError:
            return None
        return Candidate(self.root, path, sighting.version, sighting.ctime_ns)

    def observe(self, candidate: Candidate) -> Observation:
        """Look at the bytes as far as needed to tell whether the writer is done: header, gaps, open writers."""
        is_local = self._mounts.of(os.path.realpath(candidate.path)).is_local
        descriptor = self.open(candidate)
        flaw = None
        try:
            try:
                whole = wholeness(
                    descriptor, size_bytes=candidate.version.size_bytes, max_header_bytes=self._max_header_bytes
                )
            except FileRejectedError as error:
                whole, flaw = Wholeness(None, has_gap=False), error
            # After the bytes: a writer that ends between the two questions has written what it had to.
            is_asked = is_local and not candidate.is_closed
            is_held = is_held_open(descriptor) if is_asked else None
            if not is_held:  # it may have ended meanwhile: what was asked before was of a shorter file
                require_version(descriptor, candidate)
            return Observation(
                candidate,
                is_local=is_local,
                expected_bytes=whole.expected_bytes,
                has_gap=whole.has_gap,
                is_held_open=is_held,
                flaw=flaw,
            )
        finally:
            os.close(descriptor)

    def open(self, candidate: Candidate) -> int:
        """Return a read-only descriptor of exactly this version; the caller closes it. Raises as `observe`."""
        return open_version(candidate)

    def _may_hold(self, path: str) -> bool:
        """Return whether a path lies below the root with no hidden name on the way."""
        return path.startswith(os.path.join(self.root, "")) and "/." not in path[self._start - 1 :]

    def _is_leaf(self, path: str) -> bool:
        """Return whether a directory surely holds no other one: a thousand files are then not listed to find that out.

        Raises OSError.
        """
        root = self._known
        if root is None:
            return False
        real_path = root.real_path + path[len(self.root) :]
        return self._mounts.of(real_path).has_no_directory_in(os.lstat(path))

    def _find_mounts_below(self, root: Root) -> dict[str, Mount]:
        """Return what is mounted below the root, by its path as seen through the root."""
        start = len(os.path.join(root.real_path, ""))
        mounts = {os.path.join(self.root, each.point[start:]): each for each in self._mounts.below(root.real_path)}
        return {path: mount for path, mount in mounts.items() if self._may_hold(path)}

    def _remote_below(self) -> tuple[str, ...]:
        return tuple(path for path, mount in self._mounts_below.items() if not mount.is_local)

    def _arm(self, root: Root) -> None:
        self.is_local = root.mount.is_local
        is_polled = self._mode == "polling" or (self._mode == "auto" and not root.mount.is_local)
        if is_polled or not self._is_started:
            self._disarm()
            return
        if self._tree is None:
            self._tree = WatchedTree(
                self.root,
                hub=self._hub,
                is_wanted=lambda path: self._wanted.wants(path, self._start),
                is_leaf=self._is_leaf,
                on_hint=self._on_hint,
                on_overflow=self._on_overflow,
            )
        self._tree.arm(self._remote_below() if self._mode == "auto" else ())
        self._retry_watch_at = time.monotonic() + self._retry_watch_seconds

    def _is_root_watched(self) -> bool:
        return self._tree is None or self._tree.is_root_watched

    def _disarm(self) -> None:
        if self._tree is not None:
            self._tree.disarm()
            self._tree = None

    def _retry_watch(self) -> bool:
        """Try again, rarely, to watch what could not be watched; return whether that changed anything."""
        if self._tree is None or time.monotonic() < self._retry_watch_at or not self._tree.unwatched:
            return False
        self._retry_watch_at = time.monotonic() + self._retry_watch_seconds
        return self._tree.retry()

    def _limited(self) -> dict[str, int]:
        """Return what is not watched because of a limit of the system, with the errno that said so."""
        unwatched = self._tree.unwatched if self._tree is not None else {}
        return {path: number for path, number in unwatched.items() if number in LIMITS}

    def _state(self, *, is_rescan_needed: bool, is_replaced: bool = False) -> WatchState:
        limited = self._limited()
        if limited:
            limits = " and ".join(sorted({LIMITS[number] for number in limited.values()}))
            instead = "only full scans see" if self._mode == "inotify" else "polling sees"
            reason = f"{limits} is exhausted: {instead} what happens in {len(limited)} directories and below"
            return WatchState(is_present=True, code="inotify-limit", reason=reason, is_rescan_needed=is_rescan_needed)
        if is_replaced:
            reason = f"another directory stands at {self.root} than before"
            return WatchState(is_present=True, code="root-replaced", reason=reason, is_rescan_needed=is_rescan_needed)
        return WatchState(is_present=True, is_rescan_needed=is_rescan_needed)
