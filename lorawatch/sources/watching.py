"""Hints from inotify: which names changed in a tree of directories, told at once and by one thread for all roots.

The folder sources arm and mend their trees on intake threads; hints leave on the hub's thread. It builds on
watchdog's InotifyFD, not on its Observer: the Observer holds a rename back for up to half a second to pair its two
halves, swallows a watch that could not be set, and does not notice a root that was replaced (seen with 7.1).

The kernel is asked for a handful of events only: whoever merely reads the tree costs nothing. A hint may be lost,
late or wrong; what must not happen is that a directory goes unwatched without being in `unwatched`.
"""

import errno
import logging
import os
import threading
from collections.abc import Callable, Collection
from functools import reduce
from operator import or_

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
)

from lorawatch.domain.ports import Hint

# A file in place ends with CLOSE_WRITE, a renamed one with MOVED_TO; a hard or symbolic link gives CREATE alone.
_EVENTS = reduce(
    or_,
    (
        InotifyConstants.IN_CLOSE_WRITE,
        InotifyConstants.IN_MOVED_TO,
        InotifyConstants.IN_MOVED_FROM,
        InotifyConstants.IN_CREATE,
        InotifyConstants.IN_DELETE,
        InotifyConstants.IN_ONLYDIR,
        InotifyConstants.IN_EXCL_UNLINK,
    ),
)
_ROOT_MASK = Mask(_EVENTS)  # a root may be a link to a directory
_DIRECTORY_MASK = Mask(_EVENTS | InotifyConstants.IN_DONT_FOLLOW)

# inotify_add_watch(2) and inotify_init(2): what says that a limit of the system is reached.
LIMITS = {
    errno.ENOSPC: "fs.inotify.max_user_watches",
    errno.EMFILE: "fs.inotify.max_user_instances",
    errno.ENOMEM: "the kernel's memory",
}


# Without a handler Python would print watchdog's warnings to stderr, between our events. What they tell (an overflow)
# reaches us through on_queue_overflow.
logging.getLogger("watchdog").addHandler(logging.NullHandler())


class _Watcher(InotifyFD):
    """The thread that reads the events. If it dies it leaves no watch behind, and `supervise` starts another."""

    def run(self) -> None:
        try:
            super().run()
        finally:
            self.close()


class WatchHub:
    """The one inotify instance and its thread, shared by all trees. It runs while any tree uses it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inotify: InotifyFD | None = None
        self._trees: set[WatchedTree] = set()

    def join(self, tree: "WatchedTree") -> InotifyFD:
        """Return the running instance, after starting it where needed. Raises OSError at the system's limits."""
        with self._lock:
            if self._inotify is None or not self._inotify.is_alive():
                inotify = _Watcher()
                inotify.name = "lorawatch-watcher"
                inotify.start()
                self._inotify = inotify
            self._trees.add(tree)
            return self._inotify

    def leave(self, tree: "WatchedTree") -> None:
        """Let go of the instance; after the last tree its thread is stopped and joined. Idempotent."""
        with self._lock:
            self._trees.discard(tree)
            if self._trees or self._inotify is None:
                return
            inotify, self._inotify = self._inotify, None
        inotify.stop()
        inotify.join()


class _Directory:
    """One watched directory: it knows its path, so that an event is placed without a search."""

    __slots__ = ("descriptor", "path", "tree")

    def __init__(self, path: str, tree: "WatchedTree") -> None:
        self.path = path
        self.tree = tree
        self.descriptor: WatchDescriptor | None = None

    @property
    def callback_id(self) -> CallbackId:
        return CallbackId(id(self))  # never one of a directory that is still watched

    def on_event(self, event: InotifyEvent) -> None:
        name = os.fsdecode(event.name)
        if name and not name.startswith("."):  # without a name it is about the directory itself
            self.tree.tell(os.path.join(self.path, name), event)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:  # noqa: ARG002  watchdog's signature
        self.tree.forget(self)

    def on_queue_overflow(self) -> None:  # watchdog tells every directory; once is enough for the tree
        if self.path == self.tree.root:
            self.tree.recover()


class WatchedTree:
    """The watches of one root. `arm` and `retry` run on the intake thread, the rest on the hub's thread."""

    def __init__(
        self,
        root: str,
        *,
        hub: WatchHub,
        is_wanted: Callable[[str], bool],
        is_leaf: Callable[[str], bool],
        on_hint: Callable[[Hint], None],
        on_overflow: Callable[[], None],
    ) -> None:
        self.root = root
        self._hub = hub
        self._is_wanted = is_wanted
        self._is_leaf = is_leaf  # whether a directory surely holds no other one, without listing it
        self._on_hint = on_hint
        self._on_overflow = on_overflow
        self._lock = threading.Lock()
        self._inotify: InotifyFD | None = None
        self._directories: dict[str, _Directory] = {}
        self._unwatched: dict[str, int] = {}
        self._skipped: Collection[str] = ()

    @property
    def is_root_watched(self) -> bool:
        """Whether the kernel has not ended the watch of the root, as it does when that is removed or unmounted."""
        with self._lock:
            return self.root in self._directories or self.root in self._unwatched

    @property
    def is_alive(self) -> bool:
        """Whether the thread that brings the events is there, if one could be started."""
        return self._inotify is None or self._inotify.is_alive()

    @property
    def unwatched(self) -> dict[str, int]:
        """The directories that could not be watched, with all below them, each with the errno."""
        with self._lock:
            return dict(self._unwatched)

    def arm(self, skipped: Collection[str] = ()) -> None:
        """Watch every directory below the root anew, except below `skipped`. Never raises: see `unwatched`.

        What stays watched does not miss an event; anything else wants a scan afterwards.
        """
        with self._lock:
            self._skipped = skipped
            self._arm()

    def retry(self) -> bool:
        """Try to watch what could not be watched; return whether any of it is watched now."""
        with self._lock:
            if self._inotify is None or self.root in self._unwatched:
                self._arm()
                return self.root not in self._unwatched
            pending, self._unwatched = self._unwatched, {}
            for path in pending:
                self._watch_below(path)
            return any(path in self._directories for path in pending)

    def disarm(self) -> None:
        """Watch nothing any more and leave the hub. Idempotent; not to be called by a hint's receiver."""
        with self._lock:
            previous, self._directories, self._unwatched = self._directories, {}, {}
            self._release(previous.values())
            self._inotify = None
        self._hub.leave(self)

    def tell(self, path: str, event: InotifyEvent) -> None:
        """Pass an event on as a hint."""
        is_gone = event.is_delete or event.is_moved_from
        if event.is_directory:
            with self._lock:
                if is_gone:
                    self._drop(path, is_moved=event.is_moved_from)
                elif self._inotify is not None:
                    self._watch_below(path)
            self._on_hint(Hint(path, is_directory=True, is_gone=is_gone))
        if self._is_wanted(path):  # also a directory: one with the name of a LoRA is to be rejected
            is_closed = not event.is_directory and (event.is_close_write or event.is_moved_to)
            self._on_hint(Hint(path, is_closed=is_closed, is_gone=is_gone))

    def forget(self, directory: _Directory) -> None:
        """Take note that the kernel ended this watch: the directory was removed or unmounted."""
        with self._lock:
            if self._directories.get(directory.path) is directory:
                del self._directories[directory.path]

    def recover(self) -> None:
        """Mend the watches after events were lost, new directories among them, and say so."""
        with self._lock:
            if self._inotify is None:
                return
            self._arm()
        self._on_overflow()

    # Below: with the lock held.

    def _arm(self) -> None:
        previous, self._directories, self._unwatched = self._directories, {}, {}
        try:
            inotify = self._hub.join(self)
        except OSError as error:
            self._inotify = None
            self._unwatched[self.root] = error.errno or 0
            return
        is_same = inotify is self._inotify
        self._inotify = inotify
        self._watch_below(self.root)
        if is_same:  # only now: a directory that has both its old and its new callback misses nothing
            self._release(previous.values())

    def _watch_below(self, top: str) -> None:
        """Watch a directory and all below it: first itself, then what it holds, so that nothing slips between."""
        pending = [top]
        while pending:
            path = pending.pop()
            if path in self._skipped or not self._watch(path):
                continue
            try:
                if self._is_leaf(path):
                    continue
                with os.scandir(path) as entries:
                    pending += [
                        entry.path
                        for entry in entries
                        if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
                    ]
            except OSError:  # gone, or failing: the scan meets the same error and reports it
                continue

    def _watch(self, path: str) -> bool:
        directory = _Directory(path, self)
        inotify = self._inotify
        if inotify is None:
            return False
        mask = _ROOT_MASK if path == self.root else _DIRECTORY_MASK
        try:
            descriptor = inotify.add_callback(os.fsencode(path), mask, directory, directory.callback_id)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                self._unwatched[path] = error.errno or 0
            return False
        directory.descriptor = descriptor
        if descriptor < 0:  # watchdog 7.1 does not raise for EACCES and would keep the -1
            self._release((directory,))
            self._unwatched[path] = errno.EACCES
            return False
        previous = self._directories.get(path)
        self._directories[path] = directory
        if previous is not None:
            self._release((previous,))
        return True

    def _drop(self, path: str, *, is_moved: bool) -> None:
        """Stop to watch a directory that is gone from here. A moved one took what is below it along."""
        start = os.path.join(path, "")
        self._unwatched = {key: no for key, no in self._unwatched.items() if key != path and not key.startswith(start)}
        gone = [key for key in self._directories if key.startswith(start)] if is_moved else []
        if path in self._directories:
            gone.append(path)
        self._release([self._directories.pop(key) for key in gone])

    def _release(self, directories: Collection[_Directory]) -> None:
        if self._inotify is not None and self._inotify.is_alive():
            self._inotify.remove_callbacks(
                [(each.descriptor, each.callback_id) for each in directories if each.descriptor is not None]
            )
